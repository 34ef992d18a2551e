"""What the pages need from the rest of Enexa, and nothing more."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from services.enexa.drills import Drills
from services.enexa.inbox import Inbox
from services.enexa.market.prices import PriceSeries
from services.enexa.registry.assets import ControllerRecord
from services.enexa.side_door import SideDoor
from services.enexa.state import Board
from services.enexa.store.store import Store
from services.enexa.story import Story
from services.enexa.web.session import Doorkeeper
from shared.clock import Clock
from shared.contract.config import ConfigDocument, SiteConfig


class Desk(Struct, frozen=True, kw_only=True):
    """What an operator may change; each call raises a SiteError where the change is refused.

    `replan(site_id, author)`; `save_config(site_id, document, replaces_version, author)`.
    """

    replan: Callable[[str, str], Awaitable[None]]
    save_config: Callable[[str, ConfigDocument, int, str], Awaitable[SiteConfig]]


class Onboard(Struct, frozen=True, kw_only=True):
    """What the onboarding page needs: invitations, the controllers there are, and Enexa's own address for the calls."""

    inbox: Inbox
    controllers: dict[str, ControllerRecord]
    own_url: str
    side_door: SideDoor | None = None


class Deps(Struct, frozen=True, kw_only=True):
    """Handed to `pages.handlers` by the composition root; `names` are display names by site id.

    `prices_between(start, until)` are the prices of a period that is over; `data_dir` keeps what people make here.
    """

    clock: Clock
    board: Board
    store: Store
    door: Doorkeeper
    desk: Desk
    names: dict[str, str]
    prices_between: Callable[[datetime, datetime], PriceSeries]
    data_dir: Path
    drills: Drills | None = None
    onboard: Onboard | None = None
    story: Story | None = None
