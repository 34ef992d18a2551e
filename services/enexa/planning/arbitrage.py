"""The yardstick: perfect-foresight arbitrage of one local day by a plain battery, exact to the cent.

200 kWh, 100 kW both ways at the AC side, 0.93 each way, empty at both midnights, no fees, no wear, one constant power
per price interval, either charging or discharging. Where a price is negative, charging and discharging at once would
burn energy for money, so those intervals get a binary; elsewhere the linear program is already exclusive.
"""

import highspy
import numpy as np
from msgspec import Struct

from services.enexa.planning.program import Floats, Triplets
from services.enexa.planning.solver import require, run_highs, set_matrix

CHARGE, DISCHARGE, ENERGY, MODE = range(4)


class YardstickBattery(Struct, frozen=True, kw_only=True):
    """The plain battery; powers at the AC side, energy in the cells."""

    capacity_kwh: float = 200.0
    power_kw: float = 100.0
    charge_efficiency_ratio: float = 0.93
    discharge_efficiency_ratio: float = 0.93


class Arbitrage(Struct, frozen=True, kw_only=True):
    """The best a day allowed: profit, and the AC energies per interval that earn it."""

    profit_eur: float
    charged_kwh: tuple[float, ...]
    discharged_kwh: tuple[float, ...]


def best_day(prices_eur_per_mwh: tuple[float, ...], interval_s: int, battery: YardstickBattery) -> Arbitrage:
    """The optimum of one day of equal intervals; proven, not within a gap."""
    count = len(prices_eur_per_mwh)
    highs = highspy.Highs()
    for name, value in (("output_flag", False), ("mip_rel_gap", 0.0), ("mip_abs_gap", 0.0)):
        require(highs.setOptionValue(name, value), f"HiGHS refused its option {name}")
    require(highs.passModel(_model(np.array(prices_eur_per_mwh), interval_s / 3600, battery)), "HiGHS refused the day")
    x = run_highs(highs).x
    charged, discharged = x[:count], x[count : 2 * count]
    price = np.array(prices_eur_per_mwh) / 1000
    return Arbitrage(
        profit_eur=float(price @ (discharged - charged)),
        charged_kwh=tuple(charged.tolist()),
        discharged_kwh=tuple(discharged.tolist()),
    )


def _model(prices: Floats, hours: float, battery: YardstickBattery) -> "highspy.HighsLp":
    count = len(prices)
    step_kwh = battery.power_kw * hours
    index = np.arange(count)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = 4 * count, 3 * count
    zeros = np.zeros(count)
    lp.col_cost_ = np.concatenate([prices / 1000, -prices / 1000, zeros, zeros])
    energy_high = np.full(count, battery.capacity_kwh)
    energy_high[-1] = 0.0
    # A free mode (0..1) leaves both directions their whole power; only negative prices make it a binary.
    binary = prices < 0
    lp.col_lower_ = np.zeros(4 * count)
    lp.col_upper_ = np.concatenate([np.full(2 * count, step_kwh), energy_high, np.ones(count)])
    lp.row_lower_ = np.concatenate([zeros, np.full(2 * count, -np.inf)])
    lp.row_upper_ = np.concatenate([zeros, np.where(binary, 0.0, step_kwh), np.full(count, step_kwh)])
    entries = Triplets()
    add = entries.add
    add(index, ENERGY * count + index, 1.0)
    add(index[1:], ENERGY * count + index[:-1], -1.0)
    add(index, CHARGE * count + index, -battery.charge_efficiency_ratio)
    add(index, DISCHARGE * count + index, 1 / battery.discharge_efficiency_ratio)
    add(count + index, CHARGE * count + index, 1.0)
    add(count + index[binary], MODE * count + index[binary], -step_kwh)
    add(2 * count + index, DISCHARGE * count + index, 1.0)
    add(2 * count + index[binary], MODE * count + index[binary], step_kwh)
    set_matrix(lp, *entries.arrays())
    kinds = [highspy.HighsVarType.kContinuous] * (3 * count)
    kinds += [highspy.HighsVarType.kInteger if is_binary else highspy.HighsVarType.kContinuous for is_binary in binary]
    lp.integrality_ = kinds
    return lp
