"""Means per minute and per quarter hour, kept as sums so that late samples fold in (pure)."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from shared.contract.reads import Point
from shared.contract.telemetry import Telemetry

STEPS = 10_000.0
"""A mean is shown to four decimals."""
Line = tuple[float, int]
"""A sum and the count of readings in it."""


class Bucket:
    """Sums of one interval, for each of the lines that charts show in the order of `schema.VALUES`."""

    __slots__ = ("lines", "samples")

    def __init__(self, samples: int, lines: list[Line]) -> None:
        self.samples = samples
        self.lines = lines

    def add(self, other: "Bucket") -> None:
        self.samples += other.samples
        self.lines = [(a + c, b + d) for (a, b), (c, d) in zip(self.lines, other.lines, strict=True)]


def grid_kw(sample: Telemetry) -> float | None:
    """Import + and export -, or None where the meter said neither."""
    grid = sample.grid
    if grid.import_kw is None and grid.export_kw is None:
        return None
    return (grid.import_kw or 0.0) - (grid.export_kw or 0.0)


def ev_kw(sample: Telemetry) -> float | None:
    """What all cars draw, or None where no outlet said anything."""
    known = [each.power_kw for each in sample.chargers if each.power_kw is not None]
    return math.fsum(known) if known else None


def buckets(samples: Iterable[Telemetry]) -> dict[tuple[int, int], Bucket]:
    """Sums by (resolution in seconds, start in seconds since 1970)."""
    minutes: dict[int, list[Telemetry]] = {}
    for sample in samples:
        minute = int(sample.timestamp.timestamp()) // 60
        known = minutes.get(minute)
        if known is None:
            minutes[minute] = [sample]
        else:
            known.append(sample)
    made: dict[tuple[int, int], Bucket] = {}
    for minute, within in minutes.items():
        bucket = made[60, minute * 60] = _bucket(within)
        quarter = (900, minute * 60 // 900 * 900)
        if quarter in made:
            made[quarter].add(bucket)
        else:
            made[quarter] = Bucket(bucket.samples, bucket.lines)
    return made


def _bucket(samples: list[Telemetry]) -> Bucket:
    return Bucket(
        len(samples),
        [
            _line([each.battery.power_kw for each in samples]),
            _line([grid_kw(each) for each in samples]),
            _line([ev_kw(each) for each in samples]),
            _line([each.pv_kw for each in samples]),
            _line([each.aux_kw for each in samples]),
            _line([each.battery.soc_pct for each in samples]),
        ],
    )


def _line(values: list[float | None]) -> Line:
    known = [value for value in values if value is not None]
    return sum(known), len(known)


def raw_point(sample: Telemetry) -> Point:
    return Point(
        at=sample.timestamp,
        battery_kw=sample.battery.power_kw,
        grid_kw=grid_kw(sample),
        ev_kw=ev_kw(sample),
        pv_kw=sample.pv_kw,
        aux_kw=sample.aux_kw,
        soc_pct=sample.battery.soc_pct,
    )


def mean_point(start_s: int, samples: int, *means: float | None) -> Point:
    """One interval of a series; a line without a single reading stays None."""
    battery, grid, ev, pv, aux, soc = [None if each is None else round(each * STEPS) / STEPS for each in means]
    return Point(
        at=datetime.fromtimestamp(start_s, UTC),
        samples=samples,
        battery_kw=battery,
        grid_kw=grid,
        ev_kw=ev,
        pv_kw=pv,
        aux_kw=aux,
        soc_pct=soc,
    )
