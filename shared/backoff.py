"""When to try again: 1, 2, 4, ... seconds up to a ceiling, never earlier than the peer asked."""

from msgspec import Struct

RETRY_AFTER_CEILING_S = 300.0


class Backoff(Struct, frozen=True, kw_only=True):
    """A value that grows with each failure; the shell keeps it, the core stays pure.

    `jitter` is a number in [0, 1) which the caller draws; it adds up to 20 %,
    so that many sites do not return together.
    """

    first_s: float = 1.0
    ceiling_s: float = 60.0
    failures: int = 0

    def failed(self) -> "Backoff":
        return Backoff(first_s=self.first_s, ceiling_s=self.ceiling_s, failures=self.failures + 1)

    def cleared(self) -> "Backoff":
        return Backoff(first_s=self.first_s, ceiling_s=self.ceiling_s)

    def wait_s(self, *, jitter: float = 0.0, retry_after_s: float = 0.0) -> float:
        """Seconds to wait after the latest failure; 0 where there was none."""
        assert 0.0 <= jitter < 1.0
        if self.failures == 0:
            return 0.0
        # 2**30 s is beyond any ceiling, and the exponent must stay bounded after a year of outage.
        grown_s = min(self.first_s * 2.0 ** min(self.failures - 1, 30), self.ceiling_s)
        return max(grown_s * (1.0 + 0.2 * jitter), min(retry_after_s, RETRY_AFTER_CEILING_S))
