"""What the pages need from the rest of Enexa, and nothing more."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from services.enexa.state import Board
from services.enexa.store.store import Store
from services.enexa.web.session import Doorkeeper
from shared.clock import Clock
from shared.contract.config import ConfigDocument, SiteConfig


class Desk(Struct, frozen=True, kw_only=True):
    """What an operator may change; each call raises a SiteError where the change is refused.

    `replan(site_id, author)`; `save_config(site_id, document, replaces_version, author)`.
    """

    replan: Callable[[str, str], Awaitable[None]]
    save_config: Callable[[str, ConfigDocument, int, str], Awaitable[SiteConfig]]


class Deps(Struct, frozen=True, kw_only=True):
    """Handed to `pages.handlers` by the composition root; `names` are display names by site id."""

    clock: Clock
    board: Board
    store: Store
    door: Doorkeeper
    desk: Desk
    names: dict[str, str]
