"""In-memory links: messages are really encoded, recorded, and delivered, unless the weather says otherwise.

In fair weather a call is answered at once, inside the same second. Everything slower goes through the `Post`: a heap
of what is due when. A caller is told exactly once how its call ended: with a reply, or with the error that the real
client would raise (`PeerDown` after its timeout of 5 s, `PeerBusy` for 429 and 503, a `Refused` by its code).
"""

import heapq
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from shared.contract.operations import Operation
from shared.contract.wire import Problem, decode_reply, decode_request, encode
from shared.errors import LinkDown, PeerBusy, PeerDown, Refused, SiteError, Unauthenticated, WrongReply, family
from shared.moment import Moment
from tests.simulation.weather import FAIR, Fate, Weather
from tests.simulation.wires import Channel, Recorder

CALL_TIMEOUT_S = 5.0
RETRY_AFTER_S = 2.0
MODBUS_TIMEOUT_S = 1.0

Done: TypeAlias = Callable[[Moment, "Struct | SiteError | None"], None]
Path: TypeAlias = Mapping[str, str]


Answer: TypeAlias = Callable[[Moment, "Struct | SiteError | None"], None]
"""How a host answers: once, now or later, with a reply, with None for "nothing new" (304), or with a SiteError."""


class Handler(Protocol):
    """What serves an operation: a decoded request in, an answer out at some time; a SiteError raised is one."""

    def __call__(self, now: Moment, operation: Operation, path: Path, message: Any, answer: Answer) -> None: ...


