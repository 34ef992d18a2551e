"""Means per minute and per quarter hour, kept as sums so that late samples fold in (pure)."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from shared.contract.reads import Point
from shared.contract.telemetry import Telemetry

RESOLUTIONS_S = (60, 900)
Values = dict[str, float | None]


class Bucket:
    """Sums of one interval."""

    __slots__ = ("counts", "samples", "sums")

    def __init__(self) -> None:
        self.samples = 0
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Values) -> None:
        self.samples += 1
        for name, value in values.items():
            if value is not None:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1


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


def values_of(sample: Telemetry) -> Values:
    """The six lines that charts show."""
    return {
        "battery_kw": sample.battery.power_kw,
        "grid_kw": grid_kw(sample),
        "ev_kw": ev_kw(sample),
        "pv_kw": sample.pv_kw,
        "aux_kw": sample.aux_kw,
        "soc_pct": sample.battery.soc_pct,
    }


def buckets(samples: Iterable[Telemetry]) -> dict[tuple[int, int], Bucket]:
    """Sums by (resolution in seconds, start in seconds since 1970)."""
    made: dict[tuple[int, int], Bucket] = {}
    for sample in samples:
        second = int(sample.timestamp.timestamp())
        values = values_of(sample)
        for resolution_s in RESOLUTIONS_S:
            key = (resolution_s, second - second % resolution_s)
            bucket = made.get(key)
            if bucket is None:
                bucket = made[key] = Bucket()
            bucket.add(values)
    return made


def raw_point(sample: Telemetry) -> Point:
    values = values_of(sample)
    return Point(at=sample.timestamp, **values)  # type: ignore[arg-type]  # the six names are the point's own


def mean_point(start_s: int, samples: int, sums: Values, counts: dict[str, int]) -> Point:
    """The means of one interval; a line without a single reading stays None."""
    means = {name: round(total / counts[name], 4) for name, total in sums.items() if total is not None and counts[name]}
    return Point(at=datetime.fromtimestamp(start_s, UTC), samples=samples, **means)
