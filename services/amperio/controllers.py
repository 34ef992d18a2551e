"""Controllers enrolled at Enexa: one file each below the data directory, with the key that only this machine knows."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.contract.registry import OnboardingState
from shared.contract.wire import Id
from shared.errors import BadInput

CONTROLLERS = "controllers"
"""The directory of enrolled controllers inside the data directory."""


class Controller(Struct, frozen=True, kw_only=True):
    """The site this middleware speaks for, the station it speaks to, and how far its onboarding has come."""

    site_id: Id
    host: str
    port: Annotated[int, Meta(gt=0, lt=65_536)]
    serial: str
    controller_id: Id
    api_key: str
    state: OnboardingState = OnboardingState.REGISTERED


class Controllers:
    """The files, as `amperio enrol` leaves them and a running Amperio finds them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, site_id: str) -> Controller | None:
        """BadInput where there is a file that cannot be used: its key cannot be had a second time."""
        path = self._file(site_id)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Controller)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise BadInput(f"cannot read {path}: {error}; enrol the site anew with another serial") from error

    def key(self, site_id: str) -> str:
        """The API key of a site's controller as it is now; BadInput where there is none any more."""
        found = self.find(site_id)
        if found is None:
            raise BadInput(f"{site_id} is not enrolled any more: enrol it with `amperio enrol`")
        return found.api_key

    def active(self) -> tuple[Controller, ...]:
        """Those that went live, by site."""
        found = [self.find(path.stem) for path in sorted(self._directory.glob("*.json"))]
        return tuple(each for each in found if each is not None and each.state is OnboardingState.ACTIVE)

    def keep(self, controller: Controller) -> None:
        """Whole or not at all, and for the owner's eyes only."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._file(controller.site_id)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(controller)))
        fresh.replace(path)

    def _file(self, site_id: str) -> Path:
        return self._directory / f"{site_id}.json"
