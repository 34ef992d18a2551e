"""The catalogue of bad input (reliability.md section 4) against the middleware's own routes, row by row (goal G2).

Each row has its exact status, leaves one line in the audit log, stores no command, and nothing of it reaches the
station; nothing is ever a 500. Framing below HTTP is in tests/integration/rest/test_framing.py.
"""

import json
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from msgspec import Struct

from services.amperio.app import STORE
from services.amperio.runtime import Lanes
from services.amperio.store.database import open_connection
from shared.moment import Moment
from shared.rest.audit import AuditLine
from shared.rest.auth import Principal
from tests.contract.catalogue import FAR_INSTANTS, NO_INSTANTS, NOT_FINITE, NUMBERS_AS_TEXT, TOO_LONG_NUMBERS
from tests.contract.enexa.http import Http, http
from tests.integration.amperio.stage import SITE, Stage, playing

pytestmark = pytest.mark.timeout(120)
DISPATCH, GRID_LIMIT = "/v1/dispatch", f"/v1/sites/{SITE}/grid-limit"
LIMIT = {"import_kw": 10, "from": "2024-06-15T10:00:00Z"}
JSON = {"Content-Type": "application/json"}
OURS = range(2500, 2502)
"""Watchdog and mode: what the middleware writes of its own accord while nobody commands."""


class Row(Struct, frozen=True, kw_only=True):
    """One line of the catalogue: its number, what is sent, and the status that it gets."""

    row: str
    status: int
    body: bytes | None = None
    method: str = "POST"
    path: str = DISPATCH
    headers: Mapping[str, str] = MappingProxyType(JSON)
    who: str | None = "operator"
    audited: bool = True
    """A head that is refused is none of a request yet, and leaves no line."""


