"""The in-memory links: every call ends once, with what its weather allows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from services.amperio.modbus_link import judged, read_ask
from shared.chargepost.layout import Table
from shared.contract.events import SiteStatus, StatusAck
from shared.contract.operations import POST_STATUS, Operation
from shared.contract.wire import encode
from shared.errors import (
    BadInput,
    Forbidden,
    PeerBusy,
    PeerDown,
    SiteError,
    Unauthenticated,
    UnknownSite,
    WrongReply,
)
from shared.moment import Moment
from shared.scenario.schema import LinkFails, ProgramRestarts, Scenario
from tests.simulation.links import CALL_TIMEOUT_S, Answer, DeviceLink, Line, Path, Post
from tests.simulation.weather import FAIR, LINKS, OF_A_PROGRAM, Kind, Place, Trouble, Weather, place, troubles_of
from tests.simulation.wires import Channel, Recorder

START = datetime(2024, 1, 15, tzinfo=UTC)
STATUS = SiteStatus(site_id="SITE001", online=True)


def _at(s: float) -> Moment:
    return Moment(s, START)


def _trouble(kind: Kind, *, at_s: float = 0.0, for_s: float = 100.0, **more: Any) -> Trouble:
    return Trouble(kind=kind, place=Place.TO_ENEXA, at_s=at_s, for_s=for_s, **more)


class _Bench:
    """A caller and a host with a line between them."""

    def __init__(self, *troubles: Trouble, refuses: SiteError | None = None, waits_s: float = 0.0) -> None:
        self.post = Post()
        self.recorder = Recorder()
        self.asked: list[SiteStatus] = []
        self.ends: list[tuple[float, Struct | SiteError | None]] = []
        self._refuses = refuses
        self._waits_s = waits_s
        self.line = Line(
            Weather(troubles, frozenset({Place.TO_ENEXA}), "1"),
            self.recorder,
            self.post,
            (Channel.TO_ENEXA_REQUEST, Channel.TO_ENEXA_REPLY),
            self._serve,
        )

    def _serve(self, now: Moment, operation: Operation, path: Path, message: Any, answer: Answer) -> None:
        self.asked.append(message)
        if self._refuses is not None:
            raise self._refuses
        if self._waits_s:
            self.post.later(now.s + self._waits_s, lambda at: answer(at, StatusAck()))
        else:
            answer(now, StatusAck())

    def call(self, s: float = 1.0) -> "_Bench":
        self.line.call(_at(s), POST_STATUS, lambda at, how: self.ends.append((at.s, how)), encode(STATUS))
        return self

    def until(self, s: float) -> "_Bench":
        for second in range(int(s) + 1):
            self.post.deliver(_at(float(second)))
        return self


def test_in_fair_weather_the_answer_comes_in_the_same_second() -> None:
    bench = _Bench().call()

    assert bench.ends == [(1.0, StatusAck())]
    assert [(each.site_id, each.online) for each in bench.asked] == [("SITE001", True)]
    assert bench.recorder.counts[Channel.TO_ENEXA_REQUEST] == bench.recorder.counts[Channel.TO_ENEXA_REPLY] == 1


@pytest.mark.parametrize(
    ("trouble", "error", "ends_s", "asked"),
    [
        (_trouble(Kind.CUT), PeerDown, 1.0, 0),
        (_trouble(Kind.HANG), PeerDown, 6.0, 0),
        (_trouble(Kind.DROP_REQUEST), PeerDown, 6.0, 0),
        (_trouble(Kind.DROP_REPLY), PeerDown, 6.0, 1),
        (_trouble(Kind.CERTIFICATE), PeerDown, 1.0, 0),
        (_trouble(Kind.HALF_OPEN), PeerDown, 6.0, 1),
        (_trouble(Kind.RESET), PeerDown, 1.0, 1),
        (_trouble(Kind.GARBAGE), PeerDown, 1.0, 1),
        (_trouble(Kind.TRUNCATE), PeerDown, 1.0, 0),
        (_trouble(Kind.CORRUPT), PeerDown, 1.0, 0),
        (_trouble(Kind.STATUS_403), Forbidden, 1.0, 0),
        (_trouble(Kind.STATUS_401), Unauthenticated, 1.0, 0),
        (_trouble(Kind.STATUS_429), PeerBusy, 1.0, 0),
        (_trouble(Kind.STATUS_500), PeerDown, 1.0, 0),
        (_trouble(Kind.STATUS_503), PeerBusy, 1.0, 0),
        (_trouble(Kind.DELAY, amount=20.0), PeerDown, 6.0, 1),
    ],
)
def test_a_trouble_ends_the_call_as_the_real_client_would(
    trouble: Trouble, error: type[SiteError], ends_s: float, asked: int
) -> None:
    bench = _Bench(trouble).call().until(30)

    assert [s for s, _ in bench.ends] == [ends_s]
    assert isinstance(bench.ends[0][1], error)
    assert len(bench.asked) == asked


def test_a_doubled_request_acts_twice_and_is_answered_once() -> None:
    bench = _Bench(_trouble(Kind.DUPLICATE)).call().until(10)

    assert bench.ends == [(1.0, StatusAck())]
    assert len(bench.asked) == 2


def test_a_delayed_call_is_answered_late() -> None:
    bench = _Bench(_trouble(Kind.DELAY, amount=4.0)).call().until(10)

    assert bench.ends == [(5.0, StatusAck())]


def test_a_refusal_keeps_its_code_on_the_way() -> None:
    bench = _Bench(refuses=UnknownSite("no such site", site_id="SITE002")).call()

    assert isinstance(bench.ends[0][1], UnknownSite)


def test_a_host_that_answers_later_is_waited_for_but_not_for_ever() -> None:
    assert _Bench(waits_s=2.0).call().until(10).ends == [(3.0, StatusAck())]
    late = _Bench(waits_s=9.0).call().until(20).ends
    assert [s for s, _ in late] == [1.0 + CALL_TIMEOUT_S]


def test_a_dead_caller_hears_nothing_and_a_dead_host_says_nothing() -> None:
    bench = _Bench(waits_s=2.0).call()
    bench.line.caller_life += 1
    assert bench.until(10).ends == []

    bench = _Bench(waits_s=2.0).call()
    bench.line.host_life += 1
    assert isinstance(bench.until(10).ends[0][1], PeerDown)


@given(
    st.lists(st.sampled_from(sorted(set(Kind) - OF_A_PROGRAM)), max_size=4), st.integers(0, 1000), st.floats(0.1, 1.0)
)
def test_every_call_ends_exactly_once_in_any_weather(kinds: list[Kind], seed: int, chance: float) -> None:
    bench = _Bench(*(_trouble(kind, chance=chance, amount=float(seed % 9)) for kind in kinds))
    for s in range(20):
        bench.call(float(s))
    bench.until(60)

    assert len(bench.ends) == 20


@given(st.integers(), st.floats(0.0, 1.0))
def test_the_same_seed_draws_the_same_fates(seed: int, chance: float) -> None:
    rows = (_trouble(Kind.DROP_REPLY, chance=chance), _trouble(Kind.DELAY, at_s=10, for_s=5, amount=1.0))
    first, second = (Weather(rows, LINKS, str(seed)) for _ in range(2))

    assert [first.fate(float(s)) for s in range(30)] == [second.fate(float(s)) for s in range(30)]


def test_weather_is_fair_before_between_and_after_its_troubles() -> None:
    weather = Weather((_trouble(Kind.CUT, at_s=5, for_s=5), _trouble(Kind.CUT, at_s=20, for_s=5)), LINKS, "1")

    assert [s for s in range(30) if weather.fate(float(s)) is not FAIR] == [*range(5, 10), *range(20, 25)]


def test_a_scenario_that_names_an_unknown_link_is_refused() -> None:
    story = Scenario(name="x", story="x", timeline=(LinkFails(at_s=1, link="enexa_moon", for_s=1),))

    with pytest.raises(BadInput, match="enexa_moon"):
        troubles_of(story)
    with pytest.raises(BadInput):
        place("enexa", LINKS)


def test_a_timeline_becomes_troubles() -> None:
    story = Scenario(name="x", story="x", timeline=(ProgramRestarts(at_s=9, program="amperio", for_s=30),))

    assert troubles_of(story) == (Trouble(kind=Kind.KILL, place=Place.AMPERIO, at_s=9, for_s=30),)


def test_only_what_changed_a_message_is_counted() -> None:
    link = DeviceLink(
        Weather(
            (Trouble(kind=Kind.DELAY, place=Place.AMPERIO_CHARGEPOST, at_s=0, for_s=10, amount=0.3),),
            frozenset({Place.AMPERIO_CHARGEPOST}),
            "1",
        ),
        Recorder(),
        _Station(),
    )

    assert link.exchange(_at(1.0), RIGHT) == RIGHT, "a reply within the timeout is a reply"
    assert link.weather.counts == {}
    assert _Bench(_trouble(Kind.CUT)).call().line.weather.counts == {Kind.CUT: 1}
    both = _Bench(_trouble(Kind.CUT), _trouble(Kind.DUPLICATE)).call()
    assert both.line.weather.counts == {Kind.CUT: 1}, "what never left was not doubled"


def test_a_swapped_request_is_overtaken_by_the_next() -> None:
    bench = _Bench(_trouble(Kind.REORDER, for_s=1.5, amount=3.0)).call(1.0).call(2.0).until(10)

    assert [s for s, _ in bench.ends] == [2.0, 4.0]


def test_a_host_that_is_paused_reads_everything_when_it_goes_on() -> None:
    bench = _Bench()
    bench.line.host_paused = True
    bench.call(1.0).call(8.0).until(10)
    assert bench.asked == []

    bench.line.resumed(_at(11.0))

    assert len(bench.asked) == 2, "also what nobody waits for any more"
    assert [s for s, _ in bench.ends] == [6.0, 11.0]


class _Station:
    """Answers every request with itself."""

    def __init__(self) -> None:
        self.count = 0
        self.listens = True

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = "") -> bytes:
        self.count += 1
        return pdu


READ = read_ask(1, Table.HOLDING, 100, 2)
RIGHT = b"\x00\x07\x00\x00\x00\x06\x01" + READ.pdu
"""Seven is its transaction; the station repeats the request, which is as long as a reply of two registers."""


def _field(kind: Kind, amount: float = 0.0) -> tuple[DeviceLink, _Station]:
    row = Trouble(kind=kind, place=Place.AMPERIO_CHARGEPOST, at_s=0, for_s=10, amount=amount)
    station = _Station()
    return DeviceLink(Weather((row,), frozenset({Place.AMPERIO_CHARGEPOST}), "1"), Recorder(), station), station


@pytest.mark.parametrize(
    ("kind", "count"),
    [(Kind.HANG, 0), (Kind.DROP_REQUEST, 0), (Kind.DROP_REPLY, 1), (Kind.HALF_OPEN, 1), (Kind.DELAY, 1)],
)
def test_the_field_wire_keeps_silent(kind: Kind, count: int) -> None:
    link, station = _field(kind, amount=5.0)

    assert link.exchange(_at(1.0), RIGHT) == b""
    assert station.count == count
    assert link.exchange(_at(11.0), RIGHT) == RIGHT


@pytest.mark.parametrize(("kind", "count"), [(Kind.CUT, 0), (Kind.RESET, 1)])
def test_the_field_wire_ends_the_connection(kind: Kind, count: int) -> None:
    link, station = _field(kind)

    with pytest.raises(OSError, match=r"wire|reset"):
        link.exchange(_at(1.0), RIGHT)

    assert station.count == count


@pytest.mark.parametrize("kind", [Kind.REORDER, Kind.CORRUPT, Kind.GARBAGE])
def test_a_bent_frame_is_one_that_the_real_client_refuses(kind: Kind) -> None:
    link, _ = _field(kind)

    frame = link.exchange(_at(1.0), RIGHT)

    with pytest.raises(WrongReply):
        judged(frame, 7, READ)
    assert link.weather.counts == {kind: 1}


def test_nobody_connects_to_a_wire_that_is_cut_or_to_a_station_that_is_gone() -> None:
    link, station = _field(Kind.CUT)
    with pytest.raises(ConnectionRefusedError):
        link.connect(_at(1.0))

    link.connect(_at(11.0))
    station.listens = False
    with pytest.raises(ConnectionRefusedError):
        link.connect(_at(12.0))
