"""An evaluation as a page to read: the three figures, costs by kind, regret by cause, every day, and two plots."""

from collections.abc import Sequence
from itertools import accumulate

from services.enexa.simulation.evaluation import DayResult, Evaluation

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 260, 60, 30
SOURCES = "Sessions: EPFL DESL, Level-3 EV charging dataset (MIT). Prices: Bundesnetzagentur | SMARD.de (CC BY 4.0)."


FIGURES = """\
Captured is sum(reactive - smart) / sum(reactive - perfect) of net costs over all days: energy, fees and wear minus
export, unserved energy at its price, energy left valued alike for all. The demand charge is not in the figures.
"""

CONDITIONS = """\
* Plant `chargepost`: 2 x 95 kWh as one storage, 10-90 %, 220 kW derated below 30 %, 0.94 each way, 83 kW import, no
  export, battery never for own consumption; 0.4 kW standby, 5 % conversion loss per EV kWh.
* The first 10 logged days are history only; before each day only earlier days are known. The charge is carried inside
  each run of consecutive days and starts at 50 %.
* A car draws its recorded highest power from its start until it has its recorded energy, and leaves at its recorded
  end; what a controller cannot give at once it may give within the stay.
* Perfect foresight is a linear program in minutes, once with cars at full power from their start and once with the cars
  as each controller served them (a battery that runs low slows a car, which catches up later); the cheapest counts, so
  no controller can lie below it.
* Energy left is valued at a cheap hour of the run's last day plus fees and wear, over charging efficiency.
"""


def markdown(found: Evaluation, *, command: str, days_plot: str, sum_plot: str) -> str:
    """The report; `days_plot` and `sum_plot` are the names of the SVG files beside it."""
    parts = [
        "# SmartEMS on recorded sessions: how much of the possible it captures\n",
        _opening(found, command),
        _figures(found),
        FIGURES,
        _service(found),
        _regret(found),
        _costs(found),
        f"![Saving per day]({days_plot})\n\n![Sum of savings]({sum_plot})\n",
        f"## Conditions\n\n{CONDITIONS}",
        _days(found),
        f"{SOURCES}\n",
    ]
    return "\n".join(parts)


def _opening(found: Evaluation, command: str) -> str:
    days, sessions = found.days, sum(day.sessions_count for day in found.days)
    return (
        f"{len(days)} logged days from {days[0].day} to {days[-1].day}, {sessions} sessions, "
        f"{found.requested_kwh:.0f} kWh requested, {found.plans_count} plans.\nMade by `{command}`.\n"
    )


def _figures(found: Evaluation) -> str:
    rows = (
        _figure("1 of perfect foresight", found.captured_of_perfect_ratio, found.captured_of_perfect_interval, 78, 85),
        _figure(
            "2 of the same planner, arrivals known, prices as published",
            found.captured_of_arrivals_ratio,
            found.captured_of_arrivals_interval,
            88,
            93,
        ),
        _figure("3 same planner, everything known", found.all_known_ratio, found.all_known_interval, 98, None),
    )
    head = "| figure | captured | weekly bootstrap, 95 % | required | goal |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _service(found: Evaluation) -> str:
    allowed_kwh = found.unserved_reactive_kwh + 0.001 * found.requested_kwh
    return (
        f"Unserved at unplug: reactive {found.unserved_reactive_kwh:.1f} kWh, "
        f"SmartEMS {found.unserved_smart_kwh:.1f} kWh; allowed {allowed_kwh:.1f} kWh "
        "(reactive + 0.1 % of requested).\n"
    )


def _regret(found: Evaluation) -> str:
    causes = (
        ("cars not known beforehand", found.regret_demand_eur),
        ("prices beyond publication not known", found.regret_price_eur),
        ("model and control", found.regret_control_eur),
    )
    rows = "\n".join(f"| {name} | {eur:.2f} | {eur / found.possible_eur * 100:.1f} % |" for name, eur in causes)
    return (
        f"## Why not more: regret by cause\n\nPossible {found.possible_eur:.2f} EUR. Not captured:\n\n"
        f"| cause | EUR | share of the possible |\n|---|---|---|\n{rows}\n{_shortfalls(found)}"
    )


def _shortfalls(found: Evaluation) -> str:
    """What is required and not reached, said plainly."""
    required = (
        ("Figure 1", found.captured_of_perfect_ratio, 0.78),
        ("Figure 2", found.captured_of_arrivals_ratio, 0.88),
        ("Figure 3", found.all_known_ratio, 0.98),
    )
    missed = [
        f"{name} is {have * 100:.1f} %, required {need * 100:.0f} %." for name, have, need in required if have < need
    ]
    if not missed:
        return ""
    dear = max(found.days, key=lambda day: day.forecast_eur - day.arrivals_eur)
    lost_eur = dear.forecast_eur - dear.arrivals_eur
    return (
        f"\n**Falls short.** {' '.join(missed)} Of the {found.regret_demand_eur:.2f} EUR that not knowing the cars\n"
        f"costs, {lost_eur:.2f} EUR fall on {dear.day} alone.\n"
    )


