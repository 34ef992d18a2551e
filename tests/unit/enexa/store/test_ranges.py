"""Which numbers of a stream are accounted for."""

from hypothesis import given
from hypothesis import strategies as st

from services.enexa.store.ranges import Ranges

NUMBERS = st.integers(1, 60)
PIECES = st.lists(st.tuples(NUMBERS, st.integers(0, 8)), max_size=30)


@given(PIECES)
def test_through_is_the_highest_number_below_which_nothing_is_missing(pieces: list[tuple[int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for first, length in pieces:
        ranges.add(first, first + length)
        model |= set(range(first, first + length + 1))

    expected = 0
    while expected + 1 in model:
        expected += 1
    assert ranges.through == expected
    assert ranges.highest == max(model, default=0)
    assert {number for number in range(1, 80) if number in ranges} == model
    missing = {number for first, last in ranges.missing() for number in range(first, last + 1)}
    assert missing == set(range(1, ranges.highest + 1)) - model


@given(PIECES)
def test_order_does_not_matter(pieces: list[tuple[int, int]]) -> None:
    one, other = Ranges(), Ranges()
    for first, length in pieces:
        one.add(first, first + length)
    for first, length in reversed(pieces):
        other.add(first, first + length)

    assert (one.through, one.missing()) == (other.through, other.missing())


def test_a_copy_lives_on_its_own() -> None:
    ranges = Ranges(5)
    twin = ranges.copy()
    twin.add(6, 9)

    assert (ranges.through, twin.through) == (5, 9)
