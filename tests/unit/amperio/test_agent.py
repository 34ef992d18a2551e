"""One site decided second by second, against the real station's registers and physics."""

import random
from datetime import timedelta
from itertools import pairwise

import pytest

from services.amperio.site.agent import SiteAgent
from services.amperio.site.orders import Inbox
from shared.chargepost.registers import CONFIG, MANAGEMENT
from shared.chargepost.states import GridMode, OperationMode
from shared.contract import dispatch
from shared.contract.dispatch import (
    ApplySchedule,
    BatteryPower,
    ChargerLimit,
    ChargingModeParams,
    CommandStatus,
    GridOperatorLimit,
    ImportKw,
    OperationModeParams,
    ScheduleParams,
    SetBatteryPower,
    SetChargerLimit,
    SetChargingMode,
    SetGridLimit,
    SetGridRequest,
    SetOperationMode,
    SetSocWindow,
    SocWindow,
    Stop,
)
from shared.contract.events import EventKind
from shared.contract.telemetry import LimitedBy, Mode
from shared.contract.wire import Quality
from shared.errors import IdempotencyMismatch, LimitExceeded, LinkDown, Locked, OutOfBounds, StaleCommand
from shared.moment import Moment
from tests.unit.amperio.bench import SITE, Bench, a_config, a_schedule
from tests.unit.emulator.rig import Rig

SETPOINTS = ("request_kw", "grid_target_kw")


def test_c15_a_cold_start_without_enexa_writes_limits_and_never_a_setpoint() -> None:
    bench = Bench().seconds(30)

    assert bench.mode is Mode.SAFE
    assert all(write.words[-2:] == (0x8000, 0) for write in bench.written("request_kw"))
    assert not bench.written("grid_target_kw")
    management = bench.rig.read(MANAGEMENT)
    assert management.clearance_kw == 40.0
    assert management.operation_mode is OperationMode.ON
    assert bench.rig.read(CONFIG).soc_reserve_pct == 30.0


def test_the_safe_profile_is_active_within_ten_seconds_of_a_start() -> None:
    bench = Bench().seconds(10)

    assert bench.last.station.external_control is True
    assert bench.last.grid.clearance_kw == 40.0


def test_limits_are_written_before_control_is_taken() -> None:
    bench = Bench()
    bench.rig.write(MANAGEMENT.write(clearance_kw=80.0))
    bench.seconds(1)

    names = [name for write in bench.writes for name in write.names]

    assert names.index("management.clearance_kw") < names.index("management.operation_mode")


def test_safe_is_left_through_good_exchanges_and_a_plan_that_was_read_back() -> None:
    bench = Bench().online(-25.0)

    modes = [event.facts["mode"] for event in bench.events if event.kind is EventKind.MODE_CHANGED]

    assert modes == ["resync", "online"]
    assert bench.rig.read(MANAGEMENT).request_kw == pytest.approx(25.0 + (bench.last.aux_kw or 0.0), abs=0.2)


def test_resync_without_a_plan_keeps_the_conservative_limits() -> None:
    bench = Bench()
    bench.enexa = True
    bench.seconds(60)

    assert bench.mode is Mode.RESYNC
    assert {sample.grid.clearance_kw for sample in bench.samples[3:]} == {40.0}
    assert bench.rig.read(MANAGEMENT).request_kw is None


def test_a_command_is_applied_in_the_cycle_that_it_wakes_and_its_power_follows() -> None:
    bench = Bench().online()

    ack = bench.send(bench.battery(-25.0))

    assert ack.status is CommandStatus.APPLIED
    assert ack.applied_kw == -25.0
    bench.seconds(3)
    assert bench.last.battery.power_kw == pytest.approx(-25.0, abs=0.5)
    assert bench.last.active_command_id == ack.command_id
    assert bench.last.control.wish_kw == -25.0


WISHES = [
    # car, wish, applied, limited by
    (None, -25.0, -25.0, ()),
    (None, 60.0, 0.0, (LimitedBy.NO_EXPORT,)),
    (120.0, 60.0, 60.0, ()),
    (120.0, 200.0, 120.0, (LimitedBy.NO_EXPORT,)),
    (120.0, -25.0, None, (LimitedBy.EV_MUST_SERVE,)),
    (60.0, -200.0, None, (LimitedBy.GRID_LIMIT,)),
]


