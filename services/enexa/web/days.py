"""Solar Production and Charging Sessions: a day's sun and cars, edited, checked, saved as a scenario."""

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler
from msgspec.structs import replace

from services.enexa.own_days import HOURS, SHIPPED, OwnDays, hourly, with_sun
from services.enexa.web.config_form import parsed_number, plain_words
from services.enexa.web.formats import Format, number
from services.enexa.web.guard import Asked, check_token, format_of, redirect, require
from services.enexa.web.shell import Shell
from shared.errors import BadInput, NotFound
from shared.scenario.schema import DailySession, Scenario

SPARE_ROWS = 3
CARS_MAX = 200
RATIO_MAX = 1.2
NAME_MAX_CHARS = 40
COLUMNS = (
    ("local_time", "Arrives", "hh:mm"),
    ("stay_min", "Stays", "min"),
    ("capacity_kwh", "Battery", "kWh"),
    ("soc_start_pct", "From", "%"),
    ("soc_target_pct", "To", "%"),
    ("max_kw", "At most", "kW"),
)
Rows = list[dict[str, str]]


def days(shell: Shell, own: OwnDays) -> list[ControllerRouterHandler]:
    """Handlers of `/days/sessions` and `/days/solar`."""
    deps = shell.deps

    def draw(request: Asked, page: str, base: Scenario, status: int = 200, **context: Any) -> Response[str]:
        return shell.page(
            request,
            f"{page}.html",
            key=page,
            status=status,
            base=base,
            names=own.names(),
            shipped=SHIPPED,
            columns=COLUMNS,
            **{"problems": {}, "name": "" if base.name == SHIPPED else base.name, "saved": False, **context},
        )

    def base_of(request: Asked, name: str) -> Scenario:
        require(request, deps)
        return own.load(name or SHIPPED)

    @get("/days/{page:str}", sync_to_thread=False)
    def day_page(request: Asked, page: FromPath[str]) -> Response[str]:
        base, form = base_of(request, request.query_params.get("day", "")), format_of(request)
        saved = "saved" in request.query_params
        if page == "sessions":
            return draw(request, page, base, rows=_shown(base, form), saved=saved)
        if page == "solar":
            values = [_written(value, form, 3) for value in hourly(base.pv_ratio)]
            return draw(request, page, base, values=values, ratios=hourly(base.pv_ratio), saved=saved)
        raise NotFound("no such page")

    @post("/days/{page:str}", status_code=200)
    async def save(request: Asked, page: FromPath[str]) -> Response[Any]:
        session = require(request, deps, operator=True)
        sent = {name: str(value)[:60] for name, value in (await request.form()).items()}
        check_token(request, session, sent.get("csrf", ""))
        base, form = base_of(request, sent.get("day", "")), format_of(request)
        rows, values = _typed_rows(sent), [sent.get(f"hour{hour}", "") for hour in range(HOURS)]
        name = sent.get("name", "").strip()
        if page == "sessions":
            made, problems = read_sessions(base, rows, form)
        elif page == "solar":
            made, problems = read_sun(base, values, form)
        else:
            raise NotFound("no such page")
        if made is not None:
            try:
                own.save(replace(made, name=name, story=f"{session.client_id} made this day from {base.name}."))
            except BadInput as error:
                problems = {"name": f"{error.sentence[0].upper()}{error.sentence[1:]}."}
            else:
                return redirect(f"/days/{page}?day={name}&saved=1")
        return draw(
            request,
            page,
            base,
            422,
            rows=[*rows, *_spare()],
            values=values,
            ratios=hourly(base.pv_ratio),
            name=name,
            problems=problems,
        )

    return [day_page, save]


def read_sessions(base: Scenario, rows: Rows, form: Format) -> tuple[Scenario | None, dict[str, str]]:
    """The day with the cars that were typed, or what is wrong, by field; a row without an arrival is no car."""
    problems: dict[str, str] = {}
    cars = []
    for index, row in enumerate(rows):
        values: dict[str, Any] = {"local_time": row["local_time"].strip()}
        for name, _, _ in COLUMNS[1:]:
            try:
                values[name] = parsed_number(row[name], form)
            except ValueError as error:
                problems[f"{name}{index}"] = str(error)
        if any(key == f"{name}{index}" for key in problems for name, _, _ in COLUMNS):
            continue
        values["stay_s"] = 60.0 * values.pop("stay_min")
        try:
            cars.append(msgspec.convert(values, DailySession))
        except msgspec.ValidationError as error:
            name, words = _field_of(str(error))
            problems[f"{name}{index}"] = words
    if not cars and not problems:
        problems["local_time0"] = "A day needs at least one car."
    if len(cars) > CARS_MAX:
        problems["local_time0"] = f"A day has at most {CARS_MAX} cars."
    if problems:
        return None, problems
    return replace(base, sessions=tuple(sorted(cars, key=lambda each: each.local_time))), {}


def read_sun(base: Scenario, values: list[str], form: Format) -> tuple[Scenario | None, dict[str, str]]:
    """The day with the sun that was typed, or what is wrong, by field."""
    problems: dict[str, str] = {}
    ratios = []
    for hour, text in enumerate(values):
        try:
            ratio = parsed_number(text, form)
        except ValueError as error:
            problems[f"hour{hour}"] = str(error)
            continue
        if not 0.0 <= ratio <= RATIO_MAX:
            problems[f"hour{hour}"] = f"This must lie between 0 and {RATIO_MAX:g}."
        ratios.append(ratio)
    return (None, problems) if problems else (with_sun(base, tuple(ratios)), {})


def _field_of(complaint: str) -> tuple[str, str]:
    """The column that a refused car names, and the sentence."""
    text, _, where = complaint.partition(" - at `$")
    name = where.strip(".`")
    if not name:
        return "soc_target_pct", "This must lie above the charge at arrival."
    if name == "local_time":
        return name, "Write a time as 07:30."
    return ("stay_min" if name == "stay_s" else name), plain_words(text)


def _shown(base: Scenario, form: Format) -> Rows:
    rows = [
        {
            "local_time": each.local_time,
            "stay_min": _written(each.stay_s / 60.0, form, 1),
            "capacity_kwh": _written(each.capacity_kwh, form, 1),
            "soc_start_pct": _written(each.soc_start_pct, form, 1),
            "soc_target_pct": _written(each.soc_target_pct, form, 1),
            "max_kw": _written(each.max_kw, form, 1),
        }
        for each in base.sessions
    ]
    return [*rows, *_spare()]


def _spare() -> Rows:
    return [{name: "" for name, _, _ in COLUMNS} for _ in range(SPARE_ROWS)]


def _typed_rows(sent: dict[str, str]) -> Rows:
    """What was typed, row by row; a row whose arrival was emptied is left out."""
    count = sum(name.startswith("local_time") for name in sent)
    rows = [{name: sent.get(f"{name}{index}", "") for name, _, _ in COLUMNS} for index in range(count)]
    return [row for row in rows if row["local_time"].strip()]


def _written(value: float, form: Format, digits: int) -> str:
    text = number(value, form, digits)
    point = "," if form is Format.GERMAN else "."
    return text.rstrip("0").rstrip(point) if point in text else text
