"""Columns for the charts: what was measured, what was planned for it, and the gaps, which stay gaps.

Times are whole seconds since 1970 (UTC); the browser turns them into local time. A None between two points is a break
in the line. Whatever is thinned is thinned by means over whole groups, so that no chart shows a point nobody measured.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import fmean

from msgspec import Struct

from shared.contract.reads import Point, SeriesGap
from shared.contract.schedule import ScheduleSlot, SiteSchedule

MEASURED = ("battery_kw", "grid_kw", "ev_kw", "pv_kw", "aux_kw", "soc_pct")


class GapSpan(Struct, frozen=True, kw_only=True):
    """A stretch without data."""

    from_s: int
    until_s: int
    reason: str


class Measured(Struct, frozen=True, kw_only=True):
    """What happened; all columns have the length of `at_s`, which stands at the middle of each mean."""

    at_s: tuple[int, ...]
    battery_kw: tuple[float | None, ...]
    grid_kw: tuple[float | None, ...]
    ev_kw: tuple[float | None, ...]
    pv_kw: tuple[float | None, ...]
    aux_kw: tuple[float | None, ...]
    soc_pct: tuple[float | None, ...]
    gaps: tuple[GapSpan, ...]
    completeness_pct: float
    step_s: float


class Planned(Struct, frozen=True, kw_only=True):
    """What was planned, slot by slot: for a slot of the past the plan that was in force when it began.

    `soc_target_pct` belongs to the end of its slot (`end_s`).
    """

    start_s: tuple[int, ...]
    end_s: tuple[int, ...]
    setpoint_kw: tuple[float, ...]
    soc_target_pct: tuple[float, ...]
    reserve_pct: tuple[float, ...]
    import_gate_kw: tuple[float, ...]
    price_eur_per_mwh: tuple[float, ...]
    marginal_eur_per_kwh: tuple[float, ...]
    ev_kw: tuple[float, ...]
    zone: tuple[str, ...]
    reason: tuple[str, ...]
    version: tuple[int, ...]


class Chart(Struct, frozen=True, kw_only=True):
    """One answer of the chart endpoint."""

    site_id: str
    from_s: int
    until_s: int
    now_s: int
    measured: Measured
    planned: Planned
    ghost: Planned | None
    """The plan before the present one, from now on."""
    reserve_pct: float | None = None
    soc_max_pct: float | None = None
    import_limit_kw: float | None = None


def measured(
    points: Sequence[Point],
    declared: Sequence[SeriesGap],
    *,
    start: datetime,
    until: datetime,
    step_s: float = 60.0,
    points_max: int = 480,
) -> Measured:
    """Columns with at most about `points_max` points, broken where the data is.

    Gaps are the holes between points, and before the first and after the last one; where the sender declared why,
    the reason is its own.
    """
    size = max(1, -(-len(points) // points_max))
    runs = list(_runs(points, step_s))
    groups = [group for run in runs for group in (*_groups(run, size), None)]
    at_s = tuple(
        _middle_s(group, step_s) if group else _after_s(groups, index, step_s) for index, group in enumerate(groups)
    )
    columns = {name: tuple(_mean(group, name) if group else None for group in groups) for name in MEASURED}
    gaps = _gaps(runs, declared, start, until, step_s)
    lost_s = sum(gap.until_s - gap.from_s for gap in gaps)
    span_s = max(1.0, (until - start).total_seconds())
    return Measured(
        at_s=at_s,
        gaps=gaps,
        completeness_pct=round(max(0.0, 100.0 * (1.0 - lost_s / span_s)), 2),
        step_s=step_s * size,
        **columns,
    )


def _gaps(
    runs: list[list[Point]], declared: Sequence[SeriesGap], start: datetime, until: datetime, step_s: float
) -> tuple[GapSpan, ...]:
    """What lies between the runs; an edge counts only from one whole interval on: the last is being filled."""
    edges = [(_s(run[0].at), _s(run[-1].at) + int(step_s)) for run in runs]
    ends = [_s(start), *(end for _, end in edges)]
    starts = [*(begin for begin, _ in edges), _s(until)]
    holes = [(end, begin) for end, begin in zip(ends, starts, strict=True) if begin - end > step_s]
    return tuple(GapSpan(from_s=begin, until_s=end, reason=_why(begin, end, declared)) for begin, end in holes)


def _why(begin_s: int, end_s: int, declared: Sequence[SeriesGap]) -> str:
    named = (gap.reason for gap in declared if _s(gap.from_) < end_s and _s(gap.until) > begin_s)
    return next(named, "no data")


def _runs(points: Sequence[Point], step_s: float) -> Iterable[list[Point]]:
    """Stretches without a hole; a missing interval ends one."""
    run: list[Point] = []
    for point in points:
        if run and (point.at - run[-1].at).total_seconds() > 1.5 * step_s:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _groups(run: list[Point], size: int) -> Iterable[list[Point]]:
    return (run[first : first + size] for first in range(0, len(run), size))


def _mean(group: list[Point], name: str) -> float | None:
    values = [value for point in group if (value := getattr(point, name)) is not None]
    return round(fmean(values), 2) if values else None


def _middle_s(group: list[Point], step_s: float) -> int:
    span_s = (group[-1].at - group[0].at).total_seconds() + step_s
    return _s(group[0].at) + int(span_s / 2)


def _after_s(groups: list[list[Point] | None], index: int, step_s: float) -> int:
    """The break stands one second after the mean before it."""
    before = groups[index - 1]
    assert before is not None, "a break follows a point"
    return _middle_s(before, step_s) + 1


def _s(at: datetime) -> int:
    return int(at.timestamp())


def planned(plans: Sequence[SiteSchedule], start: datetime, until: datetime) -> Planned:
    """Slots that touch [start, until). Of several plans for one slot, the last one made before the slot began counts.

    `plans` are in the order in which they came into force.
    """
    chosen: dict[datetime, tuple[ScheduleSlot, datetime, int]] = {}
    for plan in plans:
        made_at = plan.made_at or plan.valid_from
        for slot, end in _slots(plan):
            late = slot.start in chosen and slot.start < made_at
            if end > start and slot.start < until and not late:
                chosen[slot.start] = (slot, end, plan.version)
    return _planned([chosen[at] for at in sorted(chosen)])


def ghost(before: SiteSchedule | None, now: datetime, until: datetime) -> Planned | None:
    """What the plan before the present one wanted from now on."""
    if before is None:
        return None
    kept = [(slot, end, before.version) for slot, end in _slots(before) if end > now and slot.start < until]
    return _planned(kept) if kept else None


def _slots(plan: SiteSchedule) -> list[tuple[ScheduleSlot, datetime]]:
    ends = [slot.start for slot in plan.slots[1:]] + [plan.valid_until]
    return list(zip(plan.slots, ends, strict=True))


def _planned(chosen: list[tuple[ScheduleSlot, datetime, int]]) -> Planned:
    assert all(before[0].start < after[0].start for before, after in pairwise(chosen))
    return Planned(
        start_s=tuple(_s(slot.start) for slot, _, _ in chosen),
        end_s=tuple(_s(end) for _, end, _ in chosen),
        setpoint_kw=tuple(slot.setpoint_kw for slot, _, _ in chosen),
        soc_target_pct=tuple(slot.soc_target_pct for slot, _, _ in chosen),
        reserve_pct=tuple(slot.reserve_pct for slot, _, _ in chosen),
        import_gate_kw=tuple(slot.import_gate_kw for slot, _, _ in chosen),
        price_eur_per_mwh=tuple(slot.price_eur_per_mwh for slot, _, _ in chosen),
        marginal_eur_per_kwh=tuple(slot.marginal_eur_per_kwh for slot, _, _ in chosen),
        ev_kw=tuple(slot.ev_kw for slot, _, _ in chosen),
        zone=tuple(str(slot.zone) for slot, _, _ in chosen),
        reason=tuple(slot.reason for slot, _, _ in chosen),
        version=tuple(version for _, _, version in chosen),
    )
