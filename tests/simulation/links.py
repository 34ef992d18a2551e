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

from emulator.device.bank import ILLEGAL_VALUE
from emulator.device.requests import exception
from shared.chargepost.layout import WRITE_MANY, WRITE_ONE
from shared.contract.operations import Operation
from shared.contract.wire import Problem, decode_reply, decode_request, encode
from shared.errors import (
    Forbidden,
    PeerBusy,
    PeerDown,
    Refused,
    SiteError,
    Unauthenticated,
)
from shared.moment import Moment
from shared.rest.call import REFUSALS
from tests.simulation.weather import FAIR, STATUS_OF, Fate, Kind, Weather
from tests.simulation.wires import Channel, Recorder

CALL_TIMEOUT_S = 5.0
RETRY_AFTER_S = 2.0
MODBUS_TIMEOUT_S = 1.0

NEVER_ARRIVES = (Kind.CUT, Kind.CERTIFICATE, Kind.HANG, Kind.DROP_REQUEST, Kind.TRUNCATE, Kind.CORRUPT)
SPOILS_THE_REPLY = (Kind.HALF_OPEN, Kind.DROP_REPLY, Kind.RESET, Kind.GARBAGE)
SILENTLY = frozenset({Kind.HANG, Kind.DROP_REQUEST, Kind.HALF_OPEN, Kind.DROP_REPLY})
"""The caller hears nothing and gives up at its timeout."""
BROKEN = {
    Kind.CUT: "no connection",
    Kind.CERTIFICATE: "the certificate cannot be trusted",
    Kind.TRUNCATE: "the connection ended within the request",
    Kind.CORRUPT: "TLS: a record that does not verify",
    Kind.RESET: "the connection was reset",
    Kind.GARBAGE: "the answer is none",
}
"""What the caller hears at once. TLS lets no changed byte through: it ends the connection instead."""
FIELD_NEVER_ARRIVES = (Kind.HANG, Kind.DROP_REQUEST)
FIELD_LOSES_THE_REPLY = (Kind.HALF_OPEN, Kind.DROP_REPLY, Kind.RESET, Kind.DELAY)

Done: TypeAlias = Callable[[Moment, "Struct | SiteError | None"], None]
Path: TypeAlias = Mapping[str, str]


Answer: TypeAlias = Callable[[Moment, "Struct | SiteError | None"], None]
"""How a host answers: once, now or later, with a reply, with None for "nothing new" (304), or with a SiteError."""


Admit: TypeAlias = Callable[[Moment, Operation, "str | None"], None]
"""Who may call: raises Unauthenticated for a bearer that is none."""


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
        self,
        weather: Weather,
        recorder: Recorder,
        post: Post,
        channels: tuple[Channel, Channel],
        handler: Handler,
        admit: Admit | None = None,
    ) -> None:
        self.weather = weather
        self.post = post
        self.handler = handler
        self.admit = admit
        self.host_up = True
        self.host_paused = False
        """The host's machine takes requests in, and nobody there reads them yet."""
        self.host_life = 0
        """Grows when the host dies: an answer of an earlier life never comes."""
        self.caller_life = 0
        """Grows when the caller dies: nobody waits for its answers any more."""
        self.watchers: list[Callable[[Moment, Kind], None]] = []
        """Who wants to know when a trouble has changed a message."""
        self.reads: Mapping[str, Callable[[bytes], Struct]] = {}
        """Operations whose body the host decodes in a way of its own."""
        self.ends: list[Callable[[Moment, bool], None]] = []
        """Who wants to know how calls ended: well, or not."""
        self._recorder = recorder
        self._ask, self._answer = channels
        self._unread: list[_Call] = []

    def call(
        self,
        now: Moment,
        operation: Operation,
        done: Done,
        body: bytes = b"",
        path: Path | None = None,
        *,
        bearer: str | None = None,
    ) -> None:
        """Send a request; `done` hears how it ended, at once or later, unless the caller dies before."""
        self._recorder.take(now.s, self._ask, body)
        fate = self.weather.fate(now.s)
        call = _Call(self, operation, path or {}, body, bearer, done)
        if not self.host_up:
            call.end(now, PeerDown("no connection"))
            return
        if fate is FAIR:
            call.arrive(now)
        else:
            self._rough(now, call, fate)
        if call.open:
            self.post.later(now.s + CALL_TIMEOUT_S, call.time_out)

    def resumed(self, now: Moment) -> None:
        """The host reads what has come meanwhile, whether or not anybody still waits for the answer."""
        self.host_paused = False
        unread, self._unread = self._unread, []
        for call in unread:
            call.arrive(now)

    def died(self) -> None:
        """The host is gone, with what it had not read."""
        self.host_up = self.host_paused = False
        self.host_life += 1
        self._unread = []

    def hold(self, call: "_Call") -> None:
        self._unread.append(call)

    def _rough(self, now: Moment, call: "_Call", fate: Fate) -> None:
        """The worst of what was drawn comes first: what never arrives cannot be changed on its way."""
        kinds = fate.kinds
        for kind in NEVER_ARRIVES:
            if kind in kinds:
                self.acted(now, kind)
                if kind in SILENTLY:
                    return
                call.end(now, PeerDown(BROKEN[kind]))
                return
        for kind, status in STATUS_OF.items():
            if kind in kinds:
                self.acted(now, kind)
                call.end(now, storm(status))
                return
        for kind in SPOILS_THE_REPLY:
            if kind in kinds:
                self.acted(now, kind)
                call.reply_spoilt = kind
                break
        self._send(now, call, fate)

    def _send(self, now: Moment, call: "_Call", fate: Fate) -> None:
        copies = 2 if Kind.DUPLICATE in fate.kinds else 1
        if copies == 2:
            self.acted(now, Kind.DUPLICATE)
        out_s = 0.0
        if fate.delay_s > 0.0:
            swapped = Kind.REORDER in fate.kinds
            self.acted(now, Kind.REORDER if swapped else Kind.DELAY)
            out_s = fate.delay_s if swapped else fate.delay_s / 2.0
            call.back_s = fate.delay_s - out_s
        for _ in range(copies):
            if out_s > 0.0:
                self.post.later(now.s + out_s, call.arrive)
            else:
                call.arrive(now)

    def acted(self, now: Moment, kind: Kind) -> None:
        self.weather.acted(kind)
        for tell in self.watchers:
            tell(now, kind)

    def answered(self, now: Moment, body: bytes) -> None:
        self._recorder.take(now.s, self._answer, body)


