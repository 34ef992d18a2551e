"""The goals of the flush as the platform sees it: lost replies, bad records, events, and a now that never goes back.

A few of each in every run; the size of the reference under `make soak`.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from services.enexa.app import database_url
from services.enexa.store.store import Store
from shared.contract.events import EVENTS_PER_CALL_MAX
from tests.contract.enexa.http import Got, Http, http
from tests.integration.enexa.stage import PAGE_TIME, Stage, enexa

JSON = {"Content-Type": "application/json"}
FAST: dict[str, Any] = {
    f"rate_{budget}_{unit}": 1e6 for budget in ("telemetry", "general") for unit in ("per_s", "burst")
}
PER_BATCH = 600
pytestmark = pytest.mark.timeout(120)


@contextlib.asynccontextmanager
async def linked(directory: Path) -> AsyncIterator[tuple[Stage, Http]]:
    """A platform whose limits are out of the way of counting."""
    stage = Stage(directory, **FAST)
    async with enexa(stage), http(stage) as link:
        yield stage, link


def body(**changes: Any) -> dict[str, Any]:
    return {"site_id": "SITE001", "timestamp": "2024-01-15T10:00:01Z", **changes}


async def post(link: Http, path: str, content: Any) -> Got:
    kind = {"json": content} if isinstance(content, dict) else {"data": content, "headers": JSON}
    return await link.send("POST", path, as_="CTRL001", **kind)


async def post_batch(link: Http, samples: list[dict[str, Any]]) -> Got:
    batch = {"site_id": "SITE001", "stream_epoch": "e1", "samples": samples}
    return await post(link, "/v1/telemetry/batch", msgspec.json.encode(batch))


def instant(number: int) -> str:
    return (PAGE_TIME - timedelta(hours=25) + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- A5 --------------------------------------------------------------------------------------------------------------


async def lose_replies(directory: Path, count: int) -> int:
    """Each batch is committed, its answer thrown away, and the batch sent again; how many samples are stored."""
    async with linked(directory) as (stage, link):
        token = await link.token("CTRL001")
        for number in range(count):
            sequences = range(number * 3 + 1, number * 3 + 4)
            samples = [body(stream_epoch="e1", sequence=each, timestamp=instant(each)) for each in sequences]
            content = msgspec.json.encode({"site_id": "SITE001", "stream_epoch": "e1", "samples": samples})
            await send_and_hang_up(stage, token, content)
            again = await post(link, "/v1/telemetry/batch", content)
            assert (again.json["accepted"], again.json["duplicates"]) == (0, 3), number
            assert again.json["stored_through"] == number * 3 + 3
        path = f"/v1/sites/SITE001/telemetry?resolution=raw&limit=1000&from={instant(0)}&to={instant(count * 3 + 9)}"
        return await count_points(link, path)


async def count_points(link: Http, path: str) -> int:
    count, query = 0, path
    while True:
        page = (await link.send("GET", query, as_="viewer")).json
        count += len(page["points"])
        if not page.get("cursor"):
            return count
        query = f"{path}&cursor={page['cursor']}"


async def send_and_hang_up(stage: Stage, token: str, content: bytes) -> None:
    """Wait until the answer has begun, so that the batch is committed, and throw the answer away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    head = (
        "POST /v1/telemetry/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    assert await reader.read(1) == b"H"
    writer.transport.abort()


async def test_a5_a_batch_whose_answer_is_lost_is_stored_once(tmp_path: Path) -> None:
    assert await lose_replies(tmp_path, 25) == 75


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a5_a_thousand_lost_answers(tmp_path: Path) -> None:
    assert await lose_replies(tmp_path, 1000) == 3000


# ---- A6 --------------------------------------------------------------------------------------------------------------

POISON: list[tuple[str, dict[str, Any]]] = [
    ("too_old", {"timestamp": "2023-01-01T00:00:00Z"}),
    ("in_the_future", {"timestamp": "2024-01-15T11:00:01Z"}),
    ("wrong_stream", {"stream_epoch": "e9"}),
    ("wrong_stream", {"site_id": "SITE002"}),
    ("out_of_bounds", {"battery": {"soc_pct": 101}}),
    ("out_of_bounds", {"grid": {"import_kw": -1}}),
    ("invalid_message", {"battery": {"soc_pct": "65"}}),
    ("invalid_message", {"colour": "red"}),
    ("invalid_message", {"timestamp": "2024-01-15T10:00:01"}),
    ("invalid_message", {"chargers": 1}),
]
"""Ten kinds of record that no sender should ever make."""


async def poison(directory: Path, rounds: int) -> None:
    """Each kind in turn among five hundred: it is named, the others are stored, and the next batch goes on."""
    chance = Random(6)
    async with linked(directory) as (_, link):
        for number, (code, change) in enumerate(POISON * rounds):
            first = number * 500 + 1
            sequences = range(first, first + 500)
            samples = [body(stream_epoch="e1", sequence=each, timestamp=instant(each % 80_000)) for each in sequences]
            bad = chance.randrange(500)
            samples[bad] |= change
            got = await post_batch(link, samples)
            found = (got.status, got.json["accepted"], got.json["stored_through"], got.json["rejected"])
            assert found == (200, 499, first + 499, [{"sequence": first + bad, "code": code}])


async def test_a6_one_bad_record_among_five_hundred_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    await poison(tmp_path, 1)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a6_two_hundred_bad_records_of_ten_kinds(tmp_path: Path) -> None:
    await poison(tmp_path, 20)


# ---- A8 --------------------------------------------------------------------------------------------------------------


async def keep_events(directory: Path, count: int) -> list[str]:
    """Three at each instant, batch by batch, each batch twice; the ids as the platform knows them, newest first."""
    events = [
        {
            "event_id": f"ev{number:06}",
            "site_id": "SITE001",
            "sequence": number + 1,
            "timestamp": instant(number // 3),
            "kind": "mode_changed",
        }
        for number in range(count)
    ]
    async with linked(directory) as (stage, link):
        for first in range(0, count, EVENTS_PER_CALL_MAX):
            batch = {"site_id": "SITE001", "events": events[first : first + EVENTS_PER_CALL_MAX]}
            for fresh in (len(batch["events"]), 0):
                got = await post(link, "/v1/events", batch)
                assert (got.status, got.json["accepted"]) == (200, fresh), got.body
    store = Store(database_url(stage.settings), read_only=True)
    await store.open()
    known = await store.journal.events("SITE001", limit=2 * count)
    await store.close()
    assert [each.event_id for each in known][::-1] == [each["event_id"] for each in events]
    return [each.event_id for each in known]


async def test_a8_events_of_equal_times_are_all_kept_in_order_and_once(tmp_path: Path) -> None:
    assert len(await keep_events(tmp_path, 1000)) == 1000


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a8_ten_thousand_events(tmp_path: Path) -> None:
    assert len(await keep_events(tmp_path, 10_000)) == 10_000


# ---- A9 --------------------------------------------------------------------------------------------------------------


async def replay(directory: Path, count: int) -> list[datetime]:
    """A day's history comes in while live samples go on; what somebody who looks all the time sees as now."""
    seen: list[datetime] = []
    async with linked(directory) as (_, link):
        await link.token("viewer")
        live = itertools.count(count + 1)

        async def now_and_then() -> None:
            sequence = next(live)
            at = (PAGE_TIME - timedelta(seconds=60) + timedelta(seconds=(sequence - count) * 0.01)).isoformat()
            await post(link, "/v1/telemetry", body(stream_epoch="e1", sequence=sequence, timestamp=at))

        async def look() -> None:
            latest = (await link.send("GET", "/v1/sites/SITE001/telemetry/latest", as_="viewer")).json
            seen.append(datetime.fromisoformat(latest["sample"]["timestamp"]))

        await now_and_then()
        for first in range(1, count + 1, PER_BATCH):
            sequences = range(first, min(first + PER_BATCH, count + 1))
            samples = [body(stream_epoch="e1", sequence=each, timestamp=instant(each)) for each in sequences]
            got, *_ = await asyncio.gather(post_batch(link, samples), look(), now_and_then(), look())
            assert got.json["stored_through"] >= sequences[-1]
            await look()
    return seen


async def test_a9_replay_never_moves_now_backwards(tmp_path: Path) -> None:
    seen = await replay(tmp_path, 10 * PER_BATCH)

    assert seen == sorted(seen)
    assert len(set(seen)) >= 10


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a9_a_days_replay_never_moves_now_backwards(tmp_path: Path) -> None:
    seen = await replay(tmp_path, 86_400)

    assert seen == sorted(seen)
    assert len(set(seen)) >= 86_400 // PER_BATCH
