"""Onboarding of a controller: register with a one-time token, fetch the first configuration, go live."""

import secrets
from datetime import timedelta

import msgspec

from services.enexa.inbox import Inbox
from services.enexa.platform import Platform
from services.enexa.registry.assets import ControllerRecord, asset_view, controller_view, with_key, with_state
from services.enexa.registry.onboarding import Step, after
from services.enexa.tokens import PlatformTokens
from shared.contract.registry import (
    Activate,
    Activated,
    Bootstrap,
    Controller,
    FirmwareStatus,
    OnboardingState,
    RegisterController,
    Registered,
    RenewedKey,
)
from shared.errors import Conflict, NotNow, OutOfBounds, Unauthenticated
from shared.moment import Moment
from shared.rest.auth import digest


class Onboarding:
    """The three steps; the table in `registry/onboarding.py` says which may follow which."""

    def __init__(
        self, platform: Platform, tokens: PlatformTokens, inbox: Inbox, public_url: str, key_overlap: timedelta
    ) -> None:
        self._platform = platform
        self._tokens = tokens
        self._inbox = inbox
        self._public_url = public_url.rstrip("/")
        self._key_overlap = key_overlap
        self._bootstrapped: dict[str, Moment] = {}

    def controller(self, controller_id: str) -> ControllerRecord:
        return self._platform.controller(controller_id)

    def view(self, record: ControllerRecord) -> Controller:
        """A controller and its assets as the contract shows them."""
        return controller_view(record, [each for each in self._platform.assets if each.site_id == record.site_id])

    def load(self) -> None:
        """Let registered controllers log in after a restart, and no suspended one."""
        for controller in self._platform.controllers.values():
            self._tokens.admit(controller)

    async def register(self, wish: RegisterController, bearer: str, now: Moment) -> Registered:
        """A key for a new controller; its token is spent only where that succeeds, and shown once."""
        self._platform.site(wish.site_id)
        if any(each.serial == wish.serial for each in self._platform.controllers.values()):
            raise Conflict("this serial is registered already", serial=wish.serial)
        api_key = secrets.token_urlsafe(32)
        record = ControllerRecord(
            id=await self._new_id(),
            site_id=wish.site_id,
            serial=wish.serial,
            state=OnboardingState.REGISTERED,
            registered_at=now.at,
            key_sha256=digest(api_key),
        )
        if not self._inbox.spend(bearer):
            raise Unauthenticated("this enrolment token was used before")
        await self._platform.store.master.add_controller(record)
        await self._platform.adopt(record)
        self._tokens.admit(record)
        return Registered(
            api_key=api_key, config_url=f"{self._public_url}/v1/config/{record.site_id}", controller_id=record.id
        )

    async def bootstrap(self, controller_id: str, now: Moment) -> Bootstrap:
        record = await self._step(self._platform.controller(controller_id), Step.BOOTSTRAP)
        self._bootstrapped[record.id] = now
        mine = [each for each in self._platform.assets if each.controller_id == record.id]
        return Bootstrap(config=self._platform.config(record.site_id), assets=tuple(asset_view(each) for each in mine))

    async def activate(self, controller_id: str, wish: Activate, now: Moment) -> Activated:
        """Only a controller of which something was heard since its bootstrap goes live."""
        record = self._platform.controller(controller_id)
        after(record.state, Step.ACTIVATE)
        if wish.status != "ready" or not wish.tests_passed:
            raise OutOfBounds("only a controller that is ready and has passed its tests goes live", field="status")
        if not self._heard_of(record):
            raise OutOfBounds(
                "nothing was heard of this site since the bootstrap: report its status or a sample first",
                field="tests_passed",
            )
        await self._step(record, Step.ACTIVATE)
        return Activated(activated=True, activated_at=now.at)

    async def renew_key(self, controller_id: str, now: Moment) -> RenewedKey:
        """Another key in force before this returns; NotNow for one whose secret stands in the credentials file."""
        record = self._platform.controller(controller_id)
        if record.key_sha256 is None:
            raise NotNow("this controller's secret stands in the credentials file: exchange it there")
        api_key = secrets.token_urlsafe(32)
        renewed = with_key(record, digest(api_key), now.at, self._key_overlap)
        await self._keep(renewed)
        self._tokens.admit(renewed)
        return RenewedKey(api_key=api_key, previous_until=now.at + self._key_overlap)

    async def suspend(self, controller_id: str) -> ControllerRecord:
        """Shut a controller out; its key and its tokens are void before this returns."""
        record = await self._step(self._platform.controller(controller_id), Step.SUSPEND)
        self._tokens.admit(record)
        return record

    async def resume(self, controller_id: str) -> ControllerRecord:
        record = await self._step(self._platform.controller(controller_id), Step.RESUME)
        self._tokens.admit(record)
        return record

    async def report_firmware(self, controller_id: str, report: FirmwareStatus) -> None:
        record = self._platform.controller(controller_id)
        await self._keep(msgspec.structs.replace(record, firmware=report.current_version))

    def _heard_of(self, record: ControllerRecord) -> bool:
        since = self._bootstrapped.get(record.id)
        board = self._platform.board.site(record.site_id)
        heard = [board.latest.received_at] if board.latest is not None else []
        heard += [board.heard_at] if board.heard_at is not None else []
        return any(since is None or each >= since.at for each in heard)

    async def _step(self, record: ControllerRecord, step: Step) -> ControllerRecord:
        moved = with_state(record, after(record.state, step))
        await self._keep(moved)
        return moved

    async def _keep(self, record: ControllerRecord) -> None:
        await self._platform.store.master.change_controller(record)
        self._platform.controllers[record.id] = record

    async def _new_id(self) -> str:
        while True:
            made = f"CTRL{await self._platform.store.master.next_number('controller'):03d}"
            if made not in self._platform.controllers:
                return made
