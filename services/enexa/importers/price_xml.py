"""Day-ahead prices from ENTSO-E's XML (Publication_MarketDocument, all versions of its namespace)."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from services.enexa.importers.checks import PriceRow
from shared.errors import BadInput

RESOLUTION_S = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600, "PT1H": 3600}


def entsoe_xml(text: str, name: str) -> list[PriceRow]:
    """All periods of all series; in curve type A03 a point that is left out repeats the one before it."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadInput("XML with a document type is not taken; download it from ENTSO-E again", file=name)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  entities are refused above
    except ElementTree.ParseError as error:
        raise BadInput("The file is not well-formed XML", file=name, reason=str(error)) from error
    rows: list[PriceRow] = []
    for series in _children(root, "TimeSeries"):
        unit = _text(series, "price_Measure_Unit.name") or _text(series, "price_measure_unit.name") or "MWH"
        currency = _text(series, "currency_Unit.name") or "EUR"
        if (currency.upper(), unit.upper()) != ("EUR", "MWH"):
            raise BadInput("The prices must be in EUR/MWh; convert them", file=name, unit=f"{currency}/{unit}")
        for period in _children(series, "Period"):
            rows.extend(_period(period, _text(series, "curveType") or "A01", name))
    if not rows:
        raise BadInput("No price period in the XML; ask ENTSO-E for document type A44", file=name)
    return rows


def _period(period: ElementTree.Element, curve: str, name: str) -> list[PriceRow]:
    interval = next(iter(_children(period, "timeInterval")), None)
    start_text, end_text = (_text(interval, part) if interval is not None else None for part in ("start", "end"))
    resolution = _text(period, "resolution") or ""
    if start_text is None or end_text is None or resolution not in RESOLUTION_S:
        raise BadInput(
            "A period needs start, end and a resolution of 15, 30 or 60 min", file=name, resolution=resolution
        )
    start, end = _time(start_text), _time(end_text)
    length = RESOLUTION_S[resolution]
    points = {
        int(_text(point, "position") or 0): float(_text(point, "price.amount") or "nan")
        for point in _children(period, "Point")
    }
    count = int((end - start).total_seconds()) // length
    rows: list[PriceRow] = []
    for position in range(1, count + 1):
        price = points.get(position)
        if price is None:
            if curve != "A03" or not rows:
                at = start + timedelta(seconds=length * (position - 1))
                raise BadInput("Prices are missing; download the file again", file=name, at=at.isoformat())
            price = rows[-1].price_eur_per_mwh
        rows.append(PriceRow(start + timedelta(seconds=length * (position - 1)), length, price))
    return rows


def _children(element: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    """Direct children by local name: the namespace carries the version and changes."""
    return [child for child in element if child.tag.rsplit("}", 1)[-1] == tag]


def _text(element: ElementTree.Element | None, tag: str) -> str | None:
    found = _children(element, tag) if element is not None else []
    return found[0].text if found else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
