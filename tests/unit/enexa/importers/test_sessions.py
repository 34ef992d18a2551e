"""Session files: known columns, plausible numbers, and a move to another year by the local clock."""

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
