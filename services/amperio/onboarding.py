"""Onboarding of a site: register with a one-time token, fetch its configuration, test its station, go live.

Each step is kept before the next one is tried, so that whatever fails is mended and `amperio enrol` simply run again;
the token is needed only once.
"""

from pathlib import Path

import msgspec

from services.amperio.controllers import Controller, Controllers
from services.amperio.enexa_client import EnexaClient, register_controller
from services.amperio.modbus_link import ModbusLink
from services.amperio.site.commissioning import SelfTest, self_tests, trial_write
from services.amperio.site.image import image_of
from services.amperio.site.orders import Orders
from services.amperio.site.reads import reads_of_cycle
from shared.clock import Clock
from shared.contract.config import SiteConfig
from shared.contract.events import SiteStatus
from shared.contract.registry import OnboardingState, RenewedKey
from shared.errors import NotNow


class Onboarding:
    """The four steps for one site after the other."""

    def __init__(
        self, controllers: Controllers, clock: Clock, *, enexa_url: str, ca_file: Path | None, modbus_timeout_s: float
    ) -> None:
        self._controllers = controllers
        self._clock = clock
        self._enexa_url = enexa_url
        self._ca_file = ca_file
        self._modbus_timeout_s = modbus_timeout_s

    async def register(self, site_id: str, host: str, port: int, *, serial: str, token: str) -> Controller:
        """Step 1: the token buys a key, which is kept at once."""
        issued = await register_controller(
            self._enexa_url, self._clock, ca_file=self._ca_file, token=token, serial=serial, site_id=site_id
        )
        controller = Controller(
            site_id=site_id,
            host=host,
            port=port,
            serial=serial,
            controller_id=issued.controller_id,
            api_key=issued.api_key,
        )
        self._controllers.keep(controller)
        return controller

    async def go_live(self, controller: Controller) -> tuple[SelfTest, ...]:
        """Steps 2 to 4; the self-tests are answered, and where one failed the site did not go live.

        Raises LinkDown where the station does not answer, and whatever Enexa refuses.
        """
        enexa = self._enexa(controller)
        try:
            return await self._steps(controller, enexa)
        finally:
            await enexa.close()

    async def renew_key(self, controller: Controller) -> RenewedKey:
        """Another API key, kept before this returns; a running Amperio takes it with its next token."""
        enexa = self._enexa(controller)
        try:
            renewed = await enexa.renew_key(controller.controller_id)
        finally:
            await enexa.close()
        self._controllers.keep(msgspec.structs.replace(controller, api_key=renewed.api_key))
        return renewed

    def _enexa(self, controller: Controller) -> EnexaClient:
        return EnexaClient(
            self._enexa_url,
            self._clock,
            ca_file=self._ca_file,
            client_id=controller.controller_id,
            secret=controller.api_key,
        )

    async def _steps(self, controller: Controller, enexa: EnexaClient) -> tuple[SelfTest, ...]:
        try:
            config = (await enexa.bootstrap(controller.controller_id)).config
        except NotNow as error:
            if error.facts.get("state") != OnboardingState.ACTIVE:
                raise
            # The last answer was lost on its way: Enexa counts the controller as live already.
            self._controllers.keep(msgspec.structs.replace(controller, state=OnboardingState.ACTIVE))
            return ()
        controller = msgspec.structs.replace(controller, state=OnboardingState.BOOTSTRAPPED)
        self._controllers.keep(controller)
        tests = await self.test(controller, config)
        if all(each.passed for each in tests):
            now = self._clock.now()
            await enexa.post_status(
                SiteStatus(site_id=controller.site_id, online=True, timestamp=now.at, detail="onboarding")
            )
            await enexa.activate(controller.controller_id)
            self._controllers.keep(msgspec.structs.replace(controller, state=OnboardingState.ACTIVE))
        return tests

    async def test(self, controller: Controller, config: SiteConfig) -> tuple[SelfTest, ...]:
        """Read everything once, write one value as it stands; nothing is controlled."""
        link = ModbusLink(
            controller.site_id, controller.host, controller.port, self._clock, timeout_s=self._modbus_timeout_s
        )
        try:
            readings = await link.look(reads_of_cycle(1, everything=True, with_pv=config.pv is not None))
            image = image_of(self._clock.now(), readings, None)
            trial = trial_write(image)
            outcomes = await link.carry_out(Orders(writes=(trial,) if trial is not None else ()))
        finally:
            link.close()
        return self_tests(controller.site_id, config, readings, image, outcomes.writes[0] if outcomes.writes else None)
