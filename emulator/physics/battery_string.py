"""One LFP string behind its converter: what it may do now, and what a second of power does to it.

The state is energy at the cells. Power is AC, + discharging. Converter loss is a curve over power; the string adds
I^2 R at the open-circuit voltage of its state of charge. Temperature follows the ambient with a lag and the square of
the load. Limits fall with temperature, toward the floor and toward the ceiling. With its cycles and years the string
loses capacity and gains resistance; energy is never lost by that, the state of charge rises a little instead.
"""

import math

from emulator.physics.nameplate import WORN_OUT_RATIO, StringPlate

OCV_V = (
    (0, 2.80), (2, 3.00), (5, 3.13), (10, 3.20), (15, 3.22), (20, 3.25), (30, 3.28), (40, 3.29), (50, 3.30),
    (60, 3.31), (70, 3.33), (80, 3.335), (90, 3.34), (95, 3.36), (98, 3.40), (100, 3.50),
)  # fmt: skip
"""Open-circuit voltage of an LFP cell against state of charge in percent."""

CEILING_BAND_PCT = 2.0
CEILING_LEAST_KW = 5.0
YEAR_S = 365.25 * 86_400.0


class BatteryString:
    """Energy, temperature and wear of one string; `look` sets the limits, `carry` applies a second of power."""

    __slots__ = (
        "_keep",
        "_new_ohm_per_v2",
        "_ohm_per_v2",
        "capacity_kwh",
        "charge_max_kw",
        "charged_kwh",
        "discharge_max_kw",
        "discharged_kwh",
        "energy_kwh",
        "floor_off",
        "loss_kw",
        "offline",
        "plate",
        "power_kw",
        "temperature_c",
        "worn_s",
    )

    def __init__(self, plate: StringPlate, *, soc_pct: float, ambient_c: float) -> None:
        self.plate = plate
        self.capacity_kwh = plate.capacity_kwh
        self.temperature_c = ambient_c
        self.power_kw = 0.0
        self.loss_kw = 0.0
        self.charge_max_kw = 0.0
        self.discharge_max_kw = 0.0
        self.charged_kwh = 0.0
        self.discharged_kwh = 0.0
        self.worn_s = 0.0
        self.offline = False
        self.floor_off = False
        self._keep = 1.0 - math.exp(-1.0 / plate.thermal_lag_s)
        self._new_ohm_per_v2 = tuple(_ohm_per_v2(plate, pct) for pct in range(102))
        self._ohm_per_v2 = self._new_ohm_per_v2
        self.age()
        self.energy_kwh = self.capacity_kwh * soc_pct / 100.0

    @property
    def soc_pct(self) -> float:
        return 100.0 * self.energy_kwh / self.capacity_kwh

    @property
    def health_ratio(self) -> float:
        """Capacity left of the new string's, by full cycles and calendar; a worn-out string fades no further."""
        plate = self.plate
        cycles = plate.cycles_before + self.discharged_kwh / plate.capacity_kwh
        return max(WORN_OUT_RATIO, plate.health_ratio(cycles, plate.years_before + self.worn_s / YEAR_S))

    def age(self) -> None:
        """Let capacity and resistance feel the wear; it comes so slowly that once a minute will do."""
        health = self.health_ratio
        self.capacity_kwh = self.plate.capacity_kwh * health
        stiffer = 1.0 + self.plate.stiffening_ratio * (1.0 - health)
        self._ohm_per_v2 = tuple(stiffer * ohm for ohm in self._new_ohm_per_v2)

    def look(self, ceiling_pct: float) -> None:
        """Set what the string can do in the coming second when it may be charged up to `ceiling_pct`."""
        if self.offline:
            self.charge_max_kw = self.discharge_max_kw = 0.0
            return
        plate = self.plate
        energy = self.energy_kwh
        soc = 100.0 * energy / self.capacity_kwh
        warm = self.temperature_c
        heat = 1.0
        if warm > plate.derate_from_c and not self.floor_off:
            heat = max(0.0, (plate.stop_at_c - warm) / (plate.stop_at_c - plate.derate_from_c))
        ceiling = min(ceiling_pct, plate.ceiling_pct)
        if soc >= ceiling or warm < plate.no_charge_below_c:
            self.charge_max_kw = 0.0
        else:
            charge = plate.charge_kw * heat
            to_plate = plate.ceiling_pct - soc
            if to_plate < plate.taper_below_ceiling_pct:
                charge *= to_plate / plate.taper_below_ceiling_pct
            to_go = ceiling - soc
            if to_go < CEILING_BAND_PCT:
                band = to_go / CEILING_BAND_PCT
                charge = min(charge, CEILING_LEAST_KW + (plate.charge_kw - CEILING_LEAST_KW) * band)
                charge = min(charge, to_go * self.capacity_kwh * 36.0)
            self.charge_max_kw = charge
        if self.floor_off:
            self.discharge_max_kw = min(plate.discharge_kw, energy * 3600.0 * 0.9)
            return
        above = soc - plate.floor_pct
        if above <= 0.0:
            self.discharge_max_kw = 0.0
        else:
            band = plate.full_discharge_above_pct - plate.floor_pct
            share = above / band if above < band else 1.0
            self.discharge_max_kw = plate.discharge_kw * heat * share

    def carry(self, power_kw: float, ambient_c: float) -> None:
        """Let `power_kw` (AC, + discharging) flow for one second."""
        plate = self.plate
        self.power_kw = power_kw
        size = power_kw if power_kw >= 0.0 else -power_kw
        if size > 0.0:
            loss = size * (
                plate.loss_fixed_kw / (size + 1.0) + plate.loss_linear_ratio + plate.loss_quadratic_per_kw * size
            )
            dc = power_kw + loss
            index = int(100.0 * self.energy_kwh / self.capacity_kwh)
            loss += dc * dc * self._ohm_per_v2[min(max(0, index), 101)]
            self.loss_kw = loss
            self.energy_kwh -= (power_kw + loss) / 3600.0
            if power_kw > 0.0:
                self.discharged_kwh += power_kw / 3600.0
                load = size / plate.discharge_kw
            else:
                self.charged_kwh += size / 3600.0
                load = size / plate.charge_kw
            self.temperature_c += (ambient_c + plate.heating_c * load * load - self.temperature_c) * self._keep
        else:
            self.loss_kw = 0.0
            self.temperature_c += (ambient_c - self.temperature_c) * self._keep
        self.worn_s += 1.0


def _ohm_per_v2(plate: StringPlate, soc_pct: float) -> float:
    """R / V^2 in 1/kW: times the square of the DC power in kW it gives the ohmic loss in kW."""
    volts = plate.cells * interpolated(OCV_V, min(soc_pct, 100.0))
    return plate.resistance_ohm / (volts * volts) * 1000.0


def interpolated(points: tuple[tuple[float, float], ...], x: float) -> float:
    """The value at `x` on the straight lines between the points; beyond the ends, the end's value."""
    before = points[0]
    for after in points:
        if x <= after[0]:
            if after[0] == before[0]:
                return after[1]
            return before[1] + (after[1] - before[1]) * (x - before[0]) / (after[0] - before[0])
        before = after
    return before[1]
