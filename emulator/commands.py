"""The small commands: print tables, and speak to a running emulator through its side door."""

import argparse
import csv
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import msgspec

from emulator.device.faults import CATALOGUE, KINDS
from emulator.settings import Settings
from shared.chargepost.layout import Field
from shared.chargepost.registers import all_fields
from shared.errors import BadInput, PeerDown

COLUMNS = (
    "unit_id", "address", "words", "name", "vendor", "type", "unit", "function_codes", "access", "factor", "min",
    "max", "default", "on_exceed", "source", "meaning",
)  # fmt: skip
TIMEOUT_S = 5.0


def registers(_: Settings, told: argparse.Namespace) -> int:
    """Print the map."""
    rows = [_row(field) for field in all_fields()]
    if told.format == "json":
        _say(json.dumps(rows, indent=1))
    elif told.format == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_table([{name: row[name] for name in COLUMNS if name not in {"source", "vendor"}} for row in rows])
    return 0


def faults(_: Settings, told: argparse.Namespace) -> int:
    """Print the catalogue of faults."""
    if told.format == "json":
        _say(msgspec.json.encode(KINDS).decode())
        return 0
    _print_table(
        [
            {
                "fault": kind.name,
                "layer": kind.layer.value,
                "options": " ".join(f"{name}={option.value:g}" for name, option in kind.options.items()),
                "about": kind.about,
            }
            for kind in KINDS
        ]
    )
    return 0


def inject(settings: Settings, told: argparse.Namespace) -> int:
    """Raise a fault."""
    options = {}
    for pair in told.options:
        name, _, value = pair.partition("=")
        try:
            options[name] = float(value)
        except ValueError as error:
            raise BadInput(f"--set takes OPTION=NUMBER, not '{pair}'") from error
    fault = _post(settings, told, "/v1/faults", {"fault": told.fault, "for_s": told.for_s, "options": options})
    lasts = "until it is cleared" if told.for_s is None else f"for {told.for_s:g} s"
    _say(f"{told.fault}: {fault['about']} ({'once' if CATALOGUE[told.fault].instant else lasts})")
    return 0


def clear(settings: Settings, told: argparse.Namespace) -> int:
    """Clear one fault or all."""
    left = _post(settings, told, "/v1/faults/clear", {"fault": told.fault})["active"]
    _say("still active: " + ", ".join(fault["name"] for fault in left) if left else "no fault is active")
    return 0


def car(settings: Settings, told: argparse.Namespace) -> int:
    """Let a car arrive."""
    names = ("capacity_kwh", "soc_start_pct", "soc_target_pct", "max_kw", "stay_s")
    _post(settings, told, "/v1/cars", {name: getattr(told, name) for name in names})
    _say(f"a car queues: {told.soc_start_pct:g} % of {told.capacity_kwh:g} kWh, up to {told.max_kw:g} kW")
    return 0


def _post(settings: Settings, told: argparse.Namespace, path: str, body: dict[str, Any]) -> Any:
    """The side door's answer; BadInput with its reason where it refuses."""
    query = f"?{urllib.parse.urlencode({'station': told.station})}" if told.station else ""
    url = f"http://{settings.api_host}:{told.api_port or settings.api_port}{path}{query}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # http
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310  # our own address
            return json.load(reply)
    except urllib.error.HTTPError as error:
        detail = json.loads(error.read() or b"{}").get("detail", error.reason)
        raise BadInput(f"the emulator refused: {detail}") from error
    except OSError as error:
        raise PeerDown(f"no emulator answers at {url}; is `chargepost serve` running?") from error


def _row(field: Field) -> dict[str, str]:
    reg = field.reg
    return {
        "unit_id": str(field.unit_id),
        "address": str(field.address),
        "words": str(field.words),
        "name": f"{field.span}.{field.name}",
        "vendor": field.vendor,
        "type": reg.kind.type_name,
        "unit": reg.unit,
        "function_codes": " ".join(f"{code:02d}" for code in field.function_codes),
        "access": "read-write" if reg.writable else "read",
        "factor": f"{reg.factor:g}",
        "min": "" if reg.low is None else str(reg.low),
        "max": "" if reg.high is None else str(reg.high),
        "default": "" if reg.default is None else str(reg.default),
        "on_exceed": ("clamp" if reg.clamps else "03") if reg.writable else "",
        "source": reg.source,
        "meaning": reg.meaning,
    }


def _print_table(rows: list[dict[str, str]]) -> None:
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for row in [{name: name for name in rows[0]}, *rows]:
        _say("  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
