"""Samples whose balance closes, for tests of the views."""

from datetime import UTC, datetime

from shared.contract.telemetry import Battery, BatteryUnit, Charger, Control, Grid, Mode, Station, Telemetry

AT = datetime(2026, 6, 16, 10, 0, tzinfo=UTC)


def sample(
    *,
    at: datetime = AT,
    battery_kw: float = -20.0,
    ev_kw: tuple[float, ...] = (50.0, 0.0),
    aux_kw: float = 3.0,
    pv_kw: float | None = None,
    mode: Mode | None = Mode.ONLINE,
    wish_kw: float | None = None,
) -> Telemetry:
    """The grid closes the balance."""
    grid_kw = sum(ev_kw) + aux_kw - battery_kw - (pv_kw or 0.0)
    return Telemetry(
        site_id="SITE001",
        timestamp=at,
        battery=Battery(
            soc_pct=55.0,
            power_kw=battery_kw,
            units=(
                BatteryUnit(soc_pct=60.0, power_kw=battery_kw * 0.4),
                BatteryUnit(soc_pct=50.0, power_kw=battery_kw * 0.6),
            ),
        ),
        grid=Grid(import_kw=max(grid_kw, 0.0), export_kw=max(-grid_kw, 0.0)),
        chargers=tuple(Charger(state="charging" if kw else "available", plugged=kw > 0, power_kw=kw) for kw in ev_kw),
        aux_kw=aux_kw,
        pv_kw=pv_kw,
        station=Station(mode=mode, watchdog_s=8.0, buffered_count=3),
        control=Control(wish_kw=wish_kw),
    )
