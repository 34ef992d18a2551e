"""The comparison behind Results and What-If: the real engine on a thinned day, and knobs that do what they say."""

import msgspec
import pytest

from services.enexa.insight.compare import compare
from services.enexa.insight.comparison import Comparison, Knobs
from services.enexa.planning.compiled import fast_backward
from services.enexa.simulation.compiled import fast_run_steps
from shared.errors import OutOfBounds
from shared.scenario.load import load_scenario


def run(**knobs: object) -> Comparison:
    turned = msgspec.convert({"cars_ratio": 0.3, **knobs}, Knobs)
    scenario = load_scenario("reference_day")
    return compare(scenario, turned, recursion=fast_backward(), step_function=fast_run_steps())


@pytest.mark.timeout(120)
def test_the_three_controllers_stand_in_their_order_on_the_same_day() -> None:
    made = run()

    assert made.sessions_count == 7
    assert made.reactive.ev_kwh == pytest.approx(made.requested_kwh, abs=0.1)
    assert made.smart.ev_kwh == pytest.approx(made.requested_kwh, abs=0.1)
    assert made.perfect.net_eur <= made.smart.net_eur + 0.05
    assert made.smart.net_eur < made.reactive.net_eur
    assert made.captured_pct is not None
    assert 50.0 < made.captured_pct < 101.0
    assert len(made.price_eur_per_mwh) == len(made.smart.battery_kw) == len(made.perfect.soc_pct) == 96
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Comparison) == made


@pytest.mark.timeout(120)
def test_turned_knobs_reach_the_engine() -> None:
    """What each knob turns is asked in `test_turned`; here several at once are seen in the figures."""
    made = run(grid_limit_kw=40.0, pv_kwp=50.0, cars_ratio=0.1, price_shift_eur_per_mwh=100.0, price_spread_ratio=0.0,
               pv_error_ratio=0.3, price_error_ratio=0.5)  # fmt: skip

    assert max(made.smart.import_kw) <= 40.0 + 1e-6
    assert made.pv_kwh > 300.0
    assert max(made.price_eur_per_mwh) - min(made.price_eur_per_mwh) < 1e-6
    assert min(made.price_eur_per_mwh) > 120.0


@pytest.mark.timeout(120)
def test_a_fleet_without_batteries_is_the_sum_of_its_sites_within_what_section_14a_leaves() -> None:
    one, fleet = (run(battery_ratio=0.0, dimmed_from_h=0.0, dimmed_h=24.0, sites_count=n) for n in (1.0, 3.0))

    assert max(one.smart.import_kw) == pytest.approx(8.4)
    assert max(fleet.smart.import_kw) <= 3 * 8.4 + 1e-6
    assert fleet.sessions_count == 3 * one.sessions_count
    assert fleet.requested_kwh == pytest.approx(3 * one.requested_kwh)
    assert one.smart.unserved_kwh > 50.0


def test_a_plant_that_nobody_knows_is_refused() -> None:
    with pytest.raises(OutOfBounds):
        run(plant="elsewhere")
