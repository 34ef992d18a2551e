"""`enexa evaluate`: SmartEMS on recorded sessions between the reactive rule and perfect foresight, as a report."""

import argparse
import sys
from pathlib import Path

import msgspec

from services.enexa.importers.prices import read_prices
from services.enexa.importers.sessions import moved, read_sessions
from services.enexa.market.tariffs import Tariff
from services.enexa.simulation.evaluation import Setting, evaluate
from services.enexa.simulation.report import days_svg, markdown, sum_svg
from services.enexa.simulation.scenarios import CHARGEPOST


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "sessions", type=Path, help="recorded sessions (EPFL columns or start,end,energy_kwh,max_power_kw)"
    )
    parser.add_argument("prices", type=Path, help="a price file that covers them")
    parser.add_argument("--shift-days", type=int, default=0, help="move the sessions by so many days, local clock")
    parser.add_argument("--report", type=Path, default=Path("build/evaluation.md"), help="where the report goes")
    parser.add_argument("--json", type=Path, help="write all figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report with its plots, print the three figures."""
    from services.enexa.planning.compiled import fast_backward  # noqa: PLC0415  loads numba
    from services.enexa.simulation.compiled import fast_run_steps  # noqa: PLC0415  as above

    setting = Setting(
        plant=CHARGEPOST,
        tariff=Tariff(),
        sessions=moved(read_sessions(arguments.sessions), arguments.shift_days),
        prices=read_prices(arguments.prices),
    )
    found = evaluate(setting, recursion=fast_backward(), step_function=fast_run_steps(), progress=_progress)
    report: Path = arguments.report
    report.parent.mkdir(parents=True, exist_ok=True)
    days, sums = report.with_name(f"{report.stem}_days.svg"), report.with_name(f"{report.stem}_sum.svg")
    command = f"enexa evaluate {arguments.sessions.name} {arguments.prices.name} --shift-days {arguments.shift_days}"
    report.write_text(markdown(found, command=command, days_plot=days.name, sum_plot=sums.name), encoding="utf-8")
    days.write_text(days_svg(found), encoding="utf-8")
    sums.write_text(sum_svg(found), encoding="utf-8")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    sys.stdout.write(
        f"of perfect foresight {found.captured_of_perfect_ratio:.4f}\n"
        f"of arrivals known    {found.captured_of_arrivals_ratio:.4f}\n"
        f"everything known     {found.all_known_ratio:.4f}\n"
        f"unserved {found.unserved_smart_kwh:.2f} kWh (reactive {found.unserved_reactive_kwh:.2f})\nreport {report}\n"
    )
    return 0


def _progress(done: int, of: int) -> None:
    bar = "#" * round(30 * done / of) if of else ""
    sys.stderr.write(f"\r[{bar:30}] {done} of {of} runs of days" + ("\n" if done == of else ""))
    sys.stderr.flush()
