"""The configuration as a form: one table of fields, read from and written back to the contract's own struct (pure).

What a person typed is kept whatever happens, and a refusal names the field. Numbers may be written the German or the
English way, according to the reader's choice.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from services.enexa.registry.configs import check, document_fields, document_of
from services.enexa.web.formats import Format, number
from shared.contract.config import ConfigDocument, SiteConfig
from shared.errors import OutOfBounds


class Field(Struct, frozen=True, kw_only=True):
    """One field of the form; `path` as in the document, with an index where it lies in a list."""

    path: str
    label: str
    unit: str = ""
    hint: str = ""
    digits: int = 1


class Part(Struct, frozen=True, kw_only=True):
    """Fields that belong together."""

    title: str
    fields: tuple[Field, ...]


class Shown(Struct, frozen=True, kw_only=True):
    """A field as the page draws it; `kind` is number, check or choice."""

    field: Field
    kind: str
    text: str
    problem: str = ""
    choices: tuple[str, ...] = ()


def _field(path: str, label: str, unit: str = "", digits: int = 1, hint: str = "") -> Field:
    return Field(path=path, label=label, unit=unit, digits=digits, hint=hint)


def _unit(index: int) -> Part:
    at = f"battery.units[{index}]"
    return Part(
        title=f"Battery string {index + 1}",
        fields=(
            _field(f"{at}.capacity_kwh", "Capacity", "kWh"),
            _field(f"{at}.charge_max_kw", "Charging, at most", "kW"),
            _field(f"{at}.discharge_max_kw", "Discharging, at most", "kW"),
        ),
    )


def _charger(index: int) -> Part:
    at = f"chargers[{index}]"
    return Part(
        title=f"Charger {index + 1}",
        fields=(
            _field(f"{at}.max_kw", "Power, alone", "kW"),
            _field(f"{at}.coupled_max_kw", "Power, coupled", "kW"),
            _field(f"{at}.efficiency", "Efficiency", "", 3),
        ),
    )


GRID = Part(
    title="Grid connection",
    fields=(
        _field("grid.import_limit_kw", "Import limit", "kW"),
        _field("grid.connection_kva", "Connection", "kVA"),
        _field("grid.export_allowed", "Export is allowed"),
        _field("grid.export_limit_kw", "Export limit", "kW"),
    ),
)
BATTERY = Part(
    title="Battery window",
    fields=(
        _field("battery.soc_min_pct", "Floor", "%", hint="never below"),
        _field("battery.soc_reserve_pct", "Reserve", "%", hint="kept for cars where the plan says nothing else"),
        _field("battery.soc_max_pct", "Ceiling", "%", hint="not charged beyond"),
        _field("battery.derate_below_soc_pct", "Full discharge power above", "%"),
        _field("battery.charge_efficiency", "Charging efficiency", "", 3),
        _field("battery.discharge_efficiency", "Discharging efficiency", "", 3),
    ),
)
SUN = Part(
    title="Sun",
    fields=(
        _field("pv.peak_kw", "Peak power of the roof", "kW"),
        _field("pv.tilt_deg", "Tilt", "°"),
        _field("pv.azimuth_deg", "Azimuth", "°", hint="180 is south"),
        _field("pv.loss_ratio", "Losses", "", 3),
    ),
)
SAFETY = Part(
    title="Safety",
    fields=(
        _field("safety.watchdog_s", "Watchdog", "s", 0, "2 to 60"),
        _field("safety.fallback_after_s", "Acts alone after", "s", 0, "20 to 60"),
        _field("safety.fallback_import_kw", "Import when alone and without a plan", "kW"),
        _field("safety.fallback_reserve_pct", "Reserve when alone and without a plan", "%"),
        _field("safety.control_mode", "Grid mode of the station"),
    ),
)
MONEY = Part(
    title="Prices",
    fields=(
        _field("tariff.fees_eur_per_kwh", "Grid fees and taxes", "€/kWh", 4),
        _field("tariff.retail_eur_per_kwh", "Sold to cars at", "€/kWh", 4),
        _field("tariff.flat_eur_per_kwh", "Flat tariff to compare with", "€/kWh", 4),
        _field("tariff.export_fee_eur_per_kwh", "Fee on export", "€/kWh", 4),
        _field("tariff.export_worthless_below_eur_per_kwh", "Export is worthless below", "€/kWh", 4),
    ),
)
COSTS = Part(
    title="Costs",
    fields=(
        _field("tariff.wear_eur_per_kwh", "Battery wear per full cycle", "€/kWh", 4),
        _field("tariff.demand_charge_eur_per_kw_year", "Demand charge", "€/kW and year", 2),
        _field("tariff.month_peak_so_far_kw", "Peak of this month so far", "kW"),
        _field("tariff.unserved_eur_per_kwh", "Energy that a car did not get", "€/kWh", 2),
        _field("tariff.capex_eur", "Investment", "€", 0),
    ),
)
PLANNER = Part(
    title="Planner",
    fields=(
        _field("planner.enabled", "The planner decides"),
        _field("planner.horizon_h", "Looks ahead", "h"),
        _field("planner.scenarios", "Demand scenarios", "", 0),
        _field("planner.soc_replan_pct", "Plans again when the charge is off by", "points"),
        _field("planner.demand_replan_kw", "Plans again when demand is off by", "kW"),
    ),
)
TELEMETRY = Part(
    title="Telemetry",
    fields=(
        _field("telemetry.period_s", "A sample every", "s"),
        _field("telemetry.buffer_hours", "Buffer at least", "h", 0),
        _field("telemetry.batch_samples", "Samples per batch", "", 0),
    ),
)


def parts_of(page: str, document: ConfigDocument) -> tuple[Part, ...]:
    """The parts of a page: location, financials or planner."""
    if page == "financials":
        return (MONEY, COSTS)
    if page == "planner":
        return (PLANNER, TELEMETRY)
    units = tuple(_unit(index) for index in range(len(document.battery.units)))
    chargers = tuple(_charger(index) for index in range(len(document.chargers)))
    return (GRID, BATTERY, *units, *chargers, *((SUN,) if document.pv is not None else ()), SAFETY)


def shown(part: Part, config: SiteConfig, form: Format) -> list[Shown]:
    """A part's fields with the values in force."""
    tree = _tree(config)
    return [_shown(field, _value(tree, field.path), form) for field in part.fields]


