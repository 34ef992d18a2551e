"""A page over a comparison of controllers: asked for, waited for with its progress, and drawn."""

from typing import Any

import msgspec
from litestar.response import Response

from services.enexa.insight.comparison import PLANT_NAMES, Comparison
from services.enexa.jobs import ComparisonWish, Jobs
from services.enexa.own_days import SHIPPED, OwnDays
from services.enexa.web.guard import Asked
from services.enexa.web.shell import Shell
from shared.errors import SiteError

AGAIN_S = 2


def asked(jobs: Jobs[ComparisonWish, Comparison], wish: ComparisonWish) -> tuple[Comparison | None, str]:
    """A comparison, or what went wrong with it; neither while it is being computed."""
    try:
        return jobs.ask(wish), ""
    except SiteError as error:
        return None, f"{error.sentence[0].upper()}{error.sentence[1:]}."


def compared_page(
    shell: Shell,
    jobs: Jobs[ComparisonWish, Comparison],
    request: Asked,
    template: str,
    wish: ComparisonWish,
    **context: Any,
) -> Response[str]:
    """While it is being computed the page says so and asks again by itself."""
    found, problem = asked(jobs, wish)
    page = shell.page(
        request,
        template,
        knobs=wish.knobs,
        found=found,
        found_json=msgspec.json.encode(found).decode() if found else "",
        problem=problem,
        done_pct=100.0 * jobs.progress_ratio(wish),
        plants=PLANT_NAMES,
        **context,
    )
    if found is None and not problem:
        page.headers["Refresh"] = str(AGAIN_S)
    return page


def day_of(request: Asked, own: OwnDays) -> str:
    """The day that the address names, else the shipped one."""
    day = request.query_params.get("day", SHIPPED)
    return day if day in own.names() else SHIPPED
