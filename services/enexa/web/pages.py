"""All pages of Enexa as Litestar handlers; each is a few lines over gather, insight and a template."""

from litestar import Router
from litestar.types import ControllerRouterHandler

from services.enexa.web.audited import audited
from services.enexa.web.books import books
from services.enexa.web.comparison_job import Compute, in_a_process
from services.enexa.web.configuration import configuration
from services.enexa.web.deps import Deps
from services.enexa.web.entrance import entrance
from services.enexa.web.errors import error_handlers
from services.enexa.web.exceptions import exceptions
from services.enexa.web.impact import impact_pages
from services.enexa.web.monitoring import monitoring
from services.enexa.web.plan_page import plan_page
from services.enexa.web.shell import Shell
from services.enexa.web.simulation import simulation
from services.enexa.web.solution import solution

FORM_MAX_BYTES = 64 * 1024


def handlers(deps: Deps, *, compute: Compute = in_a_process) -> list[ControllerRouterHandler]:
    """What the application serves besides the API; no path begins with /v1. `compute` runs a comparison."""
    shell = Shell(deps)
    return [
        Router(
            path="/",
            route_handlers=[
                *entrance(shell),
                *monitoring(shell),
                *books(shell),
                *plan_page(shell),
                *solution(shell),
                *exceptions(shell),
                *configuration(shell),
                *simulation(shell, compute),
                *impact_pages(shell),
            ],
            middleware=[audited(deps)],
            exception_handlers=error_handlers(shell),
            request_max_body_size=FORM_MAX_BYTES,
            include_in_schema=False,
        )
    ]
