"""Which samples can be taken, by their form, their own time and their stream (pure)."""

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from shared.contract.telemetry import SAMPLES_PER_BATCH_MAX, Gap, Rejected, Telemetry, TelemetryBatch
from shared.contract.wire import Id, Sequence, decode_request
from shared.errors import InvalidMessage, OutOfBounds, TooLarge
from shared.moment import Moment

OLDEST = timedelta(days=31)
NEWEST = timedelta(minutes=5)
FAR_AHEAD = 1_000_000_000


class ReadBatch(TelemetryBatch, frozen=True, kw_only=True):
    """A batch as it was read: records that cannot be are named, and block none of the others."""

    unreadable: tuple[Rejected, ...] = ()


class _Records(Struct, frozen=True, kw_only=True):
    """A batch whose records are still text."""

    site_id: Id
    stream_epoch: Id
    samples: tuple[msgspec.Raw, ...] = ()
    gaps: tuple[Gap, ...] = ()


class _Numbered(Struct, frozen=True):
    """All that must be readable of a record, so that its refusal has a name."""

    sequence: Sequence


def read_batch(body: bytes) -> ReadBatch:
    """A batch from its bytes; InvalidMessage or OutOfBounds where not even the numbers of bad records can be read."""
    try:
        return _read(decode_request(body, TelemetryBatch), ())
    except (InvalidMessage, OutOfBounds) as error:
        return _salvage(body, error)


def _salvage(body: bytes, error: InvalidMessage | OutOfBounds) -> ReadBatch:
    records = decode_request(body, _Records)
    if len(records.samples) > SAMPLES_PER_BATCH_MAX:
        raise TooLarge(
            f"a batch has at most {SAMPLES_PER_BATCH_MAX} samples", limit_samples=SAMPLES_PER_BATCH_MAX
        ) from error
    samples: list[Telemetry] = []
    unreadable: list[Rejected] = []
    for each in records.samples:
        try:
            samples.append(decode_request(bytes(each), Telemetry))
        except (InvalidMessage, OutOfBounds) as refusal:
            unreadable.append(Rejected(sequence=_number_of(bytes(each), error), code=refusal.code))
    if not unreadable:
        raise error
    readable = TelemetryBatch(
        site_id=records.site_id, stream_epoch=records.stream_epoch, samples=tuple(samples), gaps=records.gaps
    )
    return _read(readable, tuple(unreadable))


def _number_of(record: bytes, error: InvalidMessage | OutOfBounds) -> int:
    try:
        return msgspec.json.decode(record, type=_Numbered).sequence
    except msgspec.DecodeError:
        raise error from None


def _read(batch: TelemetryBatch, unreadable: tuple[Rejected, ...]) -> ReadBatch:
    return ReadBatch(
        site_id=batch.site_id,
        stream_epoch=batch.stream_epoch,
        samples=batch.samples,
        gaps=batch.gaps,
        unreadable=unreadable,
    )


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
