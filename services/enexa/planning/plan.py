"""A plan: the schedule, what it costs, what gave way, and why; light enough for a process that never solves one."""

from msgspec import Struct

from services.enexa.planning.schedule import Schedule


class Costs(Struct, frozen=True, kw_only=True):
    """Expected money of a plan by kind, EUR over its horizon; export and the energy left are credits."""

    energy_eur: float
    fees_eur: float
    export_eur: float
    wear_eur: float
    demand_charge_eur: float
    unserved_eur: float
    end_value_eur: float
    total_eur: float


class Breach(Struct, frozen=True, kw_only=True):
    """A limit the plan could not keep, in the order in which limits give way; expected energy over the horizon."""

    limit: str
    first_slot: int
    amount_kwh: float


class Plan(Struct, frozen=True, kw_only=True):
    """A schedule and everything worth knowing about how it came to be; expectations are over the scenarios."""

    site_id: str
    schedule: Schedule
    costs: Costs
    explanations: tuple[str, ...]
    price_published: tuple[bool, ...]
    breaches: tuple[Breach, ...]
    gap_eur: float
    solve_s: float
    method: str
    scenario_count: int
