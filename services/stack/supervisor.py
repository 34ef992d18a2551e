"""Keep three programs running without a container engine: start them, start again the one that died, stop them all.

The supervisor is a process of its own and survives the terminal. Each program leads a process group, so that a worker
of a program that was killed does not outlive it. What happens is written to the stack's record, which `make status`
and `make up` read; the supervisor itself listens nowhere.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL
from pathlib import Path

import msgspec
import structlog

from services.stack.places import ROOT, Places
from services.stack.processes import end, name_process, signal_group
from services.stack.programs import Program, programs
from services.stack.record import ProgramState, Record, load, save
from services.stack.restarts import Restarts
from shared.clock import real_now_s

PATIENCE_S = 10.0
LONGEST_LOG_BYTES = 20_000_000
LOG_CHECK_S = 30.0
BAD_SETTINGS = 2
"""Exit code of a program that cannot use what it was given; starting it again would not help."""

log = structlog.get_logger()


async def supervise(places: Places) -> int:
    """Run the recorded stack until told to stop; 0 after a stop, 2 where a program refused its settings."""
    record = load(places.record)
    assert record is not None, "the stack is recorded before its supervisor starts"
    supervisor = Supervisor(record, places, programs(record, places))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stopping.set)
    return await supervisor.run()


class Supervisor:
    """Owns the three programs and the record of them."""

    def __init__(self, record: Record, places: Places, wanted: list[Program]) -> None:
        self.stopping = asyncio.Event()
        self._places = places
        self._programs = wanted
        self._record = msgspec.structs.replace(record, supervisor=name_process(os.getpid()))
        self._refused = False

    async def run(self) -> int:
        save(self._record, self._places.record)
        async with asyncio.TaskGroup() as group:
            for program in self._programs:
                group.create_task(self._keep(program))
            trimming = group.create_task(self._trim_logs())
            await self.stopping.wait()
            trimming.cancel()
        log.info("stack_stopped")
        return BAD_SETTINGS if self._refused else 0

    async def _keep(self, program: Program) -> None:
        """Keep one program alive until the stack stops."""
        restarts = Restarts()
        count = 0
        while not self.stopping.is_set():
            begun_s = real_now_s()
            offset = _size(self._places.log_of(program.name))
            code = await self._live(program, count)
            ran_s = real_now_s() - begun_s
            sentence = last_line(self._places.log_of(program.name), offset)
            if self.stopping.is_set():
                break
            if code == BAD_SETTINGS and count == 0:
                self._note(program, ProgramState(state="refused", exit_code=code, sentence=sentence))
                log.error("program_refused", name=program.name, sentence=sentence)
                self._refused = True
                self.stopping.set()
                return
            restarts = restarts.died(ran_s)
            count += 1
            self._note(program, ProgramState(state="waiting", restarts=count, exit_code=code, sentence=sentence))
            log.warning(
                "program_died", name=program.name, exit_code=code, ran_s=round(ran_s, 1), again_in_s=restarts.wait_s
            )
            if restarts.worth_a_notice:
                log.error("program_keeps_dying", name=program.name, deaths=count, sentence=sentence)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), restarts.wait_s)
        self._note(program, ProgramState(state="stopped", restarts=count))

    async def _live(self, program: Program, restarts: int) -> int:
        """One life of a program, from start to exit code."""
        with self._places.log_of(program.name).open("ab") as out:
            child = await asyncio.create_subprocess_exec(
                *program.command,
                stdin=DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=program.environment(),
                start_new_session=True,
            )
        process = name_process(child.pid)
        self._note(program, ProgramState(state="running", process=process, restarts=restarts))
        log.info("program_started", name=program.name, pid=child.pid)
        exited = asyncio.ensure_future(child.wait())
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait((exited, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await end(process, patience_s=PATIENCE_S)
        code = await exited
        # The leader is gone; a worker it left behind is not.
        signal_group(process, signal.SIGKILL)
        return code

    async def _trim_logs(self) -> None:
        """Keep each log bounded: what is too long becomes `.1`, and the program goes on writing to the same file."""
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for path in self._places.logs.glob("*.log"):
                if _size(path) > LONGEST_LOG_BYTES:
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)

    def _note(self, program: Program, state: ProgramState) -> None:
        self._record = msgspec.structs.replace(self._record, programs={**self._record.programs, program.name: state})
        save(self._record, self._places.record)


def last_line(path: Path, offset: int = 0) -> str:
    """The last thing a program said after `offset`; empty where it said nothing."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(offset, _size(path) - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
