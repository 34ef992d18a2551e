"""`enexa compare`: a scenario's day or recorded sessions in fast time, controllers side by side."""

import argparse
import csv
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
from msgspec import structs
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.enexa.importers.prices import read_prices
from services.enexa.importers.pv import read_pv
from services.enexa.importers.sessions import moved, read_sessions
from services.enexa.market.prices import PriceSeries
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.policy import Backward
from services.enexa.planning.recursion import backward
from services.enexa.simulation.compare import Planner, compare
from services.enexa.simulation.compare import Progress as Told
from services.enexa.simulation.days import PV_SHARE_KWP, REFERENCE_DAY, scenario_day, scenario_prices
from services.enexa.simulation.evaluation import visit_of
from services.enexa.simulation.page import page
from services.enexa.simulation.plant import Floats, run_steps
from services.enexa.simulation.scenarios import PLANTS
from services.enexa.simulation.site import RunSteps, Stretch, stretch
from services.enexa.simulation.smartems import History, Knows
from services.enexa.simulation.study import Study
from shared.energy.slots import day_end, day_start, local_day
from shared.errors import BadInput
from shared.scenario.load import load_scenario

MAX_DAYS = 366
EV_LOSS_RATIO = 0.05
OWN_KW = 0.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_inputs(parser)
    parser.add_argument("--knows", choices=[each.value for each in Knows], default=Knows.FORECAST.value)
    parser.add_argument(
        "--planner",
        choices=[each.value for each in Planner],
        default=Planner.TABLE.value,
        help="who plans for SmartEMS: the value table (seconds a day), the live service's program (minutes), or both",
    )
    parser.add_argument(
        "--causes", action="store_true", help="split what was not captured by cause (always with --html)"
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What every simulation needs to be told, and where its results go."""
    parser.add_argument("--scenario", default="reference_day", help="a shipped scenario or a scenario file")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="reference_day")
    parser.add_argument("--prices", type=Path, help="a price file instead of the scenario's prices")
    parser.add_argument("--sessions", type=Path, help="recorded sessions instead of the scenario's cars")
    parser.add_argument("--shift-days", type=int, default=0, help="move the sessions by so many days, local clock")
    parser.add_argument("--pv", type=Path, help="a PV file (CSV or PVGIS JSON) instead of the scenario's sun")
    parser.add_argument("--pv-peak-kw", type=float, help="the peak power, where the file holds shares of it")
    parser.add_argument("--pv-shift-days", type=int, default=0, help="move the PV file by so many days")
    parser.add_argument("--date", type=date.fromisoformat, help="the first local day (YYYY-MM-DD)")
    parser.add_argument("--days", type=int, default=1, help="how many days, with --sessions")
    parser.add_argument("--html", type=Path, help="write a report with plots: one file that opens anywhere")
    parser.add_argument("--json", type=Path, help="write everything as JSON")
    parser.add_argument("--csv", type=Path, help="write the figures as CSV")
    parser.add_argument("--plain", action="store_true", help="run as plain Python instead of compiling first")


def run(arguments: argparse.Namespace) -> int:
    """Print reactive, SmartEMS and perfect foresight side by side; write files where asked."""
    given, prices, history = inputs(arguments)
    recursion, step_function = engine(arguments)
    with bar() as told:
        found = compare(
            given,
            prices,
            history,
            Knows(arguments.knows),
            planner=Planner(arguments.planner),
            causes=arguments.causes or arguments.html is not None,
            recursion=recursion,
            step_function=step_function,
            progress=told,
            title=f"SmartEMS on {where(arguments)}",
            conditions=conditions(arguments, given, history),
            command=command_of("compare", arguments),
        )
    sys.stdout.write(table(found))
    write(found, arguments)
    return 0


def engine(arguments: argparse.Namespace) -> tuple[Backward, RunSteps]:
    """Recursion and plant, compiled unless plain Python was asked for: on one day already it is four times faster."""
    if arguments.plain:
        return backward, run_steps
    from services.enexa.planning.compiled import fast_backward  # noqa: PLC0415  loads numba
    from services.enexa.simulation.compiled import fast_run_steps  # noqa: PLC0415  as above

    return fast_backward(), fast_run_steps()


@contextmanager
def bar() -> Iterator[Told]:
    """A progress bar on stderr, a line per run; nothing where nobody looks at it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:32}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        tasks: dict[str, TaskID] = {}

        def told(who: str, ratio: float) -> None:
            if who not in tasks:
                tasks[who] = shown.add_task(who, total=1.0)
            shown.update(tasks[who], completed=ratio)

        yield told


def table(found: Study) -> str:
    """The study for a terminal."""
    lines = [f"{'':28}" + "".join(f"{track.name:>12}" for track in found.tracks)]
    lines.extend(
        f"{name:28}" + "".join(f"{getattr(track.kpis, name):>12.2f}" for track in found.tracks)
        for name in structs.asdict(found.baseline.kpis)
    )
    if found.possible_eur is not None:
        captured = found.captured_ratio
        share = f"{captured * 100:.1f} % of the possible" if captured is not None else "nothing to gain"
        told = f"saving {found.saved_eur:.2f} EUR of {found.possible_eur:.2f} EUR: {share}"
        lines.append(f"{told}; {found.plans_count} plans")
    lines.extend(f"not captured, {cause}: {eur:.2f} EUR" for cause, eur in found.regret_eur.items())
    return "\n".join(lines) + "\n"


