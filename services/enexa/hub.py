"""Notices to whoever watches a site: bounded queues, where a slow viewer loses the oldest and holds nobody up."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from msgspec import Struct

QUEUE_MAX = 256
VIEWERS_MAX = 500


class Notice(Struct, frozen=True, kw_only=True):
    """One thing that happened; `body` is JSON. Kinds: sample, command, plan, alert, status, intent, event, config,
    reconciliation."""

    kind: str
    site_id: str
    body: bytes


class Subscription:
    """One viewer's queue; iterate it until it is closed. `dropped_count` counts what a slow viewer has missed."""

    def __init__(self, site_id: str | None) -> None:
        self.site_id = site_id
        self.dropped_count = 0
        self._queue: deque[Notice] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, notice: Notice) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self._queue.popleft()
            self.dropped_count += 1
        self._queue.append(notice)
        self._arrived.set()

    def close(self) -> None:
        self._closed = True
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Notice]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()


class Hub:
    """Deliver notices to the viewers of a site, never waiting for one of them."""

    def __init__(self) -> None:
        self._viewers: set[Subscription] = set()

    def subscribe(self, site_id: str | None = None) -> Subscription:
        """A queue for one site's notices, or for all of them; call `unsubscribe` in the end."""
        subscription = Subscription(site_id)
        self._viewers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscription.close()
        self._viewers.discard(subscription)

    def has_room(self) -> bool:
        return len(self._viewers) < VIEWERS_MAX

    def watched(self, site_id: str) -> bool:
        """Whether anybody would hear a notice; lets a shell spare the encoding."""
        return any(viewer.site_id in (None, site_id) for viewer in self._viewers)

    def publish(self, notice: Notice) -> None:
        for viewer in self._viewers:
            if viewer.site_id in (None, notice.site_id):
                viewer.offer(notice)

    def close(self) -> None:
        """End every stream, for shutdown."""
        for viewer in tuple(self._viewers):
            self.unsubscribe(viewer)
