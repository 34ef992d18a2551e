"""Day-ahead prices from JSON: energy-charts, aWATTar and SMARD's chart data."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

import msgspec
from msgspec import Struct

from services.enexa.importers.checks import PriceRow
from shared.errors import BadInput

Document = TypeVar("Document")


class EnergyCharts(Struct):
    """api.energy-charts.info /price."""

    unix_seconds: list[int]
    price: list[float | None]
    unit: str


class AwattarPrice(Struct):
    start_timestamp: int
    end_timestamp: int
    marketprice: float
    unit: str


class Awattar(Struct):
    """api.awattar.de /v1/marketdata."""

    data: list[AwattarPrice]


class SmardChart(Struct):
    """www.smard.de chart_data: pairs of milliseconds and price."""

    series: list[tuple[int, float | None]]


def energy_charts_json(text: str, name: str) -> list[PriceRow]:
    """Starts and prices side by side; a null is a price that is missing."""
    document = _convert(text, EnergyCharts, name)
    _require_unit(document.unit, name)
    if len(document.unix_seconds) != len(document.price):
        raise BadInput("As many prices as timestamps, please; download the file again", file=name)
    return _rows(list(zip(document.unix_seconds, document.price, strict=True)), name)


def awattar_json(text: str, name: str) -> list[PriceRow]:
    """Each price with start and end in milliseconds."""
    rows = []
    for price in _convert(text, Awattar, name).data:
        _require_unit(price.unit, name)
        length = (price.end_timestamp - price.start_timestamp) // 1000
        rows.append(PriceRow(datetime.fromtimestamp(price.start_timestamp / 1000, UTC), length, price.marketprice))
    return rows


def smard_json(text: str, name: str) -> list[PriceRow]:
    """SMARD pads the present week with nulls; those at the end are not missing but not yet there."""
    pairs = [(ms // 1000, price) for ms, price in _convert(text, SmardChart, name).series]
    while pairs and pairs[-1][1] is None:
        pairs.pop()
    return _rows(pairs, name)


def _rows(pairs: list[tuple[int, float | None]], name: str) -> list[PriceRow]:
    if len(pairs) < 2:
        raise BadInput("The file needs at least two prices, else their length is unknown", file=name)
    lengths = [after[0] - row[0] for row, after in pairwise(pairs)]
    lengths.append(lengths[-1])
    for seconds, price in pairs:
        if price is None:
            at = datetime.fromtimestamp(seconds, UTC).isoformat()
            raise BadInput("A price is missing; fill it or cut the file there", file=name, at=at)
    usual = min(lengths)
    # A distance longer than the resolution is a gap, and `series_of` names it; on the hour before a change from
    # hours to quarter hours it is a longer interval.
    return [
        PriceRow(datetime.fromtimestamp(seconds, UTC), length if length in {900, 3600} else usual, price)
        for (seconds, price), length in zip(pairs, lengths, strict=True)
        if price is not None
    ]


def _require_unit(unit: str, name: str) -> None:
    if "".join(unit.lower().split()) not in {"eur/mwh", "€/mwh"}:
        raise BadInput("The prices must be in EUR/MWh; convert them", file=name, unit=unit)


def _convert(text: str, kind: type[Document], name: str) -> Document:
    try:
        return msgspec.json.decode(text.lstrip("\ufeff"), type=kind)
    except msgspec.MsgspecError as error:
        raise BadInput("The JSON is not as expected; download it again", file=name, reason=str(error)) from error
