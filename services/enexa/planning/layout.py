"""Where each variable and each constraint of the plan stands: the shape of the linear program, without numbers.

A node is one slot of one scenario. Slot 0 is one node for all scenarios, because what is done now cannot depend on
what is not yet known; from slot 1 on each scenario has its own. Every node has the same columns and rows:

    columns  per sub-step: import, import over the limit, export, pv, unserved, charge[i], discharge[i]   (kWh)
             per slot:     energy[i], energy short of the floor[i]                                        (kWh)
    rows     per sub-step: balance, assist      per string: state, floor      per sub-step and string: derating

then one peak column per scenario, one peak row per scenario and slot, and one end row per scenario. Sub-steps carry
energy, not power, so that a change of their lengths changes bounds and not the matrix.

What not every plant has costs nothing where it is missing: charge and discharge come once per segment of the
efficiency curve; with wear by depth each string and slot has a deep content, what leaves it, and two rows; with a
discharge budget each slot has what the day has given so far, and its row; under section 14a each sub-step has a row.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.enexa.planning.problem import PlanProblem
from shared.errors import BadInput

Integers = NDArray[np.int64]
SUBSTEPS = 2
IMPORT, OVER_IMPORT, EXPORT, PV, UNSERVED, FIRST_CHARGE = range(6)


class Layout(Struct, frozen=True):
    """The shape of a plan: slots, scenarios, strings, and what the plant has. Equal shapes share one solver model."""

    slots: int
    scenarios: int
    strings: int
    segments: int = 1
    by_depth: bool = False
    budgeted: bool = False
    steered: bool = False

    @property
    def nodes(self) -> int:
        return 1 + self.scenarios * (self.slots - 1)

    @property
    def columns_per_substep(self) -> int:
        return FIRST_CHARGE + 2 * self.strings * self.segments

    @property
    def columns_per_node(self) -> int:
        per_string = 4 if self.by_depth else 2
        return SUBSTEPS * self.columns_per_substep + per_string * self.strings + self.budgeted

    @property
    def columns(self) -> int:
        return self.nodes * self.columns_per_node + self.scenarios

    @property
    def rows_per_node(self) -> int:
        per_substep = 2 + self.strings + self.steered
        per_string = 4 if self.by_depth else 2
        return SUBSTEPS * per_substep + per_string * self.strings + self.budgeted

    @property
    def rows(self) -> int:
        return self.nodes * self.rows_per_node + self.scenarios * self.slots + self.scenarios

    def node(self, scenario: int, slot: int) -> int:
        """Index of a node; slot 0 belongs to every scenario."""
        return 0 if slot == 0 else 1 + scenario * (self.slots - 1) + slot - 1

    def path(self, scenario: int) -> Integers:
        """The nodes of one scenario, slot by slot."""
        return np.array([self.node(scenario, slot) for slot in range(self.slots)])

    def parents(self) -> Integers:
        """For each node the node before it; -1 for the first."""
        parents = np.arange(self.nodes) - 1
        if self.slots > 1:
            parents[1 :: self.slots - 1] = 0
        return parents

    def moved_on(self, slots: int) -> tuple[Integers, Integers]:
        """For each column and row its place `slots` slots earlier in the same plan; the last slot stands for later."""
        nodes = np.zeros(self.nodes, dtype=np.int64)
        for scenario in range(self.scenarios):
            path = self.path(scenario)
            nodes[path] = path[np.minimum(np.arange(self.slots) + slots, self.slots - 1)]
        nodes[0] = self.node(0, min(slots, self.slots - 1))
        columns, rows = np.arange(self.columns), np.arange(self.rows)
        width, height = self.columns_per_node, self.rows_per_node
        columns[: self.nodes * width] = (nodes[:, None] * width + np.arange(width)).ravel()
        rows[: self.nodes * height] = (nodes[:, None] * height + np.arange(height)).ravel()
        peaks = self.peak_rows()
        rows[peaks] = peaks[:, np.minimum(np.arange(self.slots) + slots, self.slots - 1)]
        return columns, rows

    def flow(self, step: int, kind: int) -> Integers:
        """Columns (one per node) of a flow in a sub-step."""
        return self._node_columns() + step * self.columns_per_substep + kind

    def charge(self, step: int, string: int, segment: int = 0) -> Integers:
        return self.flow(step, FIRST_CHARGE + string * self.segments + segment)

    def discharge(self, step: int, string: int, segment: int = 0) -> Integers:
        return self.flow(step, FIRST_CHARGE + (self.strings + string) * self.segments + segment)

    def energy(self, string: int) -> Integers:
        return self._node_columns() + SUBSTEPS * self.columns_per_substep + string

    def short(self, string: int) -> Integers:
        return self.energy(string) + self.strings

    def deep(self, string: int) -> Integers:
        """What a string's deep layer holds; only where wear goes by depth."""
        return self.energy(string) + 2 * self.strings

    def from_deep(self, string: int) -> Integers:
        """What leaves the deep layer in a slot."""
        return self.energy(string) + 3 * self.strings

    def given_today(self) -> Integers:
        """What the battery has given since midnight; only where a day has a budget."""
        return self._node_columns() + self.columns_per_node - 1

    def peak(self) -> Integers:
        """One column per scenario: the highest slot mean of import, kW."""
        return self.nodes * self.columns_per_node + np.arange(self.scenarios)

    def balance(self, step: int) -> Integers:
        return self._node_rows() + step

    def assist(self, step: int) -> Integers:
        return self._node_rows() + SUBSTEPS + step

    def state(self, string: int) -> Integers:
        return self._node_rows() + 2 * SUBSTEPS + string

    def floor(self, string: int) -> Integers:
        return self._node_rows() + 2 * SUBSTEPS + self.strings + string

    def derating(self, step: int, string: int) -> Integers:
        return self._node_rows() + 2 * SUBSTEPS + 2 * self.strings + step * self.strings + string

    def steering(self, step: int) -> Integers:
        return self._rows_behind() + step

    def depth(self, string: int) -> Integers:
        return self._rows_behind() + SUBSTEPS * self.steered + 2 * string

    def layers(self, string: int) -> Integers:
        return self.depth(string) + 1

    def budget(self) -> Integers:
        return self._node_rows() + self.rows_per_node - 1

    def peak_rows(self) -> Integers:
        """Rows [scenario, slot]."""
        first = self.nodes * self.rows_per_node
        return first + np.arange(self.scenarios * self.slots).reshape(self.scenarios, self.slots)

    def end_rows(self) -> Integers:
        return self.nodes * self.rows_per_node + self.scenarios * self.slots + np.arange(self.scenarios)

    def _node_columns(self) -> Integers:
        return np.arange(self.nodes) * self.columns_per_node

    def _rows_behind(self) -> Integers:
        return self._node_rows() + 2 * SUBSTEPS + 2 * self.strings + SUBSTEPS * self.strings

    def _node_rows(self) -> Integers:
        return np.arange(self.nodes) * self.rows_per_node


def layout_of(problem: PlanProblem) -> Layout:
    """The layout of a problem; refuses a plan without slots or without a scenario."""
    slots, strings = len(problem.starts), problem.plant.strings
    if slots < 1:
        raise BadInput("A plan needs at least one slot; is the horizon upside down?", slots=slots)
    if not problem.scenarios:
        raise BadInput("A plan needs at least one demand scenario")
    return Layout(
        slots,
        len(problem.scenarios),
        len(strings),
        segments=1 + max((len(string.knees) for string in strings), default=0),
        by_depth=any(string.deep_wear_eur_per_kwh > 0 for string in strings),
        budgeted=problem.plant.daily_discharge_budget_kwh is not None,
        steered=problem.battery_import_cap_kw is not None,
    )
