"""What-If: knobs and presets that run the real engine, sweeps over one knob, and comparisons that are kept."""

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.comparison import PLANT_NAMES, Comparison, Knobs
from services.enexa.jobs import ComparisonWish, Jobs
from services.enexa.kept_comparisons import KeptComparisons
from services.enexa.own_days import OwnDays
from services.enexa.web.compared import asked, compared_page, day_of
from services.enexa.web.config_form import parsed_number, plain_words
from services.enexa.web.formats import Format
from services.enexa.web.guard import Asked, check_token, format_of, redirect, require
from services.enexa.web.shell import Shell
from shared.errors import BadInput, NotFound

SWEEP_MAX = 8
KNOB_FIELDS = (
    ("battery_ratio", "Battery size and power", "× as built"),
    ("battery_power_ratio", "Battery power alone", "× as built"),
    ("second_string_ratio", "Second string", "× as built"),
    ("efficiency_pct", "Efficiency, one way", "%, empty = as built"),
    ("grid_limit_kw", "Grid limit", "kW, empty = as built"),
    ("price_spread_ratio", "Price spread", "× as it was"),
    ("price_level_ratio", "Mean price", "× as it was"),
    ("price_shift_eur_per_mwh", "Price level", "€/MWh added"),
    ("negative_hours_count", "Negative hours a day", "at −50 €/MWh"),
    ("pv_kwp", "Sun", "kWp"),
    ("cars_ratio", "Cars that come", "× as it was"),
    ("car_power_ratio", "Cars’ highest power", "× as it was"),
    ("winter_ratio", "Winter", "0 to 1"),
    ("fees_ratio", "Fees and taxes", "× as it was"),
    ("wear_ratio", "Battery wear", "× as it was"),
    ("dimmed_from_h", "Section 14a from", "hour of the day"),
    ("dimmed_h", "Section 14a for", "hours at 4.2 kW a point"),
    ("pv_error_ratio", "Error of the sun’s forecast", "0 to 1"),
    ("price_error_ratio", "Error of estimated prices", "0 to 2"),
    ("sites_count", "Sites in the fleet", "1 to 20"),
)
PRESETS = (
    ("As built", Knobs()),
    ("Twice the spread", Knobs(price_spread_ratio=2.0)),
    ("Negative noon", Knobs(price_shift_eur_per_mwh=-60.0)),
    ("Half the battery", Knobs(battery_ratio=0.5)),
    ("Double battery", Knobs(battery_ratio=2.0)),
    ("40 kW connection", Knobs(grid_limit_kw=40.0)),
    ("Half the cars", Knobs(cars_ratio=0.5)),
    ("52 kWp roof", Knobs(pv_kwp=51.6)),
    ("Deep winter", Knobs(winter_ratio=1.0)),
    ("Twice the cars", Knobs(cars_ratio=2.0)),
    ("Dimmed evening (14a)", Knobs(dimmed_from_h=17.0, dimmed_h=3.0)),
    ("Weak second string", Knobs(second_string_ratio=0.5)),
    ("Six negative hours", Knobs(negative_hours_count=6.0)),
    ("Fleet of three", Knobs(sites_count=3.0)),
)


