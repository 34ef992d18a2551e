"""The dispatch log: what was asked, what was applied, what was measured, and why."""

from services.enexa.platform import Platform
from services.enexa.store.schema import to_us
from shared.contract.operations import GET_COMMAND, LIST_COMMANDS
from shared.contract.reads import CommandPage, CommandRecord
from shared.errors import InvalidMessage, NotFound
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(LIST_COMMANDS)
    async def list_commands(call: Call[None]) -> CommandPage:
        site_id, query = call.path["site_id"], call.query
        platform.site(site_id)
        found = await platform.store.journal.commands(
            site_id,
            limit=query.limit + 1,
            start=query.from_,
            status=query.status,
            before=_before(query.cursor),
        )
        shown = tuple(found[: query.limit])
        more = len(found) > query.limit
        cursor = f"{to_us(shown[-1].planned_at)}:{shown[-1].command_id}" if more else None
        return CommandPage(commands=shown, cursor=cursor)

    @serves(GET_COMMAND)
    async def get_command(call: Call[None]) -> CommandRecord:
        assert call.principal is not None
        record = await platform.store.journal.command(call.path["command_id"])
        if record is None or not call.principal.may_see(record.site_id):
            raise NotFound("no such command")
        return record

    return [list_commands, get_command]


def _before(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    stamp, _, key = cursor.partition(":")
    if not stamp.isdigit() or len(stamp) > 18 or not key:
        raise InvalidMessage("unknown cursor", field="cursor")
    return int(stamp), key