@pytest.mark.parametrize(("car_kw", "wish_kw", "applied_kw", "limited_by"), WISHES)
def test_a_wish_becomes_what_cars_and_limits_allow_and_says_so(
    car_kw: float | None, wish_kw: float, applied_kw: float | None, limited_by: tuple[LimitedBy, ...]
) -> None:
    bench = Bench().online()
    if car_kw is not None:
        bench.rig.plug(max_kw=car_kw)
        bench.seconds(60)

    ack = bench.send(bench.battery(wish_kw))
    bench.seconds(5)

    assert ack.status is CommandStatus.APPLIED
    assert ack.limited_by == limited_by
    if applied_kw is not None:
        assert ack.applied_kw == pytest.approx(applied_kw, abs=0.5)
    aimed = bench.last.control.applied_kw
    assert aimed is not None
    assert bench.last.battery.power_kw == pytest.approx(aimed, abs=max(2.0, 0.05 * abs(aimed)))
    assert (bench.last.grid.export_kw or 0.0) == pytest.approx(0.0, abs=0.01)
    assert (bench.last.grid.import_kw or 0.0) <= 83.5 * 1.02


def test_manual_mode_follows_the_car_with_both_units() -> None:
    bench = Bench(config=a_config(safety={"control_mode": "manual"})).online()
    bench.rig.plug(max_kw=100.0)
    bench.seconds(60)

    ack = bench.send(bench.battery(40.0))
    bench.seconds(5)

    assert ack.status is CommandStatus.APPLIED
    assert bench.rig.read(MANAGEMENT).grid_mode is GridMode.MANUAL
    assert bench.last.battery.power_kw == pytest.approx(40.0, abs=3.0)


def test_a_request_for_import_is_met_at_the_meter_with_own_consumption_included() -> None:
    bench = Bench().online()

    ack = bench.send(SetGridRequest(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=30.0)))
    bench.seconds(5)

    assert ack.status is CommandStatus.APPLIED
    assert ack.applied_kw == pytest.approx(30.0, abs=0.01)
    assert bench.last.grid.import_kw == pytest.approx(30.0, abs=0.5)


def test_no_car_is_ever_throttled_and_nothing_is_drained_below_the_reserve() -> None:
    """The field's deep drain: a large car, an empty battery, and a controller that would not use the grid."""
    rig = Rig(soc_pct=22.0)
    bench = Bench(rig).online()
    rig.plug(max_kw=157.0)
    bench.send(SetGridRequest(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=0.0), command_id="drain"))
    bench.seconds(60)
    for _ in range(20):
        bench.send(SetGridRequest(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=0.0)))
        bench.seconds(60)

    lowest = min(unit.soc_pct for sample in bench.samples for unit in sample.battery.units if unit.soc_pct is not None)
    assert lowest >= 19.0
    assert (bench.last.grid.import_kw or 0.0) > 80.0


def test_at_the_reserve_the_whole_clearance_is_asked_for() -> None:
    rig = Rig(soc_pct=19.0)
    bench = Bench(rig).online()
    rig.plug(max_kw=150.0)
    bench.seconds(60)

    bench.send(bench.battery(50.0))
    bench.seconds(3)

    assert bench.rig.read(MANAGEMENT).request_kw == pytest.approx(83.5)
    assert bench.last.control.limited_by == (LimitedBy.SOC_RESERVE,)


def test_stop_rests_the_battery_and_serves_the_car_until_the_next_command() -> None:
    bench = Bench().online(-50.0, -50.0)
    bench.rig.plug(max_kw=50.0)
    bench.seconds(60)

    ack = bench.send(Stop(site_id=SITE, timestamp=bench.now.at))
    bench.seconds(300)

    assert ack.status is CommandStatus.APPLIED
    assert bench.last.battery.power_kw == pytest.approx(0.0, abs=1.0)
    assert bench.last.chargers[0].power_kw == pytest.approx(50.0, abs=1.0)


