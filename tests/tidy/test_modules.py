"""Every module opens with a sentence, packages hold nothing else, and cores stay pure."""

import ast
import re

from tests.tidy.source import CODE, PROGRAMS, at, imports, is_pure, modules, tree

CLOCK_CALLS = {
    "time.time", "time.monotonic", "time.perf_counter", "time.sleep", "time.time_ns", "time.monotonic_ns",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip
CLOCK = "shared.clock"
BEFORE_ANYTHING = "services.stack.bootstrap"
"""Runs before there is an environment, so it has only the standard library's clock."""


ONE_READER_SO_FAR = {
    "shared.clients.base": "clients for other people's programs",
    "shared.clients.amperio": "made from the table for other people's programs",
    "shared.clients.enexa": "made from the table for other people's programs",
    "shared.energy.envelope": "the limits of a setpoint, which planner and middleware must agree on",
    "shared.energy.reactive": "the reactive rule, which fallback and comparison must share",
    "shared.scenario.days": "a day of sessions, which forecast and director read alike",
    "shared.units": "conversions",
}
"""Shared by design (the architecture names them) and read by one program so far."""


def test_every_module_opens_with_a_sentence() -> None:
    silent = [
        at(path, 1) for _, path in modules(*CODE, "tests", "docs") if not (ast.get_docstring(tree(path)) or "").strip()
    ]

    assert not silent, f"say in one sentence what these modules are for: {silent}"


def test_a_package_file_holds_nothing_but_its_docstring() -> None:
    crowded = [
        at(path, 1) for _, path in modules(*CODE, "tests") if path.name == "__init__.py" and len(tree(path).body) > 1
    ]

    assert not crowded, f"move the code into the file where it belongs; the path is the import: {crowded}"


def test_nobody_reexports() -> None:
    stars = [
        at(path, node)
        for _, path in modules(*CODE, "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and (node.level > 0 or any(alias.name == "*" for alias in node.names))
    ]

    assert not stars, f"import absolutely, by name, from the file where the thing lives: {stars}"


def test_cores_do_not_wait_open_or_print() -> None:
    impure = []
    for module, path in modules(*CODE):
        if not is_pure(module):
            continue
        for node in ast.walk(tree(path)):
            waits = isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
            calls = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print"}
            if waits or calls:
                impure.append(at(path, node))

    assert not impure, f"cores return facts; let the shell wait, open and print: {impure}"


def test_only_the_clock_asks_what_time_it_is() -> None:
    curious = [
        at(path, node)
        for module, path in modules(*CODE)
        if module not in {CLOCK, BEFORE_ANYTHING}
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCK_CALLS
    ]

    assert not curious, f"take a Moment, or a Clock from shared/clock.py: {curious}"


def test_nobody_waits_for_a_simple_queue_with_a_timeout() -> None:
    """CPython 3.11's waits for ever where the time is up before it looks at its lock a second time."""
    hanging = [
        at(path, node)
        for _, path in modules(*CODE)
        if "SimpleQueue" in path.read_text(encoding="utf-8")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
        if any(each.arg == "timeout" for each in node.keywords)
    ]

    assert not hanging, f"pause, and take what came meanwhile: {hanging}"


def test_what_is_shared_is_needed_by_two_programs() -> None:
    readers = _readers()
    lonely = {
        module: sorted(readers.get(module, set()))
        for module, path in modules("shared")
        if path.name != "__init__.py" and len(readers.get(module, set())) < 2
    }

    unexpected = {module: found for module, found in lonely.items() if module not in ONE_READER_SO_FAR}
    assert not unexpected, f"move these into the one program that reads them (or delete them): {unexpected}"


def test_an_exception_from_the_rules_gives_its_reason() -> None:
    bare = re.compile(r"# (?:noqa(?:: ?[A-Z0-9, ]+)?|type: ignore(?:\[[\w, -]+\])?)\s*$")
    silent = [
        at(path, number)
        for _, path in modules(*CODE, "tests", "docs")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if bare.search(line)
    ]

    assert not silent, f"say behind the noqa or type: ignore why it is right here: {silent}"


def _readers() -> dict[str, set[str]]:
    """Which programs reach each shared module, directly or through other shared modules."""
    known = {module for module, path in modules("shared") if path.name != "__init__.py"}
    needs = {module: imports(path) & known for module, path in modules("shared")}
    readers: dict[str, set[str]] = {}
    for module, path in modules(*CODE):
        program = next((name for prefix, name in PROGRAMS.items() if module.startswith(prefix)), None)
        if program is None:
            continue
        queue = list(imports(path) & known)
        while queue:
            each = queue.pop()
            if program not in readers.setdefault(each, set()):
                readers[each].add(program)
                queue += needs[each]
    return readers
