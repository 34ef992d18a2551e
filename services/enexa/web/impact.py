"""Impact Dashboard: a local day or a period of a site, settled from what was measured, with bounds; and as CSV."""

import asyncio
import csv
from datetime import date, datetime, timedelta
from io import StringIO
from typing import Any

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.bounds import Measured
from services.enexa.insight.charts import planned
from services.enexa.insight.impact import DayLine, ImpactView, by_cause, day_line, impact
from services.enexa.judging import Judge, known_until, stretch
from services.enexa.planning_request import sessions_of, tariff_of
from services.enexa.web.guard import HEADERS, Asked, require
from services.enexa.web.shell import Shell
from shared.contract.config import SiteConfig
from shared.contract.events import EventKind
from shared.contract.reads import Point
from shared.energy.slots import day_end, day_start, local_day
from shared.errors import NotFound

MINUTES_OF_A_LONG_DAY = 1500
PERIOD_MAX_DAYS = 31
PLANS_OF_A_DAY = 400
SESSIONS_MAX = 500
YESTERDAYS_LAST_PLAN = timedelta(hours=36)


class Book:
    """A site's days as they were measured, for the page and its CSV alike."""

    def __init__(self, shell: Shell, site_id: str) -> None:
        deps = shell.deps
        self._deps, self.site_id, self._board = deps, site_id, deps.board.sites[site_id]
        if self._board.config is None or self._board.prices is None:
            raise NotFound("no prices are known yet")
        self.config: SiteConfig = self._board.config

    def known_until(self) -> datetime:
        return known_until(self._board, self._deps.clock.now().at)

    def span(self, day: date) -> tuple[datetime, datetime]:
        start = day_start(day)
        return start, max(min(day_end(day), self.known_until()), start)

    async def points(self, day: date) -> list[Point]:
        start, until = self.span(day)
        return await self._deps.store.telemetry.points(
            self.site_id, start, until, resolution_s=60, limit=MINUTES_OF_A_LONG_DAY
        )

    async def view(self, day: date) -> ImpactView:
        start, until = self.span(day)
        points, prices = await self.points(day), self._deps.prices_between(start, until)
        tariff = tariff_of(self.config)
        # Beside the loop: thirty days of it would hold the dispatcher up.
        return await asyncio.to_thread(lambda: impact(points, prices, tariff, start=start, until=until))

    async def line(self, day: date) -> DayLine:
        start, until = self.span(day)
        count = await self._deps.store.journal.count_events(self.site_id, [EventKind.SESSION_ENDED.value], start, until)
        return day_line(await self.view(day), day, count)

    async def reasons(self, day: date) -> dict[datetime, str]:
        """Why each slot of a day was planned as it was, by the plan in force when it began."""
        start, until = self.span(day)
        plans = await self._deps.store.journal.schedules(
            self.site_id, limit=PLANS_OF_A_DAY, start=start - YESTERDAYS_LAST_PLAN
        )
        columns = planned(plans[::-1], start, until)
        return {
            datetime.fromtimestamp(at_s, start.tzinfo): reason
            for at_s, reason in zip(columns.start_s, columns.reason, strict=True)
        }

    async def sessions(self, day: date) -> list[Any]:
        start, until = self.span(day)
        events = await self._deps.store.journal.events(
            self.site_id, limit=SESSIONS_MAX, start=start, kinds=(EventKind.SESSION_ENDED.value,)
        )
        return list(sessions_of([each for each in events if each.timestamp < until]))

    async def measured(self, day: date) -> Measured | None:
        """What the bounds of a day are computed from."""
        start, until = self.span(day)
        prices = self._deps.prices_between(start, until)
        return stretch(await self.points(day), prices, self.config, start=start, until=until)


