"""The live page's frame: directions, freshness, the slot in force, and nothing that was never measured."""

from datetime import datetime, timedelta

import msgspec
import pytest

from services.enexa.insight.facts import IntentFacts, Link, LinkState, SiteFacts
from services.enexa.insight.monitoring import MODES, Freshness, frame, freshness, slot_in_force
from shared.contract.config import (
    BatteryConfig,
    BatteryUnitConfig,
    Buffering,
    ChargerConfig,
    PvConfig,
    SafetyConfig,
    SiteConfig,
)
from shared.contract.events import Severity, SiteStatus
from shared.contract.reads import Alert, LatestTelemetry
from shared.contract.schedule import ScheduleSlot, SiteSchedule, Zone
from shared.contract.telemetry import Mode, Telemetry
from shared.contract.wire import Quality
from tests.unit.enexa.insight.samples import AT, sample

CONFIG = SiteConfig(
    site_id="SITE001",
    version=3,
    updated_at=AT,
    author="test",
    battery=BatteryConfig(units=(BatteryUnitConfig(id="BAT1"), BatteryUnitConfig(id="BAT2"))),
    chargers=(ChargerConfig(id="CHG1"), ChargerConfig(id="CHG2")),
    safety=SafetyConfig(watchdog_s=12),
)


def schedule(start: datetime = AT, count: int = 4) -> SiteSchedule:
    return SiteSchedule(
        site_id="SITE001",
        version=7,
        valid_from=start,
        valid_until=start + timedelta(minutes=15 * count),
        slots=tuple(
            ScheduleSlot(
                start=start + timedelta(minutes=15 * index),
                setpoint_kw=-10.0 * index,
                soc_target_pct=50.0 + index,
                reserve_pct=20.0,
                import_gate_kw=60.0,
                price_eur_per_mwh=100.0 - 10 * index,
                zone=Zone.CHEAP,
                reason="cheap_slot",
                marginal_eur_per_kwh=0.2,
            )
            for index in range(count)
        ),
    )


def facts(seen: Telemetry | None = None, *, after_s: float = 1.0, **more: object) -> SiteFacts:
    at = AT + timedelta(seconds=after_s)
    latest = LatestTelemetry(sample=seen, age_s=after_s, received_at=AT) if seen else None
    base = SiteFacts(site_id="SITE001", name="Charging park 1", at=at, speed=1.0, latest=latest, config=CONFIG)
    return msgspec.structs.replace(base, **more)


def test_each_flow_points_into_the_bus_or_out_of_it() -> None:
    view = frame(facts(sample(battery_kw=-20.0, ev_kw=(50.0, 0.0), aux_kw=3.0)))
    directions = {flow.node: flow.direction for flow in view.flows}

    assert directions == {"grid": 1, "string1": -1, "string2": -1, "charger1": -1, "charger2": 0, "own": -1}


def test_the_flows_of_a_frame_add_up_to_nothing() -> None:
    view = frame(facts(sample(battery_kw=33.0, ev_kw=(120.0, 31.0), aux_kw=9.0, pv_kw=12.0)))

    assert sum(flow.power_kw or 0.0 for flow in view.flows) == pytest.approx(0.0)


def test_pv_is_in_the_picture_only_where_the_site_has_it() -> None:
    with_pv = msgspec.structs.replace(CONFIG, pv=PvConfig(peak_kw=51.6))

    assert "pv" not in {flow.node for flow in frame(facts(sample())).flows}
    assert "pv" in {flow.node for flow in frame(facts(sample(), config=with_pv)).flows}
    assert "pv" in {flow.node for flow in frame(facts(sample(pv_kw=0.0))).flows}


@pytest.mark.parametrize(
    ("age_s", "speed", "expected"),
    [
        (None, 1.0, Freshness.NONE),
        (0.0, 1.0, Freshness.LIVE),
        (5.0, 1.0, Freshness.LIVE),
        (5.1, 1.0, Freshness.STALE),
        (60.0, 1.0, Freshness.STALE),
        (60.1, 1.0, Freshness.LOST),
        (60.0, 60.0, Freshness.LIVE),
        (2000.0, 60.0, Freshness.LOST),
    ],
)
def test_freshness_by_age_and_speed(age_s: float | None, speed: float, expected: Freshness) -> None:
    assert freshness(age_s, speed) is expected


