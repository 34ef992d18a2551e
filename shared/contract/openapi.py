"""The OpenAPI document of each service, printed from the table of operations: what it says is what the gate does.

Requests are described by the strict twins of the messages (`Strict…`: unknown fields are refused), replies by the
messages themselves (they may grow). Which statuses an operation can answer follows from its shape, plus what its row
says; a test lets a fuzzer look for any other.
"""

import re
from typing import Any

import msgspec

from shared.contract.operations import OPERATIONS, Budget, Host, Operation
from shared.contract.wire import Problem, strict_type

SCHEMAS = "#/components/schemas/"
PATH_ID = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}
ENTITY_TAG = {"type": "string", "pattern": '^"[!#-~]{1,60}"$'}
PROBLEM = {"application/problem+json": {"schema": {"$ref": SCHEMAS + "Problem"}}}
RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
CHALLENGE = {"WWW-Authenticate": {"schema": {"type": "string"}}}
ETAG = {"ETag": {"description": "the version, in quotes", "schema": {"type": "string"}}}

MEANS = {
    304: "Nothing has changed since the version in If-None-Match.",
    400: "Malformed: syntax, shape, type, an unknown field, or an unknown query parameter.",
    401: "No token, an unknown one, or one that has expired.",
    403: "A good token without the scope, or an address that is not allowed.",
    404: "No such thing, or not yours: the two look the same.",
    409: "The state of things does not allow it.",
    412: "If-Match names a version that is no longer the current one.",
    413: "The body is larger than this operation takes.",
    415: "The body is not application/json in UTF-8.",
    422: "Understood, but a value is not allowed.",
    429: "Too many requests; Retry-After says when to come back.",
    502: "The station refused.",
    503: "Cannot serve this now; Retry-After says when to come back.",
}
TITLES = {Host.ENEXA: "Enexa Platform", Host.AMPERIO: "Amperio Middleware"}
SERVERS = {
    Host.ENEXA: ("https://api.enexa.io", "https://localhost:8443"),
    Host.AMPERIO: ("https://api.amperio.io", "https://localhost:8444"),
}
ABOUT = (
    "JSON in UTF-8, instants in RFC 3339 with an offset, units in field names, power into the site's AC bus positive. "
    "Errors are problem documents (RFC 9457) with a stable `code`. Any path that is not here answers 404, any other "
    "method 405 with Allow, a head or URL that is too long 431 or 414, a Host that is none of our names 421. "
    "TLS 1.3 only."
)


def document(host: Host) -> dict[str, Any]:
    """The OpenAPI 3.1 document of one service; every served operation of the table and nothing else."""
    served = [each for each in OPERATIONS if each.host is host and each.served]
    requests = {each.name: each.request for each in served if each.request is not None}
    replies = {each.name: each.reply for each in served if each.reply is not None}
    asked, strict_schemas = _schemas([strict_type(each) for each in requests.values()], "Strict")
    told, schemas = _schemas([*replies.values(), Problem], "")
    bodies, answers = dict(zip(requests, asked, strict=True)), dict(zip(replies, told, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for each in served:
        described = _operation(each, bodies.get(each.name), answers.get(each.name))
        paths.setdefault(each.path, {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLES[host], "version": "v1", "description": ABOUT},
        "servers": [{"url": url} for url in SERVERS[host]],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas, **strict_schemas}.items())),
            "securitySchemes": {"bearer": _security(served)},
        },
    }


def statuses(operation: Operation) -> dict[int, str]:
    """Every status that the operation can answer beside its success, with its meaning."""
    found = {400, 403, 429, 503, *operation.refuses}
    if operation.scopes or operation.path.endswith("/oauth/token"):
        found.add(401)
    if "{" in operation.path or _names_a_site(operation):
        found.add(404)
    if operation.request is not None:
        found |= {413, 415, 422}
    if operation.etag:
        found.add(304)
    if operation.if_match:
        found.add(412)
    if operation.status in (201, 202):
        found |= {409, 422}
    return {status: MEANS[status] for status in sorted(found)}


def _operation(operation: Operation, body: Any, answer: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, answer),
        "security": [{"bearer": sorted(operation.scopes)}] if operation.scopes else [],
        "x-scopes": sorted(operation.scopes),
        "x-rate-budget": operation.budget.value,
    }
    if body is not None:
        content = {"application/json": {"schema": body}}
        if operation.path.endswith("/oauth/token"):
            content["application/x-www-form-urlencoded"] = {"schema": body}
        described["requestBody"] = {"required": True, "content": content}
        described["x-body-limit-bytes"] = operation.body_limit_bytes
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": PATH_ID}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    found += _query(operation)
    if operation.etag:
        found.append(_header("If-None-Match", "an ETag that is known already"))
    if operation.if_match:
        found.append(_header("If-Match", "the ETag of the version that this one replaces", ENTITY_TAG, required=True))
    if operation.status in (201, 202):
        asked = {"type": "string", "minLength": 1, "maxLength": 200}
        found.append(_header("Idempotency-Key", "the same key again gets the same answer and does nothing", asked))
    found.append(_header("X-Request-ID", "comes back, and stands in the audit log"))
    return found


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = msgspec.json.schema(operation.query)
    fields = schema["$defs"][operation.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(field, schema["$defs"])}
        for name, field in fields.items()
    ]


def _without_null(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """An optional query parameter is left out, not null; definitions are small and written out in place."""
    variants = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    found = dict(variants[0])
    name = found.pop("$ref", "").removeprefix("#/$defs/")
    return {key: value for key, value in {**definitions.get(name, {}), **found}.items() if key != "title"}


def _header(name: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False) -> Any:
    asked = schema or {"type": "string"}
    return {"name": name, "in": "header", "required": required, "description": description, "schema": asked}


def _responses(operation: Operation, answer: Any) -> dict[str, Any]:
    success: dict[str, Any] = {"description": operation.summary}
    if answer is not None:
        success["content"] = {"application/json": {"schema": answer}}
    elif operation.media != "application/json":
        kind = "object" if operation.media.endswith("+json") else "string"
        success["content"] = {operation.media: {"schema": {"type": kind}}}
    if operation.etag or operation.if_match:
        success["headers"] = ETAG
    found = {str(operation.status): success}
    for status, meaning in statuses(operation).items():
        found[str(status)] = {"description": meaning}
        if status == 304:
            found["304"]["headers"] = ETAG
            continue
        found[str(status)]["content"] = PROBLEM
        if status in (429, 503):
            found[str(status)]["headers"] = RETRY_AFTER
        if status == 401:
            found["401"]["headers"] = CHALLENGE
    if operation.path == "/v1/health":
        found["503"]["content"] = {**PROBLEM, "application/json": {"schema": answer}}
    return found


def _schemas(types: list[Any], prefix: str) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    roots, found = msgspec.json.schema_components(types, ref_template=SCHEMAS + prefix + "{name}")
    return roots, {prefix + name: schema for name, schema in found.items()}


def _security(served: list[Operation]) -> dict[str, Any]:
    scopes = sorted({scope for each in served for scope in each.scopes})
    return {
        "type": "oauth2",
        "description": "Client credentials; a controller's API key is accepted as a bearer token by Enexa too.",
        "flows": {
            "clientCredentials": {
                "tokenUrl": "/v1/oauth/token",
                "refreshUrl": "/v1/oauth/token",
                "scopes": {scope.value: f"what the {scope.value} may do" for scope in scopes},
            }
        },
    }


def _names_a_site(operation: Operation) -> bool:
    fields = getattr(operation.request, "__struct_fields__", ())
    return "site_id" in fields or operation.budget is Budget.COMMAND
