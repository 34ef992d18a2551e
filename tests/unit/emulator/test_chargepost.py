"""What the firmware does for cars, batteries and the meter, seen through its registers."""

import pytest
from msgspec.structs import replace

from emulator.device.memory import memory_of
from emulator.physics.nameplate import GridPlate
from emulator.stations.load import load_station
from shared.chargepost.registers import (
    BATTERY_1,
    BATTERY_2,
    CHARGER_1,
    CHARGER_2,
    CONFIG,
    CONTROL_1,
    CONTROL_2,
    GRID,
    MANAGEMENT,
    PV_CONTROL,
    PV_METER,
    STATUS,
    WARNINGS,
)
from shared.chargepost.states import (
    ChargingMode,
    ChargingState,
    ContactorState,
    EnergySaving,
    GradientMode,
    GridMode,
    OperationState,
    PlugState,
    ProcessState,
    Warnings,
)
from shared.scenario.load import load_scenario, scenario_names
from tests.unit.emulator.rig import NOON, Rig


def battery_kw(rig: Rig) -> float:
    return (rig.read(BATTERY_1).battery_kw or 0.0) + (rig.read(BATTERY_2).battery_kw or 0.0)


def test_setpoints_are_accepted_and_ignored_while_the_mode_is_off() -> None:
    rig = Rig()
    assert rig.write(MANAGEMENT.write(watchdog_interval_s=60)) == 0
    assert rig.write(MANAGEMENT.write(clearance_kw=80.0)) == 0
    rig.run(2)

    assert rig.read(MANAGEMENT).clearance_kw == 80.0
    assert rig.read(GRID).grid_kw == pytest.approx(40.0, abs=0.001)

    rig.write(MANAGEMENT.write(operation_mode=1))
    rig.run(1)
    assert rig.read(GRID).grid_kw == pytest.approx(80.0, abs=0.001)


def test_switching_the_mode_off_returns_to_the_local_clearance_and_keeps_the_registers() -> None:
    rig = Rig().take_control(clearance_kw=80.0).run(2)
    rig.write(MANAGEMENT.write(operation_mode=0))
    rig.run(1)

    assert rig.read(GRID).grid_kw == pytest.approx(40.0, abs=0.001)
    assert rig.read(MANAGEMENT).clearance_kw == 80.0
    assert rig.read(WARNINGS).warnings == Warnings(0)


def test_a_request_of_zero_is_battery_first_and_own_consumption_still_imports() -> None:
    rig = Rig().take_control(clearance_kw=80.0, request_kw=0.0).charging(max_kw=100.0)

    grid, ev = rig.read(GRID), rig.read(CHARGER_1).ev_kw
    assert ev == pytest.approx(100.0, abs=0.01)
    assert battery_kw(rig) == pytest.approx(100.0, abs=0.01)
    assert grid.grid_kw == pytest.approx(grid.own_consumption_kw)
    assert grid.energy_exported_kwh == 0.0


def test_at_the_reserve_import_rises_above_the_request_before_the_car_yields() -> None:
    rig = Rig(soc_pct=20.0).take_control(clearance_kw=80.0, request_kw=10.0).charging(max_kw=60.0)

    assert rig.read(CHARGER_1).ev_kw == pytest.approx(60.0, abs=0.01)
    assert battery_kw(rig) == pytest.approx(0.0, abs=0.01)
    assert rig.read(GRID).grid_kw == pytest.approx(60.0 + (rig.read(GRID).own_consumption_kw or 0.0), abs=0.01)


def test_at_the_reserve_the_car_is_curtailed_to_the_clearance() -> None:
    rig = Rig(soc_pct=20.0).take_control(clearance_kw=50.0).charging(max_kw=120.0)

    assert rig.read(GRID).grid_kw == pytest.approx(50.0, abs=0.01)
    assert 40.0 < (rig.read(CHARGER_1).ev_kw or 0.0) < 50.0
    assert rig.post.flows.curtailed_kw > 70.0


def test_the_battery_never_assists_below_the_reserve_in_automatic_mode() -> None:
    rig = Rig(soc_pct=30.0).take_control(clearance_kw=20.0).charging(max_kw=150.0)
    rig.beat(1200)

    assert [string.soc_pct for string in rig.post.strings] == pytest.approx([20.0, 20.0], abs=0.1)
    assert rig.read(CHARGER_1).ev_kw == pytest.approx(18.0, abs=0.5)


