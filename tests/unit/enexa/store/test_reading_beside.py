"""A second reader beside a running platform: it sees everything, and can write nothing."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.enexa.store.store import Store
from shared.clock import ManualClock
from shared.errors import StoreFailed
from shared.rest.audit import AuditLine


def line(number: int) -> AuditLine:
    return AuditLine(
        at=ManualClock().now().at,
        source="127.0.0.1",
        principal="viewer",
        action="list_sites",
        outcome="ok",
        status=200,
        latency_ms=1.0,
        request_id=f"r{number}",
    )


async def test_the_chain_is_verified_beside_its_writer_and_nothing_is_written(store: Store, url: str) -> None:
    for number in range(5):
        await store.audit.append(line(number))
    reader = Store(url, read_only=True)
    await reader.open()
    verdict = await reader.audit.verify()
    with pytest.raises((StoreFailed, DBAPIError)):
        async with reader.database.transaction() as connection:
            await connection.execute(text("DELETE FROM audit"))
    await store.audit.append(line(5))
    after = await reader.audit.verify()
    await reader.close()

    assert (verdict.entries, verdict.broken_seq) == (5, None)
    assert (after.entries, after.broken_seq) == (6, None)
