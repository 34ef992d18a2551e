"""Is the battery worth its money: net present value, internal rate of return and payback of a site's savings."""

from msgspec import Struct

from shared.errors import BadInput

LOWEST_RATE, HIGHEST_RATE = -0.99, 10.0
BISECTIONS = 200


class Investment(Struct, frozen=True, kw_only=True):
    """Money out at the start, money in and out per year; `fade_ratio` is what savings lose each year by ageing."""

    capex_eur: float
    yearly_saving_eur: float
    yearly_opex_eur: float = 0.0
    years_count: int = 15
    discount_ratio: float = 0.06
    fade_ratio: float = 0.015
    residual_eur: float = 0.0


class Financials(Struct, frozen=True, kw_only=True):
    """None where there is no such number: an investment that never pays back has no payback."""

    npv_eur: float
    irr_ratio: float | None
    payback_years: float | None
    cashflow_eur: tuple[float, ...]


def financials(given: Investment) -> Financials:
    """The figures of an investment; raises BadInput for a life without years."""
    if given.years_count < 1:
        raise BadInput("An investment needs at least one year", years_count=given.years_count)
    if given.discount_ratio <= -1:
        raise BadInput("The discount rate must lie above -100 %", discount_ratio=given.discount_ratio)
    savings = (given.yearly_saving_eur * (1 - given.fade_ratio) ** year for year in range(given.years_count))
    flows = [-given.capex_eur, *(saving - given.yearly_opex_eur for saving in savings)]
    flows[-1] += given.residual_eur
    return Financials(
        npv_eur=npv(flows, given.discount_ratio),
        irr_ratio=_irr(flows),
        payback_years=_payback_years(flows),
        cashflow_eur=tuple(flows),
    )


def npv(flows_eur: list[float], rate_ratio: float) -> float:
    """Present value of yearly flows, the first today."""
    return sum(flow / (1 + rate_ratio) ** year for year, flow in enumerate(flows_eur))


def _irr(flows: list[float]) -> float | None:
    """The rate at which the value is 0; None without a change of sign between the widest rates."""
    low, high = LOWEST_RATE, HIGHEST_RATE
    if npv(flows, low) * npv(flows, high) > 0:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if npv(flows, low) * npv(flows, middle) <= 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _payback_years(flows: list[float]) -> float | None:
    """Years until the sum of flows turns positive, undiscounted, straight within a year."""
    total = flows[0]
    if total >= 0:
        return 0.0
    for year, flow in enumerate(flows[1:]):
        if total + flow >= 0:
            return year + (-total / flow)
        total += flow
    return None
