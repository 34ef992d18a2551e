"""The live stream: one frame a second for each site, made once however many watch it.

There are no queues that could grow: each viewer takes the newest frame when its second comes, and one whose line is
slow simply takes the next one later. A frame is complete in itself, so whoever joins, or comes back after a break,
sees the present at once and nothing of the past is owed.
"""

from collections.abc import AsyncIterator

import msgspec

from services.enexa.insight.dispatch_log import rows
from services.enexa.insight.facts import SiteFacts
from services.enexa.insight.monitoring import Frame, frame
from services.enexa.web.deps import Deps
from services.enexa.web.formats import Format
from services.enexa.web.gather import site_facts
from services.enexa.web.render import Renderer

FRAME_PERIOD_S = 1.0
VIEWERS_MAX = 200


class Live:
    """Frames for whoever watches; periods are real seconds also on a fast clock."""

    def __init__(self, deps: Deps, renderer: Renderer) -> None:
        self._deps = deps
        self._renderer = renderer
        self._frames: dict[str, tuple[float, Frame, bytes]] = {}
        self._logs: dict[tuple[str, Format], tuple[str, str]] = {}
        self.viewers_count = 0

    def has_room(self) -> bool:
        return self.viewers_count < VIEWERS_MAX

    def current(self, site_id: str) -> tuple[Frame, bytes]:
        """The frame of this second and its JSON."""
        now_s = self._deps.clock.now().s / self._deps.clock.speed
        made = self._frames.get(site_id)
        if made is not None and now_s - made[0] < 0.9 * FRAME_PERIOD_S:
            return made[1], made[2]
        view = frame(site_facts(self._deps, site_id))
        encoded = msgspec.json.encode(_rounded(view))
        self._frames[site_id] = (now_s, view, encoded)
        return view, encoded

    def log_html(self, site_id: str, form: Format) -> tuple[str, str]:
        """Revision and rows of the dispatch log as HTML, rendered once per change and number format."""
        view, _ = self.current(site_id)
        known = self._logs.get((site_id, form))
        if known is not None and known[0] == view.commands_revision:
            return known
        facts: SiteFacts = site_facts(self._deps, site_id)
        html = self._renderer.render("log_rows.html", form, rows=rows(facts.commands), site_id=site_id)
        self._logs[site_id, form] = (view.commands_revision, html)
        return self._logs[site_id, form]

    async def events(self, site_id: str, form: Format) -> AsyncIterator[bytes]:
        """Server-sent events until the viewer leaves: `frame` each second, `log` when the log has changed."""
        self.viewers_count += 1
        shown = ""
        try:
            yield b"retry: 2000\n\n"
            while True:
                _, encoded = self.current(site_id)
                yield _event("frame", encoded)
                revision, html = self.log_html(site_id, form)
                if revision != shown:
                    shown = revision
                    yield _event("log", html.encode())
                await self._deps.clock.sleep(FRAME_PERIOD_S * self._deps.clock.speed)
        finally:
            self.viewers_count -= 1


def _event(name: str, data: bytes) -> bytes:
    lines = b"".join(b"data: %b\n" % line for line in data.split(b"\n"))
    return b"event: %b\n%b\n" % (name.encode(), lines)


def _rounded(view: Frame) -> object:
    """Watts and seconds beyond two digits are noise on a screen and bytes on the wire."""
    return _round(msgspec.to_builtins(view))


def _round(value: object) -> object:
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {name: _round(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_round(each) for each in value]
    return value
