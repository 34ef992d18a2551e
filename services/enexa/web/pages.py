"""All pages of Enexa as Litestar handlers; each is a few lines over gather, insight and a template."""

import asyncio

from litestar import Router
from litestar.types import ControllerRouterHandler

from services.enexa.insight.comparison import Comparison
from services.enexa.jobs import ComparisonWish, Jobs, Work, compare_in_a_process
from services.enexa.judging import Judge
from services.enexa.kept_comparisons import KeptComparisons
from services.enexa.own_days import OwnDays
from services.enexa.web.audited import audited
from services.enexa.web.books import books
from services.enexa.web.configuration import configuration
from services.enexa.web.days import days
from services.enexa.web.deps import Deps
from services.enexa.web.entrance import entrance
from services.enexa.web.errors import error_handlers
from services.enexa.web.exceptions import exceptions
from services.enexa.web.fleet import fleet
from services.enexa.web.impact import impact_pages
from services.enexa.web.monitoring import monitoring
from services.enexa.web.onboarding import onboarding
from services.enexa.web.openapi import openapi_pages
from services.enexa.web.plan_page import plan_page
from services.enexa.web.shell import Shell
from services.enexa.web.simulation import simulation
from services.enexa.web.solution import solution
from services.enexa.web.what_if import what_if

FORM_MAX_BYTES = 64 * 1024


def handlers(
    deps: Deps,
    *,
    compare: Work[ComparisonWish, Comparison] = compare_in_a_process,
    judge: Judge | None = None,
    turn: asyncio.Semaphore | None = None,
) -> list[ControllerRouterHandler]:
    """What the application serves besides the API; no path begins with /v1.

    `compare` and `judge` run the engine; whoever has a `turn` waits for the other.
    """
    shell = Shell(deps)
    comparisons = Jobs(compare, turn)
    own, kept = OwnDays(deps.data_dir / "days"), KeptComparisons(deps.data_dir / "comparisons")
    return [
        Router(
            path="/",
            route_handlers=[
                *entrance(shell),
                *monitoring(shell),
                *books(shell),
                *plan_page(shell),
                *solution(shell),
                *openapi_pages(shell),
                *onboarding(shell),
                *fleet(shell),
                *exceptions(shell),
                *configuration(shell),
                *simulation(shell, comparisons, own),
                *what_if(shell, comparisons, own, kept),
                *days(shell, own),
                *impact_pages(shell, judge or Judge(turn=turn)),
            ],
            middleware=[audited(deps)],
            exception_handlers=error_handlers(shell),
            request_max_body_size=FORM_MAX_BYTES,
            include_in_schema=False,
        )
    ]
