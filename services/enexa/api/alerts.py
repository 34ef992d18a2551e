"""Open and past alerts, newest first."""

from services.enexa.platform import Platform
from services.enexa.store.schema import to_us
from shared.contract.operations import LIST_ALERTS
from shared.contract.reads import Alert, AlertPage
from shared.errors import InvalidMessage
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(LIST_ALERTS)
    async def list_alerts(call: Call[None]) -> AlertPage:
        assert call.principal is not None
        sites = call.principal.sites or None
        found = await platform.store.journal.alerts(
            limit=call.query.limit + 1, before=_before(call.query.cursor), sites=sites
        )
        shown = tuple(found[: call.query.limit])
        return AlertPage(alerts=shown, cursor=_cursor(shown[-1]) if len(found) > len(shown) else None)

    return [list_alerts]


def _cursor(alert: Alert) -> str:
    return f"{to_us(alert.raised_at)}:{alert.alert_id}"


def _before(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    stamp, _, key = cursor.partition(":")
    if not stamp.isdigit() or len(stamp) > 18 or not key:
        raise InvalidMessage("unknown cursor", field="cursor")
    return int(stamp), key
