#!/usr/bin/env python3
"""Print what follows from the tables: the reference (registers, operations, errors, settings, states) and the clients.

`python docs/build.py` writes docs/reference and shared/clients; with `--check` it writes nothing and fails where a file
is not fresh.
"""

import ast
import builtins
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

import shared.contract.operations as operations_module
from shared.chargepost.registers import READ_BLOCKS, all_fields
from shared.contract.openapi import document
from shared.contract.operations import OPERATIONS, Host, Operation
from shared.errors import SiteError

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
PROGRAMS = {"Enexa": "services.enexa", "Amperio": "services.amperio", "Emulator": "emulator"}
CLIENTS = ROOT / "shared" / "clients"
UNION = ("shared.contract.dispatch", "DispatchCommand")
WIDTH = 121
NOTE = "<!-- Made by docs/build.py from {source}: change that, then run make docs. -->\n"


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {
        "registers.md": registers(),
        "operations.md": operations(),
        "errors.md": errors(),
        "settings.md": settings(),
        "states.md": states(),
        **{f"openapi_{host.value}.json": openapi(host) for host in Host},
    }


def registers() -> str:
    """The Modbus map; `factor` turns the wire's number into ours, sign included."""
    whence = ("unit", "address", "FC", "name", "vendor's name")
    what = ("type", "on the wire", "factor", "range or values", "power-on", "source", "meaning")
    rows = []
    for field in all_fields():
        reg = field.reg
        rows.append(
            (
                field.unit_id,
                field.address,
                ", ".join(f"{code:02d}" for code in field.function_codes),
                f"`{field.span}.{field.name}`",
                reg.vendor,
                reg.kind.type_name,
                reg.unit,
                f"{reg.factor:g}",
                _range(reg.low, reg.high, field.choices, clamps=reg.clamps),
                "" if reg.default is None else reg.default,
                reg.source,
                reg.meaning,
            )
        )
    blocks = [(block.unit_id, block.table.name.lower(), f"{block.address}-{block.end - 1}") for block in READ_BLOCKS]
    return (
        _open("Modbus registers of the ChargePost, v2.6", "shared/chargepost/registers.py")
        + "Addresses are zero-based as on the wire; 32-bit values have the high word first. What flows into the\n"
        "site's AC bus is positive on our side, whatever the register's own counting: a negative factor says so.\n\n"
        + _table(whence + what, rows)
        + "\n## Ranges that answer\n\nA read inside one succeeds (gaps read 0), anything else is exception 02.\n\n"
        + _table(("unit", "table", "addresses"), blocks)
    )


def operations() -> str:
    """The REST map."""
    text = _open("Operations of the REST contract", "shared/contract/operations.py")
    heads = ("operation", "method and path", "scopes", "request", "reply", "status", "limits", "what it does")
    for host in Host:
        rows = []
        for each in OPERATIONS:
            if each.host is not host:
                continue
            rows.append(
                (
                    f"`{each.name}`",
                    f"`{each.method} {each.path}`",
                    ", ".join(sorted(each.scopes)) or "none asked",
                    _type_name(each.request or each.query),
                    _type_name(each.reply),
                    each.status,
                    f"{each.body_limit_bytes // 1024} KiB, {each.budget}",
                    each.summary + ("" if each.served else " **Not served yet.**"),
                )
            )
        text += f"## {host.value.capitalize()} hosts\n\n" + _table(heads, rows) + "\n"
    return text


def openapi(host: Host) -> str:
    """The OpenAPI document of one service, for other people's tools."""
    return json.dumps(document(host), indent=1) + "\n"


