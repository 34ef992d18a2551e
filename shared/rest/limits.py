"""Rate limits: a token bucket for each caller and budget, counted in clock seconds."""

from collections import OrderedDict
from collections.abc import Mapping

from msgspec import Struct

from shared.contract.operations import Budget
from shared.errors import RateLimited
from shared.moment import Moment

KEYS_MAX = 10_000


class Rate(Struct, frozen=True):
    """`per_s` on average, `burst` at once."""

    per_s: float
    burst: float


DEFAULT_RATES: Mapping[Budget, Rate] = {
    Budget.TELEMETRY: Rate(50.0, 500.0),
    Budget.COMMAND: Rate(20.0, 200.0),
    Budget.GENERAL: Rate(50.0, 500.0),
}


class _Bucket:
    """How much is left for one caller, as of an instant."""

    __slots__ = ("filled_s", "level")

    def __init__(self, level: float, filled_s: float) -> None:
        self.level = level
        self.filled_s = filled_s


class Limits:
    """Buckets are made on first use and bounded in number; the least recently used one is forgotten."""

    def __init__(self, rates: Mapping[Budget, Rate] = DEFAULT_RATES, *, keys_max: int = KEYS_MAX) -> None:
        self._rates = rates
        self._keys_max = keys_max
        self._buckets: OrderedDict[tuple[str, Budget], _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._buckets)

    def take(self, caller: str, budget: Budget, now: Moment) -> None:
        """Count one request; RateLimited with `retry_after_s` where the bucket is empty."""
        rate = self._rates[budget]
        bucket = self._bucket((caller, budget), rate, now)
        level = min(rate.burst, bucket.level + max(now.s - bucket.filled_s, 0.0) * rate.per_s)
        bucket.filled_s = now.s
        if level < 1.0:
            bucket.level = level
            wait_s = max((1.0 - level) / rate.per_s, 1.0)
            raise RateLimited("too many requests", retry_after_s=round(wait_s, 3))
        bucket.level = level - 1.0

    def _bucket(self, key: tuple[str, Budget], rate: Rate, now: Moment) -> _Bucket:
        """The bucket of a key, the most recently used one from now on."""
        known = self._buckets.get(key)
        if known is None:
            known = self._buckets[key] = _Bucket(rate.burst, now.s)
            while len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return known
