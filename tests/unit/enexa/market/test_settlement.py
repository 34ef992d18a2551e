"""Settlement closes to the cent whatever the slots are; financials agree with hand arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.market.financials import Investment, financials, npv
from services.enexa.market.settlement import SlotEnergy, settle
from services.enexa.market.tariffs import Tariff
from shared.errors import BadInput

START = datetime(2024, 5, 1, tzinfo=UTC)
KWH = st.floats(min_value=0.0, max_value=60.0)


@st.composite
def slots(draw: st.DrawFn) -> list[SlotEnergy]:
    made = []
    for index in range(draw(st.integers(min_value=1, max_value=20))):
        ev, own, pv, charged, discharged = (draw(KWH) for _ in range(5))
        grid = ev + own + charged - discharged - pv
        made.append(
            SlotEnergy(
                start=START + timedelta(minutes=15 * index),
                price_eur_per_mwh=draw(st.floats(min_value=-500.0, max_value=3000.0)),
                import_kwh=max(grid, 0.0),
                export_kwh=max(-grid, 0.0),
                pv_kwh=pv,
                ev_kwh=ev,
                own_kwh=own,
                charged_kwh=charged,
                discharged_kwh=discharged,
            )
        )
    return made


@given(slots())
def test_the_slots_add_up_to_the_totals_to_the_cent(energies: list[SlotEnergy]) -> None:
    done = settle(energies, Tariff(), flat_eur_per_kwh=0.25)

    assert done.unbalanced_count == 0
    assert sum(slot.flat_cents for slot in done.slots) == round(done.flat_eur * 100)
    assert sum(slot.dynamic_cents for slot in done.slots) == round(done.dynamic_eur * 100)
    exact = sum(Tariff().import_eur_per_kwh(e.price_eur_per_mwh) * e.import_kwh for e in energies)
    assert done.dynamic_eur == pytest.approx(exact, abs=0.00501)
    by_parts = round(done.flat_eur * 100) - round(done.dynamic_eur * 100) - round(done.wear_eur * 100)
    assert round(done.net_saving_eur * 100) == by_parts


@given(slots())
def test_without_a_battery_timing_is_worth_nothing(energies: list[SlotEnergy]) -> None:
    still = []
    for energy in energies:
        grid = energy.ev_kwh + energy.own_kwh - energy.pv_kwh
        still.append(
            SlotEnergy(
                start=energy.start,
                price_eur_per_mwh=energy.price_eur_per_mwh,
                import_kwh=max(grid, 0.0),
                export_kwh=max(-grid, 0.0),
                pv_kwh=energy.pv_kwh,
                ev_kwh=energy.ev_kwh,
                own_kwh=energy.own_kwh,
                charged_kwh=0.0,
                discharged_kwh=0.0,
            )
        )

    assert settle(still, Tariff(), 0.25).timing_value_eur == pytest.approx(0.0, abs=0.02)


def test_books_that_do_not_close_are_counted() -> None:
    energy = SlotEnergy(
        start=START, price_eur_per_mwh=50.0, import_kwh=10.0, export_kwh=0.0, pv_kwh=0.0, ev_kwh=9.0, own_kwh=0.0,
        charged_kwh=0.0, discharged_kwh=0.0,
    )  # fmt: skip

    done = settle([energy], Tariff(), 0.25)

    assert done.unbalanced_count == 1
    assert done.worst_imbalance_kwh == pytest.approx(1.0)


def test_an_investment_of_hand_arithmetic() -> None:
    plain = Investment(capex_eur=1000.0, yearly_saving_eur=500.0, years_count=3, discount_ratio=0.1, fade_ratio=0.0)

    figures = financials(plain)

    assert figures.npv_eur == pytest.approx(-1000 + 500 / 1.1 + 500 / 1.21 + 500 / 1.331)
    assert figures.payback_years == pytest.approx(2.0)
    assert figures.irr_ratio is not None
    assert npv(list(figures.cashflow_eur), figures.irr_ratio) == pytest.approx(0.0, abs=1e-6)


def test_what_never_pays_back_has_no_payback() -> None:
    figures = financials(Investment(capex_eur=1000.0, yearly_saving_eur=10.0, years_count=5))

    assert figures.payback_years is None
    assert figures.npv_eur < 0


def test_a_life_without_years_is_refused() -> None:
    with pytest.raises(BadInput):
        financials(Investment(capex_eur=1.0, yearly_saving_eur=1.0, years_count=0))
