"""A plan's schedule in the contract's shape: as it is stored, sent to the middleware and dispatched by."""

from datetime import datetime

from services.enexa.planning.plan import Plan
from shared.contract.schedule import ScheduleSlot, SiteSchedule


def schedule_of(plan: Plan, *, made_at: datetime) -> SiteSchedule:
    """The planner's schedule as it travels."""
    made = plan.schedule
    return SiteSchedule(
        site_id=plan.site_id,
        version=made.version,
        valid_from=made.valid_from,
        valid_until=made.valid_until,
        slots=tuple(
            ScheduleSlot(
                start=slot.start,
                setpoint_kw=slot.setpoint_kw,
                soc_target_pct=slot.soc_target_pct,
                reserve_pct=slot.reserve_pct,
                import_gate_kw=slot.import_gate_kw,
                price_eur_per_mwh=slot.price_eur_per_mwh,
                zone=slot.zone,
                reason=slot.reason.value,
                marginal_eur_per_kwh=slot.marginal_eur_per_kwh,
                ev_kw=max(slot.ev_kw, 0.0),
                import_kw=max(slot.import_kw, 0.0),
            )
            for slot in made.slots
        ),
        made_at=made_at,
    )
