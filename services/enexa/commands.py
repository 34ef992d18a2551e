"""What a person can ask of Enexa on the command line."""
# ruff: noqa: T201 -- a command line speaks by printing

import argparse
import asyncio
import importlib
import os
import pkgutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from services.enexa import cli
from services.enexa.app import build, database_url
from services.enexa.firmware import FirmwareShelf
from services.enexa.inbox import Inbox
from services.enexa.platform import ANCHORS
from services.enexa.settings import settings_from
from services.enexa.store.anchors import Anchors, anchor_of
from services.enexa.store.store import Store
from shared.clock import real_deadline_s, real_now_s
from shared.contract.operations import ENEXA_HEALTH
from shared.contract.reads import Health
from shared.errors import SiteError
from shared.logs import set_up_logs
from shared.rest.server import Listener, run

TAKEN_WITHIN_S = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 = done as asked, 2 = a setting or an input cannot be used (one sentence on stderr), 1 = verification failed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in _engine_commands():
            return _run_engine(words[0], words[1:])
        given = _parser().parse_args(words)
        return int(given.run(given))
    except SiteError as error:
        print(f"enexa: {error}", file=sys.stderr)
        return 2


def _engine_commands() -> tuple[str, ...]:
    """Commands of the optimisation engine, one module each; their names are known without loading a solver."""
    return tuple(each.name for each in pkgutil.iter_modules(cli.__path__))


def _run_engine(name: str, words: Sequence[str]) -> int:
    module = importlib.import_module(f"{cli.__name__}.{name}")
    parser = argparse.ArgumentParser(prog=f"enexa {name}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enexa",
        description="The platform: plans, dispatches, owns master data.",
        epilog=f"of the optimisation engine: {', '.join(_engine_commands())}",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the platform until it is told to stop; settings are ENEXA_*")
    serve.set_defaults(run=_serve)
    audit = commands.add_parser("audit", help="the audit log").add_subparsers(required=True, metavar="WHAT")
    verify = audit.add_parser("verify", help="walk the whole chain; exit code 1 where it is broken")
    verify.add_argument("--anchor", action="append", default=[], help="SEQ:DIGEST kept elsewhere; may be repeated")
    verify.set_defaults(run=_verify)
    site = commands.add_parser("site", help="sites").add_subparsers(required=True, metavar="WHAT")
    add = site.add_parser("add", help="a new site like a seed; the running platform takes it within seconds")
    add.add_argument("site_id")
    add.add_argument("--station", default="chargepost")
    add.add_argument("--name", default="", help="how people call it; default its id")
    add.set_defaults(run=_add_site)
    enrol = commands.add_parser("enrol", help="a one-time token that lets a controller register at a site")
    enrol.add_argument("site_id")
    enrol.set_defaults(run=_enrol)
    firmware = commands.add_parser("firmware", help="firmware files").add_subparsers(required=True, metavar="WHAT")
    release = firmware.add_parser("add", help="store, hash and sign a file as the newest release")
    release.add_argument("file")
    release.add_argument("--device-type", default="controller")
    release.add_argument("--version", required=True)
    release.set_defaults(run=_add_firmware)
    return parser


def _serve(_: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    set_up_logs("enexa", level=settings.log_level, form=settings.log_format)
    app = build(settings, settings.clock())
    listeners = [Listener(settings.host, settings.port)]
    if settings.tls_cert is not None and settings.tls_key is not None:
        listeners.append(Listener(settings.host, settings.tls_port, settings.tls_cert, settings.tls_key))
    run(app, listeners)
    return 0


def _verify(given: argparse.Namespace) -> int:
    anchors = Anchors(settings_from(os.environ).data_dir / ANCHORS).known() + [anchor_of(each) for each in given.anchor]

    async def verify(store: Store) -> int:
        verdict = await store.audit.verify(anchors)
        if verdict.broken_seq is not None:
            print(
                f"broken at entry {verdict.broken_seq}: it is missing, or not what it was; {verdict.entries} are whole"
            )
            return 1
        print(f"{verdict.entries} entries, unbroken, {len(anchors)} anchors; head {verdict.head}")
        return 0

    return _reading(verify)


def _add_site(given: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    path = Inbox(settings.data_dir).put_site(given.site_id, given.station, given.name)
    if _appears(given.site_id, settings.port):
        print(f"{given.site_id} is there")
    else:
        print(f"{given.site_id} will be there when the platform runs ({path})")
    return 0


def _appears(site_id: str, port: int) -> bool:
    """Whether the platform on this machine has taken a new site; it looks every two seconds."""
    deadline_s = real_deadline_s(TAKEN_WITHIN_S)
    while real_now_s() < deadline_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{ENEXA_HEALTH.path}", timeout=5) as reply:
                health = msgspec.json.decode(reply.read(), type=Health)
        except urllib.error.HTTPError as error:
            health = None
            error.close()
        except (OSError, msgspec.MsgspecError):
            return False
        if health is not None and any(check.name == f"plan_{site_id}" for check in health.checks):
            return True
        threading.Event().wait(0.2)
    return False


def _enrol(given: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    print(Inbox(settings.data_dir).invite(given.site_id, settings.clock().now().at))
    return 0


def _add_firmware(given: argparse.Namespace) -> int:
    shelf = FirmwareShelf(settings_from(os.environ).data_dir / "firmware")
    release = shelf.add(Path(given.file), given.device_type, given.version)
    print(f"{release.device_type} {release.version}: {release.size_bytes} bytes, sha256 {release.sha256}")
    return 0


def _reading(work: Callable[[Store], Awaitable[int]]) -> int:
    """Beside the running platform, so nothing may be written, and nothing migrated."""

    async def run_it() -> int:
        store = Store(database_url(settings_from(os.environ)), read_only=True)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run_it())
