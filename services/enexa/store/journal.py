"""What happened and what was decided: events, status reports, alerts, schedules, commands, reconciliations."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Select, Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store.committer import Committer
from services.enexa.store.database import Database
from services.enexa.store.schema import alerts, commands, events, reconciliations, schedules, statuses, to_us
from services.enexa.store.upsert import insert_new, upsert
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Event, SiteStatus
from shared.contract.reads import Alert, CommandRecord
from shared.contract.schedule import SiteSchedule


class EventsKept(Struct, frozen=True, kw_only=True):
    """What became of a batch of events; `fresh` were not known before."""

    fresh: tuple[Event, ...]
    duplicates: int
    stored_through: int | None


class Journal:
    """Append and update by key; read newest first."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._committer = committer

    # ---- events and status ------------------------------------------------------------------------------------------

    async def add_events(self, new: Sequence[Event]) -> EventsKept:
        """Store events once by their id; durable on return."""

        async def run(connection: AsyncConnection) -> EventsKept:
            ids = [each.event_id for each in new]
            known = set(
                (await connection.execute(select(events.c.event_id).where(events.c.event_id.in_(ids)))).scalars()
            )
            fresh: dict[str, Event] = {each.event_id: each for each in new if each.event_id not in known}
            await insert_new(connection, events, [_event_row(each) for each in fresh.values()])
            numbers = [each.sequence for each in new if each.sequence is not None]
            return EventsKept(
                fresh=tuple(fresh.values()),
                duplicates=len(new) - len(fresh),
                stored_through=max(numbers) if numbers else None,
            )

        return await self._committer.write(run)

    async def events(
        self, site_id: str, *, limit: int = 100, start: datetime | None = None, kinds: Sequence[str] = ()
    ) -> list[Event]:
        """Newest first."""
        query = select(events.c.body).where(events.c.site_id == site_id)
        if kinds:
            query = query.where(events.c.kind.in_(list(kinds)))
        if start is not None:
            query = query.where(events.c.at_us >= to_us(start))
        bodies = await self._bodies(query.order_by(events.c.at_us.desc(), events.c.sequence.desc()).limit(limit))
        return [msgspec.json.decode(body, type=Event) for body in bodies]

    async def count_events(self, site_id: str, kinds: Sequence[str], start: datetime, until: datetime) -> int:
        query = select(func.count()).where(
            events.c.site_id == site_id,
            events.c.kind.in_(list(kinds)),
            events.c.at_us >= to_us(start),
            events.c.at_us < to_us(until),
        )
        async with self._database.transaction() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def add_status(self, status: SiteStatus, at: datetime) -> None:
        async def run(connection: AsyncConnection) -> None:
            row = {"site_id": status.site_id, "at_us": to_us(at), "body": msgspec.json.encode(status)}
            await connection.execute(statuses.insert(), [row])

        await self._committer.write(run)

    # ---- alerts -----------------------------------------------------------------------------------------------------

    async def save_alert(self, alert: Alert) -> None:
        async def run(connection: AsyncConnection) -> None:
            row = {
                "alert_id": alert.alert_id,
                "site_id": alert.site_id,
                "raised_us": to_us(alert.raised_at),
                "cleared_us": to_us(alert.cleared_at) if alert.cleared_at else None,
                "body": msgspec.json.encode(alert),
            }
            await upsert(connection, alerts, [row])

        await self._committer.write(run)

    async def alerts(
        self,
        *,
        limit: int = 100,
        open_only: bool = False,
        before: tuple[int, str] | None = None,
        sites: Collection[str] | None = None,
    ) -> list[Alert]:
        """Newest first; `before` continues after the last one of a page, `sites` leaves out those of other sites."""
        query = select(alerts.c.body)
        if sites is not None:
            query = query.where(alerts.c.site_id.is_(None) | alerts.c.site_id.in_(sorted(sites)))
        if open_only:
            query = query.where(alerts.c.cleared_us.is_(None))
        query = _page(query, alerts, "raised_us", "alert_id", before)
        return [msgspec.json.decode(body, type=Alert) for body in await self._bodies(query.limit(limit))]

    # ---- schedules --------------------------------------------------------------------------------------------------

    async def add_schedule(self, schedule: SiteSchedule, *, trigger: str, plan: bytes | None) -> None:
        async def run(connection: AsyncConnection) -> None:
            made_at = schedule.made_at or schedule.valid_from
            row = {
                "site_id": schedule.site_id,
                "version": schedule.version,
                "made_us": to_us(made_at),
                "trigger": trigger,
                "body": msgspec.json.encode(schedule),
                "plan": plan,
            }
            await insert_new(connection, schedules, [row])

        await self._committer.write(run)

    async def schedules(self, site_id: str, *, limit: int = 1, start: datetime | None = None) -> list[SiteSchedule]:
        """Every version that was ever in force, newest first."""
        query = select(schedules.c.body).where(schedules.c.site_id == site_id)
        if start is not None:
            query = query.where(schedules.c.made_us >= to_us(start))
        bodies = await self._bodies(query.order_by(schedules.c.version.desc()).limit(limit))
        return [msgspec.json.decode(body, type=SiteSchedule) for body in bodies]

    async def newest_plan(self, site_id: str) -> tuple[SiteSchedule, bytes | None, str] | None:
        """The last plan as it was stored: schedule, report, trigger."""
        query = (
            select(schedules.c.body, schedules.c.plan, schedules.c.trigger)
            .where(schedules.c.site_id == site_id)
            .order_by(schedules.c.version.desc())
            .limit(1)
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(query)).first()
        return (msgspec.json.decode(row.body, type=SiteSchedule), row.plan, row.trigger) if row else None

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def save_commands(self, records: Sequence[CommandRecord]) -> None:
        async def run(connection: AsyncConnection) -> None:
            await upsert(connection, commands, [_command_row(each) for each in records])

        await self._committer.write(run)

    async def command(self, command_id: str) -> CommandRecord | None:
        bodies = await self._bodies(select(commands.c.body).where(commands.c.command_id == command_id))
        return msgspec.json.decode(bodies[0], type=CommandRecord) if bodies else None

    async def commands(
        self,
        site_id: str,
        *,
        limit: int = 100,
        start: datetime | None = None,
        status: CommandStatus | None = None,
        statuses_: Sequence[CommandStatus] = (),
        before: tuple[int, str] | None = None,
    ) -> list[CommandRecord]:
        """The dispatch log, newest first; `before` continues after the last one of a page."""
        query = select(commands.c.body).where(commands.c.site_id == site_id)
        if start is not None:
            query = query.where(commands.c.planned_us >= to_us(start))
        wanted = [status] if status is not None else list(statuses_)
        if wanted:
            query = query.where(commands.c.status.in_([each.value for each in wanted]))
        query = _page(query, commands, "planned_us", "command_id", before)
        return [msgspec.json.decode(body, type=CommandRecord) for body in await self._bodies(query.limit(limit))]

    # ---- reconciliations --------------------------------------------------------------------------------------------

    async def save_reconciliation(self, record_id: str, site_id: str, started_at: datetime, body: bytes) -> None:
        async def run(connection: AsyncConnection) -> None:
            row = {"record_id": record_id, "site_id": site_id, "started_us": to_us(started_at), "body": body}
            await upsert(connection, reconciliations, [row])

        await self._committer.write(run)

    async def reconciliations(self, site_id: str, limit: int = 20) -> list[bytes]:
        """Records of past reconnections as JSON, newest first."""
        query = select(reconciliations.c.body).where(reconciliations.c.site_id == site_id)
        return await self._bodies(query.order_by(reconciliations.c.started_us.desc()).limit(limit))

    async def forget(self, before: datetime) -> None:
        """Retention of what repeats itself: status reports and old schedules. Events, commands and alerts stay."""

        async def run(connection: AsyncConnection) -> None:
            await connection.execute(delete(statuses).where(statuses.c.at_us < to_us(before)))
            await connection.execute(delete(schedules).where(schedules.c.made_us < to_us(before)))

        await self._committer.write(run)

    async def _bodies(self, query: Select[Any]) -> list[bytes]:
        async with self._database.transaction() as connection:
            return list((await connection.execute(query)).scalars().all())


def _page(query: Select[Any], table: Table, stamp: str, key: str, before: tuple[int, str] | None) -> Select[Any]:
    """Newest first, ties by key, continued strictly after `before`."""
    if before is not None:
        us, last = before
        query = query.where((table.c[stamp] < us) | ((table.c[stamp] == us) & (table.c[key] < last)))
    return query.order_by(table.c[stamp].desc(), table.c[key].desc())


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "site_id": event.site_id,
        "sequence": event.sequence,
        "at_us": to_us(event.timestamp),
        "kind": event.kind.value,
        "body": msgspec.json.encode(event),
    }


def _command_row(record: CommandRecord) -> dict[str, Any]:
    return {
        "command_id": record.command_id,
        "site_id": record.site_id,
        "planned_us": to_us(record.planned_at),
        "status": record.status.value,
        "body": msgspec.json.encode(record),
    }