def test_manual_targets_are_followed_and_the_battery_is_the_slack() -> None:
    rig = Rig().take_control(clearance_kw=80.0, grid_mode=GridMode.MANUAL)
    rig.write(CONTROL_1.write(grid_target_kw=30.0))
    rig.write(CONTROL_2.write(grid_target_kw=10.0))
    rig.charging(max_kw=100.0)

    grid = rig.read(GRID)
    aux_kw = (grid.own_consumption_kw or 0.0) - rig.post.flows.loss_kw
    assert grid.grid_kw == pytest.approx(40.0 + aux_kw, abs=0.01)
    assert rig.read(BATTERY_1).battery_kw == pytest.approx(100.0 + rig.post.flows.loss_kw - 30.0, abs=0.01)
    assert rig.read(BATTERY_2).battery_kw == pytest.approx(-10.0, abs=0.01)
    assert Warnings.MANUAL_CONTROL in Warnings(rig.read(WARNINGS).warnings or 0)


def test_manual_mode_drains_below_the_reserve_and_stops_at_the_floor() -> None:
    rig = Rig(soc_pct=22.0).take_control(clearance_kw=80.0, grid_mode=GridMode.MANUAL)
    rig.write(CONTROL_1.write(grid_target_kw=20.0))
    rig.charging(max_kw=100.0).beat(3600)

    assert 10.0 <= (rig.read(BATTERY_1).soc_pct or 0.0) < 14.0
    assert (rig.read(CHARGER_1).ev_kw or 0.0) < 40.0


def test_unplugging_while_the_battery_assists_exports_nothing() -> None:
    rig = Rig().take_control(clearance_kw=80.0, grid_mode=GridMode.MANUAL)
    rig.write(CONTROL_1.write(grid_target_kw=0.0))
    rig.charging(max_kw=100.0)
    assert battery_kw(rig) > 90.0

    rig.post.unplug(1)
    rig.run(1)

    assert battery_kw(rig) == pytest.approx(0.0, abs=1e-6)
    assert rig.read(GRID).energy_exported_kwh == 0.0


def test_the_gradient_slows_rising_import_and_nothing_else() -> None:
    rig = Rig().take_control(clearance_kw=80.0, gradient_mode=GradientMode.VDE_4105).run(2)
    first = rig.read(GRID).grid_kw or 0.0
    rig.run(40)
    later = rig.read(GRID).grid_kw or 0.0

    assert later - first == pytest.approx(8.7 * 40 / 60, abs=0.2)
    rig.write(MANAGEMENT.write(clearance_kw=1.0))
    rig.run(1)
    assert (rig.read(GRID).grid_kw or 0.0) <= 1.0


def test_a_clearance_below_own_consumption_sheds_the_hvac_and_then_warns() -> None:
    rig = Rig().take_control(clearance_kw=80.0).charging(max_kw=150.0).beat(300)
    assert (rig.read(GRID).own_consumption_kw or 0.0) > 2.0 + rig.post.flows.loss_kw

    rig.write(MANAGEMENT.write(clearance_kw=0.3))
    rig.run(1)

    assert rig.read(GRID).grid_kw == pytest.approx(0.52, abs=0.01)
    assert Warnings.POWER_CLEARANCE_VIOLATION in Warnings(rig.read(WARNINGS).warnings or 0)


def test_batteries_charge_up_to_the_ceiling_of_station_and_unit() -> None:
    rig = Rig(soc_pct=76.0).take_control(clearance_kw=80.0)
    assert rig.write(CONFIG.write(soc_max_pct=80)) == 0
    assert rig.write(CONTROL_2.write(soc_max_pct=78)) == 0
    rig.beat(1800)

    first, second = (string.soc_pct for string in rig.post.strings)
    assert first == pytest.approx(80.0, abs=0.05)
    assert second == pytest.approx(78.0, abs=0.05)
    assert battery_kw(rig) == pytest.approx(0.0, abs=0.01)


def test_dual_mode_couples_both_units_behind_one_outlet() -> None:
    rig = Rig().take_control(clearance_kw=87.0)
    rig.write(CONTROL_1.write(charging_mode=ChargingMode.DUAL, ev_limit_kw=300.0))
    rig.charging(max_kw=280.0)

    assert rig.read(CHARGER_1).ev_kw == pytest.approx(280.0, abs=0.1)
    assert rig.read(CHARGER_1).boost_contactor is ContactorState.CLOSED
    assert rig.read(CHARGER_2).charging_state is ChargingState.NOT_AVAILABLE
    assert rig.post.free_outlet() is None