def test_when_a_command_ends_the_slot_in_force_takes_over() -> None:
    bench = Bench().online(-20.0, -20.0)
    bench.send(bench.battery(-60.0, valid_until=bench.now.at + timedelta(seconds=30)))
    bench.seconds(10)
    assert bench.last.battery.power_kw == pytest.approx(-60.0, abs=0.5)

    bench.seconds(40)

    assert bench.last.battery.power_kw == pytest.approx(-20.0, abs=0.5)
    assert bench.last.active_command_id is None


def test_a_grid_limit_lowers_the_clearance_and_stays() -> None:
    bench = Bench().online(-80.0, -80.0)

    ack = bench.send(SetGridLimit(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=20.0)))
    bench.seconds(200)

    assert ack.status is CommandStatus.APPLIED
    assert ack.applied_kw == 20.0
    assert (bench.last.grid.import_kw or 0.0) <= 20.0 + 0.1


def test_the_soc_window_moves_without_the_reserve_ever_meeting_the_maximum() -> None:
    bench = Bench().online()

    up = bench.send(
        SetSocWindow(site_id=SITE, timestamp=bench.now.at, params=SocWindow(reserve_pct=80.0, max_pct=88.0))
    )
    down = bench.send(
        SetSocWindow(site_id=SITE, timestamp=bench.now.at, params=SocWindow(reserve_pct=15.0, max_pct=60.0))
    )

    assert (up.status, down.status) == (CommandStatus.APPLIED, CommandStatus.APPLIED)
    window = bench.rig.read(CONFIG)
    assert (window.soc_reserve_pct, window.soc_max_pct) == (15.0, 60.0)


def test_an_outlet_is_limited_and_switched_off_and_on() -> None:
    bench = Bench().online()

    limit = bench.send(
        SetChargerLimit(site_id=SITE, timestamp=bench.now.at, params=ChargerLimit(charger=1, power_kw=50.0))
    )
    mode = bench.send(
        SetChargingMode(site_id=SITE, timestamp=bench.now.at, params=ChargingModeParams(charger=2, mode="off"))
    )
    bench.seconds(4)

    assert (limit.status, mode.status) == (CommandStatus.APPLIED, CommandStatus.APPLIED)
    assert bench.last.chargers[0].limit_kw == 50.0


def test_operation_mode_off_gives_control_away_and_external_takes_it_back() -> None:
    bench = Bench().online(-20.0)

    off = bench.send(SetOperationMode(site_id=SITE, timestamp=bench.now.at, params=OperationModeParams(mode="off")))
    bench.seconds(5)
    assert off.status is CommandStatus.APPLIED
    assert bench.rig.read(MANAGEMENT).operation_mode is OperationMode.OFF

    back = bench.send(
        SetOperationMode(site_id=SITE, timestamp=bench.now.at, params=OperationModeParams(mode="external"))
    )
    bench.seconds(5)

    assert bench.record(back.command_id).status is CommandStatus.APPLIED
    assert bench.last.station.external_control is True


def test_a_whole_schedule_as_a_command_is_followed() -> None:
    bench = Bench().online(0.0)
    plan = a_schedule(bench.now, -30.0, -30.0, version=7)

    ack = bench.send(
        ApplySchedule(
            site_id=SITE,
            timestamp=bench.now.at,
            params=ScheduleParams(
                version=7, valid_from=plan.valid_from, valid_until=plan.valid_until, slots=plan.slots
            ),
        )
    )
    bench.seconds(5)

    assert ack.status is CommandStatus.APPLIED
    assert bench.last.battery.power_kw == pytest.approx(-30.0, abs=0.5)


def test_a_test_command_is_checked_and_never_actuated() -> None:
    bench = Bench().online()
    bench.seconds(5)
    before = len(bench.written(*SETPOINTS, "clearance_kw", "operation_mode", "soc_"))

    ack = bench.send(dispatch.Test(site_id=SITE, timestamp=bench.now.at))

    assert ack.status is CommandStatus.APPLIED
    assert "not" in (ack.detail or "")
    assert len(bench.written(*SETPOINTS, "clearance_kw", "operation_mode", "soc_")) == before


# ---- B: commands -----------------------------------------------------------------------------------------------------