def client(host: Host) -> str:
    """A typed client: one method for each operation that is answered with a message."""
    served = [each for each in OPERATIONS if each.host is host and each.served and each.media == "application/json"]
    constants = {id(value): name for name, value in vars(operations_module).items()}
    types = {kind for each in served for kind in _types_of(each)}
    modules: dict[str, set[str]] = {"shared.contract.operations": {constants[id(each)] for each in served}}
    for kind in types:
        home, name = kind if isinstance(kind, tuple) else (kind.__module__, kind.__name__)
        modules.setdefault(home, set()).add(name)
    text = (
        f'"""Typed calls of every operation of {host.value.capitalize()}; made by docs/build.py from the table."""\n\n'
    )
    text += "from typing import cast\n\nfrom shared.clients.base import Api\n"
    for home, names in sorted(modules.items()):
        text += f"from {home} import (\n" + "".join(f"    {name},\n" for name in sorted(names, key=_isort)) + ")\n"
    doc = '    """Each method is one operation; its name is the table\'s."""\n'
    text += f"\n\nclass {host.value.capitalize()}Api(Api):\n{doc}"
    return text + "".join(_method(each, constants[id(each)]) for each in served)


def _method(operation: Operation, constant: str) -> str:
    ids = re.findall(r"{(\w+)}", operation.path)
    arguments = [f"{_argument(name)}: str" for name in ids]
    passed = []
    if operation.request is not None:
        arguments.append(f"body: {_name_of(operation.request)}")
        passed.append("body")
    options = []
    if ids:
        passed.append("path={" + ", ".join(f'"{name}": {_argument(name)}' for name in ids) + "}")
    if operation.query is not None:
        options.append(f"query: {operation.query.__name__} | None = None")
        passed.append("query=query")
    headers = _headers_of(operation)
    if headers:
        options += [f"{name}: {kind}" for _, name, kind in headers]
        passed.append("headers={" + ", ".join(f'"{header}": {name}' for header, name, _ in headers) + "}")
    reply = _name_of(operation.reply) if operation.reply is not None else "None"
    answer = f"{reply} | None" if operation.etag else reply
    heads = ["self", *arguments, *(["*", *options] if options else [])]
    call = f"await self._call({', '.join([constant, *passed])})"
    body = f"        {call}\n" if reply == "None" else f'        return cast("{answer}", {call})\n'
    joined = f"    async def {operation.name}({', '.join(heads)}) -> {answer}:\n"
    if len(joined) > WIDTH:
        joined = f"    async def {operation.name}(\n        {', '.join(heads)}\n    ) -> {answer}:\n"
    if len(body) > WIDTH:
        lines = "".join(f"            {each},\n" for each in (constant, *passed))
        body = f'        found = await self._call(\n{lines}        )\n        return cast("{answer}", found)\n'
    return f'\n{joined}        """{operation.summary}"""\n{body}'


def _argument(name: str) -> str:
    """The name of a path's part as an argument; those of Python's own things get an underscore."""
    return f"{name}_" if hasattr(builtins, name) else name


def _headers_of(operation: Operation) -> list[tuple[str, str, str]]:
    found = []
    if operation.etag:
        found.append(("If-None-Match", "if_none_match", "str | None = None"))
    if operation.if_match:
        found.append(("If-Match", "if_match", "str"))
    if operation.status in (201, 202):
        found.append(("Idempotency-Key", "idempotency_key", "str | None = None"))
    return found


def _types_of(operation: Operation) -> list[Any]:
    """Messages by class; the union of commands is known by the name that it has in its module."""
    kinds = (operation.request, operation.reply, operation.query)
    return [each if isinstance(each, type) else UNION for each in kinds if each is not None]


