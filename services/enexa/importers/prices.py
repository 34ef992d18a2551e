"""Price files of the world become a PriceSeries, or a sentence that names what is wrong and the remedy.

Known by their looks, not by their names: the columns of `shared/data`, SMARD (CSV and chart JSON), ENTSO-E (XML and
CSV), energy-charts JSON, aWATTar JSON.
"""

import json
from collections.abc import Callable
from pathlib import Path

from services.enexa.importers.checks import PriceRow, series_of
from services.enexa.importers.files import text_of
from services.enexa.importers.price_csv import columns_csv, entsoe_csv, smard_csv
from services.enexa.importers.price_json import awattar_json, energy_charts_json, smard_json
from services.enexa.importers.price_xml import entsoe_xml
from services.enexa.market.prices import PriceSeries
from shared.errors import BadInput

Reader = Callable[[str, str], list[PriceRow]]


def read_prices(path: Path, *, allow_gaps: bool = False) -> PriceSeries:
    """The series of a file; raises BadInput for gaps (unless allowed), duplicates, wrong units, unknown formats."""
    text = text_of(path, "price")
    return series_of(reader_of(text, path.name)(text, path.name), path.name, allow_gaps=allow_gaps)


def parse_prices(text: str, name: str, *, allow_gaps: bool = False) -> PriceSeries:
    """The same for text that is already here; `name` is what errors call it."""
    return series_of(reader_of(text, name)(text, name), name, allow_gaps=allow_gaps)


def reader_of(text: str, name: str) -> Reader:
    """The reader that fits the beginning of the text."""
    head = text.lstrip("\ufeff \t\r\n")
    if not head:
        raise BadInput("The price file is empty; give a file with day-ahead prices", file=name)
    if head[0] == "<":
        return entsoe_xml
    if head[0] in "{[":
        return _json_reader(head, name)
    first = head.splitlines()[0].lower()
    if "timestamp_utc" in first:
        return columns_csv
    if first.startswith(("datum von", '"datum von', "start date", '"start date', "datum;", "date;")):
        return smard_csv
    if "mtu" in first:
        return entsoe_csv
    raise BadInput(
        "Unknown price format; known are timestamp_utc,interval_s,price_eur_per_mwh and the exports of SMARD, "
        "ENTSO-E, energy-charts and aWATTar",
        file=name,
        first_line=head.splitlines()[0][:80],
    )


def _json_reader(text: str, name: str) -> Reader:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadInput("The price file is not valid JSON; download it again", file=name, reason=str(error)) from error
    if isinstance(document, dict):
        if "unix_seconds" in document:
            return energy_charts_json
        if "series" in document:
            return smard_json
        if "data" in document:
            return awattar_json
    raise BadInput("JSON, but neither energy-charts, SMARD nor aWATTar; see the list of formats", file=name)
