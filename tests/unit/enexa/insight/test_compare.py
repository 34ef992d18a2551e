"""The comparison behind Results and What-If: the real engine on a thinned day, and knobs that do what they say."""

import msgspec
import pytest

from services.enexa.insight.compare import compare
from services.enexa.insight.comparison import Comparison, Knobs
from services.enexa.simulation.compiled import fast_backward, fast_run_steps
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
def test_each_knob_turns_what_it_names() -> None:
    flat = run(price_spread_ratio=0.0)
    dear = run(price_shift_eur_per_mwh=100.0)
    narrow = run(grid_limit_kw=40.0)
    sunny = run(pv_kwp=50.0)

    assert max(flat.price_eur_per_mwh) - min(flat.price_eur_per_mwh) < 1e-6
    assert dear.reactive.cost_eur > run().reactive.cost_eur
    assert max(narrow.smart.import_kw) <= 40.0 + 1e-6
    assert sunny.pv_kwh > 300.0
    assert sunny.reactive.import_kwh < run().reactive.import_kwh


def test_a_plant_that_nobody_knows_is_refused() -> None:
    with pytest.raises(OutOfBounds):
        run(plant="elsewhere")
