"""Controllers side by side on identical cars, prices and sun, between the reactive rule and perfect foresight."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from services.enexa.market.prices import PriceSeries
from services.enexa.planning.policy import Backward
from services.enexa.planning.recursion import backward
from services.enexa.simulation.live import LiveEms
from services.enexa.simulation.plant import run_steps
from services.enexa.simulation.site import Run, RunSteps, Stretch, run_reactive
from services.enexa.simulation.smartems import History, Knows, SmartEms
from services.enexa.simulation.study import Study, study_of

Progress = Callable[[str, float], None]
"""Hears who is running, and how far that run is (0 to 1)."""


class Planner(StrEnum):
    """Who plans for SmartEMS in a simulation."""

    TABLE = "table"
    LP = "lp"
    BOTH = "both"


class Comparing:
    """Runs controllers on one stretch with the same engine; `plans_count` adds up."""

    def __init__(
        self,
        given: Stretch,
        prices: PriceSeries,
        history: History,
        *,
        recursion: Backward = backward,
        step_function: RunSteps = run_steps,
        progress: Progress = lambda _who, _ratio: None,
    ) -> None:
        self._given, self._prices, self._history = given, prices, history
        self._recursion, self._step_function = recursion, step_function
        self._progress = progress
        self.plans_count = 0

    def reactive(self) -> Run:
        run = run_reactive(self._given, self._step_function)
        self._progress("reactive", 1.0)
        return run

    def table(self, knows: Knows) -> Run:
        """SmartEMS by its value table."""
        controller = SmartEms(
            self._given, self._prices, self._history, knows,
            recursion=self._recursion, step_function=self._step_function,
        )  # fmt: skip
        return self._completed(controller, "SmartEMS" if knows is Knows.FORECAST else f"SmartEMS, {knows} known")

    def live(self) -> Run:
        """SmartEMS by the running service's planner, triggers and gates."""
        controller = LiveEms(
            self._given, self._prices, self._history, recursion=self._recursion, step_function=self._step_function
        )
        return self._completed(controller, "SmartEMS, live planner")

    def _completed(self, controller: SmartEms | LiveEms, who: str) -> Run:
        run = controller.complete(lambda ratio: self._progress(who, ratio))
        self._progress(who, 1.0)
        self.plans_count += controller.plans_count
        return run


def compare(
    given: Stretch,
    prices: PriceSeries,
    history: History | None = None,
    knows: Knows = Knows.FORECAST,
    *,
    planner: Planner = Planner.TABLE,
    causes: bool = False,
    recursion: Backward = backward,
    step_function: RunSteps = run_steps,
    progress: Progress = lambda _who, _ratio: None,
    title: str = "SmartEMS against the reactive BMS",
    conditions: Sequence[str] = (),
    command: str = "",
) -> Study:
    """Reactive, SmartEMS and the bound on one stretch; `causes` splits the regret, at the price of two more runs."""
    engine = Comparing(
        given, prices, history or History(), recursion=recursion, step_function=step_function, progress=progress
    )
    runs = {"reactive": engine.reactive()}
    if planner is not Planner.LP:
        runs["smart"] = engine.table(knows)
    if planner is not Planner.TABLE:
        runs["lp"] = engine.live()
    ladder = [engine.table(each) for each in (Knows.ARRIVALS, Knows.ALL)] if causes else []
    return study_of(
        given,
        runs,
        title=title,
        judged="lp" if planner is Planner.LP else "smart",
        bounded=True,
        plans_count=engine.plans_count,
        ladder=ladder,
        conditions=conditions,
        command=command,
    )