def write(found: Study, arguments: argparse.Namespace) -> None:
    """The files that were asked for."""
    if arguments.json:
        target(arguments.json).write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if arguments.html:
        target(arguments.html).write_text(page(found), encoding="utf-8")
    if arguments.csv:
        with target(arguments.csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["figure", *(track.name for track in found.tracks)])
            for name in structs.asdict(found.baseline.kpis):
                writer.writerow([name, *(getattr(track.kpis, name) for track in found.tracks)])


def target(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("The folder of a result cannot be made", path=str(path), reason=error.strerror) from error
    if path.is_dir():
        raise BadInput("A result needs the name of a file, not of a folder", path=str(path))
    return path


def inputs(arguments: argparse.Namespace) -> tuple[Stretch, PriceSeries, History]:
    """What the arguments ask for: the stretch, the prices behind it, and the sessions before it."""
    if not 1 <= arguments.days <= MAX_DAYS:
        raise BadInput("Simulate at least one day and at most a year", days=arguments.days)
    scenario = load_scenario(arguments.scenario)
    day: date = arguments.date or REFERENCE_DAY
    prices = read_prices(arguments.prices) if arguments.prices else scenario_prices(scenario, day)
    if arguments.sessions is None:
        pv_kwp = 0.0 if arguments.plant == "chargepost" else PV_SHARE_KWP
        plant = PLANTS[arguments.plant]
        given = scenario_day(scenario, plant=plant, tariff=Tariff(), prices=prices, day=day, pv_kwp=pv_kwp)
        return _with_pv(given, arguments), prices, History()
    return _recorded(arguments, day, prices)


def _recorded(arguments: argparse.Namespace, day: date, prices: PriceSeries) -> tuple[Stretch, PriceSeries, History]:
    sessions = moved(read_sessions(arguments.sessions), arguments.shift_days)
    start, end = day_start(day), day_end(day + timedelta(days=arguments.days - 1))
    inside = [session for session in sessions if start <= session.start < end]
    if not inside:
        raise BadInput("No session begins on these days", first=day.isoformat(), days=arguments.days)
    given = stretch(
        start=start,
        minutes=int((end - start).total_seconds() // 60),
        plant=PLANTS[arguments.plant],
        tariff=Tariff(),
        prices=prices,
        visits=[visit_of(session, end) for session in inside],
        start_soc_pct=50.0,
        ev_loss_ratio=EV_LOSS_RATIO,
        own_kw=OWN_KW,
    )
    before = tuple(session for session in sessions if session.start < start)
    history = History(sessions=before, observed_days=tuple(sorted({local_day(s.start) for s in before})))
    return _with_pv(given, arguments), prices, history


def _with_pv(given: Stretch, arguments: argparse.Namespace) -> Stretch:
    if arguments.pv is None:
        return given
    series = read_pv(arguments.pv, peak_kw=arguments.pv_peak_kw)
    begin = given.start - timedelta(days=arguments.pv_shift_days)
    minutes: Floats = np.array(series.minutes_kw(begin, given.steps))
    return replace(given, pv_kw=minutes)


def conditions(arguments: argparse.Namespace, given: Stretch, history: History) -> list[str]:
    """What a reader has to know to judge the figures, from what was really given."""
    plant, tariff = given.plant, given.tariff
    capacity = " + ".join(f"{each.capacity_kwh:g}" for each in plant.strings) or "no"
    kw = sum(each.max_discharge_kw for each in plant.strings)
    export = f"export up to {plant.export_limit_kw:g} kW" if plant.export_limit_kw > 0 else "no export"
    prices, cars, sun = (_source(arguments, name) for name in ("prices", "sessions", "pv"))
    known = f"SmartEMS has learnt from {len(history.sessions)} sessions on {len(history.observed_days)} earlier days."
    unknown = "SmartEMS has seen no day before: it begins with what is usual elsewhere."
    told = f"""
Plant {arguments.plant}: {capacity} kWh of battery, {kw:g} kW, {plant.import_limit_kw:.0f} kW import, {export}.
Prices: {prices}, day-ahead, known from 13:00 of the day before; {tariff.fees_eur_per_mwh:g} €/MWh fees on top.
Cars: {cars}; each draws its highest power from its start until it has what it wants or leaves, under every controller.
Sun: {sun}, {float(given.pv_kw.sum() / 60):.0f} kWh; the plan knows the day’s sun.
{known if history.sessions else unknown}
The battery starts with {given.start_kwh:.0f} kWh; energy left counts {given.end_value_eur_per_kwh:.3f} €/kWh for all.
Energy not served costs {tariff.unserved_eur_per_kwh:g} €/kWh, wear {tariff.wear_cycle_eur_per_kwh:g} a full cycle.
Perfect foresight knows every car and price beforehand, with the same plant and cars: no controller can be cheaper.
The demand charge is shown beside the costs and is no part of the comparison; nor are investments."""
    return told.strip().split("\n")


def _source(arguments: argparse.Namespace, name: str) -> str:
    file: Path | None = getattr(arguments, name)
    return file.name if file is not None else "the scenario’s"


def command_of(name: str, arguments: argparse.Namespace) -> str:
    """How to make the same again, without the folders of this machine."""
    words = ["enexa", name]
    for key, value in vars(arguments).items():
        if value in (None, False) or key in {"html", "json", "csv", "minutes"}:
            continue
        text = value.name if isinstance(value, Path) else str(value)
        words.append(f"--{key.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(text)}"))
    return " ".join(words)


def where(arguments: argparse.Namespace) -> str:
    if arguments.sessions:
        return "recorded sessions"
    return str(arguments.scenario).replace("_", " ")
