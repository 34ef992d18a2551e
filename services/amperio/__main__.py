"""The command `amperio`: serve, enrol a site, and lock or unlock one, which is possible on this machine only."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.amperio.conformance.command import add_arguments as add_kit_arguments
from services.amperio.conformance.command import run as run_kit
from services.amperio.controllers import CONTROLLERS, Controllers
from services.amperio.locks import LOCKS, Locks
from services.amperio.settings import Settings, settings_from, station_address
from services.amperio.site.commissioning import SelfTest
from services.amperio.version import VERSION
from shared.errors import BadInput, SiteError, UnknownSite
from shared.logs import set_up_logs
from shared.rest import starting

if TYPE_CHECKING:
    from services.amperio.onboarding import Onboarding

log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the command did what it says; 2 with one sentence on stderr for unusable input."""
    told = _parser().parse_args(arguments)
    try:
        return int(told.command(settings_from(os.environ), told))
    except SiteError as error:
        print(f"amperio: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    starting.begin()
    set_up_logs("amperio", level=settings.log_level, form=settings.log_format)
    log.info("starting", version=VERSION, data_dir=str(settings.data_dir))
    import uvloop  # noqa: PLC0415 -- not there on every platform, and `lock` needs no loop

    # The store answers from its own thread: with the default of 5 ms it would wait for the loop more than for the disk.
    sys.setswitchinterval(0.001)
    uvloop.run(_run(settings)) if sys.platform != "win32" else asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    from services.amperio.app import Amperio, listeners  # noqa: PLC0415 -- the other commands start without a server
    from shared.rest.server import serve, spare_the_collector  # noqa: PLC0415 -- as above

    addresses = listeners(settings)
    amperio = Amperio(settings, settings.clock())
    try:
        lanes = await amperio.lanes()
        await serve(amperio.application(lanes), addresses, started=spare_the_collector)
    finally:
        await amperio.close()


def _enrol(settings: Settings, told: argparse.Namespace) -> int:
    host, port = station_address(told.station)
    if told.site in {site for site, _, _ in settings.stations()}:
        raise BadInput(f"{told.site} stands in AMPERIO_SITES; a site is either named there or enrolled")
    tests = asyncio.run(_onboard(settings, told.site, host, port, told.serial))
    for each in tests:
        print(f"{'ok    ' if each.passed else 'FAILED'} {each.name}{': ' + each.detail if each.detail else ''}")
    if not all(each.passed for each in tests):
        print(f"{told.site} did not go live: mend what failed and run the same command again", file=sys.stderr)
        return 1
    print(f"{told.site} is live; a running Amperio takes it within seconds")
    return 0


async def _onboard(settings: Settings, site_id: str, host: str, port: int, serial: str | None) -> tuple[SelfTest, ...]:
    onboarding = _onboarding(settings)
    controller = Controllers(settings.data_dir / CONTROLLERS).find(site_id)
    if controller is None:
        controller = await onboarding.register(
            site_id, host, port, serial=serial or f"amperio-{site_id}", token=_token()
        )
    # Wherever the station was when it registered, it is where this command says now.
    return await onboarding.go_live(msgspec.structs.replace(controller, host=host, port=port))


def _onboarding(settings: Settings) -> "Onboarding":
    from services.amperio.onboarding import Onboarding  # noqa: PLC0415 -- the other commands start without a client

    return Onboarding(
        Controllers(settings.data_dir / CONTROLLERS),
        settings.clock(),
        enexa_url=settings.enexa_url,
        ca_file=settings.enexa_ca,
        modbus_timeout_s=settings.modbus_timeout_s,
    )


def _renew_key(settings: Settings, told: argparse.Namespace) -> int:
    controller = Controllers(settings.data_dir / CONTROLLERS).find(told.site)
    if controller is None:
        raise BadInput(f"{told.site} is not enrolled here; a secret of the settings is exchanged in its file")
    renewed = asyncio.run(_onboarding(settings).renew_key(controller))
    print(f"{told.site} has a new key; the one before it holds until {renewed.previous_until:%Y-%m-%d %H:%M} UTC")
    return 0


def _token() -> str:
    """From stdin: a token on the command line could be read by everybody on this machine."""
    if sys.stdin.isatty():
        return getpass.getpass("enrolment token: ").strip()
    token = sys.stdin.readline().strip()
    if not token:
        raise BadInput("an enrolment token is needed on stdin: `enexa enrol SITE | amperio enrol SITE --station ...`")
    return token


def _lock(settings: Settings, told: argparse.Namespace) -> int:
    locks = _locks(settings, told.site)
    locks.lock(told.site, told.reason)
    print(f"{told.site} is locked: no command is accepted and nothing is written until `amperio unlock {told.site}`")
    return 0


def _unlock(settings: Settings, told: argparse.Namespace) -> int:
    if not _locks(settings, told.site).unlock(told.site):
        print(f"{told.site} was not locked")
        return 0
    print(f"{told.site} is unlocked; it starts again in mode safe")
    return 0


def _conformance(_: Settings, told: argparse.Namespace) -> int:
    return run_kit(told)


def _locks(settings: Settings, site_id: str) -> Locks:
    named = {site for site, _, _ in settings.stations()}
    enrolled = {each.site_id for each in Controllers(settings.data_dir / CONTROLLERS).active()}
    if site_id not in named | enrolled:
        raise UnknownSite(f"{site_id} is no site here; there are {', '.join(sorted(named | enrolled)) or 'none'}")
    return Locks(settings.data_dir / LOCKS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="amperio", description="the middleware between Enexa and ChargePosts")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the sites of AMPERIO_SITES (settings: AMPERIO_*)")
    serve.set_defaults(command=_serve)
    enrol = commands.add_parser("enrol", help="enrol a new site at Enexa; its one-time token is read from stdin")
    enrol.add_argument("site")
    enrol.add_argument("--station", required=True, metavar="HOST:PORT", help="where its station answers Modbus/TCP")
    enrol.add_argument("--serial", help="of the controller; default amperio-SITE")
    enrol.set_defaults(command=_enrol)
    renew = commands.add_parser("renew-key", help="exchange the API key of an enrolled site while everything runs")
    renew.add_argument("site")
    renew.set_defaults(command=_renew_key)
    lock = commands.add_parser("lock", help="lock a site on this machine: nothing remote acts until it is unlocked")
    lock.add_argument("site")
    lock.add_argument("--reason", default="locked on site")
    lock.set_defaults(command=_lock)
    unlock = commands.add_parser("unlock", help="unlock a site; the only way out of a lock or an emergency stop")
    unlock.add_argument("site")
    unlock.set_defaults(command=_unlock)
    kit = commands.add_parser("conformance", help="ask an Enexa or a station, ours or a real one, what it should do")
    add_kit_arguments(kit)
    kit.set_defaults(command=_conformance)
    return parser


if __name__ == "__main__":
    sys.exit(main())