def test_without_coupling_an_outlet_gives_what_one_unit_can() -> None:
    rig = Rig().take_control(clearance_kw=87.0)
    rig.write(CONTROL_1.write(ev_limit_kw=300.0))
    rig.charging(max_kw=280.0)

    assert rig.read(CHARGER_1).ev_kw == pytest.approx(150.0, abs=0.1)
    assert rig.read(CHARGER_1).boost_contactor is ContactorState.OPEN


def test_limits_of_power_and_current_hold_and_zero_is_no_charging() -> None:
    rig = Rig().take_control(clearance_kw=80.0).charging(max_kw=140.0)
    rig.write(CONTROL_1.write(ev_limit_kw=60.0))
    rig.run(2)
    assert rig.read(CHARGER_1).ev_kw == pytest.approx(60.0, abs=0.01)

    rig.write(CONTROL_1.write(ev_limit_a=100))
    rig.run(1)
    assert 30.0 < (rig.read(CHARGER_1).ev_kw or 0.0) < 40.0

    rig.write(CONTROL_1.write(ev_limit_kw=0.0))
    rig.run(1)
    assert rig.read(CHARGER_1).ev_kw == 0.0


def test_a_session_goes_through_its_states() -> None:
    rig = Rig().run(5)
    seen = [rig.read(CHARGER_1).process_state]
    rig.plug(capacity_kwh=10.0, soc_start_pct=50.0, soc_target_pct=60.0, stay_s=200.0)
    for _ in range(210):
        rig.run(1)
        state = rig.read(CHARGER_1).process_state
        if state is not seen[-1]:
            seen.append(state)

    assert seen == [
        ProcessState.READY_TO_CHARGE,
        ProcessState.AUTHORIZATION,
        ProcessState.CHARGING_SETUP,
        ProcessState.CHARGING,
        ProcessState.CHARGING_TEARDOWN,
        ProcessState.CHARGING_FINISHED,
        ProcessState.READY_TO_CHARGE,
    ]
    assert rig.read(CHARGER_1).session_energy_kwh == pytest.approx(1.0, abs=1e-6)
    assert rig.read(CHARGER_1).plug_state is PlugState.UNPLUGGED


@pytest.mark.parametrize(
    ("left", "right", "state"),
    [
        (False, False, OperationState.READY),
        (True, False, OperationState.LEFT_CHARGE),
        (False, True, OperationState.RIGHT_CHARGE),
        (True, True, OperationState.BOTH_CHARGE),
    ],
)
def test_the_operation_state_tells_who_charges(left: bool, right: bool, state: OperationState) -> None:
    rig = Rig()
    if left:
        rig.plug(outlet=1)
    if right:
        rig.plug(outlet=2)
    rig.run(30)

    assert rig.read(STATUS).operation_state is state


def test_contactors_close_in_order_before_power_flows() -> None:
    rig = Rig(startup_s=3.0)
    seen = []
    for _ in range(4):
        rig.run(1)
        contactors = rig.read(BATTERY_1).battery_contactor, rig.read(CHARGER_1).grid_contactor
        seen.append((rig.read(STATUS).operation_state, *contactors, (rig.read(GRID).grid_kw or 0.0) > 1.0))

    undefined, closed = ContactorState.UNDEFINED, ContactorState.CLOSED
    assert seen == [
        (OperationState.STARTUP, closed, undefined, False),
        (OperationState.STARTUP, closed, closed, False),
        (OperationState.READY, closed, closed, True),
        (OperationState.READY, closed, closed, True),
    ]


def test_a_rebooted_station_closes_its_contactors_anew() -> None:
    rig = Rig(startup_s=3.0).run(10)
    rig.post.begin_fault("reboot")
    rig.run(61)
    assert rig.read(STATUS).operation_state is OperationState.STARTUP
    assert rig.read(BATTERY_1).battery_kw == 0.0

    assert rig.run(3).read(STATUS).operation_state is OperationState.READY
    assert (rig.read(BATTERY_1).battery_kw or 0.0) < 0.0
    away, back = [note for note in rig.post.truth.notes if note.kind == "station"]
    assert (away.name, back.name, (back.at - away.at).total_seconds()) == ("rebooted", "answers_again", 60.0)


