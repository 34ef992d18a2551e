"""`python -m services.enexa.cli.yardstick FILE`: arbitrage with perfect foresight per local day, the total last."""

import argparse
import csv
import sys
from pathlib import Path

from services.enexa.importers.prices import read_prices
from services.enexa.simulation.yardstick import YardstickDay, yardstick
from shared.errors import BadInput, SiteError

OUT = Path("build")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("prices", nargs="?", type=Path, help="a file with day-ahead prices, any known format")
    parser.add_argument("--days", type=Path, help="where to write the days as CSV (default build/yardstick_<name>.csv)")


def run(arguments: argparse.Namespace) -> int:
    """Print the total in EUR as the last line and write the days as CSV."""
    if arguments.prices is None:
        raise BadInput("Name a price file: make yardstick PRICES=FILE")
    source: Path = arguments.prices
    target: Path = arguments.days or OUT / f"yardstick_{source.stem}.csv"
    days = list(yardstick(read_prices(source, allow_gaps=True)))
    if not days:
        raise BadInput("The file holds no complete local day of one interval length", file=source.name)
    write_days(days, target)
    _say(f"{len(days)} days, {days[0].day} to {days[-1].day}, written to {target}; total in EUR:")
    _say(f"{sum(day.profit_eur for day in days):.2f}")
    return 0


def write_days(days: list[YardstickDay], target: Path) -> None:
    """One line per day; profits unrounded enough that their sum is the total."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["day", "intervals_count", "profit_eur", "charged_kwh", "discharged_kwh"])
        for day in days:
            amounts = (f"{value:.6f}" for value in (day.profit_eur, day.charged_kwh, day.discharged_kwh))
            writer.writerow([day.day.isoformat(), day.intervals_count, *amounts])


def main() -> int:
    """Errors that a person can mend are one sentence and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
