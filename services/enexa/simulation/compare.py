"""Controllers side by side on identical cars, prices and sun, between the reactive rule and perfect foresight."""

from collections.abc import Callable

from msgspec import Struct

from services.enexa.market.prices import PriceSeries
from services.enexa.planning.recursion import backward
from services.enexa.simulation.evaluation import bound_of
from services.enexa.simulation.kpis import Kpis, kpis_of
from services.enexa.simulation.plant import run_steps
from services.enexa.simulation.site import RunSteps, Stretch, run_reactive
from services.enexa.simulation.smartems import History, Knows, SmartEms


class Comparison(Struct, frozen=True, kw_only=True):
    """Figures per controller; net costs credit the energy left and charge what was not served.

    `uplift_captured_ratio` is None where there was nothing to gain.
    """

    reactive: Kpis
    smart: Kpis
    perfect_eur: float
    perfect_cost_eur: float
    saving_eur: float
    possible_eur: float
    uplift_captured_ratio: float | None
    plans_count: int


def compare(
    given: Stretch,
    prices: PriceSeries,
    history: History | None = None,
    knows: Knows = Knows.FORECAST,
    *,
    recursion: Callable[..., None] = backward,
    step_function: RunSteps = run_steps,
) -> Comparison:
    """Reactive, SmartEMS and the bound on one stretch."""
    baseline = run_reactive(given, step_function)
    reactive = kpis_of(baseline)
    controller = SmartEms(given, prices, history or History(), knows, recursion=recursion, step_function=step_function)
    planned = controller.complete()
    smart = kpis_of(planned)
    bound = bound_of(given, (baseline, planned))
    unserved_eur = given.tariff.unserved_eur_per_kwh * bound.unserved_kwh
    left_eur = given.end_value_eur_per_kwh * (bound.end_kwh - given.start_kwh)
    perfect_eur = bound.cost_eur - left_eur
    possible_eur = reactive.net_eur - perfect_eur
    saving_eur = reactive.net_eur - smart.net_eur
    return Comparison(
        reactive=reactive,
        smart=smart,
        perfect_eur=perfect_eur,
        perfect_cost_eur=bound.cost_eur - unserved_eur,
        saving_eur=saving_eur,
        possible_eur=possible_eur,
        uplift_captured_ratio=saving_eur / possible_eur if possible_eur > 0.005 else None,
        plans_count=controller.plans_count,
    )
