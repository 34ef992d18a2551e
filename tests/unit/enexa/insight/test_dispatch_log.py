"""The dispatch log: the stations of each life, filters, and a CSV that no spreadsheet takes for formulas."""

import csv
from datetime import timedelta
from io import StringIO

import pytest

from services.enexa.insight.dispatch_log import CSV_COLUMNS, FINAL, Filter, row, rows, to_csv
from shared.contract.dispatch import CommandStatus
from shared.contract.reads import CommandRecord, StatusChange
from tests.unit.enexa.insight.samples import AT

S = CommandStatus


def record(status: CommandStatus, *way: tuple[CommandStatus, float], **more: object) -> CommandRecord:
    fields: dict[str, object] = {
        "command_id": "abcdef0123456789",
        "site_id": "SITE001",
        "command": "set_battery_power",
        "status": status,
        "reason": "cheap_slot",
        "planned_at": AT,
        "valid_until": AT + timedelta(seconds=90),
        "requested_kw": -25.0,
        "history": tuple(StatusChange(status=each, at=AT + timedelta(seconds=s)) for each, s in way),
        **more,
    }
    return CommandRecord(**fields)  # type: ignore[arg-type]  # the table above is typed by the struct


GOOD_WAY = ((S.PLANNED, 0.0), (S.SENT, 0.1), (S.ACKNOWLEDGED, 0.6), (S.APPLIED, 0.6), (S.VERIFIED, 4.5))


def test_a_verified_command_shows_five_stations_and_how_long_it_took() -> None:
    line = row(record(S.VERIFIED, *GOOD_WAY))

    assert [step.status for step in line.steps] == ["planned", "sent", "acknowledged", "applied", "verified"]
    assert all(step.reached for step in line.steps)
    assert line.took_s == 4.5
    assert (line.tone, line.final) == ("good", True)


def test_a_living_command_shows_what_is_still_ahead() -> None:
    line = row(record(S.APPLIED, *GOOD_WAY[:4]))

    assert [step.reached for step in line.steps] == [True, True, True, True, False]
    assert line.took_s is None
    assert not line.final


def test_a_station_that_the_reply_skipped_counts_as_passed_without_a_time() -> None:
    line = row(record(S.VERIFIED, *(each for each in GOOD_WAY if each[0] is not S.ACKNOWLEDGED)))

    assert [step.reached for step in line.steps] == [True] * 5
    assert line.steps[2].at is None


@pytest.mark.parametrize("end", sorted(FINAL - {S.VERIFIED}))
def test_a_command_that_left_the_good_way_ends_where_it_left(end: CommandStatus) -> None:
    line = row(record(end, *GOOD_WAY[:3], (end, 16.0)))

    assert [step.status for step in line.steps] == ["planned", "sent", "acknowledged", end]
    assert line.took_s == 16.0
    assert line.final


def test_a_record_without_history_still_has_its_beginning() -> None:
    line = row(record(S.PLANNED))

    assert line.steps[0].reached
    assert line.steps[0].at == AT
    assert not any(step.reached for step in line.steps[1:])


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Filter(), 3),
        (Filter(status="failed"), 1),
        (Filter(reason="ev_assist"), 1),
        (Filter(command="stop"), 0),
        (Filter(text="MISMATCH"), 1),
        (Filter(from_at=AT + timedelta(minutes=1)), 2),
        (Filter(until_at=AT + timedelta(minutes=1)), 1),
        (Filter(status="failed", reason="ev_assist"), 0),
    ],
)
def test_filters_let_through_what_fits_all_of_them(wanted: Filter, count: int) -> None:
    log = (
        record(S.VERIFIED, *GOOD_WAY),
        record(S.FAILED, code="readback_mismatch", planned_at=AT + timedelta(minutes=2)),
        record(S.APPLIED, reason="ev_assist", planned_at=AT + timedelta(minutes=3)),
    )

    assert len(rows(log, wanted)) == count


def test_the_csv_has_a_column_for_each_station_and_plain_numbers() -> None:
    text = to_csv((record(S.VERIFIED, *GOOD_WAY, applied_kw=-24.5),))
    [line] = list(csv.DictReader(StringIO(text)))

    assert tuple(line) == CSV_COLUMNS
    assert (line["requested_kw"], line["applied_kw"], line["measured_kw"]) == ("-25.0", "-24.5", "")
    assert line["verified_at"] == (AT + timedelta(seconds=4.5)).isoformat()
    assert line["final_at"] == line["verified_at"]


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+1", "-1 refused", "\tx"])
def test_no_text_in_the_csv_starts_like_a_formula(text: str) -> None:
    [line] = list(csv.DictReader(StringIO(to_csv((record(S.FAILED, detail=text),)))))

    assert line["detail"] == f"'{text}"
