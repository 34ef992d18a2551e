"""What goes into a cycle and what comes out: inbox, orders, outcomes, and what settling them told."""

from msgspec import Struct

from services.amperio.site.events import Sessions
from services.amperio.site.facts import Fact
from services.amperio.site.ledger import Entry, Fence
from services.amperio.site.limits import Held
from services.amperio.site.reads import Reading, ReadRequest
from shared.chargepost.layout import RegisterWrite
from shared.contract.config import ConfigAck, SiteConfig
from shared.contract.dispatch import GridOperatorLimit
from shared.contract.events import Event
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Telemetry


class Inbox(Struct, frozen=True, kw_only=True):
    """Everything that arrived since the last cycle."""

    released: tuple[str, ...] = ()
    """Ids of admitted commands that are durable now and may act."""
    exchanges: tuple[bool, ...] = ()
    """Outcomes of calls to Enexa, in order; True only for a useful answer."""
    config: SiteConfig | None = None
    schedule: SiteSchedule | None = None
    operator: GridOperatorLimit | None = None
    operator_withdrawn: bool = False
    locked: bool = False
    intake_alive: bool = True
    """Whether the command intake and its store answer, be it with an error."""
    buffered_count: int = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one write: the words read back, or the code and class of what went wrong."""

    write: RegisterWrite
    words: tuple[int, ...] | None = None
    error_code: str | None = None
    refused: bool = False
    """The device said no; trying again will not help."""

    @property
    def confirmed(self) -> bool:
        return self.words is not None and self.write.confirmed_by(self.words)


class Outcomes(Struct, frozen=True, kw_only=True):
    writes: tuple[Outcome, ...] = ()
    checks: tuple[Reading, ...] = ()


class Keepsake(Struct, frozen=True, kw_only=True):
    """What a site must know again after a restart, besides its ledger."""

    config: SiteConfig | None = None
    schedule: SiteSchedule | None = None
    held: Held = Held()
    energy_id: str | None = None
    fences: dict[str, Fence] = {}
    epoch: int = 0
    sessions: Sessions = (None, None)


class Orders(Struct, frozen=True, kw_only=True):
    """What the cycle wants done, in this order: writes with read-back, then the checks."""

    writes: tuple[RegisterWrite, ...] = ()
    checks: tuple[ReadRequest, ...] = ()
    sample: Telemetry | None = None


class Settled(Struct, frozen=True, kw_only=True):
    """What the whole cycle told: for the store, for Enexa, for the log."""

    entries: tuple[Entry, ...] = ()
    forgotten: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    facts: tuple[Fact, ...] = ()
    config_ack: ConfigAck | None = None
    keepsake: Keepsake | None = None
    """Only where it changed."""
