"""The kit that Enexa runs against an Amperio: what the page says that Amperio hosts, asked one by one.

Safe by default: commands are sent with the word `test`, which is checked, acknowledged and never carried out, or are
such that they must be refused.
"""

from datetime import datetime, timedelta
from typing import Any

from shared.conformance.checks import Check, Kit, NotTried, Saw
from shared.conformance.common import answered, common_checks, fields_of, refused
from shared.conformance.peer import Peer
from shared.contract.dispatch import DispatchAck, DispatchRecord
from shared.contract.reads import MiddlewareSites, SiteState

FINAL = ("applied", "rejected", "failed", "superseded", "expired")


def _sites(peer: Peer) -> Saw:
    return answered(peer.get("/v1/sites"), MiddlewareSites, "sites")


def _state(peer: Peer) -> Saw:
    return answered(peer.get(f"/v1/sites/{peer.site()}/state"), SiteState, "site_id", "mode", "telemetry", "buffer")


def _site_health(peer: Peer) -> Saw:
    told = peer.send("GET", "/v1/health").json
    sites = told.get("sites") if isinstance(told, dict) else None
    if not sites:
        return Saw(False, True, "health tells nothing about sites")
    lacking = fields_of(sites[0], "site_id", "modbus_up", "mode")
    return Saw(not lacking, True, lacking or f"{len(sites)} sites")


def _acknowledged(peer: Peer) -> Saw:
    """The page's form of a command, with the word that moves nothing."""
    answer = peer.post("/v1/dispatch", _command(peer, "test", {}))
    saw = answered(answer, DispatchAck, "command_id", "site_id", "status")
    if saw.conforms and answer.json["status"] not in FINAL:
        return Saw(False, True, f"status {answer.json['status']} for a test")
    return saw


def _recorded(peer: Peer) -> Saw:
    told = peer.post("/v1/dispatch", _command(peer, "test", {}))
    if told.status != 200:
        return Saw(False, False, f"the command before was answered with HTTP {told.status}")
    return answered(peer.get(f"/v1/dispatch/{told.json['command_id']}"), DispatchRecord, "command_id", "status")


def _repeated(peer: Peer) -> Saw:
    command = _command(peer, "test", {}, command_id=f"conformance-{_now(peer).strftime('%Y%m%dT%H%M%S')}")
    first, again = peer.post("/v1/dispatch", command), peer.post("/v1/dispatch", command)
    same = first.status == again.status == 200 and first.json == again.json
    return Saw(same, again.status == 200, "the same answer twice" if same else f"{first.json} and then {again.json}")


def _other_body(peer: Peer) -> Saw:
    """The same id with another body is another command in disguise."""
    command_id = f"conformance-x-{_now(peer).strftime('%Y%m%dT%H%M%S')}"
    first = peer.post("/v1/dispatch", _command(peer, "test", {}, command_id=command_id))
    if first.status != 200:
        return Saw(False, False, f"the first was answered with HTTP {first.status}")
    later = (_now(peer) + timedelta(seconds=1)).isoformat()
    other = {**_command(peer, "test", {}, command_id=command_id), "valid_until": later}
    return refused(peer.post("/v1/dispatch", other), 422, 409)


def _refuses(command: str, params: dict[str, Any], *, statuses: tuple[int, ...] = (400, 422), **over: Any) -> Any:
    def ask(peer: Peer) -> Saw:
        answer = peer.post("/v1/dispatch", {**_command(peer, command, params), **over})
        saw = refused(answer, *statuses)
        return saw if answer.status >= 400 else Saw(False, False, f"HTTP {answer.status}: {answer.json.get('status')}")

    return ask


def _stale(peer: Peer) -> Saw:
    old = (_now(peer) - timedelta(seconds=120)).isoformat()
    answer = peer.post("/v1/dispatch", {**_command(peer, "set_battery_power", {"power_kw": 0}), "timestamp": old})
    saw = refused(answer, 422)
    return saw if answer.status >= 400 else Saw(False, False, f"HTTP {answer.status}: two minutes old, and taken")


