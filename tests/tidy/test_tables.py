"""The tables agree with themselves and with the code that reads them."""

import ast
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.contract.operations import OPERATIONS, Host, Operation, Scope
from shared.errors import SiteError
from tests.tidy.source import ROOT, at, files, modules, tree

TWINS = {Host.ENEXA: "services.enexa", Host.AMPERIO: "services.amperio"}
CALLERS = {Host.ENEXA: "services.amperio", Host.AMPERIO: "services.enexa"}
ROUTE_MAKERS = ("serves", "token_route", "openapi_route")
OF_THE_TWINS = {Scope.MIDDLEWARE, Scope.PLATFORM}


def test_error_codes_are_unique() -> None:
    codes = Counter(error.code for error in _errors(SiteError))

    twice = [code for code, count in codes.items() if count > 1]
    assert not twice, f"give each error class a code of its own: {twice}"


def test_each_error_has_its_own_code_and_a_status_that_means_failure() -> None:
    for error in _errors(SiteError):
        assert "code" in vars(error), f"{error.__name__} needs its own code"
        assert 400 <= error.http_status < 600, f"{error.__name__} needs a 4xx or 5xx status"


def test_operations_are_unique_by_name_and_by_address() -> None:
    names = Counter(each.name for each in OPERATIONS)
    addresses = Counter((each.host, each.method, each.path) for each in OPERATIONS)

    assert max(names.values()) == 1, f"two operations share a name: {names.most_common(1)}"
    assert max(addresses.values()) == 1, f"two operations share an address: {addresses.most_common(1)}"


@pytest.mark.parametrize("host", list(Host))
def test_each_operation_has_one_route(host: Host) -> None:
    routes = Counter(name for function in ROUTE_MAKERS for name in _names_given_to(function, TWINS[host]))
    wrong = {
        constant: routes[constant]
        for constant, operation in _constants()
        if operation.host is host and routes[constant] != (1 if operation.served else 0)
    }

    assert not wrong, f"{TWINS[host]}: one route for each operation, none where served=False; found {wrong}"


def test_what_only_a_twin_may_ask_is_asked_in_one_place() -> None:
    wrong = {}
    for constant, operation in _constants():
        if not operation.served or not operation.scopes or operation.scopes - OF_THE_TWINS:
            continue
        places = _places_that_name(constant, CALLERS[operation.host])
        if len(places) != 1:
            wrong[constant] = places

    assert not wrong, f"name each operation in one file of its caller: {wrong}"


def test_every_state_is_reachable_and_has_a_row() -> None:
    tables = list(_state_tables())
    assert tables, "no TRANSITIONS table was found"
    for name, table in tables:
        targets = {target for following in table.values() for target in _targets(following)}
        orphans = targets - set(table)
        assert not orphans, f"{name}: these states need a row, even an empty one: {orphans}"
        module = importlib.import_module(name)
        entered = targets | set(getattr(module, "FROM_ANY", {}).values()) | {next(iter(table))}
        unreachable = set(table) - entered
        assert not unreachable, f"{name}: nothing leads to {unreachable}; remove them or name the cause"


def test_every_scenario_is_told_somewhere() -> None:
    readers = [path for path in files() if path.suffix in {".py", ".md"} or path.name == "Makefile"]
    texts = {path: path.read_text(encoding="utf-8") for path in readers}
    for story in (ROOT / "shared" / "scenario" / "library").glob("*.toml"):
        assert any(story.stem in text for path, text in texts.items() if "tests" in path.parts), (
            f"no test plays {story.name}: write one, or remove the scenario"
        )


def test_the_reference_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "docs/build.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def _errors(root: type[SiteError]) -> Iterator[type[SiteError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "shared.errors":
            yield from _errors(child)


def _constants() -> Iterator[tuple[str, Operation]]:
    module = importlib.import_module("shared.contract.operations")
    for name, value in vars(module).items():
        if isinstance(value, Operation):
            yield name, value


def _names_given_to(function: str, package: str) -> Iterator[str]:
    """Constants that are the first argument of a call, such as `serves(DISPATCH)`; a changed copy counts as its own."""
    for module, path in modules("services"):
        if not module.startswith(package):
            continue
        variants = dict(_variants(tree(path)))
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == function and node.args:
                name = ast.unparse(node.args[0])
                yield variants.get(name, name)


def _variants(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Names for a changed copy of an operation: `WITHDRAW = msgspec.structs.replace(DELETE_GRID_LIMIT, status=200)`."""
    for node in module.body:
        called = node.value if isinstance(node, ast.Assign) else None
        if isinstance(called, ast.Call) and ast.unparse(called.func).endswith("replace") and called.args:
            assert isinstance(node, ast.Assign)
            yield ast.unparse(node.targets[0]), ast.unparse(called.args[0])


def _places_that_name(constant: str, package: str) -> list[str]:
    return sorted(
        {
            at(path, 1).partition(":")[0]
            for module, path in modules("services")
            if module.startswith(package)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Name) and node.id == constant
        }
    )


def _state_tables() -> Iterator[tuple[str, Mapping[Any, Any]]]:
    for name, path in modules("services", "shared", "emulator"):
        if any(line.startswith("TRANSITIONS") for line in path.read_text(encoding="utf-8").splitlines()):
            yield name, importlib.import_module(name).TRANSITIONS


def _targets(following: Any) -> set[Any]:
    return set(following.values()) if isinstance(following, Mapping) else set(following)
