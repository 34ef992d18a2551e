"""A stack without containers: three processes under our own supervisor."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable

import msgspec

from services.stack.health import Health, ask
from services.stack.options import PORT_VARIABLES, Options, Ports
from services.stack.places import ROOT, Places
from services.stack.processes import end, name_process
from services.stack.programs import health_ports
from services.stack.record import Record, load, save
from services.stack.restarts import NOTICE_AFTER
from services.stack.supervisor import PATIENCE_S, last_line
from shared.clock import real_deadline_s, real_now_s
from shared.errors import BadInput, Unreachable

WAIT_S = 60.0
Say = Callable[[str], None]


def is_running(record: Record | None) -> bool:
    """Whether the recorded stack still has its supervisor."""
    return record is not None and record.supervisor is not None and record.supervisor.alive()


async def start(record: Record, places: Places, say: Say) -> None:
    """Start the supervisor and return once all three programs are healthy.

    Raises BadInput where a port is taken or a program refuses what it was given, Unreachable where one does not
    become healthy in time; nothing is left running then.
    """
    await end_leftovers(places)
    refuse_busy_ports(record.options.ports)
    directory = places.data(simulated=record.options.simulated)
    if record.options.simulated:
        # Yesterday's run may lie in this clock's future.
        shutil.rmtree(directory, ignore_errors=True)
    for name in ("enexa", "amperio", "emulator"):
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    save(record, places.record)
    child = _spawn_supervisor(places)
    save(msgspec.structs.replace(record, supervisor=name_process(child.pid)), places.record)
    try:
        await _until_healthy(places, child, health_ports(record.options.ports), say)
    except BaseException:
        await stop(places)
        raise


def _spawn_supervisor(places: Places) -> "subprocess.Popen[bytes]":
    """A process of its own session: it outlives this command and its terminal."""
    with (places.logs / "supervisor.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "services.stack", "supervise"],
            cwd=ROOT,
            env={**os.environ, "STACK_DIR": str(places.directory)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


async def stop(places: Places) -> bool:
    """Stop what the record names, and nothing else; False where nothing of it was running."""
    record = load(places.record)
    running = is_running(record)
    if record is not None and record.supervisor is not None:
        await end(record.supervisor, patience_s=PATIENCE_S + 5)
    leftovers = await end_leftovers(places)
    places.record.unlink(missing_ok=True)
    return running or leftovers


async def end_leftovers(places: Places) -> bool:
    """End programs whose supervisor died before them."""
    record = load(places.record)
    if record is None or is_running(record):
        return False
    alive = [state.process for state in record.programs.values() if state.process and state.process.alive()]
    await asyncio.gather(*(end(process, patience_s=PATIENCE_S) for process in alive))
    return bool(alive)


def refuse_busy_ports(ports: Ports) -> None:
    """Raise BadInput for the first port that somebody else is listening on."""
    for field, port in msgspec.structs.asdict(ports).items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                variable = PORT_VARIABLES[field]
                raise BadInput(
                    f"port {port} is in use by another program: stop that program, "
                    f"or choose another port with {variable}={port + 10000 if port < 50000 else port - 10000} make up"
                ) from error


async def _until_healthy(places: Places, child: "subprocess.Popen[bytes]", ports: dict[str, int], say: Say) -> None:
    begun_s = real_now_s()
    deadline_s = real_deadline_s(WAIT_S)
    told: set[str] = set()
    health: dict[str, Health] = {}
    while real_now_s() < deadline_s:
        if child.poll() is not None:
            raise _failure(places)
        _refuse_hopeless(places)
        health = await ask(ports)
        for name in [name for name in ports if health[name].ready and name not in told]:
            told.add(name)
            say(f"  {name} is healthy ({real_now_s() - begun_s:.1f} s)")
        if len(told) == len(ports) and all(one.ready for one in health.values()):
            return
        await asyncio.sleep(0.1)
    name, one = next((name, one) for name, one in health.items() if not one.ready)
    said = last_line(places.log_of(name))
    raise Unreachable(
        f"{name} did not become healthy within {WAIT_S:g} s ({one.reason or one.condition}): read {places.log_of(name)}"
        + (f"; its last line is: {said}" if said else "")
    )


def _refuse_hopeless(places: Places) -> None:
    """Raise Unreachable for a program that dies again and again instead of starting."""
    record = load(places.record)
    for name, state in record.programs.items() if record else ():
        if state.restarts >= NOTICE_AFTER:
            raise Unreachable(
                f"{name} keeps dying (exit code {state.exit_code}): read {places.log_of(name)}; "
                f"its last line is: {state.sentence}"
            )


def _failure(places: Places) -> BadInput:
    """Why the supervisor gave up."""
    record = load(places.record)
    for name, state in record.programs.items() if record else ():
        if state.state == "refused":
            return BadInput(f"{name} cannot start: {state.sentence.removeprefix(name + ': ')}")
    return BadInput(f"the supervisor ended: {last_line(places.logs / 'supervisor.log')}")


async def follow(places: Places, say: Say) -> None:
    """Print what the programs write, as they write it, until interrupted."""
    offsets = {path: max(path.stat().st_size - 4000, 0) for path in sorted(places.logs.glob("*.log"))}
    while True:
        for path in sorted(places.logs.glob("*.log")):
            size = path.stat().st_size
            offset = offsets.get(path, 0)
            if size < offset:
                offset = 0
            if size > offset:
                with path.open("rb") as file:
                    file.seek(offset)
                    chunk = file.read(200_000)
                # Half a line waits for its other half.
                whole = chunk[: chunk.rfind(b"\n") + 1]
                offset += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    say(f"{path.stem:<10} {line}")
            offsets[path] = offset
        await asyncio.sleep(0.2)


def options_differ(record: Record, options: Options) -> bool:
    """Whether a running stack is another than the one asked for now."""
    return msgspec.structs.replace(options, engine=record.options.engine) != record.options
