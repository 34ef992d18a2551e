"""Which samples can be taken, by their own time and stream (pure)."""

from datetime import datetime, timedelta

from shared.contract.telemetry import Telemetry
from shared.moment import Moment

OLDEST = timedelta(days=31)
NEWEST = timedelta(minutes=5)
FAR_AHEAD = 1_000_000_000


def refusal_of(sample: Telemetry, site_id: str, epoch: str, now: Moment) -> str | None:
    """Why a record of a batch cannot be taken; None where it can."""
    if sample.site_id != site_id or sample.stream_epoch not in (None, epoch):
        return "wrong_stream"
    if sample.sequence is None:
        return "no_sequence"
    return time_refusal(sample.timestamp, now)


def time_refusal(at: datetime, now: Moment) -> str | None:
    """Why a timestamp cannot be taken: more than 31 days old, or more than five minutes ahead."""
    if at < now.at - OLDEST:
        return "too_old"
    if at > now.at + NEWEST:
        return "in_the_future"
    return None
