"""Amperio as a process: told to stop, paused, and started a second time on the same data."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.amperio.app import STORE
from services.amperio.site.ledger import Entry
from services.amperio.site.outbox import Cursor
from services.amperio.store import tables
from services.amperio.store.database import Database
from services.stack.credentials import make_certificates
from shared.chargepost.registers import MANAGEMENT, Management
from shared.chargepost.states import OperationMode
from shared.clock import SystemClock
from shared.contract.dispatch import BatteryPower, CommandStatus, SetBatteryPower
from shared.contract.operations import AMPERIO_TOKEN, DISPATCH, GET_DISPATCH, Operation
from shared.moment import Moment
from shared.rest.auth import digest
from shared.rest.call import Caller
from tests.integration.amperio.stage import SITE, eventually, free_port
from tests.integration.modbus.served import Served, serving

pytestmark = pytest.mark.timeout(180)  # programs start, on a machine that may be busy
SPEED = 5.0
ROOT = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[Served]:
    """A station whose seconds pass as fast as the program's."""
    async with serving() as served:

        async def tick() -> None:
            while True:
                await asyncio.sleep(1.0 / SPEED)
                served.run(1)

        task = asyncio.create_task(tick())
        try:
            yield served
        finally:
            task.cancel()


class Program:
    """`amperio serve` on a directory of its own, without an Enexa, and a client of it."""

    def __init__(self, directory: Path, clock: SystemClock, modbus_port: int) -> None:
        self.clock = clock
        self.port = free_port()
        self.data = directory / "data"
        make_certificates(directory)
        (directory / "secret").write_text("CTRL001-secret")
        who = {"client_id": "enexa", "secret_sha256": digest("enexa-secret"), "scope": "platform"}
        (directory / "clients.json").write_text(json.dumps([who]))
        told = {
            "DATA_DIR": self.data,
            "SITES": f"{SITE}=127.0.0.1:{modbus_port}",
            "PORT": self.port,
            "TLS_PORT": 0,
            "TLS_CERT": directory / "amperio.pem",
            "TLS_KEY": directory / "amperio.key",
            "CREDENTIALS_FILE": directory / "clients.json",
            "SECRET_FILE": directory / "secret",
            "ENEXA_URL": "http://127.0.0.1:9",
            "SPEED": SPEED,
            "ORIGIN_REAL": clock.now().at.isoformat(),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AMPERIO_")}
        self._environment = {**inherited, **{f"AMPERIO_{name}": str(value) for name, value in told.items()}}

    async def start(self, **more: Any) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.amperio", "serve"),
            env={**self._environment, **{f"AMPERIO_{name}": str(value) for name, value in more.items()}},
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    async def call(self, operation: Operation, body: Any = None, **path: str) -> Any:
        caller = Caller(
            f"http://127.0.0.1:{self.port}",
            self.clock,
            client_id="enexa",
            secret="enexa-secret",
            token_operation=AMPERIO_TOKEN,
        )
        try:
            return (await caller.call(operation, body, path=path or None)).message
        finally:
            await caller.close()


class Wire:
    """Function codes as they reach the station, each with the station's second."""

    def __init__(self, served: Served) -> None:
        self.requests: list[tuple[float, int]] = []
        answer = served.station.request

        def heard(now: Moment, unit_id: int, pdu: bytes, **told: Any) -> bytes:
            self.requests.append((served.clock.now().s, pdu[0]))
            return answer(now, unit_id, pdu, **told)

        served.station.request = heard  # type: ignore[method-assign]  # the real answer, and a look at the question

    def writes_between(self, begin_s: float, end_s: float) -> int:
        return sum(1 for at_s, code in self.requests if begin_s <= at_s < end_s and code in (6, 16))


def management(served: Served) -> Management:
    """What the station's registers say, asked on the inside."""
    request = b"\x03" + MANAGEMENT.address.to_bytes(2, "big") + MANAGEMENT.count.to_bytes(2, "big")
    return MANAGEMENT.decode_bytes(served.station.request(served.clock.now(), 1, request)[2:])


def controlled(served: Served) -> bool:
    return management(served).operation_mode is OperationMode.ON


async def test_goal_e4_a_paused_program_executes_nothing_that_expired_and_a_stopped_one_keeps_everything(
    tmp_path: Path,
) -> None:
    """Paused until the station has tripped and a command has run out; then resumed, doubled and told to stop."""
    clock = SystemClock(speed=SPEED, origin_real=datetime.now(UTC))
    async with ticking() as served:
        wire = Wire(served)
        program = Program(tmp_path, clock, served.port)
        running = await program.start()
        try:
            await eventually(lambda: controlled(served), within_s=60)
            now = clock.now().at
            wish = BatteryPower(power_kw=-20.0)
            until = now + timedelta(seconds=20)
            command = SetBatteryPower(site_id=SITE, timestamp=now, valid_until=until, params=wish, command_id="late")
            answer = await program.call(DISPATCH, command)
            assert answer.status is CommandStatus.ACCEPTED, "no plan yet: it waits"

            running.send_signal(signal.SIGSTOP)
            await eventually(lambda: not controlled(served), within_s=60)
            await eventually(lambda: clock.now().at > until, within_s=60)
            resumed_s = served.clock.now().s
            running.send_signal(signal.SIGCONT)
            await eventually(lambda: controlled(served), within_s=60)
            await eventually(lambda: served.clock.now().s > resumed_s + 10.0, within_s=60)

            assert management(served).request_kw is None
            assert (await program.call(GET_DISPATCH, command_id="late")).status is CommandStatus.EXPIRED
            assert wire.writes_between(resumed_s, resumed_s + 10.0) <= 15, "nothing is caught up in a burst"
            assert {code for _, code in wire.requests} <= {3, 4, 6, 16}

            second = await program.start(PORT=0)
            said = (await asyncio.wait_for(second.communicate(), 60))[1].decode()
            assert second.returncode == 2
            assert "another Amperio" in said
            running.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(running.wait(), 30) == 0
        finally:
            if running.returncode is None:
                running.kill()
            await running.communicate()

    cursor, entries = await kept(program)
    assert cursor.next_seq > 10
    assert [entry.record.status for entry in entries] == [CommandStatus.EXPIRED]


async def kept(program: Program) -> tuple[Cursor, tuple[Entry, ...]]:
    """What the disk holds once the program is gone."""
    database = Database(program.data / STORE)
    try:
        cursor = await database.run(lambda store: tables.cursor_of(store, SITE))
        return cursor, await database.run(lambda store: tables.load_entries(store, SITE))
    finally:
        database.close()
