"""A check asks one thing of a running peer and gives a verdict on two axes: does it conform, and does it still work?

*Conforms* means to the letter of the contract. *Works* means that a client which forgives what can be forgiven gets
along with it. A peer may fail the first and pass the second; it never passes the first and fails the second.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from shared.clock import real_now_s

S = TypeVar("S")


class Saw(Struct, frozen=True):
    """What a check has seen."""

    conforms: bool
    works: bool
    seen: str


class NotTried(Exception):
    """The check does not apply here, for a reason."""


class NoAnswer(Exception):
    """The peer was not there, or what came back was no answer at all."""


class Check(Struct, Generic[S], frozen=True, kw_only=True):
    """One question. `covers` names sentences of the customer's page; `writes` marks what changes the peer's data."""

    id: str
    title: str
    covers: tuple[str, ...]
    ask: Callable[[S], Saw]
    writes: bool = False


class Kit(Struct, frozen=True):
    """The name that the checks of one kit begin with."""

    name: str

    def check(self, name: str, title: str, covers: str, ask: Callable[[S], Saw], *, writes: bool = False) -> Check[S]:
        """A row of the kit's table; `covers` names its sentences with spaces between them."""
        return Check(id=f"{self.name}-{name}", title=title, covers=tuple(covers.split()), ask=ask, writes=writes)


class Verdict(Struct, frozen=True, kw_only=True):
    """The answer; None on both axes where it was not tried."""

    check: str
    title: str
    covers: tuple[str, ...]
    conforms: bool | None
    works: bool | None
    seen: str
    took_s: float

    @property
    def word(self) -> str:
        """For a terminal."""
        if self.conforms is None:
            return "not tried"
        if self.conforms:
            return "conforms"
        return "still works" if self.works else "FAILS"


def run_checks(checks: Iterable[Check[S]], subject: S, *, writing: bool = False) -> Iterator[Verdict]:
    """Ask one after the other; what would write is asked only where that was allowed."""
    for check in checks:
        began_s = real_now_s()
        conforms, works, seen = _asked(check, subject, writing=writing)
        yield Verdict(
            check=check.id,
            title=check.title,
            covers=check.covers,
            conforms=conforms,
            works=works,
            seen=seen,
            took_s=real_now_s() - began_s,
        )


def _asked(check: Check[S], subject: S, *, writing: bool) -> tuple[bool | None, bool | None, str]:
    if check.writes and not writing:
        return None, None, "it writes: say --write to try it"
    try:
        saw = check.ask(subject)
    except NotTried as reason:
        return None, None, str(reason)
    except NoAnswer as reason:
        return False, False, str(reason)
    assert saw.works or not saw.conforms, f"{check.id}: what does not work cannot conform"
    return saw.conforms, saw.works, saw.seen
