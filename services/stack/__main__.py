"""The command behind the Makefile: `python -m services.stack up SPEED=60`, and down, status, logs, token, demo."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

from services.stack import containers, native
from services.stack.credentials import make_credentials
from services.stack.login import get_token
from services.stack.options import Options, read_options
from services.stack.places import Places, places
from services.stack.programs import MODULES, begin_of, programs
from services.stack.record import Mode, Record, load
from services.stack.status import describe
from services.stack.supervisor import supervise
from shared.clock import SystemClock
from shared.errors import BadInput, SiteError
from shared.logs import set_up_logs
from shared.scenario.load import load_scenario

T = TypeVar("T")

OK, FAILED, MISUSED = 0, 1, 2
DEMO_SPEED = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if done, 1 if it failed, 2 for a wrong word or unusable input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command, said = (words[0] if words else ""), words[1:]
    if command not in COMMANDS:
        print(f"use one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return MISUSED
    try:
        return COMMANDS[command](places(), said)
    except BadInput as error:
        print(f"{command}: {error}", file=sys.stderr)
        return MISUSED
    except SiteError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def up(there: Places, said: list[str]) -> int:
    """Start a stack, or show the one that runs."""
    options = read_options(said)
    record = load(there.record)
    if record is not None and _is_running(record, there):
        if said and native.options_differ(record, options):
            raise BadInput("another stack is already up with other options: stop it first with make down")
        print(f"The stack is already up ({record.mode}).")
        return _show(record, there)
    there.make()
    if make_credentials(there):
        print("Made development certificates and secrets.")
    now = SystemClock().now().at
    record = Record(mode=_mode(options), origin_real=now, origin_sim=begin_of(options, now), options=options)
    if record.mode == "containers":
        print("Starting the stack in containers (docker compose).")
        containers.start(record, there)
    else:
        print("Starting the stack natively: three processes under their own supervisor.")
        _run(native.start(record, there, _say))
    print(welcome(record, there))
    return OK


def demo(there: Places, said: list[str]) -> int:
    """A stack with a fast clock: the scenario's own speed, else the usual one."""
    if any(word.startswith("SPEED=") for word in said):
        return up(there, said)
    scenario = load_scenario(read_options(said).scenario)
    return up(there, [*said, f"SPEED={scenario.speed or DEMO_SPEED:g}"])


def down(there: Places, said: list[str]) -> int:
    """Stop what was started here."""
    _no_words(said)
    record = load(there.record)
    if record is not None and record.mode == "containers":
        containers.stop(there)
        print("The containers are down; their volumes keep the data.")
        return OK
    print("The stack is down." if _run(native.stop(there)) else "No stack was running.")
    return OK


def status(there: Places, said: list[str]) -> int:
    """Show the table; 1 where something is not healthy."""
    _no_words(said)
    record = load(there.record)
    if record is None or not _is_running(record, there):
        print("No stack is running: start one with make up")
        return FAILED
    return _show(record, there)


def logs(there: Places, said: list[str]) -> int:
    """Follow the logs until interrupted."""
    _no_words(said)
    record = load(there.record)
    if record is not None and record.mode == "containers":
        containers.follow(there)
    else:
        _run(native.follow(there, _say))
    return OK


def token(there: Places, said: list[str]) -> int:
    """Print nothing but a bearer token."""
    role = "operator"
    for word in said:
        name, _, role = word.partition("=")
        if name != "ROLE":
            raise BadInput(f"{word!r} is not an option: use ROLE=operator or ROLE=viewer")
    record = load(there.record)
    if record is None:
        raise BadInput("no stack is running: start one with make up")
    print(_run(get_token(there, role, tls_port=record.options.ports.enexa_tls)).access_token)
    return OK


def run(there: Places, said: list[str]) -> int:
    """A program's own command with the settings of the stack that is up; what a person has set counts more."""
    if not said or said[0] not in MODULES:
        raise BadInput(f"name a program and its command, for instance: enexa site add SITE002 ({', '.join(MODULES)})")
    record = load(there.record)
    if record is None or not _is_running(record, there):
        raise BadInput("no stack is running: start one with make up")
    if record.mode == "containers":
        raise BadInput(f"this stack runs in containers: docker compose exec -T {said[0]} {' '.join(said)}")
    program = next(each for each in programs(record, there) if each.name == said[0])
    environment = {**program.settings, **os.environ}
    return subprocess.run(  # noqa: S603 -- a person at the keyboard asked for it
        [sys.executable, "-m", MODULES[program.name], *said[1:]], env=environment, check=False
    ).returncode


def supervise_here(there: Places, said: list[str]) -> int:
    """What the detached process runs; not for people."""
    _no_words(said)
    set_up_logs("supervisor", form="json")
    return _run(supervise(there))


COMMANDS: dict[str, Callable[[Places, list[str]], int]] = {
    "up": up,
    "down": down,
    "status": status,
    "logs": logs,
    "token": token,
    "demo": demo,
    "run": run,
    "supervise": supervise_here,
}


def welcome(record: Record, there: Places) -> str:
    """Addresses and how to log in."""
    ports = record.options.ports
    home = os.path.relpath(there.directory)
    modbus = f"Modbus/TCP 127.0.0.1:{ports.modbus}" if record.mode == "native" else "Modbus/TCP for Amperio alone"
    return "\n".join(
        (
            f"Up ({record.mode}). Clock: {record.origin_sim:%Y-%m-%d %H:%M} UTC at speed {record.options.speed:g}.",
            f"  live page    http://127.0.0.1:{ports.enexa}/",
            f"  Enexa        https://localhost:{ports.enexa_tls}   (TLS 1.3, trust {home}/pki/ca.pem)",
            f"  Amperio      https://localhost:{ports.amperio_tls}   http://127.0.0.1:{ports.amperio}",
            f"  ChargePost   {modbus}   side door http://127.0.0.1:{ports.side_door}",
            f"  log in as operator or viewer; the passwords are in {home}/secrets/operator and {home}/secrets/viewer",
            "  a token for the API: make token ROLE=operator   what happens: make status, make logs   stop: make down",
        )
    )


def _show(record: Record, there: Places) -> int:
    lines, healthy = _run(describe(record, there))
    print("\n".join(lines))
    return OK if healthy else FAILED


def _mode(options: Options) -> Mode:
    if options.engine == "native":
        return "native"
    answers = containers.engine_answers()
    if options.engine == "containers" and not answers:
        raise BadInput("no container engine answers (docker info): start one, or use ENGINE=native")
    return "containers" if answers else "native"


def _is_running(record: Record, there: Places) -> bool:
    return containers.is_running(there) if record.mode == "containers" else native.is_running(record)


def _no_words(said: list[str]) -> None:
    if said:
        raise BadInput(f"{said[0]!r} is not an option here")


def _say(line: str) -> None:
    print(line, flush=True)


def _run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(work)


if __name__ == "__main__":
    sys.exit(main())
