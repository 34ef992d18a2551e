"""The audit log for operators."""

from services.enexa.platform import Platform
from shared.contract.operations import LIST_AUDIT
from shared.contract.reads import AuditPage
from shared.errors import InvalidMessage
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(LIST_AUDIT)
    async def list_audit(call: Call[None]) -> AuditPage:
        cursor = call.query.cursor
        if cursor is not None and (not cursor.isdigit() or len(cursor) > 15):
            raise InvalidMessage("unknown cursor", field="cursor")
        found = await platform.store.audit.entries(
            limit=call.query.limit + 1, below_seq=int(cursor) if cursor is not None else None
        )
        shown = tuple(found[: call.query.limit])
        return AuditPage(entries=shown, cursor=str(shown[-1].seq) if len(found) > len(shown) else None)

    return [list_audit]
