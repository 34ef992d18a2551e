"""Strict requests, lax replies: the two decoders and what they refuse."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.config import ConfigDocument
from shared.contract.dispatch import DispatchCommand, SetBatteryPower, command_digest, command_name
from shared.contract.operations import OPERATIONS
from shared.contract.telemetry import Telemetry
from shared.contract.wire import decode_reply, decode_request, encode, strict
from shared.errors import InvalidMessage, OutOfBounds, Refused

PAGE_COMMAND: dict[str, Any] = {
    "site_id": "SITE001",
    "command": "set_battery_power",
    "params": {"power_kw": -25},
    "timestamp": "2024-01-15T10:00:00Z",
}
PAGE_SAMPLE: dict[str, Any] = {
    "site_id": "SITE001",
    "timestamp": "2024-01-15T10:00:01Z",
    "battery": {"soc_pct": 65},
    "grid": {"import_kw": 35},
}


def test_the_examples_of_the_page_decode_as_they_stand() -> None:
    command = decode_request(json.dumps(PAGE_COMMAND).encode(), DispatchCommand, no_duplicates=True)
    assert isinstance(command, SetBatteryPower)
    assert command.params.power_kw == -25.0
    assert command_name(command) == "set_battery_power"
    sample = decode_request(json.dumps(PAGE_SAMPLE).encode(), Telemetry)
    assert sample.battery.soc_pct == 65.0
    assert sample.grid.import_kw == 35.0


def test_requests_refuse_unknown_fields_at_every_depth_and_replies_welcome_them() -> None:
    for path in ((), ("battery",), ("grid",)):
        body = json.loads(json.dumps(PAGE_SAMPLE))
        inner = body
        for name in path:
            inner = inner[name]
        inner["from_the_future"] = 1
        raw = json.dumps(body).encode()
        with pytest.raises(InvalidMessage):
            decode_request(raw, Telemetry)
        assert decode_reply(raw, Telemetry).battery.soc_pct == 65.0


@pytest.mark.parametrize("field", ["site_id", "command", "params", "timestamp"])
def test_each_missing_field_is_named(field: str) -> None:
    body = {name: value for name, value in PAGE_COMMAND.items() if name != field}
    with pytest.raises(InvalidMessage, match="params" if field == "params" else field):
        decode_request(json.dumps(body).encode(), DispatchCommand, no_duplicates=True)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_power_is_accepted_exactly_inside_its_bounds(power_kw: float) -> None:
    body = json.dumps({**PAGE_COMMAND, "params": {"power_kw": power_kw}}).encode()
    if -10_000 <= power_kw <= 10_000:
        assert decode_request(body, DispatchCommand, no_duplicates=True).params.power_kw == power_kw
    else:
        with pytest.raises(OutOfBounds):
            decode_request(body, DispatchCommand, no_duplicates=True)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_never_break_anything(body: bytes) -> None:
    with pytest.raises(Refused):
        decode_request(body, DispatchCommand, no_duplicates=True)


def test_two_bodies_that_say_the_same_have_one_digest() -> None:
    one = decode_request(json.dumps(PAGE_COMMAND).encode(), DispatchCommand)
    other = decode_request(json.dumps(dict(reversed(PAGE_COMMAND.items())), indent=2).encode(), DispatchCommand)
    changed = decode_request(json.dumps({**PAGE_COMMAND, "params": {"power_kw": -26}}).encode(), DispatchCommand)
    assert command_digest(one) == command_digest(other) != command_digest(changed)


def test_a_strict_twin_says_the_same_on_the_wire() -> None:
    for operation in OPERATIONS:
        for of in (operation.request, operation.reply, operation.query):
            if isinstance(of, type) and issubclass(of, msgspec.Struct):
                twin = strict(of)
                assert issubclass(twin, of)
                assert {each.encode_name for each in msgspec.structs.fields(twin)} == {
                    each.encode_name for each in msgspec.structs.fields(of)
                }


def test_a_config_document_keeps_its_defaults_through_the_strict_twin() -> None:
    body = b'{"battery":{"units":[{"id":"BAT1"}]},"chargers":[{"id":"CHG1"}]}'
    config = decode_request(body, ConfigDocument)
    assert config.grid.connection_kva == 87.0
    assert decode_reply(encode(config), ConfigDocument).battery.units[0].capacity_kwh == 95.0


def test_no_two_operations_share_a_name_or_a_route() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.host, each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
