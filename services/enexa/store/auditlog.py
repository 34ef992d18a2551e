"""The audit log in the store: append-only, each entry chained to the one before, verifiable offline.

A line is durable before its request is answered. Lines of many requests share a transaction with each other and with
the samples that arrive meanwhile.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import select

from services.enexa.store.anchors import Anchor, by_seq
from services.enexa.store.committer import Committer, Merged
from services.enexa.store.database import Database, Group
from services.enexa.store.schema import audit, to_us
from services.enexa.store.statements import Insert
from shared.contract.reads import AuditEntry
from shared.rest.audit import GENESIS, AuditLine, canonical, chained, digest_after

INSERT_AUDIT = Insert(audit, ("seq", "at_us", "body", "digest"))
PAGE = 2000


class Verdict(Struct, frozen=True, kw_only=True):
    """What `enexa audit verify` found; `broken_seq` is the first entry that is missing or not what it was."""

    entries: int
    head: str
    broken_seq: int | None = None


class AuditLog:
    """One chain for the whole service; entries are numbered from 1 without a gap."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._merged: Merged[AuditLine, None] = Merged(committer, self._write, self._settled)
        self._seq = 0
        self._head = GENESIS
        self._end = (0, GENESIS)

    async def load(self) -> None:
        """Find the end of the chain; call once after the database is open."""
        async with self._database.transaction() as connection:
            query = select(audit.c.seq, audit.c.digest).order_by(audit.c.seq.desc()).limit(1)
            row = (await connection.execute(query)).first()
        if row is not None:
            self._seq, self._head = row.seq, row.digest

    @property
    def head(self) -> Anchor:
        """Number and digest of the newest entry."""
        return Anchor(self._seq, self._head)

    async def append(self, line: AuditLine) -> None:
        """Durable on return; StoreFailed where it is not."""
        await self._merged.add(line)

    async def _write(self, group: Group, lines: list[AuditLine]) -> list[None]:
        """Number and chain the lines inside the transaction, so that order and chain agree."""
        seq, head = self._seq, self._head
        rows: list[tuple[object, ...]] = []
        for line in lines:
            body = canonical(line)
            seq, head = seq + 1, digest_after(head, body)
            rows.append((seq, to_us(line.at), body, head))
        group.write(INSERT_AUDIT, rows)
        self._end = (seq, head)
        return [None] * len(lines)

    def _settled(self) -> None:
        self._seq, self._head = self._end

    async def entries(self, *, limit: int = 100, below_seq: int | None = None) -> list[AuditEntry]:
        """Newest first."""
        query = select(audit)
        if below_seq is not None:
            query = query.where(audit.c.seq < below_seq)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query.order_by(audit.c.seq.desc()).limit(limit))).all()
        return [_entry(row) for row in rows]

    async def verify(self, anchors: Iterable[Anchor] = ()) -> Verdict:
        """Walk the whole chain from its first entry, and past every anchor."""
        walk = Walk(anchors)
        while True:
            query = select(audit).where(audit.c.seq > walk.seq).order_by(audit.c.seq).limit(PAGE)
            async with self._database.transaction() as connection:
                rows = (await connection.execute(query)).all()
            if not all(walk.follows(row.seq, row.at_us, row.body, row.digest) for row in rows) or len(rows) < PAGE:
                return walk.verdict()


class Walk:
    """One way along a chain (pure)."""

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self.seq, self._head = 0, GENESIS
        self._anchors = by_seq(anchors)
        self._broken_seq: int | None = None

    def follows(self, seq: int, at_us: int, body: bytes, digest: str) -> bool:
        """Whether an entry follows from the one before, and is the one that was anchored."""
        try:
            line = msgspec.json.decode(body, type=AuditLine)
        except msgspec.DecodeError:
            self._broken_seq = seq
            return False
        right = seq == self.seq + 1 and digest == chained(self._head, line) and at_us == to_us(line.at)
        if not right or not all(digest.startswith(each) for each in self._anchors.get(seq, ())):
            self._broken_seq = seq
            return False
        self.seq, self._head = seq, digest
        return True

    def verdict(self) -> Verdict:
        """After the last entry: an anchor beyond it says that the end was cut off."""
        broken_seq = self._broken_seq
        if broken_seq is None and max(self._anchors, default=0) > self.seq:
            broken_seq = self.seq + 1
        return Verdict(entries=self.seq, head=self._head, broken_seq=broken_seq)


def _entry(row: Any) -> AuditEntry:
    line = msgspec.json.decode(row.body, type=AuditLine)
    return AuditEntry(
        seq=row.seq,
        at=line.at,
        source=line.source,
        principal=line.principal,
        action=line.action,
        outcome=line.outcome,
        status=line.status,
        latency_ms=line.latency_ms,
        request_id=line.request_id,
        digest=row.digest,
    )
