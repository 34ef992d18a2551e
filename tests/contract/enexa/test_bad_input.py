"""The catalogue of bad input (reliability.md section 4) against the platform's routes, row by row (goals G2, G3, A6).

Each row has its exact status as a problem document and leaves one line in the audit log; nothing of it is stored, and
nothing is ever a 500. Framing below HTTP is in tests/integration/rest/test_framing.py.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from msgspec import Struct
from multidict import CIMultiDict

from services.enexa.state import Board
from shared.contract.events import SiteStatus
from shared.contract.telemetry import SAMPLES_PER_BATCH_MAX
from tests.contract.catalogue import (
    FAR_INSTANTS,
    NO_INSTANTS,
    NOT_FINITE,
    NUMBERS_AS_TEXT,
    OUR_HOSTS,
    TOO_LONG_NUMBERS,
    WRONG_HOSTS,
)
from tests.contract.enexa.http import Http, http
from tests.integration.enexa.stage import PAGE_TIME, Stage

pytestmark = pytest.mark.timeout(120)
TELEMETRY, BATCH, EVENTS, CONFIG = "/v1/telemetry", "/v1/telemetry/batch", "/v1/events", "/v1/config/SITE001"
JSON = {"Content-Type": "application/json"}
SERIES = "/v1/sites/SITE001/telemetry"


class Row(Struct, frozen=True, kw_only=True):
    """One line of the catalogue: its number, what is sent, and the status that it gets."""

    row: str
    status: int
    body: bytes | None = None
    method: str = "POST"
    path: str = TELEMETRY
    headers: Mapping[str, str] = MappingProxyType(JSON)
    who: str = "CTRL001"


def sample(**change: Any) -> dict[str, Any]:
    whole = {"site_id": "SITE001", "timestamp": "2024-01-15T10:00:01Z", **change}
    return {name: value for name, value in whole.items() if value is not ...}


def encoded(message: Any) -> bytes:
    return json.dumps(message).encode()


def batch(*records: Any, **change: Any) -> bytes:
    return encoded({"site_id": "SITE001", "stream_epoch": "e1", "samples": records, **change})


def json_rows() -> Iterator[Row]:
    good = encoded(sample())
    text = good.decode()
    for body in (b"", b"  ", b"null", b"[]", b'"x"', b"1"):
        yield Row(row="J01", status=400, body=body)
    for body in (good[:-1], good + b"x", good + good, b"/* x */" + good, good.replace(b'"', b"'"), good[:-1] + b",}"):
        yield Row(row="J02", status=400, body=body)
    for body in (b"\xef\xbb\xbf" + good, text.encode("utf-16"), text.encode("utf-32")):
        yield Row(row="J03", status=400, body=body)
    for broken in (b"\xff", b"\xc0\xaf", b"\\ud800"):
        yield Row(row="J04", status=400, body=good[:-1] + b',"station":{"state":"' + broken + b'"}}')
    for body in (b"[" * 60_000, b'{"a":' * 10_000, b"[" + b"1," * 30_000 + b"1]"):
        yield Row(row="J05", status=400, body=body)
    for name in ("Site_id", "SITE_ID", "site_id "):
        yield Row(row="J07", status=400, body=encoded({name: "SITE001", "timestamp": "2024-01-15T10:00:01Z"}))
    yield Row(row="J08", status=400, body=encoded(sample(colour="red")))
    yield Row(row="J08 deep", status=400, body=encoded(sample(battery={"soc_pct": 65, "colour": "red"})))
    for name in ("site_id", "timestamp"):
        yield Row(row=f"J09 {name}", status=400, body=encoded(sample(**{name: ...})))
    for raw in (b"\x00", b"\x1b", b"\n"):
        yield Row(row="J10", status=400, body=good[:-1] + b',"station":{"state":"a' + raw + b'"}}')
    for wrong in ("A\0", "A\u202e", "\x1b[31m", "é", "e\u0301", "😀", "a b", "../x", "x" * 65, ""):
        yield Row(row="J11", status=422, body=encoded(sample(site_id=wrong)))
        yield Row(row="J11 epoch", status=422, body=encoded(sample(stream_epoch=wrong)))
    yield Row(row="J11 1 MB", status=413, body=encoded(sample(site_id="x" * 1_000_000)))
    for name in ("__proto__", "constructor", "$ref", "@type"):
        yield Row(row="J12", status=400, body=encoded(sample(**{name: "x"})))
    config = {"battery": {"units": [{"id": "B1"}]}, "chargers": [{"id": "C1"}]}
    twice = encoded(config)[:-1] + b',"chargers":[{"id":"C1"}]}'
    put = {**JSON, "If-Match": '"1"'}
    deep = twice.replace(b'"id": "B1"', b'"id": "B1", "id": "B2"')
    spelt = twice.replace(b',"chargers"', b',"charger\\u0073"')
    for body in (twice, deep, spelt):
        yield Row(row="J06", status=400, method="PUT", path=CONFIG, body=body, headers=put, who="operator")


def number_rows() -> Iterator[Row]:
    def soc(raw: str) -> bytes:
        return encoded(sample(battery={"soc_pct": 65})).replace(b"65", raw.encode())

    for raw in NOT_FINITE:
        yield Row(row="N01", status=400, body=soc(raw))
    for raw in NUMBERS_AS_TEXT:
        yield Row(row="N02", status=400, body=soc(raw))
    for raw in TOO_LONG_NUMBERS:
        yield Row(row="N03", status=400, body=soc(raw))
    for raw in ("true", "[]", "{}"):
        yield Row(row="N05", status=400, body=soc(raw))
    for raw, status in (("1.0", 400), ("1.5", 400), ('"1e3"', 400), ("9007199254740993", 422), ("1" + "0" * 20, 422)):
        body = encoded(sample(stream_epoch="e1", sequence=1)).replace(b'"sequence": 1', b'"sequence": ' + raw.encode())
        yield Row(row="N06", status=status, body=body)
    for raw in ("-1", "-0.0001", "100.0001", "65535"):
        yield Row(row="N08 soc", status=422, body=soc(raw))
    for power in (10_000.1, -10_000.1, 1e300):
        yield Row(row="N07", status=422, body=encoded(sample(battery={"power_kw": power})))
    for flow in (-0.001, 10_000.1):
        yield Row(row="N07 one way", status=422, body=encoded(sample(grid={"import_kw": flow})))


def time_rows() -> Iterator[Row]:
    def at(value: Any) -> bytes:
        return encoded(sample(timestamp=value))

    yield Row(row="T01", status=400, body=at("2024-01-15T10:00:01"))
    for value in (0, -1, 1e10, "1705312800", 1705312800, True, None):
        yield Row(row="T02", status=400, body=at(value))
    for value in NO_INSTANTS:
        yield Row(row="T04", status=400, body=at(value))
    for value in FAR_INSTANTS:
        yield Row(row="T05", status=422, body=at(value))
    yield Row(row="T05 below year 1", status=422, body=at("0001-01-01T00:00:00+01:00"))
    yield Row(row="T05 old", status=422, body=at((PAGE_TIME - timedelta(days=32)).isoformat()))
    yield Row(row="T05 early", status=422, body=at((PAGE_TIME + timedelta(hours=1)).isoformat()))


def state_rows() -> Iterator[Row]:
    yield Row(row="I01", status=404, body=encoded(sample(site_id="SITE009")))
    yield Row(row="I02", status=404, body=encoded(sample(site_id="CTRL001")))
    ack = {"site_id": "SITE002", "version": 1, "status": "applied", "timestamp": "2024-01-15T10:00:01Z"}
    yield Row(row="I03", status=422, path=CONFIG + "/ack", body=encoded(ack))
    far = encoded({**ack, "site_id": "SITE001", "version": 9})
    yield Row(row="I05 a version that is none", status=409, path=CONFIG + "/ack", body=far)
    yield Row(row="I07 far ahead", status=422, body=encoded(sample(stream_epoch="e1", sequence=2_000_000_000)))
    yield Row(row="I07 negative", status=422, body=encoded(sample(stream_epoch="e1", sequence=-1)))
    yield Row(row="I08 none", status=400, path=BATCH, body=batch())
    many = [sample(stream_epoch="e1", sequence=number) for number in range(SAMPLES_PER_BATCH_MAX + 1)]
    yield Row(row="I08 601", status=413, path=BATCH, body=batch(*many))
    yield Row(row="I08 nameless", status=400, path=BATCH, body=batch(sample(colour="red")))
    yield Row(row="I08 epoch", status=422, path=BATCH, body=batch(sample(sequence=1), stream_epoch="a b"))
    gap = {"from_sequence": 9, "to_sequence": 1, "reason": "x"}
    yield Row(row="I08 backwards", status=422, path=BATCH, body=batch(gaps=[gap]))
    event = {"event_id": "e", "site_id": "SITE001", "timestamp": "2024-01-15T10:00:01Z", "kind": "session_started"}
    for content, status in (
        ({"site_id": "SITE001", "events": []}, 422),
        ({"site_id": "SITE001", "events": [event] * 501}, 422),
        ({"site_id": "SITE001", "events": [{**event, "kind": "party"}]}, 400),
        ({"site_id": "SITE001", "events": [{**event, "site_id": "SITE002"}]}, 422),
    ):
        yield Row(row="events", status=status, path=EVENTS, body=encoded(content))
    firmware = "/v1/controllers/CTRL001/firmware/status"
    for version in ("2.1", "latest", "2.1.0; rm", "-1.0.0"):
        body = encoded({"current_version": version, "status": "ok"})
        yield Row(row="firmware", status=422, path=firmware, body=body)
    ready = encoded({"status": "ready", "tests_passed": True})
    yield Row(row="I10 skipped", status=409, path="/v1/controllers/CTRL001/activate", body=ready)
    serial = encoded({"serial": "a b", "site_id": "SITE001"})
    yield Row(row="register with a scope", status=403, path="/v1/controllers/register", body=serial)
    yield Row(row="replan elsewhere", status=404, path="/v1/sites/SITE009/replan", who="operator")


def path_and_query_rows() -> Iterator[Row]:
    def get(row: str, path: str, status: int) -> Row:
        return Row(row=row, status=status, method="GET", path=path, who="operator")

    for part in ("%00", "%ff", "%2e%2e%2f", "a%2fb", "x;x=1", "x" * 65):
        yield get("Q01", f"/v1/commands/{part}", 404)
    for path in ("/v1/sites/", "//v1/sites", "/v1//sites", "/v1/sites;x=1"):
        yield get(f"Q01 {path}", path, 404)
    yield get("Q01 long", "/v1/commands/" + "a" * 7_000, 404)
    for value in ("0", "-1", "1e3", "1" + "0" * 24, "nan", "", "5" * 5_000, "1001"):
        yield get("Q02", f"/v1/sites?limit={value}", 400)
    yield get("Q02 repeated", "/v1/sites?limit=1&limit=2", 400)
    yield get("Q03", "/v1/sites?colour=red", 400)
    yield get("Q03 on a health check", "/v1/health?verbose=1", 400)
    for value in ("0", "-1", "1s", ""):
        yield get("Q05 step", f"{SERIES}?resolution={value}", 400)
    for path in ("/v1/alerts", "/v1/audit", "/v1/sites/SITE001/commands", CONFIG + "/versions"):
        yield get("Q04", f"{path}?cursor=tampered", 400)
    for query, status in (
        ("from=2024-01-15T11:00:00Z&to=2024-01-15T10:00:00Z", 422),
        ("from=2023-01-01T00:00:00Z&to=2024-01-15T10:00:00Z", 422),
        ("from=2024-01-15T10:00:00", 400),
        ("from=1705312800", 400),
        ("from=yesterday", 400),
        ("resolution=2m", 400),
    ):
        yield get("Q05", f"{SERIES}?{query}", status)
    yield get("a query for a token", "/v1/sites?access_token=x", 400)


def header_rows() -> Iterator[Row]:
    good = encoded(sample())
    for media in ("text/plain", "application/x-msgpack", "multipart/form-data", "application/json; charset=utf-16", ""):
        yield Row(row="Q06", status=415, body=good, headers={"Content-Type": media})
    for coding in ("gzip", "br", "unknown"):
        yield Row(row="Q07", status=415, body=good, headers={**JSON, "Content-Encoding": coding})
    for host, status in WRONG_HOSTS:
        yield Row(row=f"Q11 {host}", status=status, body=good, headers={**JSON, "Host": host})
        yield Row(row=f"Q11 page {host}", status=status, method="GET", path="/login", headers={"Host": host})
    for method, path in (
        ("PUT", TELEMETRY),
        ("DELETE", CONFIG),
        ("PATCH", CONFIG),
        ("POST", "/v1/health"),
        ("TRACE", TELEMETRY),
    ):
        yield Row(row="Q13", status=405, method=method, path=path, body=good)
    override = {**JSON, "X-HTTP-Method-Override": "PUT", "X-Original-URL": CONFIG, "X-Forwarded-For": "1.2.3.4"}
    yield Row(row="Q12", status=422, body=encoded(sample(timestamp="2023-01-01T00:00:00Z")), headers=override)
    for tag in ("1", '"', "one", '"1", "2"'):
        headers = {**JSON, "If-Match": tag}
        config = encoded({"battery": {"units": [{"id": "B1"}]}, "chargers": [{"id": "C1"}]})
        yield Row(row="Q14", status=400, method="PUT", path=CONFIG, body=config, headers=headers, who="operator")
    yield Row(row="64 KiB", status=413, body=encoded(sample(station={"warnings": ["x" * 400] * 200})))


async def test_goal_g2_each_row_of_the_catalogue_has_its_status_as_a_problem_and_leaves_only_its_audit_line(
    stage: Stage,
) -> None:
    rows = [
        row
        for make in (json_rows, number_rows, time_rows, state_rows, path_and_query_rows, header_rows)
        for row in make()
    ]
    async with http(stage) as link:
        got = [await ask(link, row, f"row-{number}") for number, row in enumerate(rows)]
        latest = await link.send("GET", SERIES + "/latest", as_="viewer")
        config = await link.send("GET", CONFIG, as_="viewer")
        lines = await audit_lines(link)

    wrong = [
        (row.row, (row.body or row.path.encode())[:120], row.status, status)
        for row, (status, _) in zip(rows, got, strict=True)
        if status != row.status
    ]
    assert not wrong
    assert not [row.row for row, (_, problem) in zip(rows, got, strict=True) if not problem]
    assert (latest.status, config.json["version"]) == (404, 1)
    assert [lines.get(f"row-{number}") for number in range(len(rows))] == [row.status for row in rows]


async def test_goal_g2_what_is_good_is_taken_so_that_the_rows_above_are_refused_for_what_is_wrong_with_them(
    stage: Stage,
) -> None:
    """The control, with the rows of the catalogue that are to be accepted (N04, N10, T03, T06, T07, Q08, Q09)."""
    east = (PAGE_TIME + timedelta(hours=14)).replace(tzinfo=None).isoformat() + "+14:00"
    good = [
        sample(),
        sample(battery={"power_kw": -0.0}),
        sample(battery={"power_kw": -12.345678901234567}),
        sample(timestamp=east),
        sample(timestamp="2024-01-15 10:00:01z"),
        sample(timestamp="2024-01-15T10:00:01.123456789Z"),
    ]
    async with http(stage) as link:
        statuses = [(await link.send("POST", TELEMETRY, as_="CTRL001", json=each)).status for each in good]
        tiny = encoded(sample()).replace(b"}", b',"aux_kw":1e-400}')
        small = await link.send("POST", TELEMETRY, as_="CTRL001", data=tiny, headers=JSON)
        hosts = [(await link.send("GET", "/v1/health", headers={"Host": host})).status for host in OUR_HOSTS]
        xml = await link.send("GET", "/v1/sites", as_="viewer", headers={"Accept": "text/xml"})
        head = await link.send("HEAD", "/v1/sites", as_="viewer")
        lower = await link.send("GET", "/v1/sites", headers={"Authorization": f"bearer {await link.token('viewer')}"})

    assert [*statuses, small.status, *hosts] == [200] * (7 + len(OUR_HOSTS))
    assert (xml.status, xml.headers["content-type"]) == (200, "application/json")
    assert (head.status, head.body, lower.status) == (200, b"", 200)


async def test_states_that_do_not_fit_are_conflicts_and_the_same_again_gets_the_same_answer(stage: Stage) -> None:
    """I05, I06, Q09 and Q14, each with the request that is right."""
    config = encoded({"battery": {"units": [{"id": "B1"}]}, "chargers": [{"id": "C1"}]})
    async with http(stage) as link:

        async def ack(version: int) -> int:
            body = {"site_id": "SITE001", "version": version, "status": "applied", "timestamp": "2024-01-15T10:00:01Z"}
            return (await link.send("POST", CONFIG + "/ack", as_="CTRL001", json=body)).status

        async def put(version: int) -> int:
            headers = {**JSON, "If-Match": f'"{version}"'}
            return (await link.send("PUT", CONFIG, as_="operator", data=config, headers=headers)).status

        async def roll_back(key: str, version: int) -> tuple[int, Any]:
            newest = (await link.send("GET", CONFIG, as_="operator")).headers["etag"]
            got = await link.send(
                "POST",
                CONFIG + "/rollback",
                as_="operator",
                json={"version": version},
                headers={"If-Match": rolled.get(key, newest), "Idempotency-Key": key},
            )
            rolled.setdefault(key, newest)
            return got.status, got.json.get("version")

        rolled: dict[str, str] = {}
        assert [await put(1), await put(1), await put(2)] == [200, 412, 200]
        assert [await ack(2), await ack(2), await ack(1), await ack(3), await ack(2)] == [200, 200, 409, 200, 409]
        assert [await roll_back("k", 1), await roll_back("k", 1), await roll_back("k", 2)] == [
            (201, 4),
            (201, 4),
            (422, None),
        ]
        assert [(await roll_back(key, 1))[0] for key in ("", "x" * 1024)] == [400, 400]

        token = await link.token("viewer")
        twice = CIMultiDict([("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")])
        assert (await link.send("GET", "/v1/sites", headers=twice)).status == 401
        tags = [('W/"4"', 304), ("4", 200), ("*", 304), ('"4"', 304), ('"3"', 200)]
        for tag, expected in tags:
            got = await link.send("GET", CONFIG, as_="viewer", headers={"If-None-Match": tag})
            assert (tag, got.status) == (tag, expected)


def test_a_status_report_that_is_older_than_the_newest_is_history() -> None:
    """I09."""
    board = Board().site("SITE001")
    newest, older = (
        SiteStatus(site_id="SITE001", online=online, timestamp=PAGE_TIME - timedelta(seconds=age_s))
        for online, age_s in ((True, 0.0), (False, 60.0))
    )

    assert [board.reported(each, PAGE_TIME) for each in (newest, older)] == [True, False]
    assert board.status is newest


async def test_records_of_a_batch_are_judged_one_by_one_by_site_epoch_and_number(stage: Stage) -> None:
    """I07 and I08: unsorted, twice, of another site, of another epoch, again; and a new epoch begins anew."""
    records = [sample(sequence=number) for number in (3, 1, 2, 2)]
    records += [sample(sequence=5, site_id="SITE002"), sample(sequence=6, stream_epoch="e2")]
    async with http(stage) as link:
        got = await link.send("POST", BATCH, as_="CTRL001", data=batch(*records), headers=JSON)
        again = await link.send("POST", BATCH, as_="CTRL001", data=batch(*records[:3]), headers=JSON)
        lower = await link.send("POST", TELEMETRY, as_="CTRL001", json=sample(stream_epoch="e1", sequence=1))
        gap = await link.send("POST", TELEMETRY, as_="CTRL001", json=sample(stream_epoch="e1", sequence=9))
        other = await link.send("POST", TELEMETRY, as_="CTRL001", json=sample(stream_epoch="e2", sequence=1))

    assert got.status == 200, got.body
    assert (got.json["accepted"], got.json["duplicates"], got.json["stored_through"]) == (3, 1, 3)
    assert [each["sequence"] for each in got.json["rejected"]] == [5, 6]
    assert (again.json["accepted"], again.json["duplicates"]) == (0, 3)
    assert (lower.json["accepted"], lower.json["duplicates"]) == (0, 1)
    assert (gap.json["accepted"], gap.json["stored_through"]) == (1, 3)
    assert (other.json["accepted"], other.json["stored_through"]) == (1, 1)


async def test_a6_an_undecodable_record_of_a_batch_is_named_and_blocks_nothing(stage: Stage) -> None:
    records: list[Any] = [sample(stream_epoch="e1", sequence=number) for number in range(1, 11)]
    records[1] |= {"battery": {"soc_pct": 101}}
    records[3] |= {"battery": {"soc_pct": "65"}}
    records[5] |= {"colour": "red"}
    records[7] |= {"timestamp": "2023-01-01T00:00:00Z"}
    async with http(stage) as link:
        got = await link.send("POST", BATCH, as_="CTRL001", data=batch(*records), headers=JSON)
        again = await link.send("POST", BATCH, as_="CTRL001", data=batch(*records), headers=JSON)

    assert got.status == 200, got.body
    assert (got.json["accepted"], got.json["stored_through"]) == (6, 10)
    assert got.json["rejected"] == [
        {"sequence": 2, "code": "out_of_bounds"},
        {"sequence": 4, "code": "invalid_message"},
        {"sequence": 6, "code": "invalid_message"},
        {"sequence": 8, "code": "too_old"},
    ]
    assert (again.json["accepted"], again.json["duplicates"], again.json["stored_through"]) == (0, 6, 10)


async def ask(link: Http, row: Row, request_id: str) -> tuple[int, bool]:
    """The status, and whether the answer is a problem document that gives nothing away."""
    got = await link.send(
        row.method, row.path, as_=row.who, data=row.body, headers={**row.headers, "X-Request-ID": request_id}
    )
    if got.headers.get("content-type") != "application/problem+json":
        return got.status, False
    problem = got.json
    told = {"type", "title", "status", "code", "instance"} <= set(problem) and problem["instance"]
    short = problem["status"] == got.status and len(problem["detail"]) <= 300
    return got.status, bool(told) and short and b"Traceback" not in got.body and b"x" * 101 not in got.body


async def audit_lines(link: Http) -> dict[str, int]:
    """Status by request id, of all that is remembered."""
    found: dict[str, int] = {}
    query = "limit=1000"
    while True:
        page = (await link.send("GET", f"/v1/audit?{query}", as_="operator")).json
        found |= {each["request_id"]: each["status"] for each in page["entries"]}
        if not page.get("cursor"):
            return found
        query = f"limit=1000&cursor={page['cursor']}"
