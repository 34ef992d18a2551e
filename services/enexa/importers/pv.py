"""PV from files: a generic CSV of measured or modelled power, and PVGIS's hourly JSON."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from services.enexa.importers.checks import instant, number
from services.enexa.importers.files import text_of
from services.enexa.market.pv import PvSeries
from shared.errors import BadInput

INTERVALS_S = (60, 300, 600, 900, 1800, 3600)
MAX_KW = 1_000_000.0
"""A country fits; a column in W under the name of kW does not, unless its roof is small."""
BELOW_KW = 0.5
"""Converters draw a little at night; more than that below zero is a mistake of sign."""

STARTS = ("timestamp_utc", "start_utc", "start")
# What a power column may be called, and what one of its units is in kW.
POWERS = {"pv_kw": 1.0, "pv_ac_kw": 1.0, "power_kw": 1.0, "pv_w": 0.001, "pv_mw": 1000.0}
PER_KWP = ("pv_kw_per_kwp", "pv_pu", "pv_pu_of_p9995", "pv4_pu", "pv_model_south30_kw_per_kwp")
"""Shares of the peak power: these need to be told the peak."""


class PvgisHour(Struct, rename={"power_w": "P"}):
    """One hour of PVGIS: `time` is UTC as YYYYMMDD:HHMM."""

    time: str
    power_w: float | None = None


class PvgisOutputs(Struct):
    hourly: list[PvgisHour]


class Pvgis(Struct):
    """re.jrc.ec.europa.eu seriescalc, with outputformat=json and pvcalculation=1."""

    outputs: PvgisOutputs


def read_pv(path: Path, *, peak_kw: float | None = None) -> PvSeries:
    """The power of a file; `peak_kw` scales columns that hold shares of the peak. Raises BadInput with the remedy."""
    return parse_pv(text_of(path, "PV"), path.name, peak_kw=peak_kw)


def parse_pv(text: str, name: str, *, peak_kw: float | None = None) -> PvSeries:
    """The same for text that is already here."""
    if text.lstrip().startswith("{"):
        return _series(_pvgis_rows(text, name), name)
    return _series(_csv_rows(text, name, peak_kw), name)


def _pvgis_rows(text: str, name: str) -> list[tuple[datetime, float]]:
    try:
        hours = msgspec.json.decode(text, type=Pvgis).outputs.hourly
    except msgspec.MsgspecError as error:
        sentence = "Not PVGIS's hourly JSON; ask seriescalc for outputformat=json and pvcalculation=1"
        raise BadInput(sentence, file=name, detail=str(error)[:120]) from error
    return [(_pvgis_instant(hour.time, name), _watts(hour, name) / 1000) for hour in hours]


def _pvgis_instant(text: str, name: str) -> datetime:
    """The hour a satellite picture stands for: PVGIS gives the picture's minute, not the hour's first."""
    try:
        at = datetime.strptime(text, "%Y%m%d:%H%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadInput("Not a PVGIS time; it reads 20200101:0010", file=name, text=text[:40]) from error
    return at.replace(minute=0)


def _watts(hour: PvgisHour, name: str) -> float:
    if hour.power_w is None:
        raise BadInput("PVGIS left the power out; ask for pvcalculation=1 and a peak power", file=name, at=hour.time)
    return hour.power_w


def _csv_rows(text: str, name: str, peak_kw: float | None) -> list[tuple[datetime, float]]:
    reader = csv.DictReader(io.StringIO(text))
    present = tuple(reader.fieldnames or ())
    start = next((column for column in STARTS if column in present), None)
    power = next((column for column in (*POWERS, *PER_KWP) if column in present), None)
    if start is None or power is None:
        known = ", ".join((*POWERS, *PER_KWP))
        raise BadInput("A PV file needs a start and a power column", file=name, start=" or ".join(STARTS), power=known)
    if power in PER_KWP and peak_kw is None:
        raise BadInput("This column holds shares of the peak; give the peak power in kW", file=name, column=power)
    factor = POWERS.get(power, peak_kw or 0.0)
    rows = []
    for line, row in enumerate(reader, start=2):
        rows.append((instant(row[start] or "", name, line), factor * number(row[power] or "", name, line)))
    return rows


def _series(rows: Sequence[tuple[datetime, float]], name: str) -> PvSeries:
    """Checked rows as a series; nothing is filled and nothing is guessed."""
    if len(rows) < 2:
        raise BadInput("A PV file needs at least two rows; is it the right file?", file=name)
    ordered = sorted(rows)
    interval_s = round(min((after - at).total_seconds() for (at, _), (after, _) in pairwise(ordered)))
    if interval_s == 0:
        twice = next(at for (at, _), (after, _) in pairwise(ordered) if at == after)
        raise BadInput("A PV value comes twice; remove one", file=name, at=twice.isoformat())
    if interval_s not in INTERVALS_S:
        raise BadInput("A PV value must hold for 1 to 60 min", file=name, interval_s=interval_s)
    for (at, _), (after, _) in pairwise(ordered):
        if after - at != timedelta(seconds=interval_s):
            sentence = "PV values are missing; complete the file or cut it before the gap"
            raise BadInput(sentence, file=name, at=(at + timedelta(seconds=interval_s)).isoformat())
    for at, kw in ordered:
        # The comparison is written so that "not a number" fails it, too.
        if not -BELOW_KW <= kw <= MAX_KW:
            sentence = "Not a plausible PV power; is it kW, and positive when the sun shines?"
            raise BadInput(sentence, file=name, at=at.isoformat(), pv_kw=round(kw, 3))
    return PvSeries(start=ordered[0][0], interval_s=interval_s, pv_kw=tuple(max(kw, 0.0) for _, kw in ordered))
