"""Work for the engine: asked for once, waited for, kept; a failure is told once and may be tried again."""

import asyncio

import pytest
from msgspec import Struct

from services.enexa.jobs import WAITING_MAX, Jobs, Progress
from shared.errors import RateLimited, SolverFailed


class Sum(Struct, frozen=True):
    """The smallest piece of work there is."""

    value: int


async def settled(jobs: Jobs[Sum, Sum], wish: Sum) -> Sum:
    for _ in range(1000):
        made = jobs.ask(wish)
        if made is not None:
            return made
        await asyncio.sleep(0)
    raise AssertionError("never done")


async def test_a_result_is_computed_once_however_often_it_is_asked_for() -> None:
    done: list[int] = []

    async def work(wish: Sum, progress: Progress) -> Sum:
        progress.shared.value = 0.5
        await asyncio.sleep(0)
        done.append(wish.value)
        return Sum(wish.value + 1)

    jobs = Jobs(work)
    assert jobs.ask(Sum(1)) is None
    assert jobs.ask(Sum(1)) is None
    assert await settled(jobs, Sum(1)) == Sum(2)
    assert await settled(jobs, Sum(1)) == Sum(2)
    assert done == [1]


async def test_progress_is_told_while_the_work_goes_on() -> None:
    go_on = asyncio.Event()

    async def work(wish: Sum, progress: Progress) -> Sum:
        progress.shared.value = 0.25
        await go_on.wait()
        return wish

    jobs = Jobs(work)
    jobs.ask(Sum(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert jobs.progress_ratio(Sum(1)) == 0.25
    assert jobs.progress_ratio(Sum(2)) == 0.0
    go_on.set()
    assert await settled(jobs, Sum(1)) == Sum(1)


@pytest.mark.parametrize("failure", [SolverFailed("no"), ValueError("a bug")])
async def test_a_failure_is_raised_once_and_asking_again_tries_again(failure: Exception) -> None:
    async def work(wish: Sum, progress: Progress) -> Sum:
        raise failure

    jobs = Jobs(work)
    jobs.ask(Sum(1))
    with pytest.raises(SolverFailed):
        await settled(jobs, Sum(1))
    assert jobs.ask(Sum(1)) is None


async def test_nobody_waits_behind_an_endless_queue() -> None:
    async def work(wish: Sum, progress: Progress) -> Sum:
        await asyncio.Event().wait()
        raise AssertionError

    jobs = Jobs(work)
    for value in range(WAITING_MAX):
        jobs.ask(Sum(value))
    with pytest.raises(RateLimited):
        jobs.ask(Sum(WAITING_MAX))
