"""What the generated clients stand on: one call of one operation, its query written as text."""

from typing import Any

import msgspec
from msgspec import Struct

from shared.contract.operations import Operation
from shared.rest.call import Caller


class Api:
    """The operations of one service over one `Caller`, which holds origin, token and timeouts and never retries."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def _call(
        self,
        operation: Operation,
        body: Struct | None = None,
        *,
        path: dict[str, str] | None = None,
        query: Struct | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> Any:
        """The reply's message, None where there is none (204, 304); raises what `Caller.call` raises."""
        given = {name: value for name, value in (headers or {}).items() if value is not None}
        reply = await self._caller.call(operation, body, path=path, query=_text(query), headers=given)
        return reply.message


def _text(query: Struct | None) -> dict[str, str] | None:
    if query is None:
        return None
    fields = msgspec.to_builtins(query)
    return {name: str(value) for name, value in fields.items() if value is not None}
