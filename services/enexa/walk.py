"""Walk through onboarding as an installer would: over HTTP, against this platform and the station that is there."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.enexa.inbox import Inbox
from services.enexa.side_door import SideDoor
from shared.clock import Clock, real_now_s
from shared.contract.operations import (
    ACTIVATE_CONTROLLER,
    BOOTSTRAP_CONTROLLER,
    ENEXA_TOKEN,
    REGISTER_CONTROLLER,
)
from shared.contract.registry import Activate, Bootstrap, RegisterController, Registered
from shared.errors import Conflict, Refused, SiteError
from shared.rest.call import Caller

PATIENCE_REAL_S = 15.0
TRY_EVERY_REAL_S = 0.5


class Stride(Struct, frozen=True, kw_only=True):
    """One step as it went."""

    name: str
    call: str
    told: str
    took_ms: float
    went_well: bool


class Walk(Struct, frozen=True, kw_only=True):
    """A whole walk; it ends with its first step that failed."""

    serial: str
    site_id: str
    at: datetime
    strides: tuple[Stride, ...]
    controller_id: str | None = None

    @property
    def arrived(self) -> bool:
        return len(self.strides) == len(STEPS) and all(each.went_well for each in self.strides)


STEPS = ("Invite", "Register", "Log in and bootstrap", "Test the station", "Activate")


class Walker:
    """Takes the steps one by one; each needs what the one before brought."""

    def __init__(self, *, clock: Clock, inbox: Inbox, own_url: str, side_door: SideDoor) -> None:
        self._clock = clock
        self._inbox = inbox
        self._own_url = own_url
        self._side_door = side_door

    async def walk(self, site_id: str, serial: str) -> Walk:
        """Never raises for a step that is refused: that is what the walk is there to show."""
        at, strides = self._clock.now().at, list[Stride]()
        found: dict[str, Any] = {"site_id": site_id, "serial": serial}
        calls = (
            "a one-time token",
            f"{REGISTER_CONTROLLER.method} {REGISTER_CONTROLLER.path}",
            f"{BOOTSTRAP_CONTROLLER.method} {BOOTSTRAP_CONTROLLER.path}",
            "the emulator's side door",
            f"{ACTIVATE_CONTROLLER.method} {ACTIVATE_CONTROLLER.path}",
        )
        acts: tuple[Callable[[dict[str, Any]], Awaitable[str]], ...] = (
            self._invite,
            self._register,
            self._bootstrap,
            self._test,
            self._activate,
        )
        for name, call, act in zip(STEPS, calls, acts, strict=True):
            began_s = real_now_s()
            try:
                told, went_well = await act(found), True
            except SiteError as error:
                told, went_well = f"{error.sentence[0].upper()}{error.sentence[1:]}.", False
            took_ms = (real_now_s() - began_s) * 1000.0
            strides.append(Stride(name=name, call=call, told=told, took_ms=took_ms, went_well=went_well))
            if not went_well:
                break
        if "caller" in found:
            await found["caller"].close()
        return Walk(
            serial=serial, site_id=site_id, at=at, strides=tuple(strides), controller_id=found.get("controller_id")
        )

    async def _invite(self, found: dict[str, Any]) -> str:
        found["token"] = self._inbox.invite(found["site_id"], self._clock.now().at)
        return "Enexa made a one-time token for this site and kept only its hash."

    async def _register(self, found: dict[str, Any]) -> str:
        caller = Caller(self._own_url, self._clock)
        wish = RegisterController(serial=found["serial"], site_id=found["site_id"])
        try:
            reply = await caller.call(REGISTER_CONTROLLER, wish, headers={"Authorization": f"Bearer {found['token']}"})
        finally:
            await caller.close()
        assert isinstance(reply.message, Registered)
        found["controller_id"], found["key"] = reply.message.controller_id, reply.message.api_key
        return f"Registered as {reply.message.controller_id}; the key was shown once, the token is spent."

    async def _bootstrap(self, found: dict[str, Any]) -> str:
        found["caller"] = Caller(
            self._own_url,
            self._clock,
            client_id=found["controller_id"],
            secret=found["key"],
            token_operation=ENEXA_TOKEN,
        )
        reply = await found["caller"].call(BOOTSTRAP_CONTROLLER, path={"id": found["controller_id"]})
        assert isinstance(reply.message, Bootstrap)
        config, count = reply.message.config, len(reply.message.assets)
        return f"Configuration {config.version} and {count} assets came with the first call."

    async def _test(self, _: dict[str, Any]) -> str:
        """A middleware that has just lost its connection is given a moment."""
        return await _tried(self._ask_the_station)

    async def _ask_the_station(self) -> str:
        station = (await self._side_door.health())["stations"][0]
        if station["silent"] or not station["connections"]:
            raise Conflict("the station is there, but nobody holds a Modbus connection to it")
        return f"The station {station['name']} runs and serves {station['connections']} Modbus connections."

    async def _activate(self, found: dict[str, Any]) -> str:
        """Enexa lets nobody live of whom nothing was heard since the bootstrap, so this may take a moment."""

        async def ask() -> str:
            wish = Activate(status="ready", tests_passed=True)
            await found["caller"].call(ACTIVATE_CONTROLLER, wish, path={"id": found["controller_id"]})
            return "Live: a sample of this site was heard since the bootstrap."

        return await _tried(ask)


async def _tried(act: Callable[[], Awaitable[str]]) -> str:
    """The act's word, tried again for a while; its last refusal where it never succeeds."""
    deadline_s = real_now_s() + PATIENCE_REAL_S
    while True:
        try:
            return await act()
        except Refused:
            if real_now_s() > deadline_s:
                raise
            await asyncio.sleep(TRY_EVERY_REAL_S)
