"""The proofs of the goals bite: with the mechanism taken out, each of them fails."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from services.amperio.site import agent, autonomy, limits, trust
from services.amperio.site import image as images
from services.amperio.site.agent import SiteAgent
from services.amperio.site.autonomy import Autonomy
from services.amperio.site.control import Wish
from services.amperio.site.desk import Desk
from services.amperio.site.image import SiteImage
from services.amperio.site.ledger import Ledger
from services.amperio.site.limits import LimitsInForce
from services.amperio.site.outbox import Courier, EventBox, Outbox, Row, Thinning
from services.amperio.site.translate import Wanted, writes_for
from services.amperio.site.watchdog import Beat, Duty, Watchdog
from shared.chargepost.layout import RegisterWrite
from shared.chargepost.registers import GRID
from shared.clock import ManualClock
from shared.contract.dispatch import SetBatteryPower
from shared.contract.telemetry import Mode, Telemetry
from shared.moment import Moment
from tests.unit.amperio import (
    test_agent,
    test_autonomy,
    test_events,
    test_goals,
    test_goals_time,
    test_image,
    test_ledger,
    test_limits,
    test_outbox,
    test_watchdog,
)
from tests.unit.emulator.rig import NOON

REAL_LIMITS = limits.limits_in_force
REAL_TICK = Watchdog.tick
REAL_WRITES = writes_for
REAL_SILENCE = Autonomy._silence
REAL_OBSERVE = Autonomy.observe


class Bug(Struct, frozen=True, kw_only=True):
    """What is taken out of whom, and the proof that must notice."""

    goal: str
    of: Any
    name: str
    instead: Any
    proof: Callable[..., None]
    given: Mapping[str, Any] = {}


def unlimited(*args: Any, **more: Any) -> LimitsInForce:
    return msgspec.structs.replace(REAL_LIMITS(*args, **more), import_max_kw=87.0)


def beats_whoever_hangs(self: Watchdog, now: Moment) -> Beat:
    return msgspec.structs.replace(REAL_TICK(self, now), due=True, missing=())


def beats_late(self: Watchdog, now: Moment) -> Beat:
    return Beat(due=self.beaten_s_ago(now) > 0.9 * self.interval_s)


def keeps_everything(self: Outbox) -> Thinning | None:
    return None


def forgets_far_too_much(self: Outbox) -> Thinning | None:
    if self.rows <= self.rows_max:
        return None
    return Thinning(first=self._oldest, last=self._next - 1, keep_every=0)


def takes_all(self: Any, *_: Any, **__: Any) -> None:
    return None


def applies_what_was_not_read_back(self: SiteAgent, now: Moment, *_: Any) -> None:
    for pending in self.desk.waiting():
        self.desk.apply(now, pending, None, None)


def impatient(self: Autonomy, now: Moment, schedule_in_force: bool) -> Any:
    self.silent_after_s = 50.0
    return REAL_SILENCE(self, now, schedule_in_force)


def wishes_on_its_own(self: SiteAgent, *_: Any) -> Wish:
    return Wish(quantity="battery", kw=-20.0)


def never_lowers_a_limit(wanted: Wanted, image: SiteImage) -> tuple[RegisterWrite, ...]:
    management = image.management
    held_kw = (management.clearance_kw if management else None) or 0.0
    asked_kw = (management.request_kw if management else None) or 0.0
    request_kw = None if wanted.request_kw is None else max(wanted.request_kw, asked_kw)
    higher = msgspec.structs.replace(wanted, clearance_kw=max(wanted.clearance_kw, held_kw), request_kw=request_kw)
    return REAL_WRITES(higher, image)


def word_by_word(wanted: Wanted, image: SiteImage) -> tuple[RegisterWrite, ...]:
    return tuple(
        RegisterWrite(unit_id=each.unit_id, function=6, address=each.address + n, words=(word,), names=each.names)
        for each in REAL_WRITES(wanted, image)
        for n, word in enumerate(each.words)
    )


def with_another_function(wanted: Wanted, image: SiteImage) -> tuple[RegisterWrite, ...]:
    return tuple(msgspec.structs.replace(each, function=23) for each in REAL_WRITES(wanted, image))


def setpoints_first(wanted: Wanted, image: SiteImage) -> tuple[RegisterWrite, ...]:
    return tuple(reversed(REAL_WRITES(wanted, image)))


def counts_by_the_date(self: Autonomy, now: Moment, **more: Any) -> Any:
    return REAL_OBSERVE(self, Moment((now.at - NOON).total_seconds(), now.at), **more)


def numbers_by_the_date(self: Outbox, sample: Telemetry, **_: Any) -> tuple[Row, ...]:
    return (Row(seq=int(sample.timestamp.timestamp()), at=sample.timestamp, body=b""),)


def a_wish_for_ever(self: Desk, _: Moment) -> Wish | None:
    command = self.energy.command if self.energy is not None else None
    if not isinstance(command, SetBatteryPower):
        return None
    return Wish(quantity="battery", kw=command.params.power_kw, command_id=command.command_id)


def takes_the_sentinel(decoded: Any, bounds: Any) -> Any:
    """What comes of a table that knows no 'not available': the number that the words would be."""
    if decoded is None:
        return None
    unknown = {name: 0.0 for name, *_ in bounds if getattr(decoded, name) is None}
    return msgspec.structs.replace(decoded, **unknown)


def always_on(_: Any) -> bool:
    return True


BUGS = [
    Bug(goal="A4", of=Outbox, name="thinning", instead=keeps_everything,
        proof=test_outbox.test_a4_thinning_takes_the_oldest_first_never_more_than_a_step_and_tells_every_number),
    Bug(goal="A4", of=Outbox, name="thinning", instead=forgets_far_too_much,
        proof=test_outbox.test_a4_thinning_takes_the_oldest_first_never_more_than_a_step_and_tells_every_number),
    Bug(goal="A8", of=EventBox, name="number", instead=lambda self, events: tuple(
            msgspec.structs.replace(each, sequence=self._next) for each in events),
        proof=test_outbox.test_a8_events_are_numbered_in_order_and_equal_times_keep_both),
    Bug(goal="A9", of=Outbox, name="next_live", instead=lambda self: self.next_replay(),
        proof=test_outbox.test_a9_after_an_outage_the_newest_goes_first_and_history_follows_oldest_first),
    Bug(goal="A14", of=Outbox, name="lost", instead=takes_all,
        proof=test_outbox.test_a14_seconds_that_the_disk_refused_become_a_declared_gap),
    Bug(goal="B2", of=Ledger, name="repeated", instead=takes_all,
        proof=test_agent.test_b2_the_same_command_gets_the_same_answer_and_does_nothing),
    Bug(goal="B3", of=Ledger, name="check_time", instead=takes_all,
        proof=test_agent.test_b3_stale_commands_are_refused_and_write_nothing),
    Bug(goal="B4", of=Ledger, name="_raise_fence", instead=takes_all,
        proof=test_ledger.test_b4_an_old_epoch_never_acts_again_in_any_group),
    Bug(goal="B6", of=Courier, name="failed", instead=lambda self, now, **_: 1.0,
        proof=test_outbox.test_b6_enexa_is_tried_again_after_1_2_4_up_to_12_seconds, given={"jitter": 0.5}),
    Bug(goal="B8", of=SiteAgent, name="_settle_commands", instead=applies_what_was_not_read_back,
        proof=test_goals.test_b8_a_command_is_called_applied_exactly_where_the_station_holds_it_and_obeys),
    Bug(goal="B9", of=SiteImage, name="controlled", instead=property(always_on),
        proof=test_agent.test_b9_a_silently_lost_control_is_seen_and_asserted_again),
    Bug(goal="B9", of=SiteAgent, name="_settle_commands", instead=applies_what_was_not_read_back,
        proof=test_agent.test_b9_a_command_to_a_station_that_stores_but_forgets_is_not_called_applied),
    Bug(goal="B10", of=agent, name="writes_for", instead=word_by_word,
        proof=test_agent.test_b10_every_32_bit_value_goes_in_one_fc_16_and_d9_no_other_code_is_used),
    Bug(goal="B11", of=agent, name="check_bounds", instead=takes_all,
        proof=test_agent.test_b11_outside_nameplate_is_refused_and_nothing_is_written, given={"power_kw": 300.0}),
    Bug(goal="B13", of=autonomy, name="FROM_ANY", instead={autonomy.Cause.DEVICE_SILENT: Mode.DEVICE_LOST},
        proof=test_agent.test_b13_a_locked_site_refuses_everything_and_writes_nothing),
    Bug(goal="C1", of=Autonomy, name="_silence", instead=lambda self, now, schedule: [],
        proof=test_autonomy.test_c1_sixty_seconds_after_the_last_useful_exchange,
        given={"silent_s": 60.0, "schedule": True, "mode": Mode.AUTONOMOUS}),
    Bug(goal="C2", of=Autonomy, name="_silence", instead=impatient,
        proof=test_autonomy.test_c2_outages_of_fifty_five_seconds_never_lead_to_the_fallback),
    Bug(goal="C3", of=autonomy, name="GOOD_EXCHANGES_OVER_S", instead=0.0,
        proof=test_autonomy.test_c3_the_fallback_is_left_only_after_three_good_exchanges_over_five_seconds),
    Bug(goal="C4", of=agent, name="limits_in_force", instead=unlimited,
        proof=test_agent.test_c4_when_the_schedule_ends_the_conservative_limits_take_over),
    Bug(goal="C5", of=test_limits, name="slot_in_force", instead=lambda at, schedule, site: schedule.slots[0],
        proof=test_limits.test_c5_a_schedule_speaks_only_inside_its_validity_slot_by_slot,
        given={"second": 1800.0, "setpoint_kw": None}),
    Bug(goal="C6", of=Watchdog, name="tick", instead=beats_late,
        proof=test_agent.test_c6_the_station_is_beaten_at_least_every_third_of_its_interval, given={"watchdog_s": 10}),
    Bug(goal="C7", of=Watchdog, name="tick", instead=beats_whoever_hangs,
        proof=test_agent.test_c7_without_command_intake_the_heartbeat_stops_and_the_station_trips),
    Bug(goal="C7", of=Watchdog, name="tick", instead=beats_whoever_hangs,
        proof=test_watchdog.test_c7_whoever_hangs_silences_the_heartbeat_within_two_cycles,
        given={"clock": ManualClock(), "hung": Duty.CONTROL}),
    Bug(goal="C9", of=agent, name="writes_for", instead=never_lowers_a_limit,
        proof=test_goals.test_c9_no_transition_draws_more_than_is_allowed),
    Bug(goal="C10", of=limits, name="operator_cap_kw", instead=lambda at, cap: None,
        proof=test_agent.test_c10_the_grid_operators_cap_stands_above_everything_remote),
    Bug(goal="C11", of=trust, name="SOC_JUMP_PCT", instead=100.0,
        proof=test_image.test_c11_a_state_of_charge_that_jumps_halves_the_power_until_it_has_stood_for_a_minute),
    Bug(goal="C13", of=trust, name="FROZEN_AFTER_S", instead=1e9,
        proof=test_image.test_c13_a_station_whose_registers_stand_still_is_stale_within_ten_seconds),
    Bug(goal="B3", of=Desk, name="expire", instead=takes_all,
        proof=test_goals_time.test_goal_e4_whatever_the_pause_nothing_that_expired_in_it_acts_and_nothing_is_caught_up),
    Bug(goal="B9", of=SiteImage, name="controlled", instead=property(always_on),
        proof=test_goals.test_b9_control_that_is_lost_at_any_phase_is_seen_told_and_taken_back),
    Bug(goal="B11", of=agent, name="limits_in_force", instead=unlimited,
        proof=test_goals.test_b11_whatever_is_asked_nothing_is_written_outside_the_envelope_and_a_clamp_says_so),
    Bug(goal="C4", of=agent, name="limits_in_force", instead=unlimited,
        proof=test_goals.test_c15_from_whatever_it_finds_a_start_writes_limits_first_and_no_setpoint),
    Bug(goal="D8", of=images, name="_plausible", instead=takes_the_sentinel,
        proof=test_image.test_d8_every_register_that_says_not_available_is_unknown,
        given={"span": GRID, "field": GRID.fields["grid_kw"]}),
    Bug(goal="D8", of=images, name="_plausible", instead=lambda decoded, _: decoded,
        proof=test_image.test_d8_whatever_a_register_says_is_unknown_or_possible),
    Bug(goal="D9", of=agent, name="writes_for", instead=with_another_function,
        proof=test_agent.test_b10_every_32_bit_value_goes_in_one_fc_16_and_d9_no_other_code_is_used),
    Bug(goal="D10", of=SiteImage, name="controlled", instead=property(always_on),
        proof=test_goals_time.test_goal_d10_reboots_at_random_phases_are_noticed_and_healed_in_order),
    Bug(goal="D10", of=agent, name="writes_for", instead=setpoints_first,
        proof=test_goals_time.test_goal_d10_reboots_at_random_phases_are_noticed_and_healed_in_order),
    Bug(goal="E1", of=SiteAgent, name="_note_clock_step", instead=takes_all,
        proof=test_events.test_goal_e1_a_stepped_clock_is_told_once_and_moves_nothing_else, given={"step_s": 61}),
    Bug(goal="E1", of=autonomy.Autonomy, name="observe", instead=counts_by_the_date,
        proof=test_events.test_goal_e1_a_stepped_clock_is_told_once_and_moves_nothing_else, given={"step_s": 3600}),
    Bug(goal="E2", of=Ledger, name="check_time", instead=takes_all,
        proof=test_goals_time.test_goal_e2_of_a_thousand_skews_exactly_those_within_the_window_are_admitted),
    Bug(goal="E2", of=Outbox, name="rows_for", instead=numbers_by_the_date,
        proof=test_goals_time.test_goal_e2_telemetry_is_numbered_in_the_order_of_seconds_whatever_the_date_says),
    Bug(goal="E4", of=Desk, name="wish", instead=a_wish_for_ever,
        proof=test_goals_time.test_goal_e4_whatever_the_pause_nothing_that_expired_in_it_acts_and_nothing_is_caught_up),
    Bug(goal="C15", of=SiteAgent, name="_wish", instead=wishes_on_its_own,
        proof=test_agent.test_c15_a_cold_start_without_enexa_writes_limits_and_never_a_setpoint),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.goal}-{bug.name}" for bug in BUGS])
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bug.of, bug.name, bug.instead)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        bug.proof(**bug.given)
