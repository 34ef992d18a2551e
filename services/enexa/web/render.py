"""Templates and what they may call: number and time formats, asset addresses, words for codes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from services.enexa.insight.headline import why
from services.enexa.web import formats
from services.enexa.web.assets import Assets
from services.enexa.web.formats import Format

TEMPLATES = Path(__file__).parent / "templates"


class Renderer:
    """One environment for all pages; it escapes everything and refuses names that a page forgot to give."""

    def __init__(self, assets: Assets) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["asset"] = assets.url
        self._environment.globals["charts_style_id"] = assets.charts_style_id
        self._environment.filters["why"] = why
        self._environment.filters["words"] = words
        self._environment.filters["cost_words"] = cost_words

    def render(self, template: str, form: Format, **context: Any) -> str:
        return self._environment.get_template(template).render(**_writers(form), form=form.value, **context)


def _writers(form: Format) -> dict[str, Callable[..., str | Markup]]:
    """The reader's way of writing numbers and times, as functions of the template."""

    def num(value: float | None, digits: int = 0, *, sign: bool = False) -> str:
        return formats.number(value, form, digits, sign=sign)

    def when(at: datetime | None, style: str = "clock") -> Markup:
        return formats.time_tag(at, form, style)

    def lasted(seconds: float | None) -> str:
        return formats.duration(seconds, form)

    return {"num": num, "when": when, "lasted": lasted}


def words(code: str) -> str:
    """A code as words: `set_battery_power` reads Set battery power."""
    return code.replace("_", " ").capitalize()


COSTS = {
    "energy_eur": "Energy",
    "fees_eur": "Fees and taxes",
    "export_eur": "Export",
    "wear_eur": "Battery wear",
    "demand_charge_eur": "Demand charge",
    "unserved_eur": "Energy that cars do not get, priced",
    "end_value_eur": "Worth of the energy left",
    "total_eur": "Total",
}


def cost_words(kind: str) -> str:
    """A kind of cost as the plan names it, with or without its unit."""
    return COSTS.get(kind, COSTS.get(f"{kind}_eur", words(kind.removesuffix("_eur"))))
