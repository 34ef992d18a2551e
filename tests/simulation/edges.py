"""Which edges of which state machine a run has gone through, and which there are, by the tables themselves."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from emulator.device.watchdog import Watch
from services.amperio.site import autonomy
from services.amperio.site.ledger import TRANSITIONS as TAKEN
from services.amperio.site.orders import Settled
from services.enexa.dispatching.ledger import TRANSITIONS as COMMANDED
from shared.contract.reads import CommandRecord
from shared.contract.telemetry import Mode

AUTONOMY, AMPERIO_LEDGER, ENEXA_LEDGER, WATCHDOG = "autonomy", "ledger of Amperio", "ledger of Enexa", "watchdog"
WATCHDOG_EDGES = (
    (Watch.NO_CONTROL, Watch.WATCHING),
    (Watch.WATCHING, Watch.TRIPPED),
    (Watch.TRIPPED, Watch.WATCHING),
    (Watch.WATCHING, Watch.NO_CONTROL),
    (Watch.TRIPPED, Watch.NO_CONTROL),
)


def edge(machine: str, before: str, after: str) -> str:
    return f"{machine}: {before} -> {after}"


def all_edges() -> frozenset[str]:
    """Every edge that the tables allow."""
    modes = tuple(autonomy.TRANSITIONS)
    found = {edge(AUTONOMY, mode, after) for mode, row in autonomy.TRANSITIONS.items() for after in row.values()}
    for cause, after in autonomy.FROM_ANY.items():
        left_only_on_site = {after, Mode.LOCKED}
        before = {mode for mode in modes if mode not in left_only_on_site}
        if cause is autonomy.Cause.DEVICE_SILENT:
            before -= autonomy.HANDS_OFF
        found |= {edge(AUTONOMY, mode, after) for mode in before}
    found |= {edge(AMPERIO_LEDGER, before, after) for before, row in TAKEN.items() for after in row}
    found |= {edge(ENEXA_LEDGER, before, after) for before, row in COMMANDED.items() for after in row.values()}
    found |= {edge(WATCHDOG, before.value, after.value) for before, after in WATCHDOG_EDGES}
    return frozenset(found)


class Edges:
    """Counts what it is shown."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._watch: Watch | None = None

    def moved(self, before: str, after: str) -> None:
        """The middleware's mode."""
        self.counts[edge(AUTONOMY, before, after)] += 1

    def settled(self, settled: Settled) -> None:
        """A cycle's final words on commands; each counts once."""
        for entry in settled.entries:
            if not entry.is_open and entry.command_id not in self._ended:
                self._ended.add(entry.command_id)
                self.counts[edge(AMPERIO_LEDGER, "accepted", entry.record.status)] += 1

    def watched(self, watch: Watch) -> None:
        """The station's watchdog, once a second."""
        before, self._watch = self._watch, watch
        if before is not None and before is not watch:
            self.counts[edge(WATCHDOG, before.value, watch.value)] += 1

    def with_records(self, records: Iterable[CommandRecord]) -> Counter[str]:
        """All counts, with those of the histories that Enexa's records keep themselves."""
        counts = Counter(self.counts)
        for record in records:
            told = [change.status for change in record.history]
            counts.update(edge(ENEXA_LEDGER, before, after) for before, after in pairwise(told))
        return counts