def typed(
    part: Part, config: SiteConfig, form: Format, given: Mapping[str, str], problems: Mapping[str, str]
) -> list[Shown]:
    """A part's fields with what was typed, and what was wrong with it."""
    return [
        msgspec.structs.replace(
            each,
            text=given.get(each.field.path, "" if each.kind == "check" else each.text),
            problem=problems.get(each.field.path, ""),
        )
        for each in shown(part, config, form)
    ]


def read(
    parts: tuple[Part, ...], config: SiteConfig, form: Format, given: Mapping[str, str]
) -> tuple[ConfigDocument | None, dict[str, str]]:
    """The document that the form asks for, or what is wrong, by field."""
    tree = _tree(config)
    problems: dict[str, str] = {}
    for field in (field for part in parts for field in part.fields):
        before = _value(tree, field.path)
        try:
            _put(tree, field.path, _parsed(before, given.get(field.path, ""), form))
        except ValueError as error:
            problems[field.path] = str(error)
    if problems:
        return None, problems
    try:
        document = msgspec.convert(tree, ConfigDocument)
        check(document)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        return None, {where.rstrip("`"): plain_words(text)}
    except OutOfBounds as error:
        sentence = f"{error.sentence[0].upper()}{error.sentence[1:]}."
        return None, {_first_index(str(error.facts["field"])): sentence}
    return document, {}


def _tree(config: SiteConfig) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(document_fields(document_of(config)))
    return tree


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.replace("[", ".").replace("]", "").split(".")]


def _value(tree: Any, path: str) -> Any:
    for step in _steps(path):
        tree = tree[step]
    return tree


def _put(tree: Any, path: str, value: Any) -> None:
    *way, last = _steps(path)
    for step in way:
        tree = tree[step]
    tree[last] = value


def _first_index(path: str) -> str:
    """A rule that names a list's field means its first entry on the page."""
    return path.replace("chargers.", "chargers[0].").replace("battery.units", "battery.units[0].capacity_kwh")


CHOICES = {"safety.control_mode": ("automatic", "manual")}


def _shown(field: Field, value: Any, form: Format) -> Shown:
    if isinstance(value, bool):
        return Shown(field=field, kind="check", text="on" if value else "")
    if isinstance(value, str):
        return Shown(field=field, kind="choice", text=value, choices=CHOICES[field.path])
    return Shown(field=field, kind="number", text=_trimmed(number(float(value), form, 6).replace("−", "-"), form))


def _trimmed(text: str, form: Format) -> str:
    point = "," if form is Format.GERMAN else "."
    return text.rstrip("0").rstrip(point)


def _parsed(before: Any, text: str, form: Format) -> Any:
    """A value of the same kind as `before`; ValueError with a sentence where the text is none."""
    if isinstance(before, bool):
        return text == "on"
    if isinstance(before, str):
        return text
    value = parsed_number(text, form)
    if not isinstance(before, int):
        return value
    if value != int(value):
        raise ValueError("This must be a whole number.")
    return int(value)


def parsed_number(text: str, form: Format) -> float:
    """A number as the reader writes it; ValueError with a sentence where it is none, or not finite."""
    thousands, point = (".", ",") if form is Format.GERMAN else (",", ".")
    plain = text.strip().replace(thousands, "").replace(point, ".").replace("−", "-")
    try:
        value = float(plain)
    except ValueError as error:
        raise ValueError("This is not a number." if plain else "A number is missing.") from error
    if not math.isfinite(value):
        raise ValueError("This is not a number.")
    return value


WORDS = (
    ("Expected `float`", "This must be"),
    ("Expected `int`", "This must be"),
    ("`", ""),
    (">=", "at least"),
    ("<=", "at most"),
    (">", "more than"),
    ("<", "less than"),
)


def plain_words(text: str) -> str:
    """msgspec's words for people: ``Expected `float` <= 100.0`` becomes a sentence."""
    for said, plain in WORDS:
        text = text.replace(said, plain)
    return f"{text}."