def test_a_site_that_never_spoke_shows_dashes_and_no_zeros() -> None:
    view = frame(facts(None))

    assert view.freshness is Freshness.NONE
    assert view.age_s is None
    assert all(flow.power_kw is None for flow in view.flows)
    assert view.soc_pct is None
    assert view.watchdog_s is None
    assert view.buffer.samples is None
    assert view.mode is None
    assert "No data" in view.headline


def test_a_sample_from_a_clock_that_runs_ahead_has_age_zero() -> None:
    assert frame(facts(sample(at=AT + timedelta(seconds=9)))).age_s == 0.0


def test_every_mode_has_a_tone_and_a_sentence() -> None:
    assert set(MODES) == set(Mode)
    for mode in Mode:
        view = frame(facts(sample(mode=mode)))
        assert (view.mode, view.mode_tone, view.mode_text) == (mode, *MODES[mode])


def test_the_slot_in_force_ends_where_the_next_begins() -> None:
    plan = schedule()
    second = AT + timedelta(minutes=15)
    inside = slot_in_force(plan, second + timedelta(seconds=1))

    assert slot_in_force(plan, AT - timedelta(seconds=1)) is None
    assert slot_in_force(plan, plan.valid_until) is None
    assert inside is not None
    assert (inside[0].start, inside[1]) == (second, second + timedelta(minutes=15))


def test_the_price_comes_from_the_plan_and_else_from_the_market() -> None:
    planned = frame(facts(sample(), schedule=schedule(), price_eur_per_mwh=55.0))
    unplanned = frame(facts(sample(), price_eur_per_mwh=55.0))

    assert planned.price_eur_per_mwh == 100.0
    assert planned.plan is not None
    assert planned.plan.next_price_eur_per_mwh == 90.0
    assert unplanned.price_eur_per_mwh == 55.0
    assert unplanned.plan is None


def test_the_buffer_is_told_by_the_status_report_and_else_by_the_sample() -> None:
    status = SiteStatus(site_id="SITE001", online=True, timestamp=AT, buffer=Buffering(samples=120, events=2))

    assert frame(facts(sample(), status=status, after_s=4.0)).buffer.samples == 120
    assert frame(facts(sample(), status=status, after_s=4.0)).buffer.age_s == 4.0
    assert frame(facts(sample())).buffer.samples == 3


def test_links_say_nothing_of_the_device_when_amperio_is_not_heard() -> None:
    states = {link.name: link.state for link in frame(facts(sample(), after_s=300.0)).links}

    assert states["amperio_enexa"] is LinkState.DOWN
    assert states["amperio_chargepost"] is LinkState.UNKNOWN
    assert states["enexa_amperio"] is LinkState.UNKNOWN


def test_a_lost_device_is_a_link_that_is_down() -> None:
    middleware = Link(name="enexa_amperio", label="Enexa → Amperio", state=LinkState.UP)
    view = frame(facts(sample(mode=Mode.DEVICE_LOST), middleware=middleware))
    states = {link.name: link.state for link in view.links}

    assert states == {
        "enexa_amperio": LinkState.UP,
        "amperio_enexa": LinkState.UP,
        "amperio_chargepost": LinkState.DOWN,
    }


def test_a_stale_reading_marks_only_its_own_part() -> None:
    marked = msgspec.structs.replace(sample(), quality={"battery.units[1].soc_pct": Quality.STALE})
    view = frame(facts(marked))

    assert [string.suspect for string in view.strings] == [False, True]
    assert not any(charger.suspect for charger in view.chargers)


def test_only_open_alerts_are_shown_and_all_are_counted() -> None:
    alerts = tuple(
        Alert(
            alert_id=f"A{index}",
            site_id="SITE001",
            severity=Severity.WARNING,
            code="x",
            text="t",
            raised_at=AT,
            cleared_at=AT if index == 0 else None,
        )
        for index in range(8)
    )
    view = frame(facts(sample(), alerts=alerts))

    assert view.alerts_open_count == 7
    assert len(view.alerts) == 5
    assert all(alert.cleared_at is None for alert in view.alerts)


def test_the_gate_that_fired_explains_the_present_rather_than_the_plan() -> None:
    intent = IntentFacts(setpoint_kw=-20.0, reason="near_full", gate="soc")
    view = frame(facts(sample(battery_kw=-20.0), schedule=schedule(), intent=intent))

    assert "nearly full" in view.headline


def test_a_frame_survives_the_wire() -> None:
    view = frame(facts(sample(), schedule=schedule()))

    assert msgspec.json.decode(msgspec.json.encode(view))["plan"]["version"] == 7
