"""Session files: known columns, plausible numbers, and a move to another year by the local clock."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from services.enexa.importers.sessions import moved, parse_sessions
from services.enexa.planning.problem import SessionRecord
from shared.energy.slots import MARKET_ZONE
from shared.errors import BadInput

EPFL = (
    "session_id,plug,start_utc,end_utc,energy_ac_kwh,p_max_ac_kw\n"
    "2,CCS1,2022-04-12T18:49:00Z,2022-04-12T19:01:00Z,16.462,94.7\n"
    "1,CCS1,2022-04-12T17:27:00Z,2022-04-12T17:38:00Z,5.16,80.24\n"
)


def test_recorded_columns_are_read_in_order_of_start() -> None:
    first, second = parse_sessions(EPFL, "file")

    assert first.energy_kwh == 5.16
    assert first.start < second.start
    assert second.until - second.start == timedelta(minutes=12)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("energy_ac_kwh", "joules", "Columns are missing"),
        ("2022-04-12T17:38:00Z", "2022-04-12T17:20:00Z", "ends before"),
        ("5.16", "5160", "is it kWh"),
        ("80.24", "80240", "is it kW"),
        ("5.16", "", "not a number"),
        (
            "2,CCS1,2022-04-12T18:49:00Z,2022-04-12T19:01:00Z,16.462,94.7",
            "1,CCS1,2022-04-12T17:27:00Z,2022-04-12T17:38:00Z,5.16,80.24",
            "comes twice",
        ),
        ("2022-04-12T17:27:00Z", "yesterday", "Not a timestamp"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_sessions(EPFL.replace(old, new), "file")


def test_a_session_keeps_its_local_hour_when_it_moves() -> None:
    # 728 days later the same date lies on the other side of the change of clocks.
    start = datetime(2022, 10, 28, 6, 30, tzinfo=UTC)
    session = SessionRecord(start=start, until=start + timedelta(minutes=30), energy_kwh=30.0, max_power_kw=90.0)

    (later,) = moved((session,), 730)

    assert later.start.astimezone(MARKET_ZONE).hour == start.astimezone(MARKET_ZONE).hour == 8
    assert later.start.hour == 7
    assert later.until - later.start == timedelta(minutes=30)


FLAT = {
    "transactionId": 7,
    "startTimestamp": "2024-05-01T10:00:00Z",
    "stopTimestamp": "2024-05-01T10:30:00Z",
    "meterStart": 1_000_000,
    "meterStop": 1_033_000,
    "meterValues": [
        {
            "timestamp": "2024-05-01T10:10:00Z",
            "sampledValue": [
                {"value": "96000", "measurand": "Power.Active.Import", "unit": "W"},
                {"value": "32000", "measurand": "Power.Active.Import", "unit": "W", "phase": "L1"},
            ],
        }
    ],
}


def event(kind: str, minute: int, kwh: float) -> dict[str, object]:
    """One OCPP 2.0.1 request with an energy reading."""
    return {
        "eventType": kind,
        "timestamp": f"2024-05-01T10:{minute:02}:00Z",
        "transactionInfo": {"transactionId": "a"},
        "meterValue": [
            {
                "timestamp": f"2024-05-01T10:{minute:02}:00Z",
                "sampledValue": [{"value": kwh, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}}],
            }
        ],
    }


@pytest.mark.parametrize("document", [FLAT, [FLAT], {"transactions": [FLAT]}])
def test_ocpp_transactions_give_energy_by_the_meter_and_power_by_its_highest_reading(document: object) -> None:
    (session,) = parse_sessions(json.dumps(document), "file")

    assert (session.energy_kwh, session.max_power_kw) == (33.0, 96.0)
    assert session.until - session.start == timedelta(minutes=30)


def test_events_of_one_transaction_are_joined_and_an_open_one_waits() -> None:
    events = [event("Started", 0, 500.0), event("Updated", 15, 520.0), event("Ended", 30, 530.0)]
    open_one = event("Started", 40, 530.0) | {"transactionInfo": {"transactionId": "b"}}

    (session,) = parse_sessions(json.dumps([*events, open_one]), "file")

    assert session.energy_kwh == pytest.approx(30.0)
    assert session.max_power_kw == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stopTimestamp": "2024-05-01T09:00:00Z"}, "ends before"),
        ({"meterStop": 1_000_000_000}, "is it kWh"),
        ({"meterValues": []}, "without power readings"),
        ({"meterStart": None}, "without meter readings"),
        ({"startTimestamp": "soon"}, "Not a timestamp"),
        ({"stopTimestamp": None}, "Not OCPP transactions"),
    ],
)
def test_a_mistake_in_a_transaction_is_named(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_sessions(json.dumps(FLAT | change), "file")