def test_an_idle_station_sleeps_only_when_it_may() -> None:
    rig = Rig(soc_pct=90.0).run(120)
    assert rig.read(GRID).own_consumption_kw == pytest.approx(0.52, abs=0.01)

    rig.write(MANAGEMENT.write(energy_saving=EnergySaving.SLOW))
    rig.run(2)
    assert rig.read(GRID).own_consumption_kw == pytest.approx(0.23, abs=0.01)


def test_counters_never_fall_and_equal_the_sum_of_the_power() -> None:
    rig = Rig("chargepost_pv", load_scenario("reference_day"), soc_pct=90.0)
    imported = exported = sun = 0.0
    for _ in range(3600):
        rig.run(1)
        flows = rig.post.flows
        imported += max(flows.grid_kw, 0.0) / 3600.0
        exported += max(-flows.grid_kw, 0.0) / 3600.0
        sun += flows.pv_kw / 3600.0

    meter = rig.read(GRID)
    assert meter.energy_imported_kwh == pytest.approx(imported, rel=1e-5)
    assert meter.energy_exported_kwh == pytest.approx(exported, rel=1e-5)
    assert rig.read(PV_METER).pv_energy_kwh == pytest.approx(sun, rel=1e-5)


def test_pv_can_be_curtailed() -> None:
    rig = Rig("chargepost_pv", load_scenario("reference_day")).run(60)
    assert (rig.read(PV_METER).pv_kw or 0.0) > 20.0

    rig.write(PV_CONTROL.write(pv_limit_kw=5.0))
    rig.run(1)

    # The lever of the PV device obeys its own writer; it knows no watchdog.
    assert rig.read(PV_METER).pv_kw == pytest.approx(5.0)


def test_the_connection_carries_no_more_than_its_apparent_power() -> None:
    plate = GridPlate(reactive_kvar=20.0)
    rig = Rig(replace(load_station("chargepost"), grid=plate)).take_control(clearance_kw=87.0).run(2)

    grid = rig.read(GRID)
    assert (grid.grid_kw or 0.0) ** 2 + (grid.reactive_kvar or 0.0) ** 2 == pytest.approx(87.0**2, rel=1e-4)
    assert grid.grid_kw == pytest.approx(84.67, abs=0.01)


@pytest.mark.parametrize("station", ["chargepost", "chargepost_pv", "reference_day"])
def test_energy_closes_every_second_of_the_reference_day(station: str) -> None:
    rig = Rig(station, load_scenario("reference_day"))
    start_kwh = [string.energy_kwh for string in rig.post.strings]
    inner_kwh = 0.0
    for _ in range(4 * 3600):
        rig.run(1)  # the rig checks the balance of each second
        inner_kwh += sum(string.power_kw + string.loss_kw for string in rig.post.strings) / 3600.0

    spent = sum(start_kwh) - sum(string.energy_kwh for string in rig.post.strings)
    assert spent == pytest.approx(inner_kwh, abs=1e-6)


@pytest.mark.parametrize("name", scenario_names())
def test_energy_closes_every_second_of_every_shipped_story(name: str) -> None:
    story = load_scenario(name)
    rig = Rig(story.station, story, at=story.starts_at or NOON)

    rig.run(min(story.duration_s, 7200))  # the rig checks the balance of each second

    assert rig.post.truth.count == min(story.duration_s, 7200)


def test_two_runs_of_one_seed_are_the_same_and_another_seed_is_not() -> None:
    def words(seed: int) -> tuple[int, ...]:
        rig = Rig(scenario=load_scenario("reference_day"), seed=seed).run(300)
        return rig.words(4, 1000, 28)

    assert words(3) == words(3)
    assert words(3) != words(4)


def test_a_memory_brings_back_charge_counters_and_cars() -> None:
    rig = Rig().charging(max_kw=100.0).run(60)
    memory = memory_of(rig.post)

    again = Rig(memory=memory).run(20)

    assert again.read(CHARGER_1).plug_state is PlugState.PLUGGED
    assert (again.read(CHARGER_1).ev_energy_kwh or 0.0) >= (rig.read(CHARGER_1).ev_energy_kwh or 0.0)
    assert (again.read(GRID).energy_imported_kwh or 0.0) > (rig.read(GRID).energy_imported_kwh or 0.0)
    assert again.read(MANAGEMENT).operation_mode == 0
    assert again.post.strings[0].energy_kwh == pytest.approx(rig.post.strings[0].energy_kwh, abs=0.5)
