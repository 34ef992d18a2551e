"""Let schemathesis look for what the OpenAPI document does not say: any status, any shape, any leniency."""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from shared.contract.openapi import document
from shared.contract.operations import OPERATIONS, Host, Operation, Scope

ENDLESS = {"stream"}
"""A stream has no end that a fuzzer could wait for; its refusals are those of the matrix."""

BEYOND_A_SCHEMA = {
    "enexa_token": "which field a grant needs depends on the grant",
    "amperio_token": "which field a grant needs depends on the grant",
    "post_telemetry_batch": "samples or gaps may be empty, but not both",
}
"""Where a request that fits its schema may still be malformed (400); cursors are opaque and belong here too."""

ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "412", "422"]
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422"]

CASES = re.compile(r"([\d,]+) generated")

WHOLE_NUMBERS = '''
"""A number such as 7.0 is whole to JSON Schema and a float to us: the one thing that a schema cannot say otherwise."""

import schemathesis


@schemathesis.hook
def map_body(context, body):
    return whole(body)


def whole(value):
    if isinstance(value, dict):
        return {name: whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
'''


class Found(Struct, frozen=True):
    """What one run came to: the exit code (0 = nothing found), how many requests it made, and its whole report."""

    code: int
    cases: int
    report: str


async def fuzz(
    directory: Path,
    host: Host,
    url: str,
    bearers: Mapping[Scope, str],
    *,
    examples: int,
    phases: str,
    only: str | None = None,
) -> Found:
    """One seeded run over all operations of a service, or over `only` one of them."""
    spec = document(host)
    for each in OPERATIONS:
        if each.host is host and each.name in ENDLESS:
            spec["paths"].pop(each.path)
    (directory / "openapi.json").write_text(json.dumps({**spec, "servers": [{"url": url}]}))
    (directory / "whole.py").write_text(WHOLE_NUMBERS)
    settings = [
        'hooks = "whole.py"',
        "[checks]",
        f"positive_data_acceptance.expected-statuses = {ACCEPTED}",
        f"negative_data_rejection.expected-statuses = {REFUSED}",
        *(line for each in OPERATIONS if each.host is host for line in _settings_of(each, bearers)),
    ]
    (directory / "schemathesis.toml").write_text("\n".join(settings))
    words = ["run", "openapi.json", "--url", url, "--seed", "1", "--no-shrink", "--warnings", "off"]
    run = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", "schemathesis.toml"),
        *words,
        *("-n", str(examples), "--phases", phases),
        *(("--include-operation-id", only) if only else ()),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await run.communicate()
    assert run.returncode is not None
    report = out.decode(errors="replace")
    generated = CASES.search(report)
    return Found(run.returncode, int(generated.group(1).replace(",", "")) if generated else 0, report)


def _settings_of(operation: Operation, bearers: Mapping[Scope, str]) -> list[str]:
    if operation.name in ENDLESS:
        return []
    own = []
    bearer = next((bearers[scope] for scope in sorted(operation.scopes) if scope in bearers), None)
    if bearer is not None:
        own.append(f'headers = {{ Authorization = "Bearer {bearer}" }}')
    if operation.name in BEYOND_A_SCHEMA or "cursor" in getattr(operation.query, "__struct_fields__", ()):
        own.append(f"checks.positive_data_acceptance.expected-statuses = {[*ACCEPTED, '400']}")
    return ["[[operations]]", f'include-operation-id = "{operation.name}"', *own] if own else []
