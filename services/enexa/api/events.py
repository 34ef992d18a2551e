"""Events, in order and at least once; kept exactly once."""

from services.enexa.platform import Platform
from shared.contract.events import EventAck, EventBatch
from shared.contract.operations import POST_EVENTS
from shared.errors import OutOfBounds
from shared.rest.gate import Call, Route, serves


def routes(platform: Platform) -> list[Route]:
    @serves(POST_EVENTS)
    async def post_events(call: Call[EventBatch]) -> EventAck:
        platform.site(call.body.site_id)
        if any(each.site_id != call.body.site_id for each in call.body.events):
            raise OutOfBounds("an event belongs to another site than the batch", field="events")
        kept = await platform.keep_events(call.body.events)
        return EventAck(accepted=len(kept.fresh), duplicates=kept.duplicates, stored_through=kept.stored_through)

    return [post_events]
