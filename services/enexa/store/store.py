"""The store as one thing: opened, migrated and loaded at start, flushed and closed at the end."""

from sqlalchemy import text

from services.enexa.store.auditlog import AuditLog
from services.enexa.store.committer import Committer
from services.enexa.store.database import Database
from services.enexa.store.journal import Journal
from services.enexa.store.masterdata import MasterData
from services.enexa.store.packing import Packing
from services.enexa.store.telemetry import TelemetryStore


class Store:
    """`telemetry`, `packing`, `master`, `journal` and `audit` share one database and one writer."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.database = Database(url, read_only=read_only)
        self._read_only = read_only
        self.committer = Committer(self.database)
        self.telemetry = TelemetryStore(self.database, self.committer)
        self.packing = Packing(self.database, self.committer, self.telemetry)
        self.master = MasterData(self.database, self.committer)
        self.journal = Journal(self.database, self.committer)
        self.audit = AuditLog(self.database, self.committer)

    async def open(self) -> None:
        """Ready for reads and writes on return, or for reads beside a running platform where it is read-only."""
        await self.database.open()
        if self._read_only:
            return
        await self.telemetry.load()
        await self.audit.load()
        self.committer.start()

    async def ping(self) -> None:
        """StoreFailed where the database does not answer."""
        async with self.database.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.committer.stop()
        await self.database.close()
