"""Events, commands, alerts, schedules, configurations and the audit chain, on both databases."""

from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import text

from services.enexa.registry.assets import ControllerRecord, SiteRecord
from services.enexa.store.store import Store
from shared.contract.dispatch import CommandStatus
from shared.contract.events import Event, EventKind, Severity
from shared.contract.reads import Alert, CommandRecord
from shared.contract.registry import OnboardingState
from shared.errors import Conflict, LostUpdate
from shared.rest.audit import AuditLine
from tests.unit.enexa.dispatching.scene import CONFIG, START, config, schedule


def event(number: int) -> Event:
    return Event(
        event_id=f"ev{number}",
        site_id="SITE001",
        timestamp=START + timedelta(seconds=number),
        kind=EventKind.SESSION_STARTED,
        sequence=number,
    )


def command(number: int, status: CommandStatus = CommandStatus.VERIFIED) -> CommandRecord:
    return CommandRecord(
        command_id=f"c{number}",
        site_id="SITE001",
        command="set_battery_power",
        status=status,
        reason="cheap_slot",
        planned_at=START + timedelta(seconds=number // 2),
        valid_until=START + timedelta(seconds=90),
    )


def line(number: int) -> AuditLine:
    return AuditLine(
        at=START + timedelta(seconds=number),
        source="127.0.0.1",
        principal="operator",
        action="put_config",
        outcome="ok",
        status=200,
        latency_ms=1.5,
        request_id=f"r{number}",
    )


async def test_an_event_is_kept_once_by_its_id(store: Store) -> None:
    first = await store.journal.add_events([event(1), event(2)])
    second = await store.journal.add_events([event(2), event(3), event(3)])

    assert (len(first.fresh), first.duplicates, first.stored_through) == (2, 0, 2)
    assert (len(second.fresh), second.duplicates, second.stored_through) == (1, 2, 3)
    assert [each.event_id for each in await store.journal.events("SITE001")] == ["ev3", "ev2", "ev1"]


async def test_the_dispatch_log_pages_without_losing_or_repeating_a_line(store: Store) -> None:
    await store.journal.save_commands([command(number) for number in range(25)])
    seen: list[str] = []
    before = None
    while True:
        page = await store.journal.commands("SITE001", limit=7, before=before)
        seen += [each.command_id for each in page]
        if len(page) < 7:
            break
        last = page[-1]
        before = (int(last.planned_at.timestamp() * 1_000_000), last.command_id)

    assert sorted(seen) == sorted(f"c{number}" for number in range(25))
    assert len(seen) == 25


async def test_a_command_is_one_line_in_its_newest_form(store: Store) -> None:
    await store.journal.save_commands([command(1, CommandStatus.SENT)])
    await store.journal.save_commands([command(1, CommandStatus.VERIFIED)])

    (found,) = await store.journal.commands("SITE001")
    assert found.status is CommandStatus.VERIFIED
    assert not await store.journal.commands("SITE001", status=CommandStatus.SENT)


async def test_an_alert_is_closed_and_not_doubled(store: Store) -> None:
    alert = Alert(
        alert_id="a1", site_id="SITE001", severity=Severity.WARNING, code="plan_failed", text="x", raised_at=START
    )
    await store.journal.save_alert(alert)
    assert len(await store.journal.alerts(open_only=True)) == 1
    await store.journal.save_alert(msgspec.structs.replace(alert, cleared_at=START))

    assert not await store.journal.alerts(open_only=True)
    assert len(await store.journal.alerts(sites={"SITE001"})) == 1
    assert not await store.journal.alerts(sites={"SITE002"})


async def test_every_schedule_stays_readable(store: Store) -> None:
    for version in (1, 2, 3):
        await store.journal.add_schedule(schedule(version=version), trigger="slot_roll", plan=b"{}")

    assert [each.version for each in await store.journal.schedules("SITE001", limit=10)] == [3, 2, 1]
    newest = await store.journal.newest_plan("SITE001")
    assert newest is not None
    assert (newest[0], newest[2]) == (schedule(version=3), "slot_roll")


async def test_a_version_that_was_overtaken_is_a_lost_update(store: Store) -> None:
    await store.master.add_site(SiteRecord(id="SITE001", name="Park"), [], CONFIG)
    await store.master.add_config(config(version=2))

    with pytest.raises(LostUpdate):
        await store.master.add_config(config(version=2))
    versions = await store.master.config_versions("SITE001")
    assert [each.version for each in versions] == [2, 1]
    assert versions[1] == CONFIG


async def test_a_serial_is_registered_once(store: Store) -> None:
    record = ControllerRecord(
        id="CTRL002", site_id="SITE001", serial="S1", state=OnboardingState.REGISTERED, registered_at=START
    )
    await store.master.add_controller(record)

    with pytest.raises(Conflict):
        await store.master.add_controller(msgspec.structs.replace(record, id="CTRL003"))


async def test_numbers_grow_over_restarts(url: str) -> None:
    seen = []
    for _ in range(3):
        store = Store(url)
        await store.open()
        seen.append(await store.master.next_number("platform_epoch"))
        await store.close()

    assert seen == [1, 2, 3]


async def test_one_bad_write_of_a_group_fails_alone(store: Store) -> None:
    async def good(connection: object) -> str:
        return "good"

    async def bad(connection: object) -> str:
        raise Conflict("no")

    outcomes = [store.committer.enqueue(each) for each in (good, bad, good)]

    assert await outcomes[0] == await outcomes[2] == "good"
    with pytest.raises(Conflict):
        await outcomes[1]


async def test_the_audit_chain_is_unbroken_and_goes_on_after_a_restart(url: str) -> None:
    for start in (0, 10):
        store = Store(url)
        await store.open()
        for number in range(start, start + 10):
            await store.audit.append(line(number))
        await store.close()

    store = Store(url)
    await store.open()
    verdict = await store.audit.verify()
    assert (verdict.entries, verdict.broken_seq, verdict.head) == (20, None, store.audit.head.digest)
    await store.close()


@pytest.mark.parametrize(
    ("how", "statement", "broken_seq"),
    [
        ("an entry was changed", "UPDATE audit SET body = (SELECT body FROM audit WHERE seq = 4) WHERE seq = 6", 6),
        ("an entry was taken out", "DELETE FROM audit WHERE seq = 6", 7),
        ("a date was changed", "UPDATE audit SET at_us = at_us + 1 WHERE seq = 6", 6),
        ("a digest was changed", "UPDATE audit SET digest = (SELECT digest FROM audit WHERE seq = 1) WHERE seq = 6", 6),
    ],
)
async def test_tampering_with_the_audit_log_shows(store: Store, how: str, statement: str, broken_seq: int) -> None:
    for number in range(10):
        await store.audit.append(line(number))

    async with store.database.transaction() as connection:
        await connection.execute(text(statement))

    assert (await store.audit.verify()).broken_seq == broken_seq, how
