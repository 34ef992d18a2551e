"""Three real processes with a relay on every wire between them; who starts them is the test, so that it can."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from services.stack.credentials import make_credentials, read_secret
from services.stack.native import refuse_busy_ports
from services.stack.options import Options, Ports
from services.stack.places import ROOT, Places
from services.stack.programs import Program, programs
from services.stack.record import Record, save
from shared.clock import SystemClock
from tests.live.relay import Relay
from tests.live.stack import SITE, Stack, free_ports

ENDS_WITHIN_S = 60.0


class SpoiltStack(Stack):
    """`field` lies between Amperio and the station, `to_enexa` and `to_amperio` carry one conversation each."""

    def __init__(self, directory: Path, ports: Ports, relays: tuple[Relay, Relay, Relay]) -> None:
        super().__init__(directory, ports)
        self.field, self.to_enexa, self.to_amperio = relays

    def secret(self, name: str) -> str:
        return read_secret(self.places, name)

    def rewired(self, program: Program) -> Program:
        """The program with its peers behind the relays."""
        detours = {
            "amperio": {
                "AMPERIO_SITES": f"{SITE}=127.0.0.1:{self.field.port}",
                "AMPERIO_ENEXA_URL": f"https://localhost:{self.to_enexa.port}",
            },
            "enexa": {"ENEXA_AMPERIO_URL": f"https://localhost:{self.to_amperio.port}"},
        }
        return replace(program, settings={**program.settings, **detours.get(program.name, {})})


@contextlib.contextmanager
def spoilt_stack(directory: Path) -> Iterator[SpoiltStack]:
    """The three programs are up, though perhaps not healthy yet, and down again afterwards."""
    ports = free_ports()
    refuse_busy_ports(ports)
    places = Places(directory)
    places.make()
    make_credentials(places)
    now = SystemClock().now().at
    record = Record(mode="native", origin_real=now, origin_sim=now, options=Options(ports=ports))
    for name in ("enexa", "amperio", "emulator"):
        (places.data(simulated=False) / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    save(record, places.record)
    with contextlib.ExitStack() as held:
        relays = tuple(
            held.enter_context(Relay(port, seed=index))
            for index, port in enumerate((ports.modbus, ports.enexa_tls, ports.amperio_tls))
        )
        field, to_enexa, to_amperio = relays
        stack = SpoiltStack(directory, ports, (field, to_enexa, to_amperio))
        for program in programs(record, places):
            held.enter_context(_running(stack.rewired(program), places))
        yield stack


@contextlib.contextmanager
def _running(program: Program, places: Places) -> Iterator[None]:
    with places.log_of(program.name).open("ab") as log:
        process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            env={**program.environment(), "STACK_DIR": str(places.directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
