"""The ledger: the table is complete, and whatever happens a command ends exactly once."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.dispatching.ledger import FINAL, TRANSITIONS, Ledger, News, within_tolerance
from shared.contract.dispatch import (
    BatteryPower,
    CommandStatus,
    DispatchAck,
    ImportKw,
    SetBatteryPower,
    SetGridLimit,
)
from shared.contract.reads import CommandRecord
from tests.unit.enexa.dispatching.scene import NOW, START, ack, sample

S = CommandStatus
WISH = SetBatteryPower(
    site_id="SITE001",
    timestamp=START,
    command_id="c1",
    valid_until=START + timedelta(seconds=90),
    params=BatteryPower(power_kw=-25.0),
)


def planned() -> Ledger:
    ledger = Ledger()
    ledger.plan(NOW, WISH, reason="cheap_slot")
    return ledger


def status(ledger: Ledger, key: str = "c1") -> CommandStatus:
    record = ledger.record(key)
    assert record is not None
    return record.status


def applied() -> Ledger:
    ledger = planned()
    ledger.tell(NOW, "c1", News.SEND)
    ledger.acknowledged(NOW, ack(WISH, applied_kw=-25.0))
    return ledger


def test_every_state_is_reached_and_only_final_ones_are_dead_ends() -> None:
    reached = {S.PLANNED} | {following for row in TRANSITIONS.values() for following in row.values()}

    assert set(TRANSITIONS) == reached
    assert {S.VERIFIED, S.REJECTED, S.FAILED, S.SUPERSEDED, S.EXPIRED} == FINAL


def test_unknown_is_never_final_and_no_passing_of_time_ends_it() -> None:
    ledger = planned()
    ledger.tell(NOW, "c1", News.SEND)
    ledger.tell(NOW, "c1", News.REPLY_LOST)

    ledger.tick(NOW.later(24 * 3600.0))

    assert status(ledger) is S.UNKNOWN


def test_three_samples_that_echo_the_id_and_show_the_power_verify() -> None:
    ledger = applied()

    for second in (1, 2):
        ledger.saw(
            NOW.later(second),
            sample(START + timedelta(seconds=second), active="c1", battery_kw=-24.0, applied_kw=-25.0),
        )
    assert status(ledger) is S.APPLIED
    ledger.saw(NOW.later(3), sample(START + timedelta(seconds=3), active="c1", battery_kw=-24.0, applied_kw=-25.0))

    record = ledger.record("c1")
    assert record is not None
    assert (record.status, record.measured_kw, record.applied_kw) == (S.VERIFIED, -24.0, -25.0)
    assert [change.status for change in record.history] == [S.PLANNED, S.SENT, S.APPLIED, S.VERIFIED]


@pytest.mark.parametrize(
    ("what", "active", "battery_kw"),
    [("another command's id", "c0", -25.0), ("no id", None, -25.0), ("another power", "c1", -20.0)],
)
def test_an_effect_that_is_not_seen_within_fifteen_seconds_has_failed(
    what: str, active: str | None, battery_kw: float
) -> None:
    ledger = applied()

    for second in range(1, 15):
        at = START + timedelta(seconds=second)
        ledger.saw(NOW.later(second), sample(at, active=active, battery_kw=battery_kw, applied_kw=-25.0))
        ledger.tick(NOW.later(second))
    assert status(ledger) is S.APPLIED, what
    ledger.tick(NOW.later(15))

    assert status(ledger) is S.FAILED, what


def test_a_break_in_the_row_begins_it_anew() -> None:
    ledger = applied()

    for second, power in enumerate((-25.0, -25.0, 0.0, -25.0, -25.0), start=1):
        at = START + timedelta(seconds=second)
        ledger.saw(NOW.later(second), sample(at, active="c1", battery_kw=power, applied_kw=-25.0))

    assert status(ledger) is S.APPLIED


def test_the_same_sample_counts_once() -> None:
    ledger = applied()

    for _ in range(5):
        ledger.saw(NOW, sample(active="c1", battery_kw=-25.0, applied_kw=-25.0))

    assert status(ledger) is S.APPLIED


def test_power_is_judged_by_what_the_control_loop_aimed_at_in_that_second() -> None:
    ledger = applied()

    for second in (1, 2, 3):
        at = START + timedelta(seconds=second)
        ledger.saw(NOW.later(second), sample(at, active="c1", battery_kw=31.0, applied_kw=30.0))

    assert status(ledger) is S.VERIFIED


RAMP_KW = [16.0, 20.0, 24.0, 28.0, 32.0]


def ramping(battery_kw: list[float]) -> Ledger:
    """A rest command while a car ramps up by 4 kW each second and the import follows one cycle later."""
    ledger = planned()
    ledger.tell(NOW, "c1", News.SEND)
    ledger.acknowledged(NOW, ack(WISH, applied_kw=0.0))
    for second, (ev_kw, measured_kw) in enumerate(zip(RAMP_KW, battery_kw, strict=True)):
        at = START + timedelta(seconds=second)
        ledger.saw(NOW.later(second), sample(at, active="c1", ev_kw=ev_kw, battery_kw=measured_kw, applied_kw=0.0))
    return ledger


def test_a_car_that_ramps_does_not_fail_a_command_that_is_carried_out() -> None:
    assert status(ramping([4.1, 4.14, 4.15, 4.15, 4.16])) is S.VERIFIED


def test_a_command_that_is_ignored_is_not_verified_by_a_car_that_ramps() -> None:
    assert status(ramping([30.0, 34.0, 38.0, 42.0, 46.0])) is S.APPLIED


def test_samples_further_apart_than_a_cycle_say_nothing_about_a_ramp() -> None:
    ledger = applied()
    for second in (0, 10, 20, 30):
        at = START + timedelta(seconds=second)
        ledger.saw(NOW, sample(at, active="c1", ev_kw=4.0 * second, battery_kw=40.0, applied_kw=0.0))

    assert status(ledger) is S.APPLIED


def test_a_limit_is_verified_by_its_registers() -> None:
    ledger = Ledger()
    limit = SetGridLimit(
        site_id="SITE001", timestamp=START, command_id="l1", valid_until=START, params=ImportKw(import_kw=60.0)
    )
    ledger.plan(NOW, limit, reason="configuration 2")
    ledger.tell(NOW, "l1", News.SEND)

    ledger.acknowledged(NOW, ack(limit))

    assert status(ledger, "l1") is S.VERIFIED


@pytest.mark.parametrize(
    ("measured_kw", "aimed_kw", "good"),
    [(2.0, 0.0, True), (2.1, 0.0, False), (104.9, 100.0, True), (105.1, 100.0, False), (-38.0, -40.0, True)],
)
def test_tolerance_is_two_kilowatts_or_five_percent(measured_kw: float, aimed_kw: float, good: bool) -> None:
    assert within_tolerance(measured_kw, aimed_kw) is good


def test_a_restart_asks_for_what_was_under_way_and_drops_what_was_only_planned() -> None:
    before = planned()
    before.tell(NOW, "c1", News.SEND)
    sent = before.record("c1")
    waiting = planned().record("c1")
    assert sent is not None
    assert waiting is not None

    ledger = Ledger()
    ledger.resume(NOW, [sent])
    assert status(ledger) is S.UNKNOWN
    ledger = Ledger()
    ledger.resume(NOW, [waiting])
    assert status(ledger) is S.SUPERSEDED


def test_what_has_not_ended_is_never_forgotten() -> None:
    ledger = Ledger()
    for index in range(1200):
        command = SetBatteryPower(
            site_id="SITE001",
            timestamp=START,
            command_id=f"c{index}",
            valid_until=START,
            params=BatteryPower(power_kw=1.0),
        )
        ledger.plan(NOW, command, reason="cheap_slot")
        if index >= 3:
            ledger.tell(NOW, f"c{index}", News.SUPERSEDE)

    assert ledger.open_ids() == ["c0", "c1", "c2"]


STORY = st.lists(
    st.one_of(
        st.sampled_from(list(News)),
        st.sampled_from([S.ACCEPTED, S.APPLIED, S.REJECTED, S.FAILED, S.SUPERSEDED, S.EXPIRED]),
        st.floats(0.0, 40.0),
    ),
    max_size=40,
)


@given(STORY)
def test_whatever_happens_a_command_has_at_most_one_final_state_and_it_is_the_last(
    story: list[News | CommandStatus | float],
) -> None:
    ledger, now = planned(), NOW
    for happening in story:
        if isinstance(happening, News):
            ledger.tell(now, "c1", happening)
        elif isinstance(happening, CommandStatus):
            ledger.acknowledged(now, DispatchAck(command_id="c1", site_id="SITE001", status=happening))
        else:
            now = now.later(happening)
            ledger.tick(now)

    record = ledger.record("c1")
    assert record is not None
    endings = [change.status for change in record.history if change.status in FINAL]
    assert len(endings) <= 1
    assert not endings or record.history[-1].status is endings[0]
    assert record.history[-1].status is record.status
    _follows_the_table(record)


def _follows_the_table(record: CommandRecord) -> None:
    pairs = zip(record.history, record.history[1:], strict=False)
    assert all(after.status in TRANSITIONS[before.status].values() for before, after in pairs)