def command(now: datetime, **change: Any) -> dict[str, Any]:
    whole = {
        "site_id": SITE,
        "command": "set_battery_power",
        "params": {"power_kw": -25},
        "timestamp": now.isoformat(),
        **change,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def json_rows(now: datetime) -> Iterator[Row]:
    good = encoded(command(now))
    text = good.decode()
    for body in (b"", b"  ", b"null", b"[]", b'"x"', b"1"):
        yield Row(row="J01", status=400, body=body)
    for body in (good[:-1], good + b"x", good + good, b"/* x */" + good, good.replace(b'"', b"'"), good[:-1] + b",}"):
        yield Row(row="J02", status=400, body=body)
    for body in (b"\xef\xbb\xbf" + good, text.encode("utf-16"), text.encode("utf-32")):
        yield Row(row="J03", status=400, body=body)
    for broken in (b"\xff", b"\xc0\xaf", b"\\ud800"):
        yield Row(row="J04", status=400, body=good[:-1] + b',"reason":"' + broken + b'"}')
    for body in (b"[" * 8_000, b'{"a":' * 1_500, b"[" + b"1," * 7_000 + b"1]"):
        yield Row(row="J05", status=400, body=body)
    for extra in (b'"site_id":"SITE001"', b'"params":{"power_kw":1}', b'"params":{"power_kw":1,"power_\\u006bw":2}'):
        yield Row(row="J06", status=400, body=good[:-1] + b"," + extra + b"}")
    for name in ("Power_kW", "POWER_KW", "power_kｗ"):
        yield Row(row="J07", status=400, body=encoded(command(now, params={name: -25})))
    yield Row(row="J08", status=400, body=encoded(command(now, colour="red")))
    yield Row(row="J08", status=400, body=encoded(command(now, params={"power_kw": 1.0, "ramp": 2})))
    for name in ("site_id", "command", "params", "timestamp"):
        yield Row(row=f"J09 {name}", status=400, body=encoded(command(now, **{name: ...})))
    yield Row(row="J09 power_kw", status=400, body=encoded(command(now, params={})))
    for raw in (b"\x00", b"\x1b", b"\n"):
        yield Row(row="J10", status=400, body=good[:-1] + b',"reason":"a' + raw + b'"}')
    for wrong in ("A\0", "A\u202e", "\x1b[31m", "é", "e\u0301", "😀", "a b", "../x", "x" * 65):
        yield Row(row="J11", status=422, body=encoded(command(now, site_id=wrong)))
        yield Row(row="J11 command_id", status=422, body=encoded(command(now, command_id=wrong)))
    yield Row(row="J11 1 MB", status=413, body=encoded(command(now, site_id="x" * 1_000_000)))
    for name in ("__proto__", "constructor", "$ref", "@type"):
        yield Row(row="J12", status=400, body=encoded(command(now, **{name: "x"})))


def number_rows(now: datetime) -> Iterator[Row]:
    def power(raw: str) -> bytes:
        return encoded(command(now)).replace(b": -25", b": " + raw.encode())

    for raw in NOT_FINITE:
        yield Row(row="N01", status=400, body=power(raw))
    for raw in NUMBERS_AS_TEXT:
        yield Row(row="N02", status=400, body=power(raw))
    for raw in TOO_LONG_NUMBERS:
        yield Row(row="N03", status=400, body=power(raw))
    for raw in ("true", "null", "[]", "{}"):
        yield Row(row="N05", status=400, body=power(raw))
    for raw, status in (
        *(("1.0", 400), ("1.5", 400), ('"1e3"', 400), ("-1", 422)),
        *(("9007199254740993", 422), ("9223372036854775808", 422), ("1" + "0" * 20, 422)),
    ):
        seq = encoded(command(now, epoch=1)).replace(b'"epoch": 1', b'"epoch": 1, "seq": ' + raw.encode())
        yield Row(row="N06", status=status, body=seq)
    for raw in ("220.1", "-220.1", "300", "-2500", "25000", "1e300"):
        yield Row(row="N07", status=422, body=power(raw))
    bounds: tuple[tuple[str, dict[str, float]], ...] = (
        ("set_grid_limit", {"import_kw": 87.001}),
        ("set_grid_limit", {"import_kw": -0.001}),
        ("set_grid_request", {"import_kw": 327.67}),
        ("set_soc_window", {"reserve_pct": -1, "max_pct": 80}),
        ("set_soc_window", {"reserve_pct": 20, "max_pct": 100.0001}),
        ("set_soc_window", {"reserve_pct": 20, "max_pct": 65535}),
        ("set_charger_limit", {"charger": 1, "power_kw": 300.1}),
    )
    for kind, params in bounds:
        yield Row(row="N08", status=422, body=encoded(command(now, command=kind, params=params)))
    yield Row(
        row="N09",
        status=422,
        body=encoded(command(now, command="set_soc_window", params={"reserve_pct": 80, "max_pct": 60})),
    )
    turbo = {"charger": 1, "mode": "turbo"}
    yield Row(row="choices", status=400, body=encoded(command(now, command="set_charging_mode", params=turbo)))
    third = {"charger": 3, "power_kw": 10}
    yield Row(row="choices", status=400, body=encoded(command(now, command="set_charger_limit", params=third)))
    yield Row(row="choices", status=400, body=encoded(command(now, command="explode", params={})))


def time_rows(now: datetime) -> Iterator[Row]:
    def at(value: Any) -> bytes:
        return encoded(command(now, timestamp=value))

    yield Row(row="T01", status=400, body=at(now.replace(tzinfo=None).isoformat()))
    for value in (0, -1, 1e10, "1705312800", 1705312800):
        yield Row(row="T02", status=400, body=at(value))
    for value in NO_INSTANTS:
        yield Row(row="T04", status=400, body=at(value))
    for value in FAR_INSTANTS:
        yield Row(row="T05", status=422, body=at(value))
    yield Row(row="T05 below year 1", status=422, body=at("0001-01-01T00:00:00+01:00"))
    yield Row(row="T05 old", status=422, body=at((now - timedelta(seconds=90)).isoformat()))
    yield Row(row="T05 early", status=422, body=at((now + timedelta(seconds=60)).isoformat()))
    for until_s in (-1, 0, 3600):
        until = (now + timedelta(seconds=until_s)).isoformat()
        yield Row(row="T08", status=422, body=encoded(command(now, valid_until=until)))
    slot = {
        "setpoint_kw": 0,
        "soc_target_pct": 50,
        "reserve_pct": 20,
        "import_gate_kw": 80,
        "price_eur_per_mwh": 50,
        "zone": "normal",
        "reason": "t",
        "marginal_eur_per_kwh": 0.1,
    }
    params = {"version": 1, "valid_from": now.isoformat(), "valid_until": (now + timedelta(hours=1)).isoformat()}
    quarter = now.replace(minute=0, second=0, microsecond=0)
    first, second = ({**slot, "start": (quarter + n * timedelta(minutes=15)).isoformat()} for n in (0, 1))
    third, between = ({**slot, "start": (quarter + timedelta(minutes=n)).isoformat()} for n in (30, 7))
    whole = {**params, "valid_from": quarter.isoformat(), "valid_until": (quarter + timedelta(hours=1)).isoformat()}
    for name, given, slots, status in (
        ("none", params, [], 422),
        ("no zone", params, [{**slot, "start": "2024-06-15T10:00:00"}], 400),
        ("more", params, [{**slot, "start": now.isoformat(), "extra": 1}], 400),
        ("twice", whole, [first, first], 422),
        ("unsorted", whole, [second, first], 422),
        ("a hole", whole, [first, third], 422),
        ("not on the quarter", whole, [between], 422),
        ("ends before it begins", {**whole, "valid_until": whole["valid_from"]}, [first], 422),
        ("two thousand", whole, [first] * 2_000, 413),
    ):
        body = encoded(command(now, command="apply_schedule", params={**given, "slots": slots}))
        yield Row(row=f"T08 slots {name}", status=status, body=body)


def state_rows(now: datetime) -> Iterator[Row]:
    yield Row(row="I01", status=404, body=encoded(command(now, site_id="SITE009")))
    yield Row(row="I01 not yours", status=404, body=encoded(command(now)), who="other")
    yield Row(row="I02", status=404, body=encoded(command(now, site_id="CTRL001")))
    yield Row(row="I03", status=400, method="PUT", path=GRID_LIMIT, body=encoded({**LIMIT, "site_id": "SITE002"}))
    yield Row(row="I07 negative", status=422, body=encoded(command(now, epoch=-1, seq=1)))
    yield Row(row="I07 far ahead", status=422, body=encoded(command(now, epoch=1, seq=1 << 53)))
    for path in ("/v1/telemetry", "/v1/telemetry/batch", "/v1/events"):
        yield Row(row=f"I08 {path} is Enexa's", status=404, path=path, body=encoded({"samples": []}))
    limit = {"import_kw": 10, "from": now.isoformat()}
    yield Row(row="limit", status=400, method="PUT", path=GRID_LIMIT, body=encoded({"from": now.isoformat()}))
    yield Row(row="limit", status=422, method="PUT", path=GRID_LIMIT, body=encoded({**limit, "import_kw": -1}))
    yield Row(row="limit", status=422, method="PUT", path=GRID_LIMIT, body=encoded({**limit, "until": now.isoformat()}))
    yield Row(
        row="limit", status=400, method="PUT", path=GRID_LIMIT, body=encoded({**limit, "until": "2024-06-15T10:00:00"})
    )
    yield Row(row="limit", status=403, method="PUT", path=GRID_LIMIT, body=encoded(limit), who="enexa")
    yield Row(row="limit elsewhere", status=404, method="PUT", path="/v1/sites/SITE009/grid-limit", body=encoded(limit))


def path_and_header_rows(now: datetime) -> Iterator[Row]:
    good = encoded(command(now))
    for path in ("/v1/dispatch/%00", "/v1/dispatch/%ff", "/v1/dispatch/%2e%2e%2f", "/v1/sites/;x=1/state"):
        yield Row(row=f"Q01 {path}", status=404, method="GET", path=path)
    for value in ("0", "-1", "1e3", "1" + "0" * 24, "nan", "", "5" * 5_000):
        yield Row(row="Q02", status=400, method="GET", path=f"/v1/sites?limit={value}")
    yield Row(row="Q02 repeated", status=400, method="GET", path="/v1/sites?limit=1&limit=2")
    yield Row(row="Q03", status=400, method="GET", path="/v1/sites?colour=red")
    for media in ("text/plain", "application/x-msgpack", "multipart/form-data", "application/json; charset=utf-16"):
        yield Row(row="Q06", status=415, body=good, headers={"Content-Type": media})
    for coding in ("gzip", "br", "unknown"):
        yield Row(row="Q07", status=415, body=good, headers={**JSON, "Content-Encoding": coding})
    for path in ("/v1/sites/", "//v1/sites", "/v1//sites", "/v1/sites;x=1", "/v1/dispatch/" + "a" * 7_000):
        yield Row(row=f"Q01 {path[:20]}", status=404, method="GET", path=path)
    yield Row(row="Q03 on a command", status=400, path=DISPATCH + "?force=1", body=good)
    yield Row(row="Q04", status=400, method="GET", path="/v1/sites?cursor=tampered")
    yield Row(row="Q06 none", status=415, body=good, headers={"Content-Type": ""})
    for name, value in (("none", ""), ("Basic", "Basic b3BlcmF0b3I6eA=="), ("8 KB", "Bearer " + "x" * 8_000)):
        headers = {**JSON, "Authorization": value}
        yield Row(row=f"Q09 {name}", status=401, body=good, headers=headers, who=None)
    yield Row(row="Q09 in the query", status=401, path=DISPATCH + "?access_token=x", body=good, who=None)
    yield Row(row="Q09 in the query too", status=400, path=DISPATCH + "?access_token=x", body=good)
    many = {**JSON, **{f"X-{number}": "x" for number in range(200)}}
    yield Row(row="Q10 200 headers", status=431, body=good, headers=many, audited=False)
    yield Row(row="Q10 64 KB", status=431, body=good, headers={**JSON, "X-Long": "x" * 60_000}, audited=False)
    yield Row(row="Q11 empty", status=400, body=good, headers={**JSON, "Host": ""})
    override = {**JSON, "X-HTTP-Method-Override": "DELETE", "X-Original-URL": GRID_LIMIT, "X-Forwarded-For": "1.2.3.4"}
    yield Row(row="Q12", status=422, body=encoded(command(now, params={"power_kw": 300})), headers=override)
    for tag in ("1", '"', '"1", "2"'):
        headers = {**JSON, "If-Match": tag}
        yield Row(
            row="Q14 has no meaning here",
            status=422,
            body=encoded(command(now, params={"power_kw": 300})),
            headers=headers,
        )
    for method, path in (
        *(("PUT", DISPATCH), ("DELETE", DISPATCH), ("PATCH", GRID_LIMIT), ("POST", "/v1/health")),
        ("TRACE", DISPATCH),
    ):
        yield Row(row=f"Q13 {method}", status=405, method=method, path=path, body=good)
    yield Row(row="16 KB", status=413, body=encoded(command(now, reason="x" * 17_000)))


class Station:
    """Every register that is written, as the station hears it."""

    def __init__(self, stage: Stage) -> None:
        self.written: list[int] = []
        answer = stage.station.request

        def heard(now: Moment, unit_id: int, pdu: bytes, **told: Any) -> bytes:
            if pdu[0] in (6, 16):
                self.written.append(int.from_bytes(pdu[1:3], "big"))
            return answer(now, unit_id, pdu, **told)

        stage.station.request = heard  # type: ignore[method-assign]  # the real answer, and a look at the question


async def test_goal_g2_each_row_of_the_catalogue_has_its_status_and_leaves_only_its_audit_line(tmp_path: Path) -> None:
    async with playing(tmp_path, rate_command_burst=1000.0, rate_general_burst=1000.0) as stage, http(stage) as link:
        station = Station(stage)
        for who in ("operator", "enexa", "other"):
            await link.token(who)
        now = stage.clock.now().at
        rows = [
            row for make in (json_rows, number_rows, time_rows, state_rows, path_and_header_rows) for row in make(now)
        ]

        got = [await ask(link, row, f"row-{number}") for number, row in enumerate(rows)]

        wrong = [
            (row.row, (row.body or row.path.encode())[:120], row.status, status)
            for row, (status, _) in zip(rows, got, strict=True)
            if status != row.status
        ]
        assert not wrong
        assert not [row.row for row, (_, problem) in zip(rows, got, strict=True) if not problem]
        assert stage.lane.agent.ledger.open_entries() == ()
        assert {address for address in station.written if address not in OURS} == set()

    commands, lines = stored(tmp_path / "data" / STORE)
    assert commands == 0
    left = [lines.get(f"row-{number}") for number in range(len(rows))]
    assert left == [[row.status] if row.audited else None for row in rows]


async def ask(link: Http, row: Row, request_id: str) -> tuple[int, bool]:
    """The status, and whether the answer is a problem document that gives nothing away."""
    got = await link.send(
        row.method, row.path, as_=row.who, data=row.body, headers={**row.headers, "X-Request-ID": request_id}
    )
    if got.status < 400 or got.headers.get("content-type") != "application/problem+json":
        return got.status, False
    problem = got.json
    tidy = problem["status"] == got.status and "code" in problem and len(problem["detail"]) <= 300
    return got.status, tidy and b"Traceback" not in got.body


def stored(store: Path) -> tuple[int, dict[str, list[int]]]:
    """How many commands are on the disk, and the statuses in the audit log by request id."""
    connection = open_connection(store)
    try:
        lines: dict[str, list[int]] = {}
        for (body,) in connection.execute("SELECT body FROM audit"):
            line = msgspec.json.decode(body, type=AuditLine)
            lines.setdefault(line.request_id, []).append(line.status)
        return len(connection.execute("SELECT command_id FROM commands").fetchall()), lines
    finally:
        connection.close()


# ---- B12: a wrong site -----------------------------------------------------------------------------------------------

NO_SITE = {400, 403, 404, 422}


def wrong_sites(count: int) -> Iterator[Any]:
    """What a caller may send in the place of the one site there is; `...` = nothing at all."""
    chance = random.Random(12)
    names = ("", " ", "site001", "SITE01", "SITE001 ", "SITE001/", "SITE002", "CTRL001", "default", "*")
    near: list[Any] = [..., None, 1, [], *names]
    for number in range(count):
        made = "".join(chance.choices("SITE0123_-", k=chance.randint(1, 9)))
        yield near[number] if number < len(near) else made if made != SITE else "SITE009"


async def sent_to_no_site(directory: Path, count: int) -> tuple[set[int], int, set[int]]:
    """Statuses of so many commands for a site that is none here, commands taken, and registers written for them."""
    async with playing(directory, rate_command_burst=1000.0) as stage, http(stage) as link:
        station, statuses = Station(stage), set()
        for site_id in wrong_sites(count):
            limit = {"command": "set_grid_limit", "params": {"import_kw": 12.5}}
            body = encoded(command(stage.clock.now().at, site_id=site_id, **limit))
            statuses.add((await link.send("POST", DISPATCH, as_="enexa", data=body, headers=JSON)).status)
            path = f"/v1/sites/{quote(str(site_id), safe='')}/state"
            statuses.add((await link.send("GET", path, as_="enexa")).status)
        return statuses, len(stage.lane.agent.ledger._entries), set(station.written) - set(OURS)


async def test_b12_a_wrong_or_missing_site_is_never_taken_for_the_only_one(tmp_path: Path) -> None:
    statuses, taken, written = await sent_to_no_site(tmp_path, 60)

    assert statuses <= NO_SITE
    assert (taken, written) == (0, set())


@pytest.mark.soak
async def test_b12_five_hundred_wrong_sites(tmp_path: Path) -> None:
    statuses, taken, written = await sent_to_no_site(tmp_path, 500)

    assert statuses <= NO_SITE
    assert (taken, written) == (0, set())


async def test_b12_the_control_a_middleware_with_a_default_station_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Principal, "may_see", lambda self, site_id: True)
    monkeypatch.setattr(Lanes, "of", lambda self, site_id: self.all()[0])

    statuses, _, _ = await sent_to_no_site(tmp_path, 20)

    assert not statuses <= NO_SITE


