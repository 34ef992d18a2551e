"""What ingest takes, what it refuses, and with which code."""

import asyncio
import urllib.parse
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.enexa.insight.bounds import Measured
from services.enexa.insight.measured import bounds_of
from services.enexa.simulation.plant import run_steps
from tests.contract.enexa.http import Got, Http, http
from tests.integration.enexa.stage import PAGE_TIME, Stage, eventually

JSON = {"Content-Type": "application/json"}


def body(**changes: Any) -> dict[str, Any]:
    return {"site_id": "SITE001", "timestamp": "2024-01-15T10:00:01Z", **changes}


async def post(link: Http, path: str, content: Any) -> Got:
    kind = {"json": content} if isinstance(content, dict) else {"data": content, "headers": JSON}
    return await link.send("POST", path, as_="CTRL001", **kind)


REFUSED: list[tuple[str, Any, int, str]] = [
    ("no JSON", b"{", 400, "invalid_message"),
    ("not UTF-8", b'{"site_id": "\xff"}', 400, "invalid_message"),
    ("very deep", b"[" * 50_000, 400, "invalid_message"),
    ("a list", b"[]", 400, "invalid_message"),
    ("no timestamp", {"site_id": "SITE001"}, 400, "invalid_message"),
    ("a naive timestamp", body(timestamp="2024-01-15T10:00:01"), 400, "invalid_message"),
    ("an epoch number", body(timestamp=1_705_312_801), 400, "invalid_message"),
    ("a year ago", body(timestamp="2023-01-15T10:00:01Z"), 422, "out_of_bounds"),
    ("an hour ahead", body(timestamp="2024-01-15T11:00:01Z"), 422, "out_of_bounds"),
    ("a string for a number", body(battery={"soc_pct": "65"}), 400, "invalid_message"),
    ("a charge of 101 %", body(battery={"soc_pct": 101}), 422, "out_of_bounds"),
    ("NaN", b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z","aux_kw":NaN}', 400, "invalid_message"),
    ("infinity", b'{"site_id":"SITE001","timestamp":"2024-01-15T10:00:01Z","aux_kw":1e999}', 400, "invalid_message"),
    ("an unknown field", body(colour="red"), 400, "invalid_message"),
    ("a sequence far ahead", body(stream_epoch="e1", sequence=2_000_000_000), 422, "out_of_bounds"),
    ("another site", body(site_id="SITE002"), 404, "unknown_site"),
]


@pytest.mark.timeout(60)
async def test_bad_samples_are_refused_by_name_and_none_is_stored(stage: Stage) -> None:
    async with http(stage) as link:
        for what, content, status, code in REFUSED:
            got = await post(link, "/v1/telemetry", content)
            assert got.status == status, (what, got.status, got.body)
            assert got.json["code"] == code, (what, got.body)
            assert len(got.json.get("detail", "")) <= 300
        latest = await link.send("GET", "/v1/sites/SITE001/telemetry/latest", as_="viewer")

    assert latest.status == 404


async def test_one_bad_record_of_a_batch_is_named_and_blocks_nothing(stage: Stage) -> None:
    samples = [body(stream_epoch="e1", sequence=number) for number in range(1, 21)]
    samples[4] = body(stream_epoch="e1", sequence=5, timestamp="2023-01-01T00:00:00Z")
    samples[7] = body(stream_epoch="e9", sequence=8)
    async with http(stage) as link:
        got = await post(link, "/v1/telemetry/batch", {"site_id": "SITE001", "stream_epoch": "e1", "samples": samples})

    assert got.status == 200
    assert (got.json["accepted"], got.json["stored_through"]) == (18, 20)
    assert got.json["rejected"] == [{"sequence": 5, "code": "too_old"}, {"sequence": 8, "code": "wrong_stream"}]


async def test_a_batch_with_gaps_moves_stored_through_over_them(stage: Stage) -> None:
    async with http(stage) as link:
        got = await post(
            link,
            "/v1/telemetry/batch",
            {
                "site_id": "SITE001",
                "stream_epoch": "e1",
                "samples": [body(stream_epoch="e1", sequence=10)],
                "gaps": [{"from_sequence": 1, "to_sequence": 9, "reason": "thinned"}],
            },
        )

    assert (got.status, got.json["accepted"], got.json["stored_through"]) == (200, 1, 10)


@pytest.mark.parametrize(("count", "status"), [(0, 400), (600, 200), (601, 413)])
async def test_a_batch_has_one_to_six_hundred_samples(stage: Stage, count: int, status: int) -> None:
    samples = [body(stream_epoch="e1", sequence=number + 1) for number in range(count)]
    async with http(stage) as link:
        got = await post(link, "/v1/telemetry/batch", {"site_id": "SITE001", "stream_epoch": "e1", "samples": samples})

    assert got.status == status


async def test_events_are_kept_once(stage: Stage) -> None:
    event = {
        "event_id": "ev1",
        "site_id": "SITE001",
        "timestamp": "2024-01-15T09:59:00Z",
        "kind": "session_started",
        "sequence": 4,
    }
    async with http(stage) as link:
        first = await post(link, "/v1/events", {"site_id": "SITE001", "events": [event]})
        second = await post(link, "/v1/events", {"site_id": "SITE001", "events": [event]})
        foreign = await post(link, "/v1/events", {"site_id": "SITE001", "events": [{**event, "site_id": "SITE002"}]})

    assert first.json == {"accepted": 1, "duplicates": 0, "stored_through": 4}
    assert second.json == {"accepted": 0, "duplicates": 1, "stored_through": 4}
    assert foreign.status == 422


async def test_a_wrong_media_type_is_415_and_a_wrong_method_405(stage: Stage) -> None:
    async with http(stage) as link:
        plain = await link.send("POST", "/v1/status", as_="CTRL001", data=b"{}", headers={"Content-Type": "text/plain"})
        put = await link.send("PUT", "/v1/sites", as_="CTRL001")

    assert (plain.status, put.status) == (415, 405)
    assert put.headers["content-type"] == "application/problem+json"


async def in_this_process(_: Any, wish: Measured, __: Any) -> bytes:
    """The engine's own work, without the time that a process takes to start and to compile."""
    return msgspec.msgpack.encode(await asyncio.to_thread(bounds_of, wish, run_steps))


@pytest.mark.timeout(120)
async def test_impact_settles_what_was_measured_and_says_how_much_that_was_and_what_it_could_have_been(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.enexa.jobs._in_a_process", in_this_process)
    start = PAGE_TIME.replace(hour=9, minute=0, second=0)
    samples = [
        body(
            stream_epoch="e1",
            sequence=number + 1,
            timestamp=(start + timedelta(seconds=6 * number)).isoformat(),
            grid={"import_kw": 30.0, "export_kw": 0.0},
            battery={"power_kw": -29.5, "soc_pct": 60},
            aux_kw=0.5,
        )
        for number in range(300)
    ]
    async with http(stage) as link:
        await post(link, "/v1/telemetry/batch", {"site_id": "SITE001", "stream_epoch": "e1", "samples": samples})
        path = "/v1/sites/SITE001/impact?from=2024-01-15T09:00:00Z&to=2024-01-15T10:00:00Z"
        got = await link.send("GET", path, as_="viewer")
        backwards = await link.send("GET", path.replace("from=2024-01-15T09", "from=2024-01-15T11"), as_="viewer")

        async def judged() -> Any:
            asked = (await link.send("GET", path, as_="viewer")).json
            return asked if asked.get("reactive_cost_eur") is not None else None

        later = await eventually(judged, within_s=60)
        crooked = await link.send("GET", path.replace("T09:00", "T09:07"), as_="viewer")

    assert got.status == 200, got.body
    found = got.json
    assert found["coverage_pct"] == 50.0
    assert found["energy"]["import_kwh"] == pytest.approx(15.0)
    assert found["energy"]["charged_kwh"] == pytest.approx(14.75)
    assert found["flat_tariff_cost_eur"] == pytest.approx(15.0 * 0.25)
    assert found["cost_eur"] > 0.0
    assert found.get("reactive_cost_eur") is None
    assert "being computed" in found["bounds_note"]
    assert backwards.status == 422
    assert later["perfect_cost_eur"] <= later["reactive_cost_eur"]
    assert later["actual_cost_eur"] > 0.0
    assert later["bounds_until"] == "2024-01-15T09:15:00Z"
    assert later.get("bounds_note", "") == ""
    assert (crooked.json.get("reactive_cost_eur"), "quarter hour" in crooked.json["bounds_note"]) == (None, True)


async def test_a_balance_that_stays_open_is_an_alert_until_it_closes(stage: Stage) -> None:
    async def codes(link: Http, *, open_: bool) -> list[str]:
        page = (await link.send("GET", "/v1/alerts", as_="viewer")).json
        return [each["code"] for each in page["alerts"] if (each.get("cleared_at") is None) is open_]

    def flows(second: int, battery_kw: float) -> dict[str, Any]:
        return body(
            stream_epoch="e1",
            sequence=second + 1,
            timestamp=(PAGE_TIME + timedelta(seconds=second)).isoformat(),
            battery={"power_kw": battery_kw},
            grid={"import_kw": 30.5, "export_kw": 0.0},
            chargers=[{"power_kw": 50.0}],
            aux_kw=0.5,
        )

    async with http(stage) as link:
        for second in range(12):
            await post(link, "/v1/telemetry", flows(second, -20.0))
        raised = await codes(link, open_=True)
        for second in range(12, 24):
            await post(link, "/v1/telemetry", flows(second, 20.0))
        left, ended = await codes(link, open_=True), await codes(link, open_=False)

    assert raised.count("balance_open") == 1
    assert "balance_open" not in left
    assert ended.count("balance_open") == 1


NASTY = ["\u2028", "\x1b[31m", "'; DROP TABLE audit; --", '"quoted"', "\\", "ü", "x" * 3000]


async def test_h4_whatever_a_caller_writes_is_one_short_line_of_the_audit_log(stage: Stage) -> None:
    async with http(stage) as link:
        await link.send("GET", "/v1/" + "a" * 8_150, as_="viewer")
        for text in NASTY:
            client = {"grant_type": "client_credentials", "client_id": text, "client_secret": text}
            await post(link, "/v1/oauth/token", client)
            await link.send("GET", "/v1/sites", bearer=text.encode().hex())
            await link.send("GET", f"/v1/{urllib.parse.quote(text)}", as_="viewer")
            headers = {"X-Request-ID": urllib.parse.quote(text), "User-Agent": urllib.parse.quote(text)}
            await link.send("GET", "/v1/sites", as_="viewer", headers=headers)
        entries = (await link.send("GET", "/v1/audit?limit=1000", as_="operator")).json["entries"]

    lines = [msgspec.json.encode(each) for each in entries]
    assert len(lines) >= 4 * len(NASTY)
    assert all(len(each) <= 8192 for each in lines)
    assert not any(byte in line for line in lines for byte in (b"\n", b"\r", b"\x1b", "\u2028".encode()))