def impact_pages(shell: Shell, judge: Judge) -> list[ControllerRouterHandler]:
    """Handlers of `/impact` and `/impact/...`."""
    deps = shell.deps

    @get("/sites/{site_id:str}/impact")
    async def day_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        book, today = Book(shell, site_id), local_day(deps.clock.now().at)
        day = _day(request, "day") or today
        view = await book.view(day)
        return shell.page(
            request,
            "impact.html",
            key="impact",
            site_id=site_id,
            view=view,
            causes=by_cause(view, await book.reasons(day)),
            sessions=await book.sessions(day),
            day=day,
            before=day - timedelta(days=1),
            after=day + timedelta(days=1) if day < today else None,
            **await judged(book, day),
        )

    @get("/sites/{site_id:str}/impact/bounds")
    async def bounds_part(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        day = _day(request, "day") or local_day(deps.clock.now().at)
        return shell.part(request, "bounds.html", **await judged(Book(shell, site_id), day))

    async def judged(book: Book, day: date) -> dict[str, Any]:
        """The bounds of a day, or why there are none, or how far the engine is."""
        return msgspec.structs.asdict(judge.ask(book.site_id, await book.measured(day)))

    @get("/sites/{site_id:str}/impact/period")
    async def period_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        book, today = Book(shell, site_id), local_day(deps.clock.now().at)
        days, wrong = _period(request, today)
        lines = [await book.line(day) for day in days]
        return shell.page(
            request,
            "impact_period.html",
            key="impact",
            site_id=site_id,
            status=422 if wrong else 200,
            lines=lines,
            wrong=wrong,
            first=request.query_params.get("from", today.replace(day=1).isoformat())[:20],
            last=request.query_params.get("to", today.isoformat())[:20],
            today=today,
            month_before=(today.replace(day=1) - timedelta(days=1)),
        )

    @get("/sites/{site_id:str}/impact/period.csv")
    async def period_csv(request: Asked, site_id: FromPath[str]) -> Response[bytes]:
        require(request, deps, site_id=site_id)
        book = Book(shell, site_id)
        days, wrong = _period(request, local_day(deps.clock.now().at))
        if wrong:
            raise NotFound("no such period")
        return _csv(period_to_csv([await book.line(day) for day in days]), f"impact_{site_id}_{days[0]}_{days[-1]}")

    @get("/sites/{site_id:str}/impact.csv")
    async def day_csv(request: Asked, site_id: FromPath[str]) -> Response[bytes]:
        require(request, deps, site_id=site_id)
        day = _day(request, "day") or local_day(deps.clock.now().at)
        return _csv(to_csv(await Book(shell, site_id).view(day)), f"impact_{site_id}_{day.isoformat()}")

    return [day_page, bounds_part, period_page, period_csv, day_csv]


def _day(request: Asked, name: str) -> date | None:
    try:
        return date.fromisoformat(request.query_params.get(name, ""))
    except ValueError:
        return None


def _period(request: Asked, today: date) -> tuple[list[date], dict[str, str]]:
    """The days of the period that is asked for, this month where nothing is said; or what is wrong, by field."""
    said = {name: request.query_params.get(name, "") for name in ("from", "to")}
    first = _day(request, "from") if said["from"] else today.replace(day=1)
    last = _day(request, "to") if said["to"] else today
    wrong = {name: "Write a day as 2026-06-16." for name, day in (("from", first), ("to", last)) if day is None}
    if first is None or last is None:
        return [], wrong
    last = min(last, today)
    if first > last:
        return [], {"from": "The period begins after it ends."}
    if (last - first).days >= PERIOD_MAX_DAYS:
        return [], {"to": f"A period has at most {PERIOD_MAX_DAYS} days."}
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)], {}


def _csv(text: str, name: str) -> Response[bytes]:
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.encode(), headers=headers, media_type="text/csv")


COLUMNS = ("import_kwh", "export_kwh", "pv_kwh", "ev_kwh", "own_kwh", "charged_kwh", "discharged_kwh")
MONEY = ("flat_cents", "dynamic_cents", "export_cents", "wear_cents", "net_saving_cents", "timing_value_cents")


def to_csv(view: ImpactView) -> str:
    """A line per settled quarter hour: energies in kWh, money in whole cents; the cents add up to the page's totals."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["start", "price_eur_per_mwh", *COLUMNS, *MONEY])
    for energy, money in zip(view.energies, view.settlement.slots, strict=True):
        writer.writerow(
            [
                energy.start.isoformat(),
                energy.price_eur_per_mwh,
                *(f"{getattr(energy, name):.6f}" for name in COLUMNS),
                *(getattr(money, name) for name in MONEY),
            ]
        )
    return out.getvalue()


def period_to_csv(lines: list[DayLine]) -> str:
    """A line per local day, with the columns of the page."""
    out = StringIO()
    writer = csv.writer(out)
    names = DayLine.__struct_fields__
    writer.writerow(names)
    for line in lines:
        writer.writerow([f"{value:.3f}" if isinstance(value, float) else value for value in _values(line, names)])
    return out.getvalue()


def _values(line: DayLine, names: tuple[str, ...]) -> list[Any]:
    return [getattr(line, name) for name in names]
