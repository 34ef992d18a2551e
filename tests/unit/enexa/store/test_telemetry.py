"""Samples are stored exactly once, whatever arrives twice, late, out of order or after a restart."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from services.enexa.store.telemetry import NO_EPOCH, Ingest, Stored, completeness_pct, observed_gaps
from shared.contract.reads import Point
from shared.contract.telemetry import Gap, Telemetry
from tests.unit.enexa.dispatching.scene import START, sample


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def numbered(number: int) -> Telemetry:
    return sample(at(number), sequence=number, soc_pct=float(number % 100))


async def keep(
    store: Store, *numbers: int, epoch: str = "e1", gaps: tuple[Gap, ...] = (), received: datetime = START
) -> Stored:
    return await store.telemetry.keep(
        Ingest(
            site_id="SITE001",
            epoch=epoch,
            samples=tuple(numbered(each) for each in numbers),
            gaps=gaps,
            received_at=received,
        )
    )


async def stored_numbers(store: Store) -> list[int]:
    found = await store.telemetry.raw("SITE001", START, START + timedelta(days=1))
    return [each.sequence or 0 for each in found]


async def test_a_sample_is_stored_once_and_the_second_time_is_a_duplicate(store: Store) -> None:
    first, second = await keep(store, 1), await keep(store, 1)

    assert (len(first.fresh), first.duplicates, first.stored_through) == (1, 0, 1)
    assert (len(second.fresh), second.duplicates, second.stored_through) == (0, 1, 1)
    assert await stored_numbers(store) == [1]


async def test_stored_through_waits_for_what_is_missing(store: Store) -> None:
    assert (await keep(store, 1, 2, 5)).stored_through == 2
    assert (await keep(store, 4)).stored_through == 2
    assert (await keep(store, 3)).stored_through == 5


async def test_a_declared_gap_closes_the_row_and_is_shown_with_its_times(store: Store) -> None:
    gap = Gap(from_sequence=2, to_sequence=4, reason="no sampler ran", from_at=at(2), until_at=at(5))

    assert (await keep(store, 1, 5, gaps=(gap,))).stored_through == 5
    (shown,) = await store.telemetry.declared_gaps("SITE001", START, at(60))
    assert (shown.from_, shown.until, shown.reason) == (at(2), at(5), "no sampler ran")


async def test_epochs_are_counted_apart(store: Store) -> None:
    await keep(store, 1, 2)

    assert (await keep(store, 1, epoch="e2")).stored_through == 1
    assert len(await stored_numbers(store)) == 3


async def test_a_sample_without_a_number_is_known_by_its_time(store: Store) -> None:
    plain = Ingest(site_id="SITE001", epoch=NO_EPOCH, samples=(sample(at(1)),), gaps=(), received_at=START)

    first, second = await store.telemetry.keep(plain), await store.telemetry.keep(plain)

    assert (len(first.fresh), len(second.fresh), first.stored_through) == (1, 0, None)


async def test_many_at_once_are_merged_into_few_commits(store: Store) -> None:
    before = store.committer.commits_count
    results = await asyncio.gather(*(keep(store, number) for number in range(1, 401)))

    assert sorted(await stored_numbers(store)) == list(range(1, 401))
    assert max(each.stored_through or 0 for each in results) == 400
    assert store.committer.commits_count - before <= 10


async def test_means_per_minute_and_quarter_fold_late_samples_in(store: Store) -> None:
    await keep(store, 1, 2, 61)
    await keep(store, 3, received=START + timedelta(hours=3))

    first, second = await store.telemetry.points("SITE001", START, at(120))
    assert (first.samples, first.soc_pct, second.samples) == (3, 2.0, 1)
    (quarter,) = await store.telemetry.points("SITE001", START, at(900), resolution_s=900)
    assert quarter.samples == 4


async def test_the_latest_sample_is_the_one_with_the_newest_time_and_keeps_when_it_was_received(store: Store) -> None:
    await keep(store, 100, received=at(101))
    await keep(store, 7, received=at(500))

    latest = await store.telemetry.latest("SITE001")

    assert latest is not None
    assert (latest[0].sequence, latest[1]) == (100, at(101))


async def test_what_is_missing_is_known_after_a_restart(url: str) -> None:
    store = Store(url)
    await store.open()
    gap = Gap(from_sequence=6, to_sequence=7, reason="thinned")
    await keep(store, 1, 2, 4, 8, gaps=(gap,))
    await store.close()

    store = Store(url)
    await store.open()
    assert store.telemetry.missing("SITE001") == 2
    assert (await keep(store, 3, 5)).stored_through == 8
    assert (await keep(store, 8)).duplicates == 1
    await store.close()


async def test_retention_drops_whole_hours_and_keeps_quarter_hours(store: Store) -> None:
    await keep(store, 1, 2, 3700, 3701)
    await store.telemetry.forget(at(3650))

    assert await stored_numbers(store) == [3700, 3701]
    assert len(await store.telemetry.points("SITE001", START, at(7200), resolution_s=900)) == 2


async def test_samples_of_each_hour_are_counted_and_an_hour_without_any_is_not_there(store: Store) -> None:
    await keep(store, 1, 2, 3, 7200, 7201)

    counted = await store.telemetry.per_hour("SITE001", START, at(3 * 3600))

    assert counted == {START: 3, at(7200): 2}


async def test_a_series_can_be_read_as_it_was_known_at_an_instant(store: Store) -> None:
    await keep(store, 1, 3, received=at(3))
    await keep(store, 2, received=at(900))

    before = await store.telemetry.raw("SITE001", START, at(60), known_by=at(600))
    after = await store.telemetry.raw("SITE001", START, at(60))

    assert ([each.sequence for each in before], [each.sequence for each in after]) == ([1, 3], [1, 2, 3])


async def test_a_page_of_raw_samples_is_the_first_ones_of_the_window_whatever_chunks_they_lie_in(store: Store) -> None:
    await keep(store, *range(1, 9001))
    await keep(store, 9003, 9001, 9002, epoch="e2")
    found = await store.telemetry.raw("SITE001", at(3500), at(20_000), 200)
    late = await store.telemetry.raw("SITE001", at(8990), at(20_000), 200)

    assert [each.sequence for each in found] == list(range(3500, 3700))
    assert [each.sequence for each in late] == [*range(8990, 9001), 9001, 9002, 9003]


SITES, HOURS, PERIOD_S = 10, 100, 60


async def test_a16_completeness_of_a_thousand_site_hours_is_exact_and_gaps_stay_empty(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path / "enexa.sqlite"))
    await store.open()
    random = Random(16)
    for site in range(SITES):
        site_id = f"SITE{site:03}"
        ledger: dict[datetime, int] = {}
        minutes: list[int] = []
        for hour in range(HOURS):
            kept = sorted(random.sample(range(60), random.choice([0, 1, 30, 59, 60])))
            ledger |= {at(hour * 3600): len(kept)} if kept else {}
            minutes += [hour * 60 + minute for minute in kept]
        arriving = minutes[200:] + minutes[:200]
        for first in range(0, len(arriving), 600):
            samples = tuple(
                msgspec.structs.replace(sample(at(minute * 60), sequence=minute + 1), site_id=site_id)
                for minute in arriving[first : first + 600]
            )
            ingest = Ingest(site_id=site_id, epoch="e1", samples=samples, gaps=(), received_at=START)
            await store.telemetry.keep(ingest)
        assert await store.telemetry.per_hour(site_id, START, at(HOURS * 3600)) == ledger
        hours = range(HOURS) if site == 0 else random.sample(range(HOURS), 3)
        for hour in hours:
            start, until = at(hour * 3600), at((hour + 1) * 3600)
            points = await store.telemetry.points(site_id, start, until)
            count = ledger.get(start, 0)
            assert completeness_pct(points, start, until, PERIOD_S) == round(100.0 * count / 60, 3)
            assert len(points) == count
    await store.close()


def test_gaps_between_points_are_found() -> None:
    points = [Point(at=at(second)) for second in (0, 60, 300)]

    gaps = observed_gaps(points, START, at(600), timedelta(seconds=60), "no sample was received")

    assert [(gap.from_, gap.until) for gap in gaps] == [(at(120), at(300)), (at(360), at(600))]


STORY = st.lists(
    st.one_of(
        st.tuples(st.just("samples"), st.lists(st.integers(1, 30), min_size=1, max_size=8)),
        st.tuples(st.just("gap"), st.lists(st.integers(1, 30), min_size=2, max_size=2)),
        st.tuples(st.just("restart"), st.just([])),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORY)
def test_whatever_is_sent_is_stored_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, list[int]]]
) -> None:
    asyncio.run(_play(str(tmp_path_factory.mktemp("store") / "enexa.sqlite"), story))


async def _play(path: str, story: list[tuple[str, list[int]]]) -> None:
    store = Store(f"sqlite+aiosqlite:///{path}")
    await store.open()
    sent: set[int] = set()
    accounted: set[int] = set()
    for what, numbers in story:
        if what == "restart":
            await store.close()
            store = Store(f"sqlite+aiosqlite:///{path}")
            await store.open()
            continue
        if what == "gap":
            first, last = sorted(numbers)
            stored = await keep(store, gaps=(Gap(from_sequence=first, to_sequence=last, reason="thinned"),))
            accounted |= set(range(first, last + 1))
        else:
            fresh = {number for number in numbers if number not in accounted}
            stored = await keep(store, *numbers)
            assert len(stored.fresh) == len(fresh)
            sent |= fresh
            accounted |= fresh
        through = 0
        while through + 1 in accounted:
            through += 1
        assert stored.stored_through == (through or None)
    assert await stored_numbers(store) == sorted(sent)
    quarter = await store.telemetry.points("SITE001", START, START + timedelta(hours=1), resolution_s=900)
    assert sum(each.samples for each in quarter) == len(sent)
    await store.close()
