"""Simulation, Reactive BMS and SmartEMS pages: every number on them comes from the engine, run when asked."""

from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.dispatching import gates
from services.enexa.insight.comparison import PLANT_NAMES, Comparison, Knobs
from services.enexa.jobs import ComparisonWish, Jobs
from services.enexa.own_days import SHIPPED, OwnDays
from services.enexa.web.compared import compared_page, day_of
from services.enexa.web.documents import to_html
from services.enexa.web.guard import Asked, require
from services.enexa.web.shell import Shell

RESULT_PAGES = {
    "results": (
        "results",
        "Result Overview",
        "Reactive, SmartEMS and perfect foresight on the same day. SmartEMS saw the same cars on 21 days before.",
    ),
    "reactive": ("bms_reactive", "BMS Reactive", "The rule-based controller, which looks only at the present."),
    "smartems": ("ems_results", "SmartEMS Results", "The optimised day, with what SmartEMS could know at each moment."),
}


def simulation(shell: Shell, jobs: Jobs[ComparisonWish, Comparison], own: OwnDays) -> list[ControllerRouterHandler]:
    """Handlers of all pages that run or explain the engine."""
    deps = shell.deps

    @get("/simulation/inputs", sync_to_thread=False)
    def inputs(request: Asked) -> Response[str]:
        session = require(request, deps)
        site_id = shell.first_site(session)
        config = deps.board.sites[site_id].config if site_id else None
        day = day_of(request, own)
        return shell.page(
            request, "inputs.html", key="inputs", scenario=own.load(day), config=config, day=day, days=own.names()
        )

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
        wish = ComparisonWish(scenario=own.load(SHIPPED), knobs=knobs)
        return compared_page(shell, jobs, request, "results.html", wish, key=key, title=title, lead=lead, page=name)

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
        gates_page,
    ]