def test_b2_the_same_command_gets_the_same_answer_and_does_nothing() -> None:
    bench = Bench().online()
    command = bench.battery(-25.0, command_id="once")
    first = bench.send(command)
    bench.seconds(2)
    before = len(bench.writes)

    again = [bench.agent.admit(bench.now, command).repeated for _ in range(1000)]

    assert set(again) == {first}
    assert len(bench.writes) == before


def test_b2_the_same_id_with_another_body_is_refused() -> None:
    bench = Bench().online()
    bench.send(bench.battery(-25.0, command_id="once"))
    before = len(bench.writes)

    for number in range(200):
        with pytest.raises(IdempotencyMismatch):
            bench.send(bench.battery(-26.0 - number / 10.0, command_id="once"))

    assert len(bench.writes) == before


def test_b3_stale_commands_are_refused_and_write_nothing() -> None:
    """A thousand: delivered late, made ahead of our time, or past their end; each kind a third."""
    bench = Bench().online().seconds(65)
    before = len(bench.written(*SETPOINTS))
    chance = random.Random(3)

    for number in range(1000):
        late_s = chance.uniform(60.001, 600.0) if number % 3 == 0 else -chance.uniform(30.001, 600.0)
        old_s = chance.uniform(0.1, 59.0)
        made = bench.now.at - timedelta(seconds=old_s if number % 3 == 2 else late_s)
        until = made + timedelta(seconds=chance.uniform(0.0, old_s)) if number % 3 == 2 else None
        command = SetBatteryPower(site_id=SITE, timestamp=made, valid_until=until, params=BatteryPower(power_kw=-25.0))
        with pytest.raises(StaleCommand):
            bench.send(command)

    assert bench.agent.ledger.open_entries() == ()
    assert len(bench.written(*SETPOINTS)) == before


def test_a_setpoint_for_more_than_fifteen_minutes_is_out_of_bounds() -> None:
    bench = Bench().online()

    with pytest.raises(OutOfBounds):
        bench.send(bench.battery(-25.0, valid_until=bench.now.at + timedelta(seconds=901)))


def test_b9_a_silently_lost_control_is_seen_and_asserted_again() -> None:
    bench = Bench().online(-30.0, -30.0)

    bench.rig.post.begin_fault("control_lost_silently")
    bench.seconds(15)

    kinds = [event.kind for event in bench.events]
    assert EventKind.CONTROL_LOST in kinds
    assert kinds.index(EventKind.CONTROL_REGAINED) >= 0
    assert bench.last.station.external_control is True
    assert bench.last.battery.power_kw == pytest.approx(-30.0, abs=0.5)


def test_b9_a_command_to_a_station_that_stores_but_forgets_is_not_called_applied() -> None:
    bench = Bench().online()
    bench.rig.post.begin_fault("setpoint_ignored")

    ack = bench.send(bench.battery(-40.0))
    bench.seconds(20)

    assert ack.status is CommandStatus.ACCEPTED
    assert bench.record(ack.command_id).status is CommandStatus.FAILED
    assert bench.record(ack.command_id).code == "readback_mismatch"


def test_b10_every_32_bit_value_goes_in_one_fc_16_and_d9_no_other_code_is_used() -> None:
    bench = Bench().online(-30.0)
    bench.rig.plug(max_kw=120.0)
    for power_kw in (10.0, -10.0, 55.5):
        bench.seconds(20)
        bench.send(bench.battery(power_kw))

    assert {write.function for write in bench.writes} <= {6, 16}
    for write in bench.written("clearance_kw", "request_kw", "grid_target_kw", "ev_limit_kw"):
        assert write.function == 16
        assert len(write.words) % 2 == 0


@pytest.mark.parametrize("power_kw", [220.1, -220.1, 300.0, -9_000.0])
def test_b11_outside_nameplate_is_refused_and_nothing_is_written(power_kw: float) -> None:
    bench = Bench().online().seconds(3)
    before = len(bench.written(*SETPOINTS))

    with pytest.raises(LimitExceeded):
        bench.send(bench.battery(power_kw))

    assert len(bench.written(*SETPOINTS)) == before


