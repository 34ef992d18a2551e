"""Telemetry: one sample each second, and batches after an outage."""

from services.enexa.acceptance import FAR_AHEAD, ReadBatch, read_batch, time_refusal
from services.enexa.platform import Platform
from shared.contract.operations import POST_TELEMETRY, POST_TELEMETRY_BATCH
from shared.contract.telemetry import Telemetry, TelemetryAck, TelemetryBatchAck
from shared.errors import InvalidMessage, OutOfBounds
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(POST_TELEMETRY)
    async def post_telemetry(call: Call[Telemetry]) -> TelemetryAck:
        """Stored before the answer; the same sequence again is a duplicate and changes nothing."""
        sample = call.body
        platform.site(sample.site_id)
        refusal = time_refusal(sample.timestamp, call.now)
        if refusal is not None:
            raise OutOfBounds(f"the timestamp is {refusal.replace('_', ' ')}", field="timestamp")
        if sample.sequence is not None and sample.stream_epoch is not None:
            highest = platform.store.telemetry.highest(sample.site_id, sample.stream_epoch)
            if sample.sequence > highest + FAR_AHEAD:
                raise OutOfBounds("the sequence is too far ahead", field="sequence")
        stored = await platform.keep_sample(sample, call.now)
        return TelemetryAck(
            accepted=len(stored.fresh), duplicates=stored.duplicates, stored_through=stored.stored_through
        )

    @serves(POST_TELEMETRY_BATCH, read=read_batch)
    async def post_batch(call: Call[ReadBatch]) -> TelemetryBatchAck:
        """Each record has its own result; a bad one is named and blocks nothing."""
        batch = call.body
        platform.site(batch.site_id)
        if not (batch.samples or batch.gaps or batch.unreadable):
            raise InvalidMessage("the batch is empty", field="samples")
        for gap in batch.gaps:
            if gap.from_sequence > gap.to_sequence:
                raise OutOfBounds("the gap ends before it begins", field="gaps")
        numbers = [each.sequence for each in batch.samples if each.sequence is not None]
        numbers += [each.sequence for each in batch.unreadable]
        highest = platform.store.telemetry.highest(batch.site_id, batch.stream_epoch)
        if max([*numbers, *(gap.to_sequence for gap in batch.gaps)], default=0) > highest + FAR_AHEAD:
            raise OutOfBounds("a sequence is too far ahead", field="samples")
        outcome = await platform.keep_batch(batch, call.now)
        return TelemetryBatchAck(
            accepted=len(outcome.stored.fresh),
            duplicates=outcome.stored.duplicates,
            stored_through=outcome.stored.stored_through,
            rejected=outcome.rejected,
        )

    return [post_telemetry, post_batch]