class _Call:
    """One call under way; ends once for its caller, whatever the host does."""

    __slots__ = (
        "_bearer", "_caller_life", "_done", "back_s", "body", "line", "operation", "path", "reply_spoilt",
    )  # fmt: skip

    def __init__(
        self, line: Line, operation: Operation, path: Path, body: bytes, bearer: str | None, done: Done
    ) -> None:
        self.line = line
        self.operation = operation
        self.path = path
        self.body = body
        self.back_s = 0.0
        self.reply_spoilt: Kind | None = None
        self._bearer = bearer
        self._done: Done | None = done
        self._caller_life = line.caller_life

    @property
    def open(self) -> bool:
        """Whether its caller still waits."""
        return self._done is not None

    def end(self, now: Moment, how: "Struct | SiteError | None") -> None:
        if self._done is not None:
            done, self._done = self._done, None
            if self._caller_life == self.line.caller_life:
                for tell in self.line.ends:
                    tell(now, not isinstance(how, SiteError))
                done(now, how)

    def time_out(self, now: Moment) -> None:
        if self._done is not None:
            self.end(now, PeerDown("no answer in time"))

    def arrive(self, now: Moment) -> None:
        """At the host: it acts, whatever the caller thinks by then."""
        line = self.line
        if not line.host_up:
            return
        if line.host_paused:
            line.hold(self)
            return
        life = line.host_life

        def answer(at: Moment, how: "Struct | SiteError | None") -> None:
            if line.host_life == life:
                self._travel_back(at, how)

        try:
            if line.admit is not None:
                line.admit(now, self.operation, self._bearer)
            message = None
            read = line.reads.get(self.operation.name)
            if read is not None:
                message = read(self.body)
            elif self.operation.request is not None:
                message = decode_request(self.body, self.operation.request)
            line.handler(now, self.operation, self.path, message, answer)
        except SiteError as error:
            answer(now, error)

    def _travel_back(self, now: Moment, how: "Struct | SiteError | None") -> None:
        refused = isinstance(how, SiteError)
        body = encode(problem_of(how)) if isinstance(how, SiteError) else b"" if how is None else encode(how)
        self.line.answered(now, body)
        if self.reply_spoilt in SILENTLY:
            return
        if self.back_s > 0.0:
            self.line.post.later(now.s + self.back_s, lambda at: self._deliver(at, body, refused=refused))
        else:
            self._deliver(now, body, refused=refused)

    def _deliver(self, now: Moment, body: bytes, *, refused: bool) -> None:
        if self._done is None:
            return
        if self.reply_spoilt is not None:
            self.end(now, PeerDown(BROKEN[self.reply_spoilt]))
        elif refused:
            self.end(now, error_of(decode_reply(body, Problem)))
        else:
            self.end(now, decode_reply(body, self.operation.reply) if body else None)