def test_b13_a_locked_site_refuses_everything_and_writes_nothing() -> None:
    bench = Bench().online()
    bench.locked = True
    bench.seconds(1)
    before = len(bench.writes)

    for _ in range(200):
        with pytest.raises(Locked):
            bench.send(bench.battery(-10.0))
    bench.seconds(30)

    assert bench.mode is Mode.LOCKED
    assert len(bench.writes) == before


def test_b13_an_emergency_stop_locks_until_somebody_unlocks_on_site() -> None:
    bench = Bench().online()
    bench.rig.post.begin_fault("estop")
    settled = bench.seconds(2).settled

    assert bench.mode is Mode.LOCKED
    assert any(fact.name == "locked_by_emergency_stop" for each in settled for fact in each.facts)


def test_without_a_link_a_command_is_refused_and_never_queued() -> None:
    bench = Bench().online()
    bench.link_cut = True
    bench.seconds(1)

    with pytest.raises(LinkDown):
        bench.send(bench.battery(-10.0))

    assert bench.agent.pending_count == 0


def test_two_commands_in_one_cycle_leave_one_applied_and_one_superseded() -> None:
    bench = Bench().online()
    first = bench.agent.admit(bench.now, bench.battery(-10.0, command_id="first"))
    second = bench.agent.admit(bench.now, bench.battery(-20.0, command_id="second"))

    bench.give(released=(first.entry.command_id, second.entry.command_id)).cycle()

    assert bench.record("first").status is CommandStatus.SUPERSEDED
    assert bench.record("second").status is CommandStatus.APPLIED


def test_a_command_in_safe_mode_waits_and_expires_unapplied() -> None:
    bench = Bench().seconds(3)

    ack = bench.send(bench.battery(-10.0, valid_until=bench.now.at + timedelta(seconds=20)))
    bench.seconds(25)

    assert ack.status is CommandStatus.ACCEPTED
    assert bench.record(ack.command_id).status is CommandStatus.EXPIRED


# ---- C: modes, watchdog, limits --------------------------------------------------------------------------------------


def test_c1_silence_of_sixty_seconds_leads_to_the_last_known_schedule() -> None:
    bench = Bench().online(-30.0, -30.0, -30.0, -30.0)
    lost_s = bench.now.s
    bench.enexa = False

    while bench.mode is not Mode.AUTONOMOUS:
        bench.seconds(1)
        assert bench.now.s - lost_s < 70

    assert 59 <= bench.now.s - lost_s <= 62
    bench.seconds(5)
    assert bench.last.battery.power_kw == pytest.approx(-30.0, abs=0.5)


def test_c4_when_the_schedule_ends_the_conservative_limits_take_over() -> None:
    bench = Bench().online(-70.0)
    bench.enexa = False
    bench.seconds(1000)

    assert bench.mode is Mode.SAFE
    assert bench.last.grid.clearance_kw == 40.0
    assert all(sample.grid.clearance_kw is not None for sample in bench.samples[2:])


def test_c3_heartbeats_alone_do_not_lead_out_of_the_fallback() -> None:
    bench = Bench().online(-30.0)
    bench.enexa = False
    bench.seconds(100)
    bench.enexa, bench.schedule = True, None

    bench.seconds(120)

    assert bench.mode is Mode.RESYNC
    assert {sample.grid.clearance_kw for sample in bench.samples[-60:]} == {40.0}


@pytest.mark.parametrize("watchdog_s", [2, 5, 10, 15, 30, 60])
def test_c6_the_station_is_beaten_at_least_every_third_of_its_interval(watchdog_s: int) -> None:
    bench = Bench(config=a_config(safety={"watchdog_s": watchdog_s}))
    bench.enexa, bench.schedule = True, a_schedule(bench.now, -10.0)
    bench.seconds(20)
    lowest = min(sample.station.watchdog_s for sample in bench.samples[-10:] if sample.station.watchdog_s is not None)

    assert lowest >= watchdog_s * (2 / 3) - 1.0


def test_c7_without_command_intake_the_heartbeat_stops_and_the_station_trips() -> None:
    bench = Bench().online(-30.0)
    bench.intake_alive = False

    bench.seconds(15)

    assert EventKind.WATCHDOG_TRIPPED in [event.kind for event in bench.events]
    bench.intake_alive = True
    bench.seconds(5)
    assert bench.last.station.external_control is True


