"""plan(problem) -> Plan: the schedule, what it costs, what bound it, and why."""

from msgspec import Struct

from services.enexa.planning.schedule import Schedule


class Costs(Struct, frozen=True, kw_only=True):
    """Expected money of a plan by kind, EUR over its horizon; `end_value_eur` is credited, the rest is paid."""

    energy_eur: float
    fees_eur: float
    export_eur: float
    wear_eur: float
    demand_charge_eur: float
    unserved_eur: float
    end_value_eur: float
    total_eur: float


class Breach(Struct, frozen=True, kw_only=True):
    """A limit the plan could not keep, in the order in which limits give way; expected amount over the horizon."""

    limit: str
    first_slot: int
    amount_kwh: float


class Plan(Struct, frozen=True, kw_only=True):
    """A schedule and everything worth knowing about how it came to be."""

    site_id: str
    schedule: Schedule
    costs: Costs
    explanations: tuple[str, ...]
    price_published: tuple[bool, ...]
    expected_import_kw: tuple[float, ...]
    expected_ev_kw: tuple[float, ...]
    breaches: tuple[Breach, ...]
    gap_eur: float
    solve_s: float
    method: str
    scenario_count: int
