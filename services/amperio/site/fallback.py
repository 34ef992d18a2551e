"""What to follow without a command: the slot of the last known schedule, but only inside its own validity."""

from datetime import datetime, timedelta

from shared.contract.schedule import ScheduleSlot, SiteSchedule
from shared.energy.slots import SLOT_S


def slot_in_force(at: datetime, schedule: SiteSchedule | None, site_id: str) -> ScheduleSlot | None:
    """The slot that contains `at`; None where the schedule is missing, of another site, or silent about now."""
    if schedule is None or schedule.site_id != site_id or not schedule.valid_from <= at < schedule.valid_until:
        return None
    for slot in schedule.slots:
        if slot.start <= at < slot.start + timedelta(seconds=SLOT_S):
            return slot
    return None
