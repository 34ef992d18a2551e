"""Where each variable and each constraint of the plan stands: the shape of the linear program, without numbers.

A node is one slot of one scenario. Slot 0 is one node for all scenarios, because what is done now cannot depend on
what is not yet known; from slot 1 on each scenario has its own. Every node has the same columns and rows:

    columns  per sub-step: import, import over the limit, export, pv, unserved, charge[i], discharge[i]   (kWh)
             per slot:     energy[i], energy short of the floor[i]                                        (kWh)
    rows     per sub-step: balance, assist      per string: state, floor      per sub-step and string: derating

then one peak column per scenario, one peak row per scenario and slot, and one end row per scenario. Sub-steps carry
energy, not power, so that a change of their lengths changes bounds and not the matrix.
"""

import numpy as np
from msgspec import Struct

from shared.errors import BadInput

SUBSTEPS = 2
IMPORT, OVER_IMPORT, EXPORT, PV, UNSERVED, FIRST_CHARGE = range(6)


class Layout(Struct, frozen=True):
    """The shape of a plan: how many slots, scenarios and strings. Equal shapes share one solver model."""

    slots: int
    scenarios: int
    strings: int

    @property
    def nodes(self) -> int:
        return 1 + self.scenarios * (self.slots - 1)

    @property
    def columns_per_substep(self) -> int:
        return FIRST_CHARGE + 2 * self.strings

    @property
    def columns_per_node(self) -> int:
        return SUBSTEPS * self.columns_per_substep + 2 * self.strings

    @property
    def columns(self) -> int:
        return self.nodes * self.columns_per_node + self.scenarios

    @property
    def rows_per_node(self) -> int:
        return 2 * SUBSTEPS + 2 * self.strings + SUBSTEPS * self.strings

    @property
    def rows(self) -> int:
        return self.nodes * self.rows_per_node + self.scenarios * self.slots + self.scenarios

    def node(self, scenario: int, slot: int) -> int:
        """Index of a node; slot 0 belongs to every scenario."""
        return 0 if slot == 0 else 1 + scenario * (self.slots - 1) + slot - 1

    def path(self, scenario: int) -> np.ndarray:
        """The nodes of one scenario, slot by slot."""
        return np.array([self.node(scenario, slot) for slot in range(self.slots)])

    def parents(self) -> np.ndarray:
        """For each node the node before it; -1 for the first."""
        parents = np.arange(self.nodes) - 1
        if self.slots > 1:
            parents[1 :: self.slots - 1] = 0
        return parents

    def flow(self, step: int, kind: int) -> np.ndarray:
        """Columns (one per node) of a flow in a sub-step."""
        return self._node_columns() + step * self.columns_per_substep + kind

    def charge(self, step: int, string: int) -> np.ndarray:
        return self.flow(step, FIRST_CHARGE + string)

    def discharge(self, step: int, string: int) -> np.ndarray:
        return self.flow(step, FIRST_CHARGE + self.strings + string)

    def energy(self, string: int) -> np.ndarray:
        return self._node_columns() + SUBSTEPS * self.columns_per_substep + string

    def short(self, string: int) -> np.ndarray:
        return self.energy(string) + self.strings

    def peak(self) -> np.ndarray:
        """One column per scenario: the highest slot mean of import, kW."""
        return self.nodes * self.columns_per_node + np.arange(self.scenarios)

    def balance(self, step: int) -> np.ndarray:
        return self._node_rows() + step

    def assist(self, step: int) -> np.ndarray:
        return self._node_rows() + SUBSTEPS + step

    def state(self, string: int) -> np.ndarray:
        return self._node_rows() + 2 * SUBSTEPS + string

    def floor(self, string: int) -> np.ndarray:
        return self._node_rows() + 2 * SUBSTEPS + self.strings + string

    def derating(self, step: int, string: int) -> np.ndarray:
        return self._node_rows() + 2 * SUBSTEPS + 2 * self.strings + step * self.strings + string

    def peak_rows(self) -> np.ndarray:
        """Rows [scenario, slot]."""
        first = self.nodes * self.rows_per_node
        return first + np.arange(self.scenarios * self.slots).reshape(self.scenarios, self.slots)

    def end_rows(self) -> np.ndarray:
        return self.nodes * self.rows_per_node + self.scenarios * self.slots + np.arange(self.scenarios)

    def _node_columns(self) -> np.ndarray:
        return np.arange(self.nodes) * self.columns_per_node

    def _node_rows(self) -> np.ndarray:
        return np.arange(self.nodes) * self.rows_per_node


def layout_of(slots: int, scenarios: int, strings: int) -> Layout:
    """The layout of a problem; refuses a plan without slots or without a scenario."""
    if slots < 1:
        raise BadInput("A plan needs at least one slot; is the horizon upside down?", slots=slots)
    if scenarios < 1:
        raise BadInput("A plan needs at least one demand scenario")
    return Layout(slots, scenarios, strings)
