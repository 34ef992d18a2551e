"""The identity of the AC bus."""

from hypothesis import given
from hypothesis import strategies as st

from shared.energy.balance import Flows, grid_kw, imbalance_kw

KW = st.floats(min_value=-500.0, max_value=500.0)
ONE_WAY_KW = st.floats(min_value=0.0, max_value=500.0)


@given(KW, ONE_WAY_KW, ONE_WAY_KW, ONE_WAY_KW)
def test_the_grid_closes_the_balance(battery: float, charger: float, load: float, pv: float) -> None:
    grid = grid_kw(battery_kw=battery, charger_kw=charger, load_kw=load, pv_kw=pv)

    flows = Flows(grid_kw=grid, battery_kw=battery, charger_kw=charger, load_kw=load, pv_kw=pv)

    assert abs(imbalance_kw(flows)) < 1e-9


def test_a_wrong_sign_shows() -> None:
    honest = Flows(grid_kw=80.0, battery_kw=20.0, charger_kw=99.0, load_kw=1.0)
    turned = Flows(grid_kw=80.0, battery_kw=-20.0, charger_kw=99.0, load_kw=1.0)

    assert imbalance_kw(honest) == 0.0
    assert imbalance_kw(turned) == -40.0
