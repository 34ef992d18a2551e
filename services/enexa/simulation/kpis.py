"""What a run came to: energies, service, peaks and money, closing on the balance of the AC bus."""

import numpy as np
from msgspec import Struct

from services.enexa.market.emissions import CO2_KG_PER_KWH
from services.enexa.planning.bounds import whole_battery
from services.enexa.simulation.plant import CHARGE, DISCHARGE, ENERGY, EV, EXPORT, IMPORT, OWN, PV_USED, Floats
from services.enexa.simulation.site import NO_BATTERY, STEP_S, STEPS_PER_SLOT, Run

HOURS = STEP_S / 3600
SERVED_KWH = 0.01


class Kpis(Struct, frozen=True, kw_only=True):
    """The key figures of one run; `cost_eur` = energy + fees + wear - export, without the demand charge.

    `net_eur` also credits the energy left above the start at the stretch's end value and charges the energy not
    served at its price, so that nobody wins by emptying the battery or by leaving cars short.
    """

    ev_kwh: float
    unserved_kwh: float
    sessions_count: int
    sessions_served_count: int
    import_kwh: float
    export_kwh: float
    pv_used_kwh: float
    pv_exported_kwh: float
    pv_curtailed_kwh: float
    own_kwh: float
    charged_kwh: float
    discharged_kwh: float
    cycles_count: float
    soc_min_pct: float
    soc_max_pct: float
    end_kwh: float
    peak_kw: float
    energy_eur: float
    fees_eur: float
    export_eur: float
    wear_eur: float
    demand_charge_eur: float
    revenue_eur: float
    cost_eur: float
    left_eur: float
    unserved_eur: float
    net_eur: float
    margin_eur: float
    co2_kg: float


def kpis_of(run: Run) -> Kpis:
    """The figures of a finished run."""
    given, record = run.given, run.record
    tariff = given.tariff
    battery = whole_battery(given.plant) or NO_BATTERY
    energy = {row: float(record[row].sum() * HOURS) for row in (IMPORT, EXPORT, PV_USED, CHARGE, DISCHARGE, EV)}
    energy_eur = float((record[IMPORT] * given.price_eur_per_mwh).sum() * HOURS / 1000)
    fees_eur = tariff.fees_eur_per_mwh / 1000 * energy[IMPORT]
    export_eur = float((record[EXPORT] * np.nan_to_num(given.sell_eur_per_kwh)).sum() * HOURS)
    wear_eur = tariff.wear_eur_per_kwh * (energy[CHARGE] + energy[DISCHARGE])
    cost_eur = energy_eur + fees_eur + wear_eur - export_eur
    unserved_kwh = float(run.rest_kwh.sum())
    peak_kw = highest_quarter_kw(record[IMPORT])
    demand_eur = tariff.peak_eur_per_kw(given.steps / 1440) * peak_kw
    revenue_eur = tariff.retail_eur_per_kwh * energy[EV]
    left_eur = given.end_value_eur_per_kwh * (run.energy_kwh - given.start_kwh)
    capacity = battery.capacity_kwh or 1.0
    pv_kwh = float(given.pv_kw.sum() * HOURS)
    return Kpis(
        ev_kwh=energy[EV],
        unserved_kwh=unserved_kwh,
        sessions_count=len(run.rest_kwh),
        sessions_served_count=int((run.rest_kwh < SERVED_KWH).sum()),
        import_kwh=energy[IMPORT],
        export_kwh=energy[EXPORT],
        pv_used_kwh=energy[PV_USED] - energy[EXPORT],
        pv_exported_kwh=energy[EXPORT],
        pv_curtailed_kwh=pv_kwh - energy[PV_USED],
        own_kwh=float(record[OWN].sum() * HOURS),
        charged_kwh=energy[CHARGE],
        discharged_kwh=energy[DISCHARGE],
        cycles_count=energy[DISCHARGE] / battery.discharge_efficiency_ratio / capacity,
        soc_min_pct=float(record[ENERGY].min() / capacity * 100),
        soc_max_pct=float(record[ENERGY].max() / capacity * 100),
        end_kwh=run.energy_kwh,
        peak_kw=peak_kw,
        energy_eur=energy_eur,
        fees_eur=fees_eur,
        export_eur=export_eur,
        wear_eur=wear_eur,
        demand_charge_eur=demand_eur,
        revenue_eur=revenue_eur,
        cost_eur=cost_eur,
        left_eur=left_eur,
        unserved_eur=tariff.unserved_eur_per_kwh * unserved_kwh,
        net_eur=cost_eur - left_eur + tariff.unserved_eur_per_kwh * unserved_kwh,
        margin_eur=revenue_eur - cost_eur - demand_eur + left_eur,
        co2_kg=CO2_KG_PER_KWH * energy[IMPORT],
    )


def highest_quarter_kw(import_kw: Floats) -> float:
    """The highest mean import of a quarter hour."""
    padded = np.append(import_kw, np.zeros(-len(import_kw) % STEPS_PER_SLOT))
    return float(padded.reshape(-1, STEPS_PER_SLOT).mean(axis=1).max())
