"""The arithmetic of a battery wish: laws over everything, and the contract's cases."""

from hypothesis import given
from hypothesis import strategies as st

from shared.contract.telemetry import LimitedBy
from shared.energy.envelope import Envelope, Load, aim, spare_for_discharge_kw

KW = st.floats(min_value=0.0, max_value=320.0)
WISHES = st.floats(min_value=-10_000.0, max_value=10_000.0)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    return Envelope(
        import_max_kw=draw(st.floats(min_value=0.0, max_value=87.0)),
        charge_max_kw=draw(st.floats(min_value=0.0, max_value=220.0)),
        discharge_max_kw=draw(st.floats(min_value=0.0, max_value=220.0)),
        export_max_kw=draw(st.sampled_from([0.0, 30.0])),
    )


@st.composite
def loads(draw: st.DrawFn) -> Load:
    return Load(ev_kw=draw(KW), own_kw=draw(st.floats(min_value=0.0, max_value=20.0)), pv_kw=draw(st.just(0.0) | KW))


@given(WISHES, loads(), envelopes())
def test_no_aim_lies_outside_the_envelope(wish_kw: float, load: Load, envelope: Envelope) -> None:
    aimed = aim(wish_kw, load, envelope)

    assert -envelope.charge_max_kw <= aimed.battery_kw <= envelope.discharge_max_kw
    assert -envelope.export_max_kw <= aimed.import_kw <= envelope.import_max_kw


@given(WISHES, loads(), envelopes())
def test_the_battery_never_offsets_more_than_the_cars_draw_without_export(
    wish_kw: float, load: Load, envelope: Envelope
) -> None:
    aimed = aim(wish_kw, load, envelope)

    spare_kw = max(spare_for_discharge_kw(load), -envelope.charge_max_kw) + envelope.export_max_kw
    assert aimed.battery_kw <= spare_kw + 1e-9


@given(WISHES, loads(), envelopes())
def test_a_difference_from_the_wish_is_always_told_and_only_then(
    wish_kw: float, load: Load, envelope: Envelope
) -> None:
    aimed = aim(wish_kw, load, envelope)

    assert bool(aimed.limited_by) == (abs(aimed.battery_kw - wish_kw) > 0.05)


@given(WISHES, loads(), envelopes())
def test_cars_are_curtailed_only_where_grid_and_battery_give_all_they_can(
    wish_kw: float, load: Load, envelope: Envelope
) -> None:
    aimed = aim(wish_kw, load, envelope)

    if aimed.curtailed:
        assert aimed.import_kw >= envelope.import_max_kw - 1e-9
        spare_kw = spare_for_discharge_kw(load) + envelope.export_max_kw
        assert aimed.battery_kw >= min(envelope.discharge_max_kw, spare_kw) - 1e-9


def test_the_cases_of_the_contract() -> None:
    envelope = Envelope(import_max_kw=83.5, charge_max_kw=220.0, discharge_max_kw=220.0)
    idle, car, big = Load(own_kw=0.5), Load(ev_kw=60.0, own_kw=3.0), Load(ev_kw=200.0, own_kw=8.0)

    rows = [
        (aim(-25.0, idle, envelope), -25.0, ()),
        (aim(60.0, idle, envelope), 0.0, (LimitedBy.NO_EXPORT,)),
        (aim(30.0, car, envelope), 30.0, ()),
        (aim(-25.0, big, envelope), 124.5, (LimitedBy.EV_MUST_SERVE,)),
        (aim(-200.0, idle, envelope), -83.0, (LimitedBy.GRID_LIMIT,)),
    ]

    assert [(round(aimed.battery_kw, 6), aimed.limited_by) for aimed, _, _ in rows] == [row[1:] for row in rows]
