"""Frames worked out by hand hold codec, map and station to the vendor's list: the three could be wrong together."""

import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from emulator.station import Station
from emulator.stations.load import load_station
from shared.chargepost.registers import SPANS
from shared.moment import moment_at
from shared.scenario.schema import Scenario
from tests.unit.emulator.rig import NOON

FRAMES: dict[str, list[dict[str, Any]]] = tomllib.loads(Path(__file__).with_name("golden_frames.toml").read_text())
SPAN = {span.name: span for span in SPANS}


def rows(kind: str) -> list[Any]:
    return [pytest.param(row, id=row["why"]) for row in FRAMES[kind]]


def exchanged(station: Station, frame: bytes) -> bytes:
    """The frame that answers a frame; the header is the test's own doing."""
    transaction, protocol, length, unit = struct.unpack(">HHHB", frame[:7])
    assert (protocol, length) == (0, len(frame) - 6)
    reply = station.request(station.post.now, unit, frame[7:])
    return struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply


def fresh() -> Station:
    return Station(load_station("chargepost"), Scenario(name="empty", story="Nobody comes."), moment_at(NOON))


@pytest.mark.parametrize("row", rows("value"))
def test_words_mean_what_the_list_says(row: dict[str, Any]) -> None:
    field = SPAN[row["span"]].fields[row["field"]]
    words = tuple(int(word, 16) for word in row["words"].split())

    assert field.address == row["address"]
    assert field.decode(words) == row.get("value")


@pytest.mark.parametrize("row", rows("write"))
def test_an_order_looks_as_the_list_says_and_is_taken(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["request"])
    values = {name: None if value == "none" else value for name, value in row["values"].items()}

    order = SPAN[row["span"]].write(**values)
    body = struct.pack(f">{len(order.words)}H", *order.words)
    head = struct.pack(">BH", order.function, order.address)
    count = b"" if order.function == 6 else struct.pack(">HB", len(order.words), len(body))

    assert head + count + body == frame[7:]
    station = fresh()
    assert exchanged(station, frame) == bytes.fromhex(row["reply"])
    read = struct.pack(">BHH", 3, order.address, len(order.words))
    assert station.request(station.post.now, 1, read)[2:] == body


@pytest.mark.parametrize("row", rows("exchange"))
def test_a_station_just_switched_on_answers_as_the_list_says(row: dict[str, Any]) -> None:
    assert exchanged(fresh(), bytes.fromhex(row["request"])) == bytes.fromhex(row["reply"])
