"""Simulation, Reactive BMS, SmartEMS and What-If pages: every number on them comes from the engine, run when asked."""

from typing import Any

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.dispatching import gates
from services.enexa.insight.comparison import PLANT_NAMES, Comparison, Knobs
from services.enexa.web.comparison_job import SCENARIO, ComparisonJob, Compute
from services.enexa.web.documents import to_html
from services.enexa.web.formats import Format
from services.enexa.web.guard import Asked, format_of, require
from services.enexa.web.shell import Shell
from shared.errors import SiteError
from shared.scenario.load import load_scenario

AGAIN_S = 2
KNOB_FIELDS = (
    ("battery_ratio", "Battery size and power", "× as built"),
    ("grid_limit_kw", "Grid limit", "kW, empty = as built"),
    ("price_spread_ratio", "Price spread", "× as it was"),
    ("price_shift_eur_per_mwh", "Price level", "€/MWh added"),
    ("pv_kwp", "Sun", "kWp"),
    ("cars_ratio", "Share of cars that come", "0 to 1"),
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
)
RESULT_PAGES = {
    "results": (
        "results",
        "Result Overview",
        "Reactive, SmartEMS and perfect foresight on the same day. SmartEMS saw the same cars on 21 days before.",
    ),
    "reactive": ("bms_reactive", "BMS Reactive", "The rule-based controller, which looks only at the present."),
    "smartems": ("ems_results", "SmartEMS Results", "The optimised day, with what SmartEMS could know at each moment."),
}


def simulation(shell: Shell, compute: Compute) -> list[ControllerRouterHandler]:
    """Handlers of all pages that run or explain the engine."""
    deps = shell.deps
    job = ComparisonJob(compute)

    def compared(request: Asked, template: str, knobs: Knobs, **context: Any) -> Response[str]:
        """A page over a comparison; while it is being computed the page says so and asks again by itself."""
        found: Comparison | None = None
        problem = ""
        try:
            found = job.ask(knobs)
        except SiteError as error:
            problem = f"{error.sentence[0].upper()}{error.sentence[1:]}."
        page = shell.page(
            request,
            template,
            knobs=knobs,
            found=found,
            found_json=msgspec.json.encode(found).decode() if found else "",
            problem=problem,
            plants=PLANT_NAMES,
            **context,
        )
        if found is None and not problem:
            page.headers["Refresh"] = str(AGAIN_S)
        return page

    @get("/simulation/inputs", sync_to_thread=False)
    def inputs(request: Asked) -> Response[str]:
        session = require(request, deps)
        site_id = shell.first_site(session)
        config = deps.board.sites[site_id].config if site_id else None
        return shell.page(request, "inputs.html", key="inputs", scenario=load_scenario(SCENARIO), config=config)

    @get("/simulation/algorithms", sync_to_thread=False)
    def algorithms(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(request, "algorithms.html", key="algorithms", parts=("reactive", "smart", "judged"))

    @get("/bms/algorithm", sync_to_thread=False)
    def bms_algorithm(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(request, "algorithms.html", key="bms_algorithm", parts=("reactive",))

    @get("/smartems/algorithm", sync_to_thread=False)
    def ems_algorithm(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(request, "algorithms.html", key="ems_algorithm", parts=("smart", "judged"))

    @get("/simulation/results")
    async def results(request: Asked) -> Response[str]:
        return await result_page(request, "results")

    @get("/bms/results")
    async def reactive_results(request: Asked) -> Response[str]:
        return await result_page(request, "reactive")

    @get("/smartems/results")
    async def smart_results(request: Asked) -> Response[str]:
        return await result_page(request, "smartems")

    async def result_page(request: Asked, name: str) -> Response[str]:
        require(request, deps)
        key, title, lead = RESULT_PAGES[name]
        plant = request.query_params.get("plant", PLANT_NAMES[0])
        knobs = Knobs(plant=plant if plant in PLANT_NAMES else PLANT_NAMES[0])
        return compared(request, "results.html", knobs, key=key, title=title, lead=lead, page=name)

    @get("/what-if")
    async def what_if(request: Asked) -> Response[str]:
        require(request, deps)
        typed = {name: str(value)[:20] for name, value in request.query_params.items()}
        knobs, wrong = knobs_of(typed, format_of(request))
        context: dict[str, Any] = {
            "fields": KNOB_FIELDS,
            "typed": typed,
            "wrong": wrong,
            "presets": PRESETS,
            "preset_query": query_of,
        }
        if knobs is None:
            return shell.page(
                request,
                "what_if.html",
                key="what_if",
                knobs=Knobs(),
                found=None,
                found_json="",
                problem="",
                plants=PLANT_NAMES,
                status=422,
                **context,
            )
        return compared(request, "what_if.html", knobs, key="what_if", **context)

    @get("/sites/{site_id:str}/gates", sync_to_thread=False)
    def gates_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        return shell.page(
            request,
            "gates.html",
            key="ems_dispatching",
            site_id=site_id,
            body=to_html(gates.__doc__ or ""),
            intent=deps.board.sites[site_id].intent,
        )

    return [
        inputs,
        algorithms,
        bms_algorithm,
        ems_algorithm,
        results,
        reactive_results,
        smart_results,
        what_if,
        gates_page,
    ]


def knobs_of(typed: dict[str, str], form: Format) -> tuple[Knobs | None, dict[str, str]]:
    """The knobs as typed, or what is wrong by field; what was left empty stays as built."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, _, _ in KNOB_FIELDS:
        text = typed.get(name, "").strip()
        if not text:
            continue
        thousands, point = (".", ",") if form is Format.GERMAN else (",", ".")
        try:
            values[name] = float(text.replace(thousands, "").replace(point, ".").replace("−", "-"))
        except ValueError:
            wrong[name] = "This is not a number."
    if typed.get("plant") in PLANT_NAMES:
        values["plant"] = typed["plant"]
    if wrong:
        return None, wrong
    try:
        return msgspec.convert(values, Knobs), {}
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        return None, {where.rstrip("`"): f"{text.replace('Expected `float`', 'This must be').replace('`', '')}."}


def query_of(knobs: Knobs, form: Format | str) -> str:
    """The knobs that differ from the defaults, as an address writes them."""
    point = "," if form == Format.GERMAN else "."
    turned = {
        name: getattr(knobs, name) for name, _, _ in KNOB_FIELDS if getattr(knobs, name) != getattr(Knobs(), name)
    }
    return "&".join(f"{name}={str(value).replace('.', point)}" for name, value in turned.items())
