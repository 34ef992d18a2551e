"""Solution Overview: who does what, how the programs talk and whether they do so now, operations."""

from typing import Any

from litestar import get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from services.enexa.web.documents import document_html, not_modelled_path
from services.enexa.web.guard import Asked, require
from services.enexa.web.session import Session
from services.enexa.web.shell import Shell
from shared.contract.reads import AuditEntry

AUDIT_SAMPLE = 500


class Traffic(Struct, frozen=True, kw_only=True):
    """What the audit log's newest entries say of one operation that Enexa hosts."""

    count: int = 0
    refused_count: int = 0
    newest: AuditEntry | None = None
    slowest_ms: float = 0.0


def solution(shell: Shell) -> list[ControllerRouterHandler]:
    """Handlers of the Solution Overview pages and of Not Modeled."""
    deps = shell.deps

    @get("/solution", sync_to_thread=False)
    def overview(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(request, "solution.html", key="solution")

    @get("/sites/{site_id:str}/communication")
    async def communication(request: Asked, site_id: FromPath[str]) -> Response[str]:
        session = require(request, deps, site_id=site_id)
        view, encoded = shell.live.current(site_id)
        return shell.page(
            request,
            "communication.html",
            key="communication",
            site_id=site_id,
            frame=view,
            frame_json=encoded.decode(),
            **await counted(site_id, session),
        )

    @get("/sites/{site_id:str}/communication/traffic")
    async def counters(request: Asked, site_id: FromPath[str]) -> Response[str]:
        session = require(request, deps, site_id=site_id)
        return shell.part(request, "traffic.html", session=session, **await counted(site_id, session))

    async def counted(site_id: str, session: Session) -> dict[str, Any]:
        entries = await deps.store.audit.entries(limit=AUDIT_SAMPLE) if session.is_operator else []
        return {
            "traffic": traffic(entries),
            "middleware": deps.board.middleware,
            "told": deps.board.sites[site_id].status,
            "missing_count": deps.store.telemetry.missing(site_id),
            "stored_count": deps.store.telemetry.stored_count,
        }

    @get("/not-modelled", sync_to_thread=False)
    def not_modelled(request: Asked) -> Response[str]:
        require(request, deps)
        return shell.page(
            request, "document.html", key="not_modelled", title="Not Modeled", body=document_html(not_modelled_path())
        )

    return [overview, communication, counters, not_modelled]


def traffic(entries: list[AuditEntry]) -> dict[str, Traffic]:
    """By operation, from the newest audit entries; `entries` come newest first."""
    found: dict[str, Traffic] = {}
    for entry in entries:
        before = found.get(entry.action, Traffic(newest=entry))
        found[entry.action] = Traffic(
            count=before.count + 1,
            refused_count=before.refused_count + (entry.status >= 400),
            newest=before.newest,
            slowest_ms=max(before.slowest_ms, entry.latency_ms),
        )
    return found
