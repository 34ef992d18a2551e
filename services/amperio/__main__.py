"""The command `amperio`: serve, and lock or unlock a site, which is possible on this machine only."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from services.amperio.locks import LOCKS, Locks
from services.amperio.settings import Settings, settings_from
from shared.errors import SiteError, UnknownSite
from shared.logs import set_up_logs


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
    set_up_logs("amperio", level=settings.log_level, form=settings.log_format)
    import uvloop  # noqa: PLC0415 -- not there on every platform, and `lock` needs no loop

    uvloop.run(_run(settings)) if sys.platform != "win32" else asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    from services.amperio.app import Amperio, listeners  # noqa: PLC0415 -- the other commands start without a server
    from shared.rest.server import serve  # noqa: PLC0415 -- as above

    addresses = listeners(settings)
    amperio = Amperio(settings, settings.clock())
    try:
        lanes = await amperio.lanes()
        await serve(amperio.application(lanes), addresses)
    finally:
        await amperio.close()


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


def _locks(settings: Settings, site_id: str) -> Locks:
    if site_id not in {site for site, _, _ in settings.stations()}:
        raise UnknownSite(f"{site_id} is none of the sites in AMPERIO_SITES={settings.sites}")
    return Locks(settings.data_dir / LOCKS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="amperio", description="the middleware between Enexa and ChargePosts")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the sites of AMPERIO_SITES (settings: AMPERIO_*)")
    serve.set_defaults(command=_serve)
    lock = commands.add_parser("lock", help="lock a site on this machine: nothing remote acts until it is unlocked")
    lock.add_argument("site")
    lock.add_argument("--reason", default="locked on site")
    lock.set_defaults(command=_lock)
    unlock = commands.add_parser("unlock", help="unlock a site; the only way out of a lock or an emergency stop")
    unlock.add_argument("site")
    unlock.set_defaults(command=_unlock)
    return parser


if __name__ == "__main__":
    sys.exit(main())