class Station(Protocol):
    """What answers at the other end of the Modbus link."""

    @property
    def listens(self) -> bool:
        """Whether a process is there at all."""

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = ...) -> bytes: ...


class DeviceLink:
    """The field wire: whole Modbus/TCP frames there and back, within the second, unless the weather says otherwise."""

    def __init__(self, weather: Weather, recorder: Recorder, station: Station) -> None:
        self.weather = weather
        self.station = station
        self.good_since_s = 0.0
        """Since when every request was answered as it should be."""
        self.watchers: list[Callable[[Moment, Kind], None]] = []
        self._recorder = recorder

    def connect(self, now: Moment) -> None:
        """A new connection; ConnectionRefusedError where the wire is cut or nobody listens."""
        if self.weather.fate(now.s).kinds & {Kind.CUT}:
            self.acted(now, Kind.CUT)
            raise ConnectionRefusedError("the wire is cut")
        if not self.station.listens:
            self.good_since_s = now.s
            raise ConnectionRefusedError("nobody listens")

    def exchange(self, now: Moment, frame: bytes) -> bytes:
        """One request frame, one reply frame: empty where none comes, OSError where the connection ends instead."""
        reply = b""
        try:
            reply = self._exchange(now, frame)
        finally:
            if not reply:
                self.good_since_s = now.s
        return reply

    def _exchange(self, now: Moment, frame: bytes) -> bytes:
        unit_id, pdu = frame[6], frame[7:]
        recorder = self._recorder
        recorder.take(now.s, Channel.MODBUS_REQUEST, frame[6:])
        fate = self.weather.fate(now.s)
        if not self.station.listens:
            raise ConnectionResetError("the station is gone")
        if fate is FAIR:
            reply = self.station.request(now, unit_id, pdu)
            recorder.take(now.s, Channel.MODBUS_REPLY, reply)
            return _framed(frame, reply)
        return self._rough(now, frame, fate)

    def _rough(self, now: Moment, frame: bytes, fate: Fate) -> bytes:
        kinds = fate.kinds
        if Kind.CUT in kinds:
            self.acted(now, Kind.CUT)
            raise ConnectionResetError("the wire is cut")
        for kind in FIELD_NEVER_ARRIVES:
            if kind in kinds:
                self.acted(now, kind)
                return b""
        if Kind.REFUSE in kinds and frame[7] in (WRITE_ONE, WRITE_MANY):
            self.acted(now, Kind.REFUSE)
            refusal = exception(frame[7], ILLEGAL_VALUE)
            self._recorder.take(now.s, Channel.MODBUS_REPLY, refusal)
            return _framed(frame, refusal)
        reply = self.station.request(now, frame[6], frame[7:])
        self._recorder.take(now.s, Channel.MODBUS_REPLY, reply)
        for kind in FIELD_LOSES_THE_REPLY:
            if reply and kind in kinds and (kind is not Kind.DELAY or fate.delay_s >= MODBUS_TIMEOUT_S):
                self.acted(now, kind)
                if kind is Kind.RESET:
                    raise ConnectionResetError("the station reset the connection")
                return b""
        right = _framed(frame, reply)
        for kind, bend in FIELD_BENDS.items():
            if right and kind in kinds:
                self.acted(now, kind)
                return bend(right)
        return right

    def acted(self, now: Moment, kind: Kind) -> None:
        self.good_since_s = now.s
        self.weather.acted(kind)
        for tell in self.watchers:
            tell(now, kind)


def _framed(request: bytes, reply: bytes) -> bytes:
    """A reply PDU under the header that belongs to the request; nothing for nothing."""
    return request[:4] + (len(reply) + 1).to_bytes(2, "big") + request[6:7] + reply if reply else b""


def _of_the_request_before(frame: bytes) -> bytes:
    return ((int.from_bytes(frame[:2], "big") - 1) & 0xFFFF).to_bytes(2, "big") + frame[2:]


FIELD_BENDS: Mapping[Kind, Callable[[bytes], bytes]] = {
    Kind.REORDER: _of_the_request_before,
    Kind.TRUNCATE: lambda frame: frame[:-1],
    Kind.CORRUPT: lambda frame: frame[:2] + b"\x80" + frame[3:],
    Kind.GARBAGE: lambda frame: b"\xff" * 8 + frame,
}
"""What the bytes of a reply become: another request's, one too few, a flipped bit in the header, noise before it."""


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
    if status == 403:
        return Forbidden("the key is not allowed here", code="forbidden", status=status)
    return Unauthenticated("the token is not accepted", code="unauthenticated", status=status)