def _name_of(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else UNION[1]


def _isort(name: str) -> tuple[bool, str]:
    """Constants come before classes."""
    return (not name.isupper(), name)


def errors() -> str:
    """The tree of failures, sorted by who must act."""
    rows: list[tuple[Any, ...]] = []
    for depth, error in _tree(SiteError):
        name = "· " * depth + error.__name__
        rows.append((f"`{error.code}`", name, error.http_status, "yes" if error.retry else "no", _first_line(error)))
    return _open("Errors", "shared/errors.py") + _table(("code", "class", "HTTP status", "retry", "means"), rows)


def settings() -> str:
    """Each program's environment."""
    text = _open("Settings of the three programs", "each program's settings.py")
    text += "Read once at start. Another variable with the program's prefix is an error that names it.\n"
    for program, package in PROGRAMS.items():
        if importlib.util.find_spec(f"{package}.settings") is None:
            continue
        module = importlib.import_module(f"{package}.settings")
        struct = module.Settings
        notes = _notes(module, "Settings")
        hints = get_type_hints(struct)
        rows = [
            (
                f"`{module.PREFIX}{field.name.upper()}`",
                _plain(hints[field.name]),
                _default(field),
                notes.get(field.name, ""),
            )
            for field in msgspec.structs.fields(struct)
        ]
        text += f"\n## {program}\n\n" + _table(("variable", "type", "default", "meaning"), rows)
    return text


def states() -> str:
    """Every table of transitions as a diagram."""
    text = _open("State tables", "the TRANSITIONS tables named below")
    for name in _modules_with("TRANSITIONS"):
        module = importlib.import_module(name)
        text += f"## {name}\n\n{_first_line(module)}\n\n```mermaid\nstateDiagram-v2\n"
        for source, target, cause in _arrows(module.TRANSITIONS):
            text += f"  {source} --> {target}{f': {cause}' if cause else ''}\n"
        for cause, target in getattr(module, "FROM_ANY", {}).items():
            text += f"  any --> {_word(target)}: {_word(cause)}\n"
        text += "```\n\n"
    return text


def _arrows(table: Mapping[Any, Any]) -> Iterator[tuple[str, str, str]]:
    """A table maps a state to what may follow it, with causes or without; a state without an arrow is final."""
    for source, following in table.items():
        if isinstance(following, Mapping):
            for cause, target in following.items():
                yield _word(source), _word(target), _word(cause)
        else:
            for target in sorted(following, key=_word):
                yield _word(source), _word(target), ""
        if not following:
            yield _word(source), "[*]", ""


def _modules_with(table: str) -> list[str]:
    paths = (path for package in ("services", "emulator", "shared") for path in sorted((ROOT / package).rglob("*.py")))
    telling = (path for path in paths if f"\n{table}" in path.read_text(encoding="utf-8"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in telling]


def _tree(root: type[SiteError], depth: int = 0) -> Iterator[tuple[int, type[SiteError]]]:
    yield depth, root
    for child in root.__subclasses__():
        yield from _tree(child, depth + 1)


def _range(low: int | None, high: int | None, choices: Any, *, clamps: bool) -> str:
    if choices is not None:
        return "; ".join(f"{member.value} {member.name.lower()}" for member in choices)
    if low is None and high is None:
        return ""
    return f"{'' if low is None else low} to {'' if high is None else high}" + (" (above: clamped)" if clamps else "")


def _notes(module: ModuleType, class_name: str) -> dict[str, str]:
    """The string below each field of a class: what a reader of the code reads."""
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    notes = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            notes[field.target.id] = " ".join(str(after.value.value).split())
    return notes


def _default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{field.default_factory()}`"
    if field.default is msgspec.NODEFAULT:
        return "must be set"
    return "" if field.default is None else f"`{field.default}`"


def _type_name(of: Any) -> str:
    return "" if of is None else f"`{getattr(of, '__name__', str(of))}`"


def _plain(hint: Any) -> str:
    if isinstance(hint, type):
        return hint.__name__
    return str(hint).replace("typing.", "").replace("pathlib.", "")


def _word(value: Any) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def _open(title: str, source: str) -> str:
    return NOTE.format(source=source) + f"\n# {title}\n\n"


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"

    return line(heads) + "|---" * len(heads) + "|\n" + "".join(line(row) for row in rows)


def main(words: list[str]) -> int:
    """Write the pages, or with `--check` name those that are not what the tables say."""
    made = {REFERENCE / name: text for name, text in pages().items()}
    made |= {CLIENTS / f"{host.value}.py": client(host) for host in Host}
    stale = [path for path, text in made.items() if not _is_fresh(path, text)]
    if "--check" not in words:
        REFERENCE.mkdir(exist_ok=True)
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is not what the tables say: run make docs and commit it\n")
    return 1 if stale else 0


def _is_fresh(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
