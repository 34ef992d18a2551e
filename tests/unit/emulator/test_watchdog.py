"""The device's watchdog: trips once, forgets orders, and gives control back only to a beat with the mode on."""

import pytest

from emulator.device.watchdog import Watch, Watchdog
from shared.chargepost.registers import CONFIG, GRID, MANAGEMENT, STATUS, WARNINGS
from shared.chargepost.states import GridMode, OperationMode, Warnings
from tests.unit.emulator.rig import Rig


@pytest.mark.parametrize("interval_s", [2, 10, 60])
def test_it_trips_when_the_interval_is_over_and_not_before(interval_s: int) -> None:
    rig = Rig().take_control(interval_s=interval_s).run(interval_s - 1)
    assert rig.read(WARNINGS).warnings == Warnings(0)

    rig.run(1)

    assert rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED


def test_before_the_first_beat_nobody_controls() -> None:
    rig = Rig().run(5)

    assert rig.read(WARNINGS).warnings == Warnings.NO_MODBUS_CONTROL
    assert rig.write(MANAGEMENT.write(operation_mode=1)) == 0
    assert rig.read(WARNINGS).warnings == Warnings.NO_MODBUS_CONTROL
    assert not rig.post.levers.external


def test_every_beat_restarts_the_countdown_that_the_register_shows() -> None:
    rig = Rig().take_control(interval_s=30)
    assert rig.read(STATUS).watchdog_left_s == 30

    rig.run(12)
    assert rig.read(STATUS).watchdog_left_s == 18

    rig.write(MANAGEMENT.write(watchdog_interval_s=30))
    rig.run(1)
    assert rig.read(STATUS).watchdog_left_s == 29


@pytest.mark.parametrize("bad", [0, 1, 61, 65_535])
def test_an_interval_outside_2_to_60_is_illegal_and_does_not_beat(bad: int) -> None:
    rig = Rig().take_control(interval_s=10).run(9)

    assert rig.put(2500, bad, many=False) == 0x03
    rig.run(1)

    assert rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED


def test_a_trip_forgets_what_was_ordered() -> None:
    rig = Rig().take_control(interval_s=10, clearance_kw=80.0, request_kw=70.0, grid_mode=GridMode.AUTOMATIC).run(5)
    assert rig.read(GRID).grid_kw == pytest.approx(70.0, abs=0.001)

    rig.run(5)
    management = rig.read(MANAGEMENT)

    assert management.operation_mode is OperationMode.OFF
    assert management.grid_mode is GridMode.AUTOMATIC
    assert management.request_kw is None
    assert management.clearance_kw == rig.read(CONFIG).fallback_clearance_kw == 40.0
    assert rig.read(GRID).grid_kw == pytest.approx(40.0, abs=0.001)


@pytest.mark.parametrize("order", [("beat", "mode"), ("mode", "beat")])
def test_control_comes_back_with_a_beat_and_the_mode_in_either_order(order: tuple[str, str]) -> None:
    rig = Rig().take_control(interval_s=10).run(11)
    writes = {"beat": MANAGEMENT.write(watchdog_interval_s=10), "mode": MANAGEMENT.write(operation_mode=1)}

    rig.write(writes[order[0]])
    assert Warnings.WATCHDOG_TRIGGERED in Warnings(rig.read(WARNINGS).warnings or 0)
    assert not rig.post.levers.external

    rig.write(writes[order[1]])
    assert rig.read(WARNINGS).warnings == Warnings(0)
    assert rig.post.levers.external


def test_a_beat_alone_after_a_trip_gives_nothing_back() -> None:
    rig = Rig().take_control(interval_s=10).run(11)

    for _ in range(5):
        rig.write(MANAGEMENT.write(watchdog_interval_s=10))
        rig.run(3)

    assert rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED
    assert rig.read(MANAGEMENT).operation_mode is OperationMode.OFF


def test_cars_go_on_being_served_with_battery_assist_after_a_trip() -> None:
    rig = Rig().take_control(interval_s=10, clearance_kw=60.0).beat(60, every_s=5, interval_s=10)
    rig.plug(max_kw=100.0)
    rig.run(120)

    flows = rig.post.flows
    assert rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED
    assert flows.ev_1_kw == pytest.approx(100.0)
    assert flows.grid_kw == pytest.approx(40.0)
    assert flows.battery_1_kw + flows.battery_2_kw > 50.0


@pytest.mark.parametrize(("ratio", "trips_after_s"), [(0.8, 8), (1.0, 10), (1.5, 15)])
def test_real_devices_trip_early_or_late(ratio: float, trips_after_s: int) -> None:
    rig = Rig()
    rig.post.begin_fault("watchdog_skewed", options={"ratio": ratio})
    rig.run(1).take_control(interval_s=10).run(trips_after_s - 1)
    assert rig.read(WARNINGS).warnings == Warnings(0)

    rig.run(1)

    assert rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED


def test_it_says_that_it_tripped_only_once() -> None:
    watchdog = Watchdog()
    watchdog.beat(0.0, 10.0, mode_on=True)

    assert [watchdog.expired(float(s)) for s in range(8, 13)] == [False, False, True, False, False]
    assert watchdog.state is Watch.TRIPPED
