"""Gather what a plan depends on: the configuration, the newest sample, published prices, past sessions (pure)."""

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import (
    BatteryString,
    Car,
    ImportCap,
    PlanRequest,
    Plant,
    PvArray,
    SessionRecord,
)
from services.enexa.planning.tuning import Tuning
from shared.contract.config import SiteConfig
from shared.contract.events import Event, EventKind
from shared.contract.telemetry import Mode, Telemetry
from shared.energy.slots import local_day

SESSIONS_MAX = 2000
HISTORY_DAYS = 60
IDLE_AUX_KW = 0.4
IDLE_EV_KW = 0.5
CAP_MARGIN_KW = 1.0


def plan_request(
    config: SiteConfig,
    sample: Telemetry,
    prices: PriceSeries,
    *,
    now: datetime,
    version: int,
    recent: Iterable[Telemetry] = (),
    events: Sequence[Event] = (),
    observed_since: datetime | None = None,
    peak_so_far_kw: float = 0.0,
) -> PlanRequest:
    """The facts for the planner's worker; nothing here is estimated that was measured."""
    return PlanRequest(
        site_id=config.site_id,
        version=version,
        now=now,
        plant=plant_of(config),
        tariff=tariff_of(config),
        prices=prices,
        soc_pct=socs_of(config, sample),
        cars=cars_of(sample, config),
        sessions=sessions_of(events),
        observed_days=_days(observed_since, now),
        own_consumption_kw=own_consumption_kw(recent),
        pv=pv_of(config),
        caps=_caps(config, sample, now),
        peak_so_far_kw=max(peak_so_far_kw, config.tariff.month_peak_so_far_kw),
        tuning=Tuning(scenario_count=config.planner.scenarios, horizon_h=config.planner.horizon_h),
    )


def plant_of(config: SiteConfig) -> Plant:
    """The configuration as the planner sees it; a battery stops serving cars at the reserve, not at the floor."""
    battery, grid = config.battery, config.grid
    strings = tuple(
        BatteryString(
            capacity_kwh=unit.capacity_kwh,
            max_charge_kw=unit.charge_max_kw,
            max_discharge_kw=unit.discharge_max_kw,
            charge_efficiency_ratio=battery.charge_efficiency,
            discharge_efficiency_ratio=battery.discharge_efficiency,
            soc_min_pct=max(battery.soc_min_pct, battery.soc_reserve_pct),
            soc_max_pct=battery.soc_max_pct,
            derating_below_pct=battery.derate_below_soc_pct,
            derating_floor_pct=battery.soc_min_pct,
        )
        for unit in battery.units
    )
    return Plant(
        strings=strings,
        grid_import_limit_kw=grid.import_limit_kw,
        grid_apparent_limit_kva=grid.connection_kva,
        export_limit_kw=grid.export_limit_kw if grid.export_allowed else 0.0,
        max_charger_kw=max(*(each.coupled_max_kw for each in config.chargers), 1.0),
        charger_count=len(config.chargers),
    )


def tariff_of(config: SiteConfig) -> Tariff:
    tariff = config.tariff
    return Tariff(
        fees_eur_per_mwh=tariff.fees_eur_per_kwh * 1000.0,
        retail_eur_per_kwh=tariff.retail_eur_per_kwh,
        wear_cycle_eur_per_kwh=tariff.wear_eur_per_kwh,
        demand_charge_eur_per_kw_year=tariff.demand_charge_eur_per_kw_year,
        export_discount_eur_per_mwh=tariff.export_fee_eur_per_kwh * 1000.0,
        export_floor_eur_per_mwh=tariff.export_worthless_below_eur_per_kwh * 1000.0,
        unserved_eur_per_kwh=tariff.unserved_eur_per_kwh,
        flat_eur_per_mwh=tariff.flat_eur_per_kwh * 1000.0,
    )


def socs_of(config: SiteConfig, sample: Telemetry) -> tuple[float, ...]:
    """One state of charge per string; a string that says nothing is taken to stand where the battery stands, and a
    battery that says nothing at the reserve, which gives away the least."""
    whole = sample.battery.soc_pct if sample.battery.soc_pct is not None else config.battery.soc_reserve_pct
    said = [unit.soc_pct for unit in sample.battery.units]
    count = len(config.battery.units)
    padded = [*said[:count], *[None] * (count - len(said))]
    return tuple(whole if soc is None else soc for soc in padded)