def test_c10_the_grid_operators_cap_stands_above_everything_remote() -> None:
    bench = Bench().online(-60.0, -60.0)
    bench.give(operator=GridOperatorLimit(import_kw=10.0, from_=bench.now.at)).seconds(3)
    assert bench.rig.read(MANAGEMENT).clearance_kw == 10.0

    ack = bench.send(SetGridLimit(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=80.0)))
    bench.seconds(3)

    assert ack.applied_kw == 10.0
    bench.enexa = False
    bench.seconds(70)
    assert bench.rig.read(MANAGEMENT).clearance_kw == 10.0
    bench.give(operator_withdrawn=True).seconds(3)
    assert bench.rig.read(MANAGEMENT).clearance_kw == 80.0


def test_d10_a_reboot_is_healed_in_order_without_negative_energies() -> None:
    bench = Bench().online(-30.0, -30.0)
    bench.rig.post.reboot()
    bench.seconds(120)

    assert bench.last.station.external_control is True
    energies = [sample.grid.import_kwh for sample in bench.samples if sample.grid.import_kwh is not None]
    assert energies == sorted(energies)
    assert Mode.DEVICE_LOST in {sample.station.mode for sample in bench.samples}


def test_seconds_without_a_link_are_sampled_as_unknown() -> None:
    bench = Bench().online()
    bench.link_cut = True
    bench.seconds(15)

    assert bench.mode is Mode.DEVICE_LOST
    assert bench.last.battery.soc_pct is None
    assert bench.last.grid.import_kw is None
    assert bench.last.quality["grid"] is Quality.STALE
    stamps = [sample.timestamp for sample in bench.samples[-15:]]
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(stamps)] == [1.0] * 14


def test_e1_a_step_of_the_wall_clock_changes_no_mode() -> None:
    bench = Bench().online(-30.0, -30.0, -30.0, -30.0)
    changes = len([event for event in bench.events if event.kind is EventKind.MODE_CHANGED])

    for step_s in (1, -61, 61, -1):
        bench.rig.now = Moment(bench.now.s, bench.now.at + timedelta(seconds=step_s))
        bench.seconds(20)

    assert len([event for event in bench.events if event.kind is EventKind.MODE_CHANGED]) == changes
    assert EventKind.WATCHDOG_TRIPPED not in [event.kind for event in bench.events]


def test_a_restart_knows_its_limits_and_takes_no_older_command() -> None:
    bench = Bench().online()
    bench.send(bench.battery(-25.0, epoch=3, seq=9))
    bench.send(SetGridLimit(site_id=SITE, timestamp=bench.now.at, params=ImportKw(import_kw=30.0), epoch=3, seq=10))
    keepsake = next(each.keepsake for each in reversed(bench.settled) if each.keepsake is not None)
    entries = {entry.command_id: entry for each in bench.settled for entry in each.entries}

    again = SiteAgent(SITE, bench.now, keepsake, entries.values())
    again.step(bench.now, bench.agent.image, Inbox())

    assert again.desk.held.grid_limit_kw == 30.0
    for epoch, seq in ((2, 99), (3, 8)):
        with pytest.raises(StaleCommand):
            again.admit(bench.now, bench.battery(5.0, epoch=epoch, seq=seq))


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_a_configuration_is_acknowledged_with_what_was_read_back() -> None:
    bench = Bench().online()

    ack = next(each.config_ack for each in bench.settled if each.config_ack is not None)

    assert (ack.status, ack.version) == ("applied", 1)
    assert ack.read_back["watchdog_s"] == 10.0


def test_a_configuration_that_the_machine_cannot_live_with_is_rejected_with_the_reason() -> None:
    bench = Bench().online()
    bench.config = a_config(2, grid={"import_limit_kw": 120.0})

    bench.seconds(2)

    ack = next(each.config_ack for each in reversed(bench.settled) if each.config_ack is not None)
    assert ack.status == "rejected"
    assert "import_limit_kw" in (ack.reason or "")
    assert bench.agent.config is not None
    assert bench.agent.config.version == 1
