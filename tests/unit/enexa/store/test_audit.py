"""Whatever somebody does to the audit log shows, given heads of it that were kept elsewhere."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec import Struct

from services.enexa.store.anchors import Anchor, Anchors, anchor_of
from services.enexa.store.auditlog import Verdict, Walk
from services.enexa.store.schema import to_us
from shared.errors import BadInput
from shared.rest.audit import GENESIS, AuditLine, chained
from tests.unit.enexa.dispatching.scene import START

ENTRIES = 240
ANCHORED_EVERY = 60
MANIPULATIONS = 1000


class Row(Struct, frozen=True):
    """An entry as it lies in the table."""

    seq: int
    at_us: int
    body: bytes
    digest: str


def line(number: int, outcome: str = "ok") -> AuditLine:
    return AuditLine(
        at=START + timedelta(seconds=number),
        source="10.0.0.7",
        principal="operator",
        action="put_config",
        outcome=outcome,
        status=200,
        latency_ms=1.5,
        request_id=f"r{number}",
    )


def chain(lines: list[AuditLine], seq: int = 0, head: str = GENESIS) -> list[Row]:
    rows: list[Row] = []
    for each in lines:
        seq, head = seq + 1, chained(head, each)
        rows.append(Row(seq, to_us(each.at), msgspec.json.encode(each), head))
    return rows


WHOLE = chain([line(number) for number in range(ENTRIES)])
ANCHORED = [Anchor(row.seq, row.digest) for row in WHOLE[ANCHORED_EVERY - 1 :: ANCHORED_EVERY]]


def verdict(rows: list[Row], anchors: list[Anchor]) -> Verdict:
    walk = Walk(anchors)
    for row in sorted(rows, key=lambda each: each.seq):
        if not walk.follows(row.seq, row.at_us, row.body, row.digest):
            break
    return walk.verdict()


def edit(random: Random) -> list[Row]:
    """One line says something else."""
    rows = WHOLE.copy()
    place = random.randrange(ENTRIES)
    rows[place] = msgspec.structs.replace(rows[place], body=msgspec.json.encode(line(place, "refused")))
    return rows


def date(random: Random) -> list[Row]:
    rows = WHOLE.copy()
    place = random.randrange(ENTRIES)
    rows[place] = msgspec.structs.replace(rows[place], at_us=rows[place].at_us + random.choice((-1, 1, 3600)))
    return rows


def delete(random: Random) -> list[Row]:
    place = random.randrange(ENTRIES)
    return WHOLE[:place] + WHOLE[place + 1 :]


def swap(random: Random) -> list[Row]:
    """Two lines change places under their old numbers."""
    rows = WHOLE.copy()
    one, other = random.sample(range(ENTRIES), 2)
    numbers = rows[one].seq, rows[other].seq
    rows[one], rows[other] = (
        msgspec.structs.replace(rows[other], seq=numbers[0]),
        msgspec.structs.replace(rows[one], seq=numbers[1]),
    )
    return rows


def duplicate(random: Random) -> list[Row]:
    """A line stands twice, and those after it move up."""
    place = random.randrange(ENTRIES)
    after = [msgspec.structs.replace(each, seq=each.seq + 1) for each in WHOLE[place:]]
    return WHOLE[: place + 1] + after


def cut_tail(random: Random) -> list[Row]:
    return WHOLE[: random.randrange(ENTRIES)]


def cut_and_reappend(random: Random) -> list[Row]:
    """The end is replaced by another one with a chain of its own that is right in itself."""
    place = random.randrange(ENTRIES - 1)
    head = WHOLE[place - 1].digest if place else GENESIS
    return WHOLE[:place] + chain([line(number, "other") for number in range(place, ENTRIES)], place, head)


def rewrite_all(random: Random) -> list[Row]:
    return chain([line(number, f"other{random.random()}") for number in range(ENTRIES)])


WAYS: tuple[Callable[[Random], list[Row]], ...] = (
    edit,
    date,
    delete,
    swap,
    duplicate,
    cut_tail,
    cut_and_reappend,
    rewrite_all,
)
HIDES_FROM_THE_CHAIN = (cut_tail, cut_and_reappend, rewrite_all)


def test_h3_every_one_of_a_thousand_manipulations_is_detected() -> None:
    random = Random(3)
    missed = [
        (way.__name__, number)
        for number in range(MANIPULATIONS)
        for way in (WAYS[number % len(WAYS)],)
        if verdict(way(random), ANCHORED).broken_seq is None
    ]

    assert verdict(WHOLE, ANCHORED) == Verdict(entries=ENTRIES, head=WHOLE[-1].digest)
    assert missed == []


@pytest.mark.parametrize("way", HIDES_FROM_THE_CHAIN)
def test_h3_the_control_without_anchors_lets_three_ways_pass(way: Callable[[Random], list[Row]]) -> None:
    assert verdict(way(Random(3)), []).broken_seq is None


def test_an_anchor_is_read_back_from_the_file_and_from_the_id_of_a_request(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "anchors.jsonl")
    assert anchors.known() == []
    for each in ANCHORED:
        anchors.add(each)
    with (tmp_path / "anchors.jsonl").open("ab") as file:
        file.write(b'{"seq": 7, "dig')

    assert anchors.known() == ANCHORED
    copied = [anchor_of(each.request_id) for each in ANCHORED]
    assert verdict(WHOLE, copied).broken_seq is None
    assert verdict(WHOLE[:100], copied).broken_seq == 101


@pytest.mark.parametrize("word", ["", "12", "12:xyz", "a:0123456789abcdef0123", "12:0123"])
def test_what_is_no_anchor_is_refused(word: str) -> None:
    with pytest.raises(BadInput, match="anchor"):
        anchor_of(word)