def what_if(
    shell: Shell, jobs: Jobs[ComparisonWish, Comparison], own: OwnDays, kept: KeptComparisons
) -> list[ControllerRouterHandler]:
    """Handlers of `/what-if` and `/what-if/...`."""
    deps = shell.deps

    @get("/what-if")
    async def knobs_page(request: Asked) -> Response[str]:
        require(request, deps)
        return draw(request)

    def draw(request: Asked, *, title: str = "", refused: str = "") -> Response[str]:
        typed = {name: str(value)[:40] for name, value in request.query_params.items()}
        form = format_of(request)
        knobs, wrong = knobs_of(typed, form)
        day = day_of(request, own)
        context: dict[str, Any] = {
            "key": "what_if",
            "fields": KNOB_FIELDS,
            "typed": typed,
            "wrong": wrong,
            "presets": PRESETS,
            "preset_query": query_of,
            "day": day,
            "days": own.names(),
            "query": request.url.query,
            "title": title,
            "refused": refused,
            "kept_count": len(kept.all()),
        }
        if knobs is None:
            blank: dict[str, Any] = {
                "found": None,
                "found_json": "",
                "problem": "",
                "done_pct": 0.0,
                "plants": PLANT_NAMES,
            }
            return shell.page(request, "what_if.html", knobs=Knobs(), status=422, **blank, **context)
        return compared_page(
            shell, jobs, request, "what_if.html", ComparisonWish(scenario=own.load(day), knobs=knobs), **context
        )

    @post("/what-if", status_code=200)
    async def keep(request: Asked) -> Response[Any]:
        """Keep the comparison that the address asks for."""
        session = require(request, deps, operator=True)
        sent = await request.form()
        check_token(request, session, str(sent.get("csrf", "")))
        typed = {name: str(value)[:40] for name, value in request.query_params.items()}
        knobs, _ = knobs_of(typed, format_of(request))
        title, day = str(sent.get("title", ""))[:200], day_of(request, own)
        if knobs is None:
            return draw(request)
        found, _ = asked(jobs, ComparisonWish(scenario=own.load(day), knobs=knobs))
        if found is None:
            return draw(request, title=title, refused="It is not computed yet; keep it when it is.")
        try:
            kept.keep(found, title=title, day=day, by=session.client_id, at=deps.clock.now().at)
        except BadInput as error:
            answer = draw(request, title=title, refused=f"{error.sentence.capitalize()}.")
            answer.status_code = 422
            return answer
        return redirect("/what-if/kept")

    @get("/what-if/kept", sync_to_thread=False)
    def kept_page(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(request, "kept.html", key="what_if", kept=kept.all(), told=knobs_told)

    @post("/what-if/kept/{key:str}/remove", status_code=303)
    async def remove(request: Asked, key: FromPath[str]) -> Response[Any]:
        session = require(request, deps, operator=True)
        sent = await request.form()
        check_token(request, session, str(sent.get("csrf", "")))
        kept.remove(key)
        return redirect("/what-if/kept")

    @get("/what-if/sweep", sync_to_thread=False)
    def sweep_page(request: Asked) -> Response[str]:
        require(request, deps)
        knob, values, wrong = sweep_of(request, format_of(request))
        day = day_of(request, own)
        return shell.page(
            request,
            "sweep.html",
            key="what_if",
            status=422 if wrong else 200,
            fields=KNOB_FIELDS,
            knob=knob,
            typed=request.query_params.get("values", "")[:80],
            wrong=wrong,
            day=day,
            days=own.names(),
            query=request.url.query,
            rows=swept(day, knob, values),
            sweep_max=SWEEP_MAX,
        )

    @get("/what-if/sweep/rows", sync_to_thread=False)
    def sweep_rows(request: Asked) -> Response[str]:
        require(request, deps)
        knob, values, _ = sweep_of(request, format_of(request))
        return shell.part(request, "sweep_rows.html", knob=knob, rows=swept(day_of(request, own), knob, values))

    def swept(day: str, knob: str, values: list[Knobs]) -> list[tuple[float, Comparison | None, str, float]]:
        """Value, comparison, problem and percentage done of each variant."""
        scenario, rows = own.load(day), []
        for knobs in values:
            wish = ComparisonWish(scenario=scenario, knobs=knobs)
            found, problem = asked(jobs, wish)
            rows.append((getattr(knobs, knob), found, problem, 100.0 * jobs.progress_ratio(wish)))
        return rows

    return [knobs_page, keep, kept_page, remove, sweep_page, sweep_rows]


def knobs_of(typed: dict[str, str], form: Format) -> tuple[Knobs | None, dict[str, str]]:
    """The knobs as typed, or what is wrong by field; what was left empty stays as built."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, _, _ in KNOB_FIELDS:
        text = typed.get(name, "").strip()
        if not text:
            continue
        try:
            values[name] = parsed_number(text, form)
        except ValueError as error:
            wrong[name] = str(error)
    if typed.get("plant") in PLANT_NAMES:
        values["plant"] = typed["plant"]
    if wrong:
        return None, wrong
    try:
        return msgspec.convert(values, Knobs), {}
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        return None, {where.rstrip("`"): plain_words(text)}


def sweep_of(request: Asked, form: Format) -> tuple[str, list[Knobs], str]:
    """The knob and its variants that the address asks for, and what is wrong; nothing where nothing was asked."""
    names = [name for name, _, _ in KNOB_FIELDS]
    knob = request.query_params.get("knob", names[0])
    if knob not in names:
        raise NotFound("no such knob")
    texts = request.query_params.get("values", "")[:80].replace(";", " ").split()
    if len(texts) > SWEEP_MAX:
        return knob, [], f"A sweep has at most {SWEEP_MAX} values."
    variants = []
    for text in texts:
        knobs, wrong = knobs_of({knob: text}, form)
        if knobs is None:
            return knob, [], f"{text}: {wrong[knob]}"
        variants.append(knobs)
    return knob, variants, ""


def knobs_told(knobs: Knobs) -> list[tuple[str, float]]:
    """The knobs that were turned, by their labels."""
    return [
        (label, getattr(knobs, name))
        for name, label, _ in KNOB_FIELDS
        if getattr(knobs, name) != getattr(Knobs(), name)
    ]


def query_of(knobs: Knobs, form: Format | str) -> str:
    """The knobs that differ from the defaults, as an address writes them."""
    point = "," if form == Format.GERMAN else "."
    turned = {
        name: getattr(knobs, name) for name, _, _ in KNOB_FIELDS if getattr(knobs, name) != getattr(Knobs(), name)
    }
    return "&".join(f"{name}={str(value).replace('.', point)}" for name, value in turned.items())
