"""Controllers on one stretch as columns to draw and figures to read: what a report shows, without saying how.

Every controller is a `Track`: its key figures, its net cost day by day, and its quarter hours. Perfect foresight is
brought into the same shape, so that it stands in every table and plot beside the controllers that it judges.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
from msgspec import Struct

from services.enexa.planning.bounds import Bound, whole_battery
from services.enexa.simulation.evaluation import bound_of, run_eur, wanted_kw
from services.enexa.simulation.kpis import Kpis, kpis_of
from services.enexa.simulation.plant import (
    CHARGE,
    DISCHARGE,
    ENERGY,
    EV,
    EXPORT,
    IMPORT,
    OWN,
    PV_USED,
    Floats,
    Integers,
)
from services.enexa.simulation.site import NO_BATTERY, STEP_S, STEPS_PER_SLOT, Run, Stretch
from shared.energy.slots import MARKET_ZONE, day_end, day_start, local_day

HOURS = STEP_S / 3600


class Part(Struct, frozen=True, kw_only=True):
    """A day of the study, in quarter hours [first, last) from its start; `label` is the local day it begins on."""

    label: date
    first: int
    last: int
    sessions_count: int
    requested_kwh: float


class Track(Struct, frozen=True, kw_only=True):
    """One controller; columns are means of quarter hours (SOC: at their ends), `parts_eur` net costs per day."""

    name: str
    kpis: Kpis
    parts_eur: tuple[float, ...]
    import_kw: tuple[float, ...]
    battery_kw: tuple[float, ...]
    soc_pct: tuple[float, ...]


class Study(Struct, frozen=True, kw_only=True):
    """The first track is the baseline, the last one the bound where there is one (`bounded`).

    `regret_eur` says by cause what the controller that is judged did not capture; empty where it was not split.
    """

    title: str
    start: datetime
    parts: tuple[Part, ...]
    tracks: tuple[Track, ...]
    bounded: bool
    judged: str
    price_eur_per_mwh: tuple[float, ...]
    pv_kw: tuple[float, ...]
    ev_wanted_kw: tuple[float, ...]
    requested_kwh: float
    sessions_count: int
    plans_count: int
    regret_eur: dict[str, float]
    conditions: tuple[str, ...]
    command: str = ""

    def track(self, name: str) -> Track:
        return next(each for each in self.tracks if each.name == name)

    @property
    def baseline(self) -> Track:
        return self.tracks[0]

    @property
    def saved_eur(self) -> float:
        return self.baseline.kpis.net_eur - self.track(self.judged).kpis.net_eur

    @property
    def possible_eur(self) -> float | None:
        return self.baseline.kpis.net_eur - self.tracks[-1].kpis.net_eur if self.bounded else None

    @property
    def captured_ratio(self) -> float | None:
        """Uplift captured; None without a bound, or where there was less than half a cent to gain."""
        possible_eur = self.possible_eur
        return self.saved_eur / possible_eur if possible_eur is not None and possible_eur > 0.005 else None


def study_of(
    given: Stretch,
    runs: dict[str, Run],
    *,
    title: str,
    judged: str,
    bounded: bool,
    plans_count: int = 0,
    ladder: Sequence[Run] = (),
    conditions: Sequence[str] = (),
    command: str = "",
) -> Study:
    """The study of finished runs, the baseline first.

    `ladder` are runs of the judged controller that know the cars, and the cars and prices: they split the regret.
    """
    tracks = dict(runs)
    if bounded:
        tracks["perfect"] = run_of_bound(given, bound_of(given, (*runs.values(), *ladder)))
    parts = parts_of(given)
    regret = {}
    if bounded and ladder:
        steps = [kpis_of(run).net_eur for run in (runs[judged], *ladder, tracks["perfect"])]
        causes = ("cars not known beforehand", "prices beyond publication not known", "model, horizon and control")
        regret = {cause: steps[index] - steps[index + 1] for index, cause in enumerate(causes)}
    return Study(
        title=title,
        start=given.start,
        parts=parts,
        tracks=tuple(_track(name, run, parts) for name, run in tracks.items()),
        bounded=bounded,
        judged=judged,
        price_eur_per_mwh=_quarters(given.price_eur_per_mwh),
        pv_kw=_quarters(given.pv_kw),
        ev_wanted_kw=_quarters(wanted_kw(given)),
        requested_kwh=float(given.car_kwh.sum()),
        sessions_count=len(given.visits),
        plans_count=plans_count,
        regret_eur=regret,
        conditions=tuple(conditions),
        command=command,
    )


def run_of_bound(given: Stretch, bound: Bound) -> Run:
    """Perfect foresight as if it had been run; what it leaves unserved is missing to the cars that were there."""
    run = Run(given)
    record = run.record
    rows = {IMPORT: bound.import_kwh, EXPORT: bound.export_kwh, PV_USED: bound.pv_kwh,
            CHARGE: bound.charge_kwh, DISCHARGE: bound.discharge_kwh}  # fmt: skip
    for row, energy_kwh in rows.items():
        record[row] = energy_kwh / HOURS
    record[ENERGY] = bound.energy_kwh
    into_kw = record[IMPORT] - record[EXPORT] + record[PV_USED] + record[DISCHARGE] - record[CHARGE]
    record[EV] = np.maximum((into_kw - given.own_kw) / (1 + given.ev_loss_ratio), 0.0)
    record[OWN] = into_kw - record[EV]
    run.state[0] = bound.end_kwh
    run.rest_kwh[:] = 0.0
    for step in np.flatnonzero(bound.unserved_by_step_kwh > 1e-9):
        there = np.flatnonzero((given.car_first <= step) & (step < given.car_last))
        if len(there):
            run.rest_kwh[there[0]] += bound.unserved_by_step_kwh[step]
    return run


def parts_of(given: Stretch) -> tuple[Part, ...]:
    """Local days where the stretch begins at midnight, else 24 hours each."""
    end = given.at(given.steps)
    edges = [given.start]
    whole = day_start(local_day(given.start)) == given.start
    while edges[-1] < end:
        following = day_end(local_day(edges[-1])) if whole else edges[-1] + timedelta(days=1)
        edges.append(min(following, end))
    parts = []
    for begin, until in pairwise(edges):
        first, last = (round((at - given.start).total_seconds() / STEP_S) for at in (begin, until))
        cars = _cars(given, first, last)
        parts.append(
            Part(
                label=begin.astimezone(MARKET_ZONE).date(),
                first=first // STEPS_PER_SLOT,
                last=-(-last // STEPS_PER_SLOT),
                sessions_count=len(cars),
                requested_kwh=float(given.car_kwh[cars].sum()),
            )
        )
    return tuple(parts)


def _cars(given: Stretch, first: int, last: int) -> Integers:
    return np.flatnonzero((given.car_first >= first) & (given.car_first < last)).astype(np.int64)


def _track(name: str, run: Run, parts: Sequence[Part]) -> Track:
    given, record = run.given, run.record
    capacity_kwh = (whole_battery(given.plant) or NO_BATTERY).capacity_kwh or 1.0
    money = []
    for part in parts:
        first, last = part.first * STEPS_PER_SLOT, min(part.last * STEPS_PER_SLOT, given.steps)
        money.append(run_eur(run, first, last, _cars(given, first, last)))
    soc_pct = record[ENERGY] / capacity_kwh * 100
    return Track(
        name=name,
        kpis=kpis_of(run),
        parts_eur=tuple(money),
        import_kw=_quarters(record[IMPORT] - record[EXPORT]),
        battery_kw=_quarters(record[DISCHARGE] - record[CHARGE]),
        soc_pct=tuple(np.round(soc_pct[STEPS_PER_SLOT - 1 :: STEPS_PER_SLOT], 2).tolist()),
    )


def _quarters(minutes: Floats) -> tuple[float, ...]:
    whole = len(minutes) // STEPS_PER_SLOT * STEPS_PER_SLOT
    return tuple(np.round(minutes[:whole].reshape(-1, STEPS_PER_SLOT).mean(axis=1), 3).tolist())