def _no_json(peer: Peer) -> Saw:
    return refused(peer.post("/v1/dispatch", b'{"site_id": '), 400)


def _twice(peer: Peer) -> Saw:
    """One key twice: which of the two numbers would be meant?"""
    head = b'{"site_id": "%s", "command": "set_battery_power", "timestamp": "%s", '
    sent = head % (peer.site().encode(), _now(peer).isoformat().encode()) + b'"params": {"power_kw": 0, "power_kw": 1}}'
    answer = peer.post("/v1/dispatch", sent)
    return refused(answer, 400, 422) if answer.status >= 400 else Saw(False, False, "one of them was taken")


def _no_record(peer: Peer) -> Saw:
    return refused(peer.get("/v1/dispatch/NOSUCHCOMMAND"), 404)


def _power(peer: Peer) -> Saw:
    """The page's command, with a power that moves little, and its effect in the record."""
    answer = peer.post("/v1/dispatch", _command(peer, "set_battery_power", {"power_kw": 0}))
    saw = answered(answer, DispatchAck, "command_id", "site_id", "status")
    if not saw.conforms:
        return saw
    return Saw(answer.json["status"] in ("accepted", *FINAL), True, str(answer.json["status"]))


def _command(peer: Peer, word: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "site_id": peer.site(),
        "command": word,
        "params": params,
        "timestamp": _now(peer).isoformat(),
        **more,
    }


def _now(peer: Peer) -> datetime:
    try:
        return peer.now()
    except NotTried:
        raise NotTried("the middleware's health tells no clock to date a command by") from None


_check = Kit("AMPERIO").check
CHECKS: tuple[Check[Peer], ...] = (
    *common_checks("AMPERIO", "/v1/sites"),
    _check("SITES", "the sites of this middleware", "P022 P023 P024 P042 P043 P045", _sites),
    _check("STATE", "what it sees of a site now", "P095 P192", _state),
    _check("SITEHEALTH", "health tells of each site and of its Modbus link", "P093 P094 P095 P096", _site_health),
    _check(
        "ACK",
        "a command in the page's form is acknowledged with a status",
        "P021 P044 P046 P047 P048 P049 P050 P051 P052 P053 P054 P055 P056 P057 P058 P060 P209 P210",
        _acknowledged,
    ),
    _check("RECORD", "what became of a command can be asked", "P060 P201", _recorded),
    _check("REPEAT", "a repeated command gets the first answer again", "P162 P163", _repeated),
    _check("DISGUISE", "another body under the same id is refused", "P163", _other_body),
    _check("NOSITE", "a command for an unknown site is refused, and no default one moved", "P059",
           _refuses("test", {}, statuses=(404, 403), site_id="NOSUCHSITE")),
    _check("WORD", "an unknown command is refused", "P054", _refuses("make_coffee", {})),
    _check("BOUND", "a power beyond what the machine can do is refused", "P032 P055",
           _refuses("set_battery_power", {"power_kw": 25_000})),
    _check("QUOTED", "a number in quotes is refused", "P055", _refuses("set_battery_power", {"power_kw": "nan"})),
    _check("FIELD", "an unknown field is refused", "P055", _refuses("set_battery_power", {"power_kw": 0, "x": 1})),
    _check("NAIVE", "a time without a zone is refused", "P056", _refuses("test", {}, timestamp="2024-01-15T10:00:00")),
    _check("STALE", "a command of two minutes ago is refused", "P056 P163", _stale),
    _check("JSON", "a body that is no JSON is refused", "P050", _no_json),
    _check("TWICE", "one key twice is refused", "P055", _twice),
    _check("NORECORD", "an unknown command has no record", "P060", _no_record),
    _check("POWER", "the page's command is carried out", "P055 P058 P200", _power, writes=True),
)  # fmt: skip
