"""Group commit: many writers, one transaction, one flush to disk; nobody is answered before it is durable.

Works that arrive while a transaction is being flushed wait together and become the next one. A work that fails is
taken out and answered with its error, and the others are repeated without it: one bad record blocks nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.store.database import Database, Group
from shared.errors import SiteError, StoreFailed

GROUP_MAX = 512
QUEUE_MAX = 10_000

T = TypeVar("T")


class Work(Generic[T]):
    """One piece of a group. `run` writes; `settled` is called after the commit, on the event loop, in order."""

    __slots__ = ("done", "run", "settled")

    def __init__(self, run: Callable[[Group], Awaitable[T]], settled: Callable[[T], None] | None) -> None:
        self.run = run
        self.settled = settled
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Committer:
    """The only writer of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Work[object]] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.commits_count = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Commit what waits, then end."""
        if self._task is None:
            return
        while self._waiting:
            await self._commit(self._take())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def write(
        self, run: Callable[[AsyncConnection], Awaitable[T]], settled: Callable[[T], None] | None = None
    ) -> T:
        """Run in the next group and return when it is durable; StoreFailed where it is not."""

        async def with_connection(group: Group) -> T:
            return await run(await group.connection())

        return await self.enqueue(with_connection, settled)

    def enqueue(
        self, run: Callable[[Group], Awaitable[T]], settled: Callable[[T], None] | None = None
    ) -> "asyncio.Future[T]":
        """Run in the next group without waiting for it; order among works is kept."""
        if len(self._waiting) >= QUEUE_MAX:
            raise StoreFailed("the store cannot keep up", waiting=len(self._waiting))
        work = Work(run, settled)
        self._waiting.append(work)  # type: ignore[arg-type]  # results stay with their own future
        self._arrived.set()
        return work.done

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._commit(self._take())

    def _take(self) -> list[Work[object]]:
        return [self._waiting.popleft() for _ in range(min(GROUP_MAX, len(self._waiting)))]

    async def _commit(self, group: list[Work[object]]) -> None:
        try:
            await self._together(group)
        except Exception as error:  # noqa: BLE001 -- every writer hears of the failure through its own future
            if len(group) == 1:
                _answer_error(group[0], error)
                return
            for work in group:
                await self._commit([work])

    async def _together(self, group: list[Work[object]]) -> None:
        async with self._database.group() as transaction:
            results = [await work.run(transaction) for work in group]
        self.commits_count += 1
        for work, result in zip(group, results, strict=True):
            if work.settled is not None:
                work.settled(result)
            if not work.done.done():
                work.done.set_result(result)


def _answer_error(work: Work[object], error: Exception) -> None:
    if work.done.done():
        return
    known = error if isinstance(error, SiteError) else StoreFailed(f"the store failed: {error}"[:300])
    work.done.set_exception(known)
    # A writer that did not wait must not make asyncio complain about an unread exception.
    work.done.exception()


Item = TypeVar("Item")
Result = TypeVar("Result")


class Merged(Generic[Item, Result]):
    """Items of one kind that arrive together are written together, with a few statements for all of them.

    `write` gets the items and returns one result each; it may be called twice with the same items when a group is
    repeated, so it keeps its changes to itself until `settled` is called after the commit.
    """

    def __init__(
        self,
        committer: Committer,
        write: Callable[[Group, list[Item]], Awaitable[list[Result]]],
        settled: Callable[[], None],
    ) -> None:
        self._committer = committer
        self._write = write
        self._settled = settled
        self._inbox: list[tuple[Item, asyncio.Future[Result]]] = []

    def add(self, item: Item) -> "asyncio.Future[Result]":
        """Enter an item; the future is done when it is durable."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._inbox.append((item, done))
        if len(self._inbox) == 1:
            self._schedule()
        return done

    def _schedule(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []

        async def run(group: Group) -> list[Result]:
            if not batch:
                batch.extend(self._inbox)
                self._inbox = []
            return await self._write(group, [item for item, _ in batch])

        def settled(results: list[Result]) -> None:
            self._settled()
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)

        def failed(work: "asyncio.Future[list[Result]]") -> None:
            error = None if work.cancelled() else work.exception()
            if error is None:
                return
            if not batch:
                # The group did not even begin; whoever waits must hear of it, or nobody would ever write again.
                batch.extend(self._inbox)
                self._inbox = []
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
                    done.exception()

        self._committer.enqueue(run, settled).add_done_callback(failed)
