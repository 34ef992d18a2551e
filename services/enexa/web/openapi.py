"""Middleware API: the OpenAPI document of each service as pages, every operation with its fields and answers."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from services.enexa.web.guard import HEADERS, Asked, require
from services.enexa.web.shell import Shell
from shared.contract.openapi import SCHEMAS, document
from shared.contract.operations import Host
from shared.errors import NotFound

BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
    ("maxLength", "letters at most"),
    ("minItems", "entries at least"),
    ("maxItems", "entries at most"),
    ("pattern", "like"),
    ("format", "as"),
)


class Described(Struct, frozen=True, kw_only=True):
    """One operation as the list shows it."""

    key: str
    method: str
    path: str
    summary: str
    request: str
    reply: str
    scopes: tuple[str, ...]


class Property(Struct, frozen=True, kw_only=True):
    """One field of a message."""

    name: str
    kind: str
    required: bool
    about: str


class Message(Struct, frozen=True, kw_only=True):
    """One message with its fields; `values` where it is an enumeration."""

    name: str
    about: str
    properties: tuple[Property, ...]
    values: tuple[str, ...] = ()


def openapi_pages(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of `/api`."""
    deps = shell.deps

    @get("/api", sync_to_thread=False)
    def overview(request: Asked) -> Response[str]:
        require(request, deps)
        hosts = [(host.value, described(host), printed(host)["info"]) for host in Host]
        return shell.page(request, "api.html", key="api", hosts=hosts)

    @get("/api/{host:str}/{key:str}", sync_to_thread=False)
    def operation_page(request: Asked, host: FromPath[str], key: FromPath[str]) -> Response[Any]:
        require(request, deps)
        if host not in tuple(Host):
            raise NotFound("no such service")
        whole = printed(Host(host))
        if key == "openapi.json":
            return Response(msgspec.json.encode(whole), headers=HEADERS, media_type="application/json")
        found = next((each for each in described(Host(host)) if each.key == key), None)
        if found is None:
            raise NotFound("no such operation")
        told = whole["paths"][found.path][found.method.lower()]
        return shell.page(
            request,
            "operation.html",
            key="api",
            host=host,
            operation=found,
            told=told,
            parameters=[_parameter(each) for each in told.get("parameters", ())],
            asked=messages(whole, told.get("requestBody", {})),
            answered=messages(whole, _good(told)),
        )

    return [overview, operation_page]


@cache
def printed(host: Host) -> dict[str, Any]:
    return document(host)


@cache
def described(host: Host) -> tuple[Described, ...]:
    """The operations of a service in the order of its document."""
    return tuple(
        Described(
            key=told["operationId"],
            method=method.upper(),
            path=path,
            summary=told["summary"],
            request=_name(told.get("requestBody", {})),
            reply=_name(_good(told)),
            scopes=tuple(told.get("x-scopes", ())),
        )
        for path, methods in printed(host)["paths"].items()
        for method, told in methods.items()
    )


def messages(whole: dict[str, Any], body: dict[str, Any]) -> tuple[Message, ...]:
    """The messages of a body, outermost first, each once."""
    waiting, met = list(_references(body.get("content", {}))), dict[str, Message]()
    while waiting:
        name = waiting.pop(0)
        if name not in met:
            schema = whole["components"]["schemas"][name]
            met[name] = _message(name, schema)
            waiting += [each for each in _references(schema) if each not in met]
    return tuple(met.values())


def _message(name: str, schema: dict[str, Any]) -> Message:
    required = set(schema.get("required", ()))
    return Message(
        name=name.removeprefix("Strict"),
        about=schema.get("description", ""),
        properties=tuple(
            Property(name=field, kind=_kind(told), required=field in required, about=_about(told))
            for field, told in schema.get("properties", {}).items()
        ),
        values=tuple(str(value) for value in schema.get("enum", ())),
    )


def _parameter(told: dict[str, Any]) -> Property:
    return Property(
        name=f"{told['name']} ({told['in']})",
        kind=_kind(told["schema"]),
        required=told.get("required", False),
        about=told.get("description", "") or _about(told["schema"]),
    )


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(SCHEMAS).removeprefix("Strict")
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _about(schema: dict[str, Any]) -> str:
    """Description, bounds and default of a field."""
    inner = [schema, *(each for each in schema.get("anyOf", ()) if each.get("type") != "null")]
    parts = [each["description"] for each in inner if "description" in each][:1]
    parts += [f"{words} {each[name]}" for each in inner for name, words in BOUNDS if name in each]
    if schema.get("default") is not None:
        parts.append(f"default {msgspec.json.encode(schema['default']).decode()}")
    return "; ".join(parts)


def _good(told: dict[str, Any]) -> dict[str, Any]:
    """The answer of success."""
    answers: dict[str, Any] = told["responses"]
    return next((answer for status, answer in answers.items() if status.startswith("2")), {})


def _name(body: dict[str, Any]) -> str:
    names = list(_references(body.get("content", {})))
    return "" if not names else names[0].removeprefix("Strict") if len(names) == 1 else f"one of {len(names)} messages"


def _references(tree: Any) -> Iterator[str]:
    """Names of the schemas that a piece of the document refers to."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "$ref":
                yield str(value).removeprefix(SCHEMAS)
            elif name != "mapping":
                yield from _references(value)
    elif isinstance(tree, list):
        for each in tree:
            yield from _references(each)
