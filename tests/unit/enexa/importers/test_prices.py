"""Price files: every source reads to the same series, and every mistake is named."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from services.enexa.importers.prices import parse_prices
from shared.errors import BadInput

HOURS = [datetime(2024, 5, 1, 0, tzinfo=UTC) + timedelta(hours=hour) for hour in range(4)]
PRICES = [66.81, -120.07, 0.0, 936.28]


def columns(rows: list[tuple[str, str, str]]) -> str:
    return "timestamp_utc,interval_s,price_eur_per_mwh\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)


OURS = columns([(f"{at:%Y-%m-%dT%H:%M:%SZ}", "3600", str(price)) for at, price in zip(HOURS, PRICES, strict=True)])
SMARD = (
    "Datum von;Datum bis;Deutschland/Luxemburg [€/MWh] Originalauflösungen;Belgien [€/MWh] Originalauflösungen\n"
    "01.05.2024 02:00;01.05.2024 03:00;66,81;1,0\n01.05.2024 03:00;01.05.2024 04:00;-120,07;1,0\n"
    "01.05.2024 04:00;01.05.2024 05:00;0,00;1,0\n01.05.2024 05:00;01.05.2024 06:00;936,28;1,0\n"
)
SMARD_JSON = json.dumps({"series": [[int(at.timestamp() * 1000), p] for at, p in zip(HOURS, PRICES, strict=True)]})
ENERGY_CHARTS = json.dumps(
    {"unix_seconds": [int(at.timestamp()) for at in HOURS], "price": PRICES, "unit": "EUR / MWh", "license_info": "x"}
)
AWATTAR = json.dumps(
    {
        "data": [
            {
                "start_timestamp": int(at.timestamp() * 1000),
                "end_timestamp": int(at.timestamp() * 1000) + 3_600_000,
                "marketprice": price,
                "unit": "Eur/MWh",
            }
            for at, price in zip(HOURS, PRICES, strict=True)
        ]
    }
)
ENTSOE_CSV = (
    '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency"\n'
    '"01.05.2024 02:00 - 01.05.2024 03:00","66.81","EUR"\n"01.05.2024 03:00 - 01.05.2024 04:00","-120.07","EUR"\n'
    '"01.05.2024 04:00 - 01.05.2024 05:00","0.00","EUR"\n"01.05.2024 05:00 - 01.05.2024 06:00","936.28","EUR"\n'
)


def entsoe_xml(points: dict[int, float], *, curve: str = "A03", unit: str = "MWH") -> str:
    inner = "".join(
        f"<Point><position>{at}</position><price.amount>{p}</price.amount></Point>" for at, p in points.items()
    )
    return (
        '<?xml version="1.0"?>'
        '<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">'
        f"<TimeSeries><currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>{unit}</price_Measure_Unit.name>"
        f"<curveType>{curve}</curveType><Period><timeInterval><start>2024-05-01T00:00Z</start>"
        f"<end>2024-05-01T04:00Z</end></timeInterval><resolution>PT60M</resolution>{inner}</Period></TimeSeries>"
        "</Publication_MarketDocument>"
    )


ENTSOE_XML = entsoe_xml(dict(enumerate(PRICES, start=1)))


@pytest.mark.parametrize(
    "text", [OURS, SMARD, SMARD_JSON, ENERGY_CHARTS, AWATTAR, ENTSOE_CSV, ENTSOE_XML],
    ids=["columns", "smard", "smard_json", "energy_charts", "awattar", "entsoe_csv", "entsoe_xml"],
)  # fmt: skip
def test_every_source_reads_to_the_same_series(text: str) -> None:
    series = parse_prices(text, "file")

    assert list(series.starts) == HOURS
    assert set(series.interval_s) == {3600}
    assert list(series.price_eur_per_mwh) == pytest.approx(PRICES)


def test_a_point_left_out_of_curve_a03_repeats_the_one_before() -> None:
    series = parse_prices(entsoe_xml({1: 10.0, 4: 40.0}), "file")

    assert series.price_eur_per_mwh == (10.0, 10.0, 10.0, 40.0)


def test_the_doubled_hour_of_october_is_two_hours() -> None:
    walls = ["01:00", "02:00", "02:00", "03:00"]
    ends = ["02:00", "02:00", "03:00", "04:00"]
    lines = [f"27.10.2024 {a};27.10.2024 {b};{n},0" for n, (a, b) in enumerate(zip(walls, ends, strict=True))]
    text = "Datum von;Datum bis;Deutschland/Luxemburg [€/MWh]\n" + "\n".join(lines) + "\n"

    series = parse_prices(text, "file")

    assert series.starts[0] == datetime(2024, 10, 26, 23, tzinfo=UTC)
    assert series.until - series.starts[0] == timedelta(hours=4)
    assert series.gaps() == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("hello\nworld\n", "Unknown price format"),
        ("{not json", "not valid JSON"),
        ('{"something": 1}', "neither"),
        (columns([("2024-05-01T00:00:00Z", "3600", "1"), ("2024-05-01T02:00:00Z", "3600", "2")]), "Prices are missing"),
        (columns([("2024-05-01T00:00:00Z", "3600", "1"), ("2024-05-01T00:00:00Z", "3600", "2")]), "comes twice"),
        (columns([("2024-05-01T00:00:00Z", "3600", "1"), ("2024-05-01T00:15:00Z", "900", "2")]), "overlap"),
        (columns([("2024-05-01T00:00:00", "3600", "1")]), "without time zone"),
        (columns([("2024-05-01T00:07:00Z", "3600", "1")]), "grid"),
        (columns([("2024-05-01T00:00:00Z", "1200", "1")]), "15, 30 or 60"),
        (columns([("2024-05-01T00:00:00Z", "3600", "")]), "missing or not a number"),
        (columns([("2024-05-01T00:00:00Z", "3600", "nan")]), "missing or not a number"),
        (columns([("2024-05-01T00:00:00Z", "3600", "90000")]), "Beyond what the auction allows"),
        (ENERGY_CHARTS.replace("EUR / MWh", "EUR / kWh"), "must be in EUR/MWh"),
        (ENERGY_CHARTS.replace("66.81", "null"), "missing"),
        (AWATTAR.replace("Eur/MWh", "ct/kWh"), "must be in EUR/MWh"),
        (entsoe_xml({1: 1.0, 2: 2.0}, curve="A01"), "missing"),
        (entsoe_xml({1: 1.0}, unit="KWH"), "must be in EUR/MWh"),
        ("<a><b></a>", "not well-formed"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "document type"),
        ("Datum von;Datum bis;Belgien [€/MWh]\n01.05.2024 00:00;01.05.2024 01:00;1,0\n", "Deutschland/Luxemburg"),
        (
            "Datum von;Datum bis;Deutschland/Luxemburg [€/MWh]\n31.03.2024 02:30;31.03.2024 03:30;1,0\n",
            "does not exist",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_prices(text, "file")


def test_prices_per_kwh_are_recognised() -> None:
    rows = [(f"{HOURS[0] + timedelta(hours=n):%Y-%m-%dT%H:%M:%SZ}", "3600", str(0.05 + n / 1000)) for n in range(48)]

    with pytest.raises(BadInput, match="EUR/kWh"):
        parse_prices(columns(rows), "file")


def test_a_price_of_three_thousand_is_a_price() -> None:
    series = parse_prices(
        columns([("2024-05-01T00:00:00Z", "3600", "3000"), ("2024-05-01T01:00:00Z", "900", "-500")]), "f"
    )

    assert series.price_eur_per_mwh == (3000.0, -500.0)
    assert series.interval_s == (3600, 900)
