"""`enexa compare`: a scenario's day or recorded sessions in fast time, controllers side by side."""

import argparse
import csv
import sys
from datetime import date, timedelta
from pathlib import Path

import msgspec
from msgspec import structs

from services.enexa.importers.prices import read_prices
from services.enexa.importers.sessions import read_sessions
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.problem import SessionRecord
from services.enexa.planning.recursion import backward
from services.enexa.simulation.compare import Comparison, compare
from services.enexa.simulation.days import PV_SHARE_KWP, REFERENCE_DAY, scenario_day, scenario_prices
from services.enexa.simulation.kpis import Kpis
from services.enexa.simulation.plant import run_steps
from services.enexa.simulation.scenarios import PLANTS
from services.enexa.simulation.site import Stretch, Visit, stretch
from services.enexa.simulation.smartems import History, Knows
from shared.energy.slots import day_end, day_start, local_day
from shared.errors import BadInput
from shared.scenario.load import load_scenario

MAX_DAYS = 366
EV_LOSS_RATIO = 0.05
OWN_KW = 0.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--scenario", default="reference_day", help="a shipped scenario or a scenario file")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="reference_day")
    parser.add_argument("--prices", type=Path, help="a price file instead of the scenario's prices")
    parser.add_argument("--sessions", type=Path, help="recorded sessions instead of the scenario's cars")
    parser.add_argument("--date", type=date.fromisoformat, help="the first local day (YYYY-MM-DD)")
    parser.add_argument("--days", type=int, default=1, help="how many days, with --sessions")
    parser.add_argument("--knows", choices=[each.value for each in Knows], default=Knows.FORECAST.value)
    parser.add_argument("--json", type=Path, help="write the comparison as JSON")
    parser.add_argument("--csv", type=Path, help="write the figures as CSV")
    parser.add_argument("--compiled", action="store_true", help="compile first: worth it from about a week on")


def run(arguments: argparse.Namespace) -> int:
    """Print reactive, SmartEMS and perfect foresight side by side; write files where asked."""
    if not 1 <= arguments.days <= MAX_DAYS:
        raise BadInput("Simulate at least one day and at most a year", days=arguments.days)
    given, prices, history = inputs(arguments)
    recursion, step_function = backward, run_steps
    if arguments.compiled:
        from services.enexa.simulation.compiled import fast_backward, fast_run_steps  # noqa: PLC0415  loads numba

        recursion, step_function = fast_backward(), fast_run_steps()
    found = compare(given, prices, history, Knows(arguments.knows), recursion=recursion, step_function=step_function)
    sys.stdout.write(table(found))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if arguments.csv:
        _write_csv(found, arguments.csv)
    return 0


def table(found: Comparison) -> str:
    """The comparison for a terminal."""
    lines = [f"{'':28}{'reactive':>12}{'smart':>12}{'perfect':>12}"]
    for name in structs.asdict(found.reactive):
        one, other = getattr(found.reactive, name), getattr(found.smart, name)
        best = {"net_eur": found.perfect_eur, "cost_eur": found.perfect_cost_eur}.get(name)
        lines.append(f"{name:28}{one:>12.2f}{other:>12.2f}" + (f"{best:>12.2f}" if best is not None else ""))
    captured = found.uplift_captured_ratio
    share = f"{captured * 100:.1f} % of the possible" if captured is not None else "nothing to gain"
    lines.append(
        f"saving {found.saving_eur:.2f} EUR of {found.possible_eur:.2f} EUR: {share}; {found.plans_count} plans"
    )
    return "\n".join(lines) + "\n"


def inputs(arguments: argparse.Namespace) -> tuple[Stretch, PriceSeries, History]:
    """What the arguments ask for: the stretch, the prices behind it, and the sessions before it."""
    plant = PLANTS[arguments.plant]
    pv_kwp = 0.0 if arguments.plant == "chargepost" else PV_SHARE_KWP
    scenario = load_scenario(arguments.scenario)
    day: date = arguments.date or REFERENCE_DAY
    prices = read_prices(arguments.prices) if arguments.prices else scenario_prices(scenario, day)
    if arguments.sessions is None:
        given = scenario_day(scenario, plant=plant, tariff=Tariff(), prices=prices, day=day, pv_kwp=pv_kwp)
        return given, prices, History()
    sessions = read_sessions(arguments.sessions)
    start, end = day_start(day), day_end(day + timedelta(days=arguments.days - 1))
    inside = [session for session in sessions if start <= session.start < end]
    if not inside:
        raise BadInput("No session begins on these days", first=day.isoformat(), days=arguments.days)
    given = stretch(
        start=start,
        minutes=int((end - start).total_seconds() // 60),
        plant=plant,
        tariff=Tariff(),
        prices=prices,
        visits=[_visit(session) for session in inside],
        start_soc_pct=50.0,
        ev_loss_ratio=EV_LOSS_RATIO,
        own_kw=OWN_KW,
    )
    before = tuple(session for session in sessions if session.start < start)
    return given, prices, History(sessions=before, observed_days=tuple(sorted({local_day(s.start) for s in before})))


def _visit(session: SessionRecord) -> Visit:
    return Visit(
        start=session.start, until=session.until, energy_kwh=session.energy_kwh, max_power_kw=session.max_power_kw
    )


def _write_csv(found: Comparison, target: Path) -> None:
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["figure", "reactive", "smart"])
        for name in Kpis.__struct_fields__:
            writer.writerow([name, getattr(found.reactive, name), getattr(found.smart, name)])