async def test_goal_g2_what_is_good_is_taken_so_that_the_rows_above_are_refused_for_what_is_wrong_with_them(
    tmp_path: Path,
) -> None:
    """The control, with the rows that are to be accepted (N04, N10, T03, T06, T07, Q08, Q09, Q12, Q13, Q14)."""
    async with playing(tmp_path) as stage, http(stage) as link:
        now = stage.clock.now().at
        limit = encoded(command(now, command="set_grid_limit", params={"import_kw": 25}))
        east, later = now + timedelta(hours=14), now + timedelta(seconds=2)
        good = [
            limit,
            limit.replace(b": 25", b": -0.0"),
            limit.replace(b": 25", b": 1e-400"),
            limit.replace(b": 25", b": 12.345678901234567"),
            limit.replace(now.isoformat().encode(), f"{east.replace(tzinfo=None).isoformat()}+14:00".encode()),
            limit.replace(now.isoformat().encode(), f"{later:%Y-%m-%dT%H:%M:%S}.123456789Z".encode()),
            limit.replace(now.isoformat().encode(), f"{later:%Y-%m-%d %H:%M:%S}.5z".encode()),
        ]
        statuses = [(await link.send("POST", DISPATCH, as_="enexa", data=body, headers=JSON)).status for body in good]
        forwarded = {**JSON, "X-Forwarded-For": "1.2.3.4", "X-HTTP-Method-Override": "DELETE", "If-Match": '"none"'}
        other = limit.replace(b": 25", b": 26")
        other = other.replace(now.isoformat().encode(), f"{later:%Y-%m-%dT%H:%M:%S}.9Z".encode())
        ignored = await link.send("POST", DISPATCH, as_="enexa", data=other, headers=forwarded)
        xml = await link.send("GET", "/v1/sites", as_="viewer", headers={"Accept": "text/xml"})
        head = await link.send("HEAD", "/v1/sites", as_="viewer")
        lower = await link.send("GET", "/v1/sites", headers={"Authorization": f"bearer {await link.token('viewer')}"})

    assert statuses == [200] * len(good)
    assert (ignored.status, ignored.json["applied_kw"]) == (200, 26.0)
    assert (xml.status, xml.headers["content-type"]) == (200, "application/json")
    assert (head.status, head.body, lower.status) == (200, b"", 200)