class Post:
    """What is under way, in order of time; equal times in order of posting."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[Moment], None]]] = []
        self._ticket = count()

    def later(self, s: float, act: Callable[[Moment], None]) -> None:
        heapq.heappush(self._heap, (s, next(self._ticket), act))

    def deliver(self, now: Moment) -> None:
        """Do everything that is due."""
        heap = self._heap
        while heap and heap[0][0] <= now.s:
            heapq.heappop(heap)[2](now)

    @property
    def pending_count(self) -> int:
        return len(self._heap)


class Line:
    """One direction of the HTTPS conversation: a caller, a host that may be down, and the weather in between."""

    def __init__(
        self, weather: Weather, recorder: Recorder, post: Post, channels: tuple[Channel, Channel], handler: Handler
    ) -> None:
        self.weather = weather
        self.post = post
        self.handler = handler
        self.host_up = True
        self.host_life = 0
        """Grows when the host dies: an answer of an earlier life never comes."""
        self.caller_life = 0
        """Grows when the caller dies: nobody waits for its answers any more."""
        self._recorder = recorder
        self._ask, self._answer = channels

    def call(
        self, now: Moment, operation: Operation, done: Done, message: Struct | None = None, path: Path | None = None
    ) -> None:
        """Send a request; `done` hears how it ended, at once or later, unless the caller dies before."""
        body = encode(message) if message is not None else b""
        self._recorder.take(now.s, self._ask, body)
        fate = self.weather.fate(now.s)
        call = _Call(self, operation, path or {}, body, done)
        if fate.cut or not self.host_up:
            call.end(now, PeerDown("no connection"))
            return
        self.post.later(now.s + CALL_TIMEOUT_S, call.time_out)
        if fate is FAIR:
            call.arrive(now)
        else:
            self._rough(now, call, fate)

    def _rough(self, now: Moment, call: "_Call", fate: Fate) -> None:
        if fate.hang or fate.lose_request:
            return
        if fate.status:
            call.end(now, storm(fate.status))
            return
        if fate.truncated:
            call.body = call.body[: len(call.body) // 2]
        call.reply_lost = fate.lose_reply
        call.reply_garbled = fate.garbage
        if fate.delay_s <= 0.0:
            call.arrive(now)
            if fate.twice:
                call.arrive(now)
            return
        call.back_s = fate.delay_s / 2.0
        for _ in range(2 if fate.twice else 1):
            self.post.later(now.s + call.back_s, call.arrive)

    def answered(self, now: Moment, body: bytes) -> None:
        self._recorder.take(now.s, self._answer, body)


class _Call:
    """One call under way; ends once for its caller, whatever the host does."""

    __slots__ = (
        "_caller_life", "_done", "back_s", "body", "line", "operation", "path", "reply_garbled", "reply_lost",
    )  # fmt: skip

    def __init__(self, line: Line, operation: Operation, path: Path, body: bytes, done: Done) -> None:
        self.line = line
        self.operation = operation
        self.path = path
        self.body = body
        self.back_s = 0.0
        self.reply_lost = self.reply_garbled = False
        self._done: Done | None = done
        self._caller_life = line.caller_life

    def end(self, now: Moment, how: "Struct | SiteError | None") -> None:
        if self._done is not None:
            done, self._done = self._done, None
            if self._caller_life == self.line.caller_life:
                done(now, how)

    def time_out(self, now: Moment) -> None:
        if self._done is not None:
            self.end(now, PeerDown("no answer in time"))

    def arrive(self, now: Moment) -> None:
        """At the host: it acts, whatever the caller thinks by then."""
        line = self.line
        if not line.host_up:
            return
        life = line.host_life

        def answer(at: Moment, how: "Struct | SiteError | None") -> None:
            if line.host_life == life:
                self._travel_back(at, how)

        try:
            message = None
            if self.operation.request is not None:
                message = decode_request(self.body, self.operation.request)
            line.handler(now, self.operation, self.path, message, answer)
        except SiteError as error:
            answer(now, error)

    def _travel_back(self, now: Moment, how: "Struct | SiteError | None") -> None:
        refused = isinstance(how, SiteError)
        body = encode(problem_of(how)) if isinstance(how, SiteError) else b"" if how is None else encode(how)
        self.line.answered(now, body)
        if self.reply_lost:
            return
        if self.back_s > 0.0:
            self.line.post.later(now.s + self.back_s, lambda at: self._deliver(at, body, refused=refused))
        else:
            self._deliver(now, body, refused=refused)

    def _deliver(self, now: Moment, body: bytes, *, refused: bool) -> None:
        if self._done is None:
            return
        if self.reply_garbled:
            self.end(now, PeerDown("the answer is none"))
        elif refused:
            self.end(now, error_of(decode_reply(body, Problem)))
        else:
            self.end(now, decode_reply(body, self.operation.reply) if body else None)


class Station(Protocol):
    """What answers at the other end of the Modbus link."""

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = ...) -> bytes: ...


class DeviceLink:
    """Modbus/TCP without the socket: PDUs there and back, within one cycle; raises LinkDown where nothing comes."""

    def __init__(self, weather: Weather, recorder: Recorder, station: Station) -> None:
        self.weather = weather
        self.station = station
        self.good_since_s = 0.0
        """Since when every request was answered."""
        self._recorder = recorder

    def exchange(self, now: Moment, unit_id: int, pdu: bytes) -> bytes:
        """One request, one reply PDU; a reply that cannot be one raises WrongReply."""
        try:
            return self._exchange(now, unit_id, pdu)
        except LinkDown:
            self.good_since_s = now.s
            raise

    def _exchange(self, now: Moment, unit_id: int, pdu: bytes) -> bytes:
        recorder = self._recorder
        recorder.take(now.s, Channel.MODBUS_REQUEST, bytes((unit_id,)) + pdu)
        fate = self.weather.fate(now.s)
        if fate is not FAIR:
            if fate.cut or fate.hang or fate.lose_request or fate.delay_s >= MODBUS_TIMEOUT_S:
                raise LinkDown("no answer from the station")
            if fate.twice:
                self.station.request(now, unit_id, pdu)
        reply = self.station.request(now, unit_id, pdu)
        recorder.take(now.s, Channel.MODBUS_REPLY, reply)
        if not reply or fate.lose_reply:
            raise LinkDown("no answer from the station")
        if fate.truncated:
            raise WrongReply("the reply ends early")
        if fate.garbage:
            raise WrongReply("the reply belongs to no request")
        return reply


def problem_of(error: SiteError) -> Problem:
    """The problem document that a host answers with."""
    field, retry_after_s = error.facts.get("field"), error.facts.get("retry_after_s")
    return Problem(
        title=error.code.replace("_", " "),
        status=error.http_status,
        code=error.code,
        detail=error.sentence[:300],
        field=field if isinstance(field, str) else None,
        retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
        facts={name: value for name, value in error.facts.items() if name not in ("field", "retry_after_s")},
    )


REFUSALS = {kind.code: kind for kind in family(Refused)}


def error_of(problem: Problem) -> SiteError:
    """The error a client makes of a problem document, by the rules of `shared/rest/call.py`."""
    if problem.status in (429, 503):
        return PeerBusy(problem.detail, retry_after_s=problem.retry_after_s or 1.0, code=problem.code)
    if problem.status >= 500:
        return PeerDown(problem.detail, status=problem.status)
    kind = REFUSALS.get(problem.code, Refused)
    return kind(problem.detail, **{**problem.facts, "code": problem.code, "status": problem.status})


def storm(status: int) -> SiteError:
    """What a client makes of a host that answers everything with one status."""
    if status in (429, 503):
        return PeerBusy(f"HTTP {status}", retry_after_s=RETRY_AFTER_S)
    if status >= 500:
        return PeerDown(f"HTTP {status}", status=status)
    return Unauthenticated("the token is not accepted", code="unauthenticated", status=status)