def cars_of(sample: Telemetry, config: SiteConfig) -> tuple[Car, ...]:
    """The cars that are plugged now, as far as anything is known of them."""
    limits = {index: charger.coupled_max_kw for index, charger in enumerate(config.chargers)}
    return tuple(
        Car(
            power_kw=charger.power_kw or 0.0,
            plugged_at=_plugged_at(charger.session_id, sample.timestamp),
            energy_kwh=charger.session_kwh or 0.0,
            soc_pct=charger.ev_soc_pct,
            max_power_kw=charger.ev_max_kw or limits.get(index),
        )
        for index, charger in enumerate(sample.chargers)
        if charger.plugged
    )


def _plugged_at(session_id: str | None, at: datetime) -> datetime:
    """A session's id ends in the second it began; without one the car is taken to have just arrived."""
    tail = (session_id or "").rpartition("-")[2]
    if not tail.isdigit() or len(tail) > 11:
        return at
    began = datetime.fromtimestamp(int(tail), at.tzinfo)
    return min(began, at)


def sessions_of(events: Sequence[Event]) -> tuple[SessionRecord, ...]:
    """Finished sessions from their events, oldest first."""
    found = []
    for event in events:
        energy, seconds = event.facts.get("energy_kwh"), event.facts.get("duration_s")
        if event.kind is not EventKind.SESSION_ENDED or not _positive(energy) or not _positive(seconds):
            continue
        assert isinstance(energy, int | float)
        assert isinstance(seconds, int | float)
        peak = event.facts.get("peak_kw")
        found.append(
            SessionRecord(
                start=event.timestamp - timedelta(seconds=float(seconds)),
                until=event.timestamp,
                energy_kwh=float(energy),
                max_power_kw=float(peak) if isinstance(peak, int | float) and peak > 0 else energy / seconds * 3600.0,
            )
        )
    return tuple(sorted(found, key=lambda each: each.start)[-SESSIONS_MAX:])


def own_consumption_kw(recent: Iterable[Telemetry]) -> float:
    """The mean of what the site draws with nobody there; a usual value until it was seen."""
    seen = [
        sample.aux_kw
        for sample in recent
        if sample.aux_kw is not None and all((each.power_kw or 0.0) < IDLE_EV_KW for each in sample.chargers)
    ]
    return math.fsum(seen) / len(seen) if seen else IDLE_AUX_KW


def pv_of(config: SiteConfig) -> PvArray | None:
    pv = config.pv
    if pv is None or pv.peak_kw <= 0.0:
        return None
    return PvArray(
        peak_kw=pv.peak_kw,
        latitude_deg=pv.latitude_deg,
        longitude_deg=pv.longitude_deg,
        tilt_deg=pv.tilt_deg,
        azimuth_deg=pv.azimuth_deg,
        loss_ratio=pv.loss_ratio,
    )


def _caps(config: SiteConfig, sample: Telemetry, now: datetime) -> tuple[ImportCap, ...]:
    """A clearance below our own limit is the grid operator's, in force until it is seen to be lifted; unless the
    middleware acts on its own, for then it is the middleware's fallback and ends with it."""
    shown_kw = sample.grid.clearance_kw
    if (
        sample.station.mode not in (None, Mode.ONLINE)
        or shown_kw is None
        or shown_kw >= config.grid.import_limit_kw - CAP_MARGIN_KW
    ):
        return ()
    return (ImportCap(start=now, until=None, import_kw=shown_kw),)


def _days(since: datetime | None, now: datetime) -> tuple[date, ...]:
    """The whole local days that were watched, today excluded."""
    if since is None:
        return ()
    first, today = local_day(since) + timedelta(days=1), local_day(now)
    count = min(max((today - first).days, 0), HISTORY_DAYS)
    return tuple(today - timedelta(days=offset) for offset in range(count, 0, -1))


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
