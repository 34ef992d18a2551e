"""The books: dispatch log with filters, one command's life, CSV export, alerts, audit."""

from datetime import datetime
from typing import Any

from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler

from services.enexa.insight.dispatch_log import Filter, row, rows, to_csv
from services.enexa.web.guard import HEADERS, Asked, require
from services.enexa.web.shell import Shell
from shared.contract.dispatch import CommandStatus
from shared.contract.reads import CommandRecord
from shared.contract.schedule import ScheduleSlot
from shared.energy.slots import MARKET_ZONE
from shared.errors import NotFound

ROWS_MAX = 300
CSV_ROWS_MAX = 10_000
AUDIT_SEARCHED = 5_000
PLANS_SEARCHED = 200
TEXT_MAX_CHARS = 100


def books(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of the dispatch log, alerts and audit pages."""
    deps = shell.deps

    async def chosen(site_id: str, wanted: Filter, limit: int) -> tuple[list[CommandRecord], bool]:
        """Newest first, and whether the search stopped at `limit`."""
        found = await deps.store.journal.commands(site_id, limit=limit, start=wanted.from_at, status=_status(wanted))
        return found, len(found) == limit

    @get("/sites/{site_id:str}/dispatch-log")
    async def log_page(request: Asked, site_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        wanted = filter_of(request)
        found, is_cut = await chosen(site_id, wanted, ROWS_MAX)
        shown = rows(tuple(found), wanted)
        return shell.page(
            request,
            "dispatch_log.html",
            key="dispatch_log",
            site_id=site_id,
            rows=shown,
            wanted=wanted,
            asked=dict(request.query_params),
            query=request.url.query,
            statuses=[each.value for each in CommandStatus],
            searched_count=len(found),
            is_cut=is_cut,
        )

    @get("/sites/{site_id:str}/dispatch-log.csv")
    async def log_csv(request: Asked, site_id: FromPath[str]) -> Response[bytes]:
        require(request, deps, site_id=site_id)
        wanted = filter_of(request)
        found, _ = await chosen(site_id, wanted, CSV_ROWS_MAX)
        kept = tuple(each.record for each in rows(tuple(found), wanted))
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="dispatch_log_{site_id}.csv"'}
        return Response(to_csv(kept).encode(), headers=headers, media_type="text/csv")

    @get("/sites/{site_id:str}/commands/{command_id:str}")
    async def command_page(request: Asked, site_id: FromPath[str], command_id: FromPath[str]) -> Response[str]:
        require(request, deps, site_id=site_id)
        record = deps.board.sites[site_id].commands.get(command_id) or await deps.store.journal.command(command_id)
        if record is None or record.site_id != site_id:
            raise NotFound("no such command")
        slot = await planned_slot(record)
        return shell.page(
            request, "command.html", key="dispatch_log", site_id=site_id, row=row(record), record=record, slot=slot
        )

    async def planned_slot(record: CommandRecord) -> ScheduleSlot | None:
        """The slot of the plan that asked for a command, if that plan is still kept."""
        if record.schedule_version is None:
            return None
        for plan in await deps.store.journal.schedules(record.site_id, limit=PLANS_SEARCHED):
            if plan.version == record.schedule_version:
                return next((slot for slot in plan.slots if slot.start == record.slot_start), None)
        return None

    @get("/alerts")
    async def alerts_page(request: Asked) -> Response[str]:
        session = require(request, deps)
        found = await deps.store.journal.alerts(limit=ROWS_MAX)
        seen = [alert for alert in found if alert.site_id is None or session.may_see(alert.site_id)]
        return shell.page(
            request,
            "alerts.html",
            key="alerts",
            open_alerts=[alert for alert in seen if alert.cleared_at is None],
            past_alerts=[alert for alert in seen if alert.cleared_at is not None],
        )

    @get("/audit")
    async def audit_page(request: Asked) -> Response[Any]:
        require(request, deps, operator=True)
        wanted = request.query_params.get("text", "")[:TEXT_MAX_CHARS]
        entries = await deps.store.audit.entries(limit=AUDIT_SEARCHED if wanted else ROWS_MAX)
        said = [(each, f"{each.principal} {each.action} {each.outcome} {each.source}".lower()) for each in entries]
        shown = [each for each, text in said if wanted.lower() in text][:ROWS_MAX]
        verdict = await deps.store.audit.verify() if "verify" in request.query_params else None
        return shell.page(
            request, "audit.html", key="audit", entries=shown, wanted=wanted, verdict=verdict, searched=len(entries)
        )

    return [log_page, log_csv, command_page, alerts_page, audit_page]


def filter_of(request: Asked) -> Filter:
    """The filter in the address; what cannot be read does not filter."""
    asked = {name: str(value)[:TEXT_MAX_CHARS] for name, value in request.query_params.items()}
    return Filter(
        status=asked.get("status", ""),
        reason=asked.get("reason", ""),
        command=asked.get("command", ""),
        text=asked.get("text", ""),
        from_at=_local_instant(asked.get("from", "")),
        until_at=_local_instant(asked.get("until", "")),
    )


def _status(wanted: Filter) -> CommandStatus | None:
    return CommandStatus(wanted.status) if wanted.status in tuple(CommandStatus) else None


def _local_instant(text: str) -> datetime | None:
    """What a browser's local date and time field sends; it means the site's local time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=MARKET_ZONE)
