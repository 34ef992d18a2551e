"""The kit that Amperio runs against an Enexa: what the page says that Enexa hosts, asked one by one."""

from datetime import datetime
from typing import Any

from shared.conformance.checks import Check, Kit, NotTried, Saw
from shared.conformance.common import answered, common_checks, fields_of, refused
from shared.conformance.peer import Peer
from shared.contract.config import ConfigVersion, ControllerConfig, SiteConfig
from shared.contract.registry import Controller, EquipmentSpecs, Firmware, SiteAssets, SitePage
from shared.contract.schedule import SiteSchedule

SAMPLE = b'{"site_id": "%s", "timestamp": "%s", "battery": {"soc_pct": 65}, "grid": {"import_kw": 35}}'


def _sites(peer: Peer) -> Saw:
    answer = peer.get("/v1/sites")
    saw = answered(answer, SitePage, "sites")
    named = saw.works and all(not fields_of(site, "id", "name") for site in answer.json["sites"])
    return saw if named or not saw.works else Saw(False, False, "a site without id or name")


def _assets(peer: Peer) -> Saw:
    return answered(peer.get(f"/v1/sites/{peer.site()}/assets"), SiteAssets, "battery", "chargers", "meters")


def _controller(peer: Peer) -> Saw:
    return answered(peer.get(f"/v1/controllers/{_controller_id(peer)}"), Controller, "id", "assets")


def _specs(peer: Peer) -> Saw:
    assets = peer.get(f"/v1/sites/{peer.site()}/assets").json
    battery = assets.get("battery") if isinstance(assets, dict) else None
    if not battery:
        raise NotTried("the site has no battery to ask about")
    return answered(
        peer.get(f"/v1/equipment/battery/{battery['id']}/specs"), EquipmentSpecs, "capacity_kwh", "max_power_kw"
    )


def _config(peer: Peer) -> Saw:
    return answered(peer.get(f"/v1/config/{peer.site()}"), SiteConfig, "battery", "grid")


def _unchanged(peer: Peer) -> Saw:
    path = f"/v1/config/{peer.site()}"
    first = peer.get(path)
    if "etag" not in first.headers:
        return Saw(False, first.status == 200, "no ETag: every poll carries the whole document")
    again = peer.get(path, {"If-None-Match": first.headers["etag"]})
    return Saw(again.status == 304 and not again.body, again.status in (200, 304), f"HTTP {again.status}")


def _controller_config(peer: Peer) -> Saw:
    path = f"/v1/controllers/{_controller_id(peer)}/config"
    return answered(peer.get(path), ControllerConfig, "version", "settings", "limits")


def _config_version(peer: Peer) -> Saw:
    path = f"/v1/controllers/{_controller_id(peer)}/config/version"
    saw = answered(answer := peer.get(path), ConfigVersion, "version", "updated_at")
    whole = peer.get(f"/v1/controllers/{_controller_id(peer)}/config")
    if saw.conforms and whole.status == 200 and whole.json.get("version") != answer.json["version"]:
        return Saw(False, True, f"version {answer.json['version']} here, {whole.json.get('version')} in the config")
    return saw


def _firmware(peer: Peer) -> Saw:
    answer = peer.get("/v1/firmware/latest/controller")
    if answer.status == 404:
        raise NotTried("no firmware has been released")
    return answered(answer, Firmware, "version", "url", "sha256")


def _schedule(peer: Peer) -> Saw:
    answer = peer.get(f"/v1/sites/{peer.site()}/schedule")
    if answer.status == 404:
        return Saw(answer.problem, True, "no schedule yet")
    return answered(answer, SiteSchedule, "slots", "valid_until")


def _unknown_site(peer: Peer) -> Saw:
    return refused(peer.get("/v1/config/NOSUCHSITE"), 404, 403)


def _enrolment(peer: Peer) -> Saw:
    """Registering is for who holds an enrolment token; the middleware's own token must not do."""
    answer = peer.post("/v1/controllers/register", {"serial": "conformance-probe", "site_id": peer.site()})
    saw = refused(answer, 401, 403)
    return saw if answer.status in (401, 403) else Saw(False, False, f"HTTP {answer.status}: it registered somebody")


def _foreign_controller(step: str, body: bytes | None) -> Any:
    def ask(peer: Peer) -> Saw:
        method = "GET" if body is None else "POST"
        answer = peer.send(method, f"/v1/controllers/NOSUCHCONTROLLER/{step}", body=body, bearer=peer.bearer())
        return refused(answer, 404, 403)

    return ask


def _bad_body(path: str, body: bytes) -> Any:
    def ask(peer: Peer) -> Saw:
        answer = peer.post(path, body)
        saw = refused(answer, 400, 422)
        return saw if answer.status >= 400 else Saw(False, False, f"HTTP {answer.status}: it was taken")

    return ask


