"""P0 goals about time, reboots and the deep drain of the field, each with a control that shows that it can fail."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.amperio.site.fallback import slot_in_force
from services.amperio.site.outbox import Cursor, Outbox, Row
from shared.chargepost.registers import CONTROLS, MANAGEMENT
from shared.contract.dispatch import CommandStatus, ImportKw, SetGridRequest
from shared.contract.events import EventKind
from shared.contract.schedule import ScheduleSlot, SiteSchedule
from shared.errors import StaleCommand
from shared.moment import moment_at
from tests.unit.amperio.bench import SITE, Bench, a_schedule
from tests.unit.emulator.rig import Rig

BERLIN = ZoneInfo("Europe/Berlin")

# ---- E2: skew --------------------------------------------------------------------------------------------------------


def test_goal_e2_of_a_thousand_skews_exactly_those_within_the_window_are_admitted() -> None:
    bench = Bench().online().seconds(3)
    before = len(bench.written("request_kw", "grid_target_kw"))
    chance = random.Random(1)

    for _ in range(1000):
        skew_s = round(chance.uniform(-3600.0, 3600.0), 3)
        command = bench.battery(-20.0)
        at = bench.now.at + timedelta(seconds=skew_s)
        skewed = type(command)(
            site_id=SITE, timestamp=at, params=command.params, command_id=f"skew-{skew_s}".replace(".", "_")
        )
        if -60.0 <= skew_s <= 30.0:
            bench.agent.ledger.check_time(bench.now, skewed)
        else:
            with pytest.raises(StaleCommand):
                bench.agent.admit(bench.now, skewed)

    assert len(bench.written("request_kw", "grid_target_kw")) == before


def test_goal_e2_telemetry_is_numbered_in_the_order_of_seconds_whatever_the_date_says() -> None:
    bench = Bench().online()
    for skew_s in (-3600.0, 7200.0, -90.0):
        bench.rig.now = moment_at(bench.now.at + timedelta(seconds=skew_s), bench.now.s)
        bench.seconds(5)

    assert len(bench.samples) >= 15
    stamps = [sample.timestamp for sample in bench.samples]
    assert stamps != sorted(stamps), "the dates jump"
    outbox = Outbox(SITE, "epoch", Cursor())
    told: list[Row] = []
    for sample in bench.samples:
        rows = outbox.rows_for(sample, period_s=1.0)
        outbox.kept(rows)
        told += rows
    assert [row.seq for row in told] == list(range(1, len(told) + 1))
    assert [row.at for row in told if not row.is_gap] == stamps
    assert len(told) - len(stamps) == 1, "two hours forward look like two hours without a sample, and are told as such"


# ---- E3: the days of 92 and 100 quarter hours ------------------------------------------------------------------------


def a_local_day(day: date) -> SiteSchedule:
    """A schedule with a setpoint of its own for each quarter hour of a day in Berlin."""
    begin = datetime.combine(day, datetime.min.time(), tzinfo=BERLIN).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=BERLIN).astimezone(UTC)
    count = int((end - begin).total_seconds() // 900)
    return a_schedule(moment_at(begin), *(float(index) for index in range(count)))


def followed(schedule: SiteSchedule, slot_at: Callable[[datetime], ScheduleSlot | None]) -> Counter[float]:
    """For how many of the day's minutes each slot was in force."""
    minutes = int((schedule.valid_until - schedule.valid_from).total_seconds() // 60)
    slots = [slot_at(schedule.valid_from + timedelta(minutes=minute)) for minute in range(minutes)]
    return Counter(slot.setpoint_kw for slot in slots if slot is not None)


DAYS = [(date(2024, 3, 31), 92), (date(2024, 10, 27), 100), (date(2024, 6, 15), 96)]


@pytest.mark.parametrize(("day", "slots"), DAYS)
def test_goal_e3_each_slot_of_a_local_day_is_followed_exactly_once(day: date, slots: int) -> None:
    schedule = a_local_day(day)

    minutes = followed(schedule, lambda at: slot_in_force(at, schedule, SITE))

    assert minutes == {float(index): 15 for index in range(slots)}
    energy_kwh = sum(setpoint_kw * count / 60.0 for setpoint_kw, count in minutes.items())
    assert energy_kwh == pytest.approx(sum(slot.setpoint_kw for slot in schedule.slots) / 4.0)


@pytest.mark.parametrize(("day", "slots"), DAYS[:2])
def test_goal_e3_the_control_slots_by_local_time_are_followed_twice_or_never(day: date, slots: int) -> None:
    schedule = a_local_day(day)
    by_clock = {slot.start.astimezone(BERLIN).strftime("%H:%M"): slot for slot in schedule.slots}

    def by_local_time(at: datetime) -> ScheduleSlot | None:
        local = at.astimezone(BERLIN)
        return by_clock.get(f"{local:%H}:{local.minute // 15 * 15:02}")

    minutes = followed(schedule, by_local_time)

    wrong = minutes != {float(index): 15 for index in range(slots)}
    assert wrong is (slots == 100), "in spring an hour is simply missing; in autumn one is followed twice"


# ---- E4: pauses ------------------------------------------------------------------------------------------------------

BURST_MAX = 15
"""Writes in the ten seconds after a pause: control taken back, limits, a setpoint, and a beat every third second."""


def pauses(count: int, seed: int) -> None:
    """The program stands still for 5 to 600 s, beside a station that does not; what falls due meanwhile has fallen."""
    chance = random.Random(seed)
    bench = Bench().online(-10.0, -10.0, -10.0, -10.0)
    for number in range(count):
        bench.schedule = a_schedule(bench.now, -10.0, -10.0, -10.0, -10.0)
        bench.give(schedule=bench.schedule).seconds(20)
        pause_s = chance.randint(5, 600)
        until = bench.now.at + timedelta(seconds=chance.uniform(1.0, pause_s - 1.0))
        acting = bench.send(bench.battery(-33.0, valid_until=until, command_id=f"acting-{number}"))
        waiting = bench.battery(-44.0, valid_until=until, command_id=f"waiting-{number}")
        bench.agent.admit(bench.now, waiting)
        bench.give(released=(waiting.command_id,))

        bench.rig.run(pause_s)
        written, sampled = len(bench.writes), len(bench.samples)
        bench.seconds(10)

        assert len(bench.writes) - written <= BURST_MAX, "nothing is caught up"
        assert len(bench.samples) - sampled <= 10
        assert {sample.active_command_id for sample in bench.samples[sampled:]} == {None}
        assert all(sample.control.wish_kw not in (-33.0, -44.0) for sample in bench.samples[sampled:])
        assert bench.record(waiting.command_id or "").status is CommandStatus.EXPIRED
        assert acting.status is CommandStatus.APPLIED
        bench.seconds(15)
        assert control_seen(bench), "whether it had tripped or not"


def test_goal_e4_whatever_the_pause_nothing_that_expired_in_it_acts_and_nothing_is_caught_up() -> None:
    pauses(6, seed=4)


@pytest.mark.soak
def test_goal_e4_two_hundred_pauses() -> None:
    pauses(200, seed=5)


# ---- D10: reboots ----------------------------------------------------------------------------------------------------


def control_seen(bench: Bench) -> bool | None:
    return bench.last.station.external_control


def reboots(count: int, seed: int) -> None:
    """At a random phase of a charging session: noticed, healed in order, and no energy ever falls."""
    chance = random.Random(seed)
    bench = Bench(Rig("reference_day", soc_pct=60.0)).online(-30.0, -30.0, -30.0, -30.0)
    for _ in range(count):
        bench.schedule = a_schedule(bench.now, -30.0, -30.0, -30.0, -30.0)
        bench.rig.plug(max_kw=90.0)
        bench.seconds(chance.randint(20, 90))
        told = len(bench.events)
        bench.rig.post.reboot()
        began_s = bench.now.s
        while control_seen(bench) is not None:
            bench.seconds(1)
            assert bench.now.s - began_s <= 15.0, "a lost station is noticed within 15 s"
        written = len(bench.writes)
        while not control_seen(bench):
            bench.seconds(1)
            assert bench.now.s - began_s <= 60.0 + 15.0, "in control again 15 s after it is back"
        names = [name for write in bench.writes[written:] for name in write.names]
        assert "management.operation_mode" in names
        assert names.index("management.clearance_kw") < names.index("management.operation_mode")
        bench.seconds(30)
        kinds = [event.kind for event in bench.events[told:]]
        assert EventKind.CONTROL_REGAINED in kinds or EventKind.MODE_CHANGED in kinds
        bench.rig.post.unplug(1)
        bench.seconds(3)
    energies = [sample.grid.import_kwh for sample in bench.samples if sample.grid.import_kwh is not None]
    assert energies == sorted(energies)
    assert all((car.session_kwh or 0.0) >= 0.0 for sample in bench.samples for car in sample.chargers)


def test_goal_d10_reboots_at_random_phases_are_noticed_and_healed_in_order() -> None:
    reboots(4, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_goal_d10_two_hundred_reboots() -> None:
    reboots(200, seed=2)


# ---- the deep drain of the field -------------------------------------------------------------------------------------


def drained_beside_an_unused_grid(*, ours: bool) -> int:
    """Seconds in which a battery at or below the reserve went on discharging while import stayed unused.

    A 157 kW car at a station whose floor is off, and a platform that wants battery first for ten minutes.
    """
    rig = Rig(soc_pct=24.0)
    rig.post.begin_fault("deep_drain")
    bench = Bench(rig).online()
    rig.plug(max_kw=157.0)
    if not ours:
        rig.take_control(clearance_kw=83.5, request_kw=0.0)
    seconds = 0
    for second in range(700):
        if ours:
            if second % 60 == 0:
                battery_first = ImportKw(import_kw=0.0)
                bench.send(SetGridRequest(site_id=SITE, timestamp=bench.now.at, params=battery_first))
            bench.seconds(1)
        else:
            rig.run(1)
            rig.write(MANAGEMENT.write(watchdog_interval_s=60))
        flows = rig.post.flows
        low = min(string.soc_pct for string in rig.post.strings) < 19.0
        seconds += low and flows.battery_1_kw + flows.battery_2_kw > 2.0 and flows.grid_kw < 80.0
    return seconds


def test_no_battery_is_drained_below_the_reserve_while_import_is_unused() -> None:
    assert drained_beside_an_unused_grid(ours=True) == 0


def test_the_control_a_controller_that_goes_on_asking_for_nothing_drains_it() -> None:
    assert drained_beside_an_unused_grid(ours=False) > 60


def lowest_soc_pct(seconds: int) -> tuple[Bench, float]:
    """Of a station without a floor of its own, beside a car that takes twice what may be imported."""
    rig = Rig(soc_pct=19.0)
    rig.post.begin_fault("deep_drain")
    bench = Bench(rig).online(*[0.0] * 4)
    rig.plug(max_kw=157.0)
    bench.seconds(seconds)
    return bench, min(string.soc_pct for string in rig.post.strings)


def test_c11_where_the_stations_own_floor_is_off_the_car_gets_what_import_leaves() -> None:
    bench, lowest_pct = lowest_soc_pct(300)

    assert lowest_pct >= 17.0
    assert (bench.last.grid.import_kw or 0.0) > 75.0, "import is used to its limit first"
    assert 60.0 < (bench.last.chargers[0].power_kw or 0.0) < 83.5

    bench.rig.post.unplug(1)
    bench.seconds(5)
    assert {control.ev_limit_kw for control in (bench.rig.read(span) for span in CONTROLS)} == {150.0}, "given back"
    assert not bench.agent.desk.held.throttled


def test_c11_the_control_without_ceilings_the_car_empties_the_battery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.amperio.site.agent.outlet_ceilings_kw", lambda *_, **__: None)

    assert lowest_soc_pct(300)[1] < 16.5


def test_c11_ceilings_are_remembered_over_a_restart_and_given_back() -> None:
    bench, _ = lowest_soc_pct(200)
    assert bench.agent.desk.held.throttled
    kept = next(each.keepsake for each in reversed(bench.settled) if each.keepsake is not None)
    bench.rig.post.unplug(1)

    again = Bench(bench.rig, keepsake=kept).seconds(10)

    assert bench.rig.read(CONTROLS[0]).ev_limit_kw == 150.0
    assert not again.agent.desk.held.throttled
