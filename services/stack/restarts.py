"""How soon a program that died is started again, and when a person should be told."""

from msgspec import Struct

from shared.backoff import Backoff

STEADY_S = 30.0
"""A program that ran this long had a good start; what ended it is a new story."""

NOTICE_AFTER = 4
"""So many early deaths in a row are no accident any more."""


class Restarts(Struct, frozen=True, kw_only=True):
    """One program's luck so far: the first restart is prompt, each further early death doubles the wait."""

    backoff: Backoff = Backoff(first_s=0.25, ceiling_s=30.0)

    def died(self, ran_s: float) -> "Restarts":
        """After a death that followed `ran_s` real seconds of life."""
        fresh = self.backoff.cleared() if ran_s >= STEADY_S else self.backoff
        return Restarts(backoff=fresh.failed())

    @property
    def wait_s(self) -> float:
        return self.backoff.wait_s()

    @property
    def worth_a_notice(self) -> bool:
        """True exactly once in a row of early deaths."""
        return self.backoff.failures == NOTICE_AFTER
