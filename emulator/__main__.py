"""The command `chargepost`: serve stations, print the register map, list, raise and clear faults."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from emulator.commands import car, clear, faults, inject, registers
from emulator.settings import PREFIX, Settings, settings_from
from shared.errors import SiteError
from shared.logs import set_up_logs


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the command did what it says; one sentence on stderr otherwise."""
    told = _parser().parse_args(arguments)
    try:
        settings = settings_from()
        code: int = told.command(settings, told)
        sys.stdout.flush()
    except SiteError as error:
        print(f"chargepost: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `chargepost registers | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _serve(settings: Settings, told: argparse.Namespace) -> int:
    from emulator.app import run  # noqa: PLC0415  # the other commands start without a web framework

    set_up_logs("chargepost", level=settings.log_level, form=settings.log_format)
    work = run(_replaced(settings, told))
    try:
        import uvloop  # noqa: PLC0415  # not there on every platform; the default loop serves too
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
    return 0


def _replaced(settings: Settings, told: argparse.Namespace) -> Settings:
    """The settings with what the command line says in their place; both are read by the same rules."""
    said = {name: value for name, value in vars(told).items() if name in Settings.__struct_fields__}
    have = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    chosen = {**have, **{name: value for name, value in said.items() if value is not None}}
    return settings_from({f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chargepost", description="an emulated ADS-TEC ChargePost")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve one or more stations (settings: CHARGEPOST_*)")
    serve.add_argument("--station", help="a shipped station or the path of a TOML file")
    serve.add_argument("--scenario", help="a shipped scenario or the path of a TOML file")
    serve.add_argument("--sessions", help="a session file that replaces the scenario's sessions")
    serve.add_argument("--stations", metavar="N", help="so many stations, on neighbouring ports")
    serve.add_argument("--port", help="Modbus port of the first station (5020)")
    serve.add_argument("--api-port", dest="api_port", metavar="PORT", help="port of the side door (8200)")
    serve.add_argument("--speed", help="clock seconds per real second (1)")
    serve.add_argument("--seed", help="what chance follows from, instead of the scenario's seed")
    serve.add_argument("--data-dir", dest="data_dir", metavar="DIR", help="where stations and their truth survive")
    serve.set_defaults(command=_serve)
    listing = commands.add_parser("registers", help="print the register map")
    listing.add_argument("--format", choices=("table", "csv", "json"), default="table")
    listing.set_defaults(command=registers)
    listing = commands.add_parser("faults", help="print the catalogue of faults")
    listing.add_argument("--format", choices=("table", "json"), default="table")
    listing.set_defaults(command=faults)
    raised = commands.add_parser("inject", help="raise a fault on a running emulator")
    raised.add_argument("fault")
    raised.add_argument("--for", type=float, dest="for_s", metavar="SECONDS", help="clock seconds; else until cleared")
    raised.add_argument("--set", action="append", default=[], metavar="OPTION=NUMBER", dest="options")
    raised.set_defaults(command=inject)
    cleared = commands.add_parser("clear", help="clear a fault, or all of them")
    cleared.add_argument("fault", nargs="?")
    cleared.set_defaults(command=clear)
    arrival = commands.add_parser("car", help="let a car arrive at a running emulator")
    arrival.add_argument("--capacity-kwh", type=float, default=60.0, dest="capacity_kwh")
    arrival.add_argument("--soc-pct", type=float, default=20.0, dest="soc_start_pct")
    arrival.add_argument("--target-pct", type=float, default=80.0, dest="soc_target_pct")
    arrival.add_argument("--max-kw", type=float, default=150.0, dest="max_kw")
    arrival.add_argument("--stay-s", type=float, default=1800.0, dest="stay_s")
    arrival.set_defaults(command=car)
    for each in (raised, cleared, arrival):
        each.add_argument("--station", help="one of several stations, by name")
        each.add_argument("--api-port", dest="api_port", type=int, metavar="PORT", help="port of its side door (8200)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
