"""The ledger: one final state per command, and order whatever the network does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.amperio.site.ledger import FINAL, TRANSITIONS, Entry, Ledger, group_of
from shared.contract.dispatch import BatteryPower, CommandStatus, ImportKw, SetBatteryPower, SetGridLimit
from shared.errors import InProgress, StaleCommand
from shared.moment import Moment, moment_at

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SITE = "SITE001"


def battery(
    power_kw: float = -25.0,
    *,
    at: datetime = AT,
    epoch: int | None = None,
    seq: int | None = None,
    command_id: str | None = None,
) -> SetBatteryPower:
    return SetBatteryPower(
        site_id=SITE, timestamp=at, params=BatteryPower(power_kw=power_kw), epoch=epoch, seq=seq, command_id=command_id
    )


def take(ledger: Ledger, now: Moment, command: SetBatteryPower | SetGridLimit) -> str:
    ledger.check_time(now, command)
    return ledger.open(now, command).entry.command_id


def test_the_table_ends_every_command_in_one_of_five_final_states() -> None:
    assert {
        CommandStatus.APPLIED,
        CommandStatus.REJECTED,
        CommandStatus.FAILED,
        CommandStatus.SUPERSEDED,
        CommandStatus.EXPIRED,
    } == FINAL
    assert TRANSITIONS[CommandStatus.ACCEPTED] == FINAL


@pytest.mark.parametrize("first", sorted(FINAL))
@pytest.mark.parametrize("second", sorted(FINAL))
def test_a_final_state_is_given_once(first: CommandStatus, second: CommandStatus) -> None:
    ledger, now = Ledger(SITE), moment_at(AT)
    command_id = take(ledger, now, battery())
    ledger.close(now, command_id, first)

    with pytest.raises(AssertionError):
        ledger.close(now, command_id, second)


def test_while_the_first_runs_the_second_is_told_so() -> None:
    ledger, now = Ledger(SITE), moment_at(AT)
    take(ledger, now, battery())

    with pytest.raises(InProgress):
        ledger.repeated(battery())


PAIRS = st.tuples(st.integers(min_value=1, max_value=5), st.integers(min_value=1, max_value=20))


PERMUTED = given(st.lists(PAIRS, max_size=40), st.dictionaries(st.integers(min_value=0, max_value=39), st.booleans()))


@settings(max_examples=300)
@PERMUTED
def test_b4_whatever_the_order_only_newer_pairs_are_taken_also_over_restarts(
    pairs: list[tuple[int, int]], restarts: dict[int, bool]
) -> None:
    only_newer_are_taken(pairs, restarts)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None)
@PERMUTED
def test_b4_ten_thousand_permutations(pairs: list[tuple[int, int]], restarts: dict[int, bool]) -> None:
    only_newer_are_taken(pairs, restarts)


def only_newer_are_taken(pairs: list[tuple[int, int]], restarts: dict[int, bool]) -> None:
    """A restart finds the commands of the day without their fences, or only the fences, once the day is over."""
    ledger, now = Ledger(SITE), moment_at(AT)
    taken: list[tuple[int, int]] = []
    kept: dict[str, Entry] = {}

    for index, (epoch, seq) in enumerate(pairs):
        kept |= {entry.command_id: entry for entry in ledger.take_changes()}
        if index in restarts:
            fences, highest = dict(ledger.fences), ledger.highest_epoch
            ledger = Ledger(SITE, kept.values()) if restarts[index] else Ledger(SITE, fences=fences, epoch=highest)
        command = battery(epoch=epoch, seq=seq, command_id=f"{epoch}-{seq}")
        try:
            if ledger.find(f"{epoch}-{seq}") is None:
                take(ledger, now, command)
                taken.append((epoch, seq))
        except StaleCommand:
            assert (epoch, seq) < max(taken)

    assert taken == sorted(taken)


def test_b4_an_old_epoch_never_acts_again_in_any_group() -> None:
    ledger, now = Ledger(SITE), moment_at(AT)
    take(ledger, now, battery(epoch=5, seq=1))
    limit = SetGridLimit(site_id=SITE, timestamp=AT, params=ImportKw(import_kw=10.0), epoch=4, seq=99)

    with pytest.raises(StaleCommand):
        take(ledger, now, limit)


def test_without_a_pair_the_timestamp_orders_and_ties_go_by_arrival() -> None:
    ledger, now = Ledger(SITE), moment_at(AT)
    take(ledger, now, battery(-10.0))
    take(ledger, now, battery(-20.0))

    with pytest.raises(StaleCommand):
        take(ledger, now, battery(-30.0, at=AT - timedelta(seconds=1)))


AGES = [(60.0, True), (60.001, False), (-30.0, True), (-30.001, False)]


@pytest.mark.parametrize(("age_s", "taken"), AGES)
def test_b3_e2_too_old_and_too_early_are_stale(age_s: float, taken: bool) -> None:
    ledger = Ledger(SITE)
    now = moment_at(AT + timedelta(seconds=age_s))

    if taken:
        take(ledger, now, battery())
    else:
        with pytest.raises(StaleCommand):
            take(ledger, now, battery())


def test_closed_commands_are_kept_for_a_day_and_then_forgotten() -> None:
    ledger, now = Ledger(SITE), moment_at(AT)
    command_id = take(ledger, now, battery())
    ledger.close(now, command_id, CommandStatus.APPLIED)

    assert ledger.forget(now.later(24 * 3600)) == ()
    assert ledger.forget(now.later(24 * 3600 + 1)) == (command_id,)


def test_energy_commands_share_a_group_and_limits_have_their_own() -> None:
    limit = SetGridLimit(site_id=SITE, timestamp=AT, params=ImportKw(import_kw=10.0))

    assert group_of(battery()) == "energy"
    assert group_of(limit) == "set_grid_limit"