def _telemetry(peer: Peer) -> Saw:
    """The page's own example, dated now, and once more: the second is a duplicate."""
    body = SAMPLE % (peer.site().encode(), _stamp(peer.now()))
    first, again = peer.post("/v1/telemetry", body), peer.post("/v1/telemetry", body)
    if first.status != 200:
        return Saw(False, False, f"HTTP {first.status}")
    counted = (first.json.get("accepted"), again.json.get("accepted"), again.json.get("duplicates"))
    return Saw(counted == (1, 0, 1), again.status == 200, f"accepted {counted[0]}, then {counted[1]}")


def _status(peer: Peer) -> Saw:
    answer = peer.post("/v1/status", {"site_id": peer.site(), "online": True})
    return Saw(
        answer.status == 200 and answer.json.get("received") is True, answer.status == 200, f"HTTP {answer.status}"
    )


def _events(peer: Peer) -> Saw:
    answer = peer.post("/v1/events", {"site_id": peer.site(), "events": []})
    return Saw(answer.status in (200, 400, 422), answer.status < 500, f"HTTP {answer.status}")


def _firmware_status(peer: Peer) -> Saw:
    path = f"/v1/controllers/{_controller_id(peer)}/firmware/status"
    answer = peer.post(path, {"current_version": "2.0.5", "status": "ok"})
    return Saw(answer.status == 200, answer.status == 200, f"HTTP {answer.status}")


def _controller_id(peer: Peer) -> str:
    """A middleware logs in as its controller."""
    if peer.client_id is None:
        raise NotTried("no credentials were given")
    return peer.client_id


def _stamp(at: datetime) -> bytes:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z").encode()


_check = Kit("ENEXA").check
CHECKS: tuple[Check[Peer], ...] = (
    *common_checks("ENEXA", "/v1/sites"),
    _check("SITES", "the sites are listed with id and name", "P012 P013 P101 P102 P103 P104 P105 P209 P210", _sites),
    _check("ASSETS", "a site's equipment, by battery, chargers and meters", "P012 P013 P106 P107 P108", _assets),
    _check("CONTROLLER", "a controller and its assets", "P109 P110 P111", _controller),
    _check("SPECS", "a battery's capacity and power", "P112 P113 P114", _specs),
    _check("CONFIG", "a site's configuration has battery and grid", "P014 P015 P077 P078 P080 P081 P083 P084", _config),
    _check("ETAG", "an unchanged configuration is answered with 304", "P085 P086", _unchanged),
    _check("CTRLCONFIG", "a controller's version, settings and limits", "P115 P116 P117 P118 P119", _controller_config),
    _check("VERSION", "the version for polling is that of the configuration", "P086 P120 P121 P122", _config_version),
    _check("FIRMWARE", "the newest firmware with url and sha256", "P123 P124 P125", _firmware),
    _check("SCHEDULE", "the schedule that an outage is survived with", "P167 P183", _schedule),
    _check("NOSITE", "an unknown site is refused, and never a default one answered", "P218", _unknown_site),
    _check("ENROL", "registration asks for an enrolment token", "P132 P133", _enrolment),
    _check("BOOTSTRAP", "no stranger is bootstrapped", "P137 P138", _foreign_controller("bootstrap", None)),
    _check(
        "ACTIVATE",
        "no stranger is activated",
        "P141 P142",
        _foreign_controller("activate", b'{"status": "ready", "tests_passed": true}'),
    ),
    _check("JSON", "telemetry that is no JSON is refused", "P065", _bad_body("/v1/telemetry", b'{"site_id": ')),
    _check(
        "NAIVE",
        "telemetry without a time zone is refused",
        "P069",
        _bad_body(
            "/v1/telemetry", b'{"site_id": "SITE001", "timestamp": "2024-01-15T10:00:01", "battery": {}, "grid": {}}'
        ),
    ),
    _check(
        "NUMBER",
        "a number in quotes is refused",
        "P070",
        _bad_body("/v1/telemetry", SAMPLE.replace(b"65", b'"65"') % (b"SITE001", b"2024-01-15T10:00:01Z")),
    ),
    _check("STATUSBODY", "a status without a site is refused", "P092", _bad_body("/v1/status", b'{"online": true}')),
    _check(
        "TELEMETRY",
        "the page's telemetry is taken once, however often it is sent",
        "P062 P063 P065 P066 P067 P068 P069 P070 P071 P072 P075",
        _telemetry,
        writes=True,
    ),
    _check("STATUS", "the page's status is taken", "P090 P091 P092 P095", _status, writes=True),
    _check("EVENTS", "events have a place to go", "P187", _events, writes=True),
    _check("FWSTATUS", "the running firmware is reported", "P126 P127 P128", _firmware_status, writes=True),
)
