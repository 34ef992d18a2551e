"""Which numbers of a stream are accounted for, as few intervals as possible (pure)."""

from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """A set of whole numbers from 1 on, kept as sorted, disjoint, closed intervals.

    `through` is the highest number up to which nothing is missing. Streams are numbered from 1; 0 is tolerated.
    """

    def __init__(self, through: int = 0, beyond: Iterable[int] = ()) -> None:
        self._starts: list[int] = [0]
        self._ends: list[int] = [max(through, 0)]
        for number in beyond:
            self.add(number, number)

    @property
    def through(self) -> int:
        return self._ends[0]

    @property
    def highest(self) -> int:
        return self._ends[-1]

    def missing(self) -> list[tuple[int, int]]:
        """The holes between the intervals, lowest first."""
        pairs = zip(self._ends, self._starts[1:], strict=False)
        return [(end + 1, start - 1) for end, start in pairs]

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and 0 < number <= self._ends[index]

    def add(self, first: int, last: int) -> None:
        """Account for every number from `first` to `last`."""
        assert 0 <= first <= last
        if first == self._ends[-1] + 1:
            self._ends[-1] = last
            return
        low = bisect_right(self._ends, first - 2)
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first = min(first, self._starts[low])
            last = max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def copy(self) -> "Ranges":
        twin = Ranges()
        twin._starts, twin._ends = self._starts.copy(), self._ends.copy()
        return twin
