"""The supervisor keeps real processes alive, tells of those that cannot live, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.stack.options import Options
from services.stack.places import Places
from services.stack.processes import Process, end, name_process
from services.stack.programs import Program
from services.stack.record import ProgramState, Record, load
from services.stack.supervisor import BAD_SETTINGS, Supervisor
from shared.clock import real_deadline_s, real_now_s

SLEEPER = "import signal; signal.pause()"
WITH_A_WORKER = "import signal, subprocess, sys; subprocess.Popen(['sleep', '600']); signal.pause()"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    there = Places(tmp_path / "stack")
    there.make()
    return there


def program(name: str, script: str) -> Program:
    return Program(name=name, command=[sys.executable, "-c", script])


@asynccontextmanager
async def supervised(places: Places, *programs: Program) -> AsyncIterator["asyncio.Task[int]"]:
    now = datetime.now(UTC)
    record = Record(mode="native", origin_real=now, origin_sim=now, options=Options())
    supervisor = Supervisor(record, places, list(programs))
    running = asyncio.create_task(supervisor.run())
    try:
        yield running
    finally:
        supervisor.stopping.set()
        await running


async def state_of(places: Places, name: str, wanted: Callable[[ProgramState], bool]) -> ProgramState:
    """The program's recorded state, as soon as it is the one waited for."""
    deadline_s = real_deadline_s(15)
    while real_now_s() < deadline_s:
        record = load(places.record)
        if record and name in record.programs and wanted(record.programs[name]):
            return record.programs[name]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} did not get there: {load(places.record)}")


def running(state: ProgramState) -> bool:
    return state.state == "running" and state.process is not None and state.process.alive()


async def test_a_program_that_is_killed_is_started_again(places: Places) -> None:
    async with supervised(places, program("sleeper", SLEEPER)):
        first = (await state_of(places, "sleeper", running)).process
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)

        second = await state_of(places, "sleeper", lambda state: running(state) and state.process != first)

    assert second.restarts == 1


async def test_the_death_of_one_leaves_the_others_alone(places: Places) -> None:
    async with supervised(places, program("one", SLEEPER), program("other", SLEEPER)):
        one = (await state_of(places, "one", running)).process
        other = (await state_of(places, "other", running)).process
        assert one is not None
        os.kill(one.pid, signal.SIGKILL)
        await state_of(places, "one", lambda state: running(state) and state.restarts == 1)

        assert (await state_of(places, "other", running)).process == other


async def test_a_worker_does_not_outlive_its_program(places: Places) -> None:
    async with supervised(places, program("parent", WITH_A_WORKER)):
        parent = (await state_of(places, "parent", running)).process
        assert parent is not None
        worker = await child_of(parent)
        os.kill(parent.pid, signal.SIGKILL)
        await state_of(places, "parent", lambda state: state.restarts == 1)

        assert not worker.alive()


async def test_a_program_that_refuses_its_settings_stops_the_stack_with_its_sentence(places: Places) -> None:
    refusing = "import sys; print('the price file has no prices', file=sys.stderr); sys.exit(2)"
    async with supervised(places, program("sleeper", SLEEPER), program("picky", refusing)) as stack:
        assert await stack == BAD_SETTINGS

    record = load(places.record)
    assert record is not None
    assert record.programs["picky"].state == "refused"
    assert record.programs["picky"].sentence == "the price file has no prices"
    assert record.programs["sleeper"].state == "stopped"


async def test_a_program_that_keeps_dying_is_not_started_faster_and_faster(
    places: Places, capfd: pytest.CaptureFixture[str]
) -> None:
    async with supervised(places, program("hopeless", "import sys; sys.exit('the disk is on fire')")):
        fifth = await state_of(places, "hopeless", lambda state: state.restarts >= 4)

    told = capfd.readouterr()
    assert fifth.sentence == "the disk is on fire"
    assert (told.out + told.err).count("program_keeps_dying") == 1


async def test_stopping_ends_a_program_that_will_not_listen(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.stack.supervisor.PATIENCE_S", 0.3)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    async with supervised(places, program("deaf", deaf)):
        process = (await state_of(places, "deaf", running)).process
        assert process is not None
        await said(places, "deaf", "deaf")

    assert not process.alive()


async def test_a_stranger_with_the_same_number_is_left_alone() -> None:
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER, start_new_session=True)
    try:
        await end(Process(stranger.pid, "started at another time"), patience_s=0.1)

        assert name_process(stranger.pid).alive()
    finally:
        stranger.kill()
        await stranger.wait()


async def child_of(parent: Process) -> Process:
    """The one child of a process, as soon as it has one."""
    deadline_s = real_deadline_s(10)
    while real_now_s() < deadline_s:
        children = children_of(parent)
        if children:
            return children[0]
        await asyncio.sleep(0.02)
    raise AssertionError("no worker appeared")


def children_of(parent: Process) -> list[Process]:
    told = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return [name_process(int(pid)) for pid in told]


async def said(places: Places, name: str, words: str) -> None:
    deadline_s = real_deadline_s(10)
    while words not in places.log_of(name).read_text():
        assert real_now_s() < deadline_s, f"{name} never said {words}"
        await asyncio.sleep(0.02)
