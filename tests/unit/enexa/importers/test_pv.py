"""PV files: units by the column's name, PVGIS's picture times, and every gap, double and sign named."""

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.enexa.importers.pv import parse_pv
from shared.errors import BadInput

ROOF = "timestamp_utc,pv_ac_kw\n2024-05-01T10:00:00Z,12.5\n2024-05-01T10:15:00Z,-0.02\n2024-05-01T10:30:00Z,14.0\n"
SHARED = Path(os.environ.get("SHARED", "../shared"))


def pvgis(**changes: object) -> str:
    hours = [{"time": "20200601:1010", "P": 5200.0, "T2m": 20.1}, {"time": "20200601:1110", "P": 6100.0, "T2m": 21.0}]
    hours[1] |= changes
    return json.dumps({"inputs": {}, "outputs": {"hourly": hours}, "meta": {}})


def test_measured_power_is_read_and_the_night_draw_of_a_converter_counts_as_nothing() -> None:
    series = parse_pv(ROOF, "file")

    assert series.start == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert series.interval_s == 900
    assert series.pv_kw == (12.5, 0.0, 14.0)


def test_the_column_says_its_unit() -> None:
    assert parse_pv(ROOF.replace("pv_ac_kw", "pv_w").replace("12.5", "12500"), "file").pv_kw[0] == pytest.approx(12.5)
    assert parse_pv(ROOF.replace("pv_ac_kw", "pv_mw").replace("-0.02", "0"), "file").pv_kw[0] == pytest.approx(12500)


def test_shares_of_the_peak_need_the_peak() -> None:
    shares = ROOF.replace("pv_ac_kw", "pv_pu").replace("12.5", "0.5").replace("-0.02", "0").replace("14.0", "0.6")

    with pytest.raises(BadInput, match="give the peak power"):
        parse_pv(shares, "file")
    assert parse_pv(shares, "file", peak_kw=60.0).pv_kw[0] == pytest.approx(30.0)


def test_pvgis_pictures_stand_for_their_hour() -> None:
    series = parse_pv(pvgis(), "file")

    assert series.start == datetime(2020, 6, 1, 10, tzinfo=UTC)
    assert series.interval_s == 3600
    assert series.pv_kw == (5.2, 6.1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (ROOF.replace("10:30", "10:45"), "missing"),
        (ROOF.replace("10:15", "10:00"), "twice"),
        (ROOF.replace("-0.02", "-5"), "positive when the sun shines"),
        (ROOF.replace("-0.02", "nan"), "plausible"),
        (ROOF.replace("-0.02", ""), "not a number"),
        (ROOF.replace("pv_ac_kw", "sun"), "start and a power column"),
        (ROOF.replace("10:15:00Z", "10:15:00"), "without time zone"),
        (ROOF.replace("10:15", "10:07"), "1 to 60 min"),
        (pvgis(P=None), "pvcalculation=1"),
        (pvgis(time="yesterday"), "PVGIS time"),
        ('{"outputs": {"monthly": []}}', "Not PVGIS"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_filled(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_pv(text, "file")


def test_a_series_refuses_minutes_that_it_does_not_cover() -> None:
    series = parse_pv(ROOF, "file")

    assert series.minutes_kw(datetime(2024, 5, 1, 10, 14, tzinfo=UTC), 2) == (12.5, 0.0)
    with pytest.raises(BadInput, match="does not cover"):
        series.minutes_kw(datetime(2024, 5, 1, 10, 40, tzinfo=UTC), 10)


@pytest.mark.parametrize(
    ("file", "peak_kw", "rows", "interval_s"),
    [
        ("pv_load_luxembourg_2024_15min.csv.gz", None, 35_616, 900),
        ("weather_dwd_try2010_r12_60min.csv.gz", 30.0, 8760, 3600),
    ],
)
def test_the_columns_of_the_shared_data_are_known(file: str, peak_kw: float | None, rows: int, interval_s: int) -> None:
    path = SHARED / "data" / file
    if not path.exists():
        pytest.skip(f"{path} is not here; set SHARED")

    series = parse_pv(gzip.decompress(path.read_bytes()).decode(), file, peak_kw=peak_kw)

    assert (len(series.pv_kw), series.interval_s) == (rows, interval_s)
    assert 0 < max(series.pv_kw) < 1_000_000
