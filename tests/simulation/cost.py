"""python -m tests.simulation.cost: what an outage costs, as the same day played with it and without it.

Both runs begin with the same state of charge, the same cars, prices and weather, and differ in the fault plan alone.
What the battery holds at the end differs too; it is valued at the day's mean price, so that an emptied battery is no
saving.
"""

import argparse
import sys

import structlog
from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import EventDict

from shared.errors import BadInput
from shared.scenario.load import load_scenario
from shared.scenario.schema import Scenario
from tests.simulation.report import Report
from tests.simulation.weather import LINKS, PROGRAMS, Kind, Trouble, kind_of, place
from tests.simulation.world import Options, World

SOC_START_PCT = 50.0
ROUND_TRIP_RATIO = 0.9
"""Of a kWh in the battery, what is worth the market's price: the way out costs the rest."""


class Cost(Struct, frozen=True, kw_only=True):
    """The difference that the faults make; positive = dearer, or more."""

    without: Report
    with_it: Report
    import_kwh: float
    ev_kwh: float
    stored_kwh: float
    """How much less the battery holds at the end."""
    import_eur: float
    stored_eur: float
    peak_kw: float

    @property
    def total_eur(self) -> float:
        return self.import_eur + self.stored_eur

    def lines(self) -> list[str]:
        """For a terminal."""
        a, b = self.without, self.with_it
        row = "{:34}{:>12}{:>12}{:>12}".format
        return [
            row("", "without", "with", "difference"),
            row("import, kWh", *_three(a.energy.import_kwh, b.energy.import_kwh)),
            row("import, EUR", *_three(a.cost_eur, b.cost_eur)),
            row("served to cars, kWh", *_three(a.energy.ev_kwh, b.energy.ev_kwh)),
            row("discharged, kWh", *_three(a.energy.discharged_kwh, b.energy.discharged_kwh)),
            row("curtailed, kWh", *_three(a.clipped_kwh, b.clipped_kwh)),
            row("highest quarter hour, kW", *_three(a.peak_15min_kw, b.peak_15min_kw)),
            row("SOC at the end, %", *_three(a.soc_end_pct, b.soc_end_pct)),
            row("missing in the battery, EUR", "", "", f"{self.stored_eur:+.2f}"),
            row("the outage costs, EUR", "", "", f"{self.total_eur:+.2f}"),
            row("samples missing", str(a.samples.missing), str(b.samples.missing), ""),
            row("breaches", str(a.breach_count), str(b.breach_count), ""),
        ]


def cost_of(options: Options, troubles: tuple[Trouble, ...]) -> Cost:
    """The same run twice; `troubles` are what the second has more."""
    calm, rough = World(options), World(replace(options, troubles=(*options.troubles, *troubles)))
    capacity_kwh = sum(string.capacity_kwh for string in calm.device.station.post.strings)
    without, with_it = calm.run(), rough.run()
    stored_kwh = (without.soc_end_pct - with_it.soc_end_pct) / 100.0 * capacity_kwh
    bought = without.cost_eur / without.energy.import_kwh if without.energy.import_kwh else 0.0
    return Cost(
        without=without,
        with_it=with_it,
        import_kwh=with_it.energy.import_kwh - without.energy.import_kwh,
        ev_kwh=with_it.energy.ev_kwh - without.energy.ev_kwh,
        stored_kwh=stored_kwh,
        import_eur=with_it.cost_eur - without.cost_eur,
        stored_eur=stored_kwh * ROUND_TRIP_RATIO * bought,
        peak_kw=with_it.peak_15min_kw - without.peak_15min_kw,
    )


def calm_day(scenario: Scenario) -> Scenario:
    """A scenario with a known state of charge to start from."""
    return scenario if scenario.soc_start_pct is not None else replace(scenario, soc_start_pct=SOC_START_PCT)


def _three(before: float, after: float) -> tuple[str, str, str]:
    return f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"


def main() -> int:
    """0 where both runs held every rule, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.cost", description=__doc__)
    parser.add_argument("--scenario", default="reference_day")
    parser.add_argument("--hours", type=float, help="how long; default: what the scenario says")
    parser.add_argument("--kind", default="cut", help=f"one of {', '.join(Kind)}")
    parser.add_argument("--place", default="amperio_enexa", help="the link or program that is struck")
    parser.add_argument("--at-h", type=float, default=12.0, help="hours after the start")
    parser.add_argument("--for-h", type=float, default=4.0)
    given = parser.parse_args()
    structlog.configure(processors=[_dropped])
    try:
        trouble = Trouble(
            kind=kind_of(given.kind),
            place=place(given.place, LINKS | PROGRAMS),
            at_s=given.at_h * 3600.0,
            for_s=given.for_h * 3600.0,
        )
        options = Options(scenario=calm_day(load_scenario(given.scenario)), hours=given.hours)
    except BadInput as error:
        print(f"cost: {error}", file=sys.stderr)
        return 2
    cost = cost_of(options, (trouble,))
    print(f"{given.scenario}: {given.kind} of {given.place} after {given.at_h:g} h for {given.for_h:g} h")
    print("\n".join(cost.lines()))
    return 0 if cost.without.breach_count == cost.with_it.breach_count == 0 else 1


def _dropped(*_: object) -> EventDict:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