def _costs(found: Evaluation) -> str:
    rows = "\n".join(
        f"| {s.controller} | {s.energy_eur:.2f} | {s.fees_eur:.2f} | {s.wear_eur:.2f} | {s.unserved_kwh:.1f} "
        f"| {s.cycles_count:.1f} | {s.peak_kw:.1f} |"
        for s in found.splits
    )
    head = "| controller | energy EUR | fees EUR | wear EUR | unserved kWh | full cycles | peak kW |"
    return f"## Costs by kind\n\n{head}\n|---|---|---|---|---|---|---|\n{rows}\n"


def _days(found: Evaluation) -> str:
    head = "| day | sessions | kWh | reactive | smart | arrivals known | all known | perfect | unserved kWh |"
    rows = "\n".join(_day(each) for each in found.days)
    return f"## Days\n\n{head}\n|---|---|---|---|---|---|---|---|---|\n{rows}\n"


def _figure(name: str, ratio: float, interval: tuple[float, float], required: int, goal: int | None) -> str:
    low, high = interval
    target = f"{goal} %" if goal is not None else ""
    return f"| {name} | **{ratio * 100:.1f} %** | {low * 100:.1f} to {high * 100:.1f} % | {required} % | {target} |"


def _day(d: DayResult) -> str:
    money = " | ".join(
        f"{eur:.2f}" for eur in (d.reactive_eur, d.forecast_eur, d.arrivals_eur, d.all_eur, d.perfect_eur)
    )
    return f"| {d.day} | {d.sessions_count} | {d.requested_kwh:.0f} | {money} | {d.forecast_unserved_kwh:.2f} |"


def days_svg(found: Evaluation) -> str:
    """Bars per day: what was possible, and what was captured."""
    possible = [day.reactive_eur - day.perfect_eur for day in found.days]
    saved = [day.reactive_eur - day.forecast_eur for day in found.days]
    top, low = max(*possible, *saved, 1.0), min(*possible, *saved, 0.0)
    step = (WIDTH - LEFT) / len(found.days)
    bars = []
    for index, (most, have) in enumerate(zip(possible, saved, strict=True)):
        x = LEFT + index * step
        bars.append(_bar(x, step * 0.8, most, top, low, "#c9d4e3"))
        bars.append(_bar(x + step * 0.15, step * 0.5, have, top, low, "#1f6fb2" if have >= 0 else "#b2331f"))
    return _svg("Saving per day, EUR: captured (blue) of possible (grey)", bars, top, low)


def sum_svg(found: Evaluation) -> str:
    """Running sums of savings: smart, arrivals known, perfect."""
    days = found.days
    lines = (
        ("#8a8f98", [d.reactive_eur - d.perfect_eur for d in days]),
        ("#3f9e5a", [d.reactive_eur - d.arrivals_eur for d in days]),
        ("#1f6fb2", [d.reactive_eur - d.forecast_eur for d in days]),
    )
    sums = [(colour, list(accumulate(values))) for colour, values in lines]
    top = max(max(values) for _, values in sums)
    paths = [_path(values, top, colour) for colour, values in sums]
    return _svg("Sum of savings, EUR: smart (blue), arrivals known (green), perfect foresight (grey)", paths, top, 0.0)


def _y(value: float, top: float, low: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (top - low) * (HEIGHT - 2 * BOTTOM)


def _bar(x: float, width: float, value: float, top: float, low: float, colour: str) -> str:
    upper, lower = _y(max(value, 0.0), top, low), _y(min(value, 0.0), top, low)
    return f'<rect x="{x:.1f}" y="{upper:.1f}" width="{width:.1f}" height="{lower - upper:.1f}" fill="{colour}"/>'


def _path(values: Sequence[float], top: float, colour: str) -> str:
    step = (WIDTH - LEFT) / max(len(values) - 1, 1)
    points = " ".join(f"{LEFT + index * step:.1f},{_y(value, top, 0.0):.1f}" for index, value in enumerate(values))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _svg(title: str, shapes: Sequence[str], top: float, low: float) -> str:
    marks = [low + (top - low) * part / 4 for part in range(5)]
    axis = [
        f'<text x="{LEFT - 6}" y="{_y(mark, top, low) + 4:.1f}" text-anchor="end">{mark:.0f}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{_y(mark, top, low):.1f}" y2="{_y(mark, top, low):.1f}" stroke="#e3e6ea"/>'
        for mark in marks
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="16">{title}</text>'
        f"{''.join(axis)}{''.join(shapes)}</svg>\n"
    )
