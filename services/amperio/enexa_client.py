"""The calls Amperio makes to Enexa; each says whether it was a useful exchange by what it returns or raises."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from shared.clock import Clock
from shared.contract.config import ConfigAck, SiteConfig
from shared.contract.events import Event, EventBatch, SiteStatus
from shared.contract.operations import (
    ACK_CONFIG,
    ACTIVATE_CONTROLLER,
    BOOTSTRAP_CONTROLLER,
    ENEXA_TOKEN,
    GET_CONFIG,
    GET_FIRMWARE,
    GET_FIRMWARE_FILE,
    GET_SCHEDULE,
    POST_EVENTS,
    POST_FIRMWARE_STATUS,
    POST_STATUS,
    POST_TELEMETRY,
    POST_TELEMETRY_BATCH,
    REGISTER_CONTROLLER,
    RENEW_KEY,
)
from shared.contract.registry import (
    Activate,
    Bootstrap,
    Firmware,
    FirmwareStatus,
    RegisterController,
    Registered,
    RenewedKey,
)
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import (
    Gap,
    Rejected,
    TelemetryAck,
    TelemetryBatchAck,
)
from shared.contract.wire import Message
from shared.errors import NotFound, PeerDown
from shared.rest.call import Caller, Secret


class StoredBatch(Message, frozen=True, kw_only=True):
    """A `TelemetryBatch` whose samples are encoded already: a replay decodes nothing."""

    site_id: str
    stream_epoch: str
    samples: tuple[msgspec.Raw, ...]
    gaps: tuple[Gap, ...]


class EnexaClient:
    """Typed calls over one Caller; errors are ours (shared/errors.py), nothing is retried here."""

    def __init__(
        self, url: str, clock: Clock, *, ca_file: Path | None, client_id: str, secret: Secret, timeout_s: float = 5.0
    ) -> None:
        self._caller = Caller(
            url,
            clock,
            ca_file=ca_file,
            client_id=client_id,
            secret=secret,
            token_operation=ENEXA_TOKEN,
            timeout_s=timeout_s,
        )
        self._etags: dict[str, str] = {}

    async def post_sample(self, sample: bytes) -> int | None:
        """Send one second as it was stored; the number up to which Enexa has everything."""
        reply = await self._caller.call(POST_TELEMETRY, sample)
        assert isinstance(reply.message, TelemetryAck)
        if reply.message.accepted + reply.message.duplicates < 1:
            raise PeerDown("Enexa answered, but did not take the sample")
        return reply.message.stored_through

    async def post_batch(
        self, site_id: str, stream_epoch: str, samples: Sequence[bytes], gaps: Sequence[Gap]
    ) -> tuple[int | None, tuple[Rejected, ...]]:
        """Send a batch of samples as they were stored; what Enexa has, and what it rejected by name."""
        raws = tuple(msgspec.Raw(sample) for sample in samples)
        batch = StoredBatch(site_id=site_id, stream_epoch=stream_epoch, samples=raws, gaps=tuple(gaps))
        reply = await self._caller.call(POST_TELEMETRY_BATCH, batch)
        assert isinstance(reply.message, TelemetryBatchAck)
        ack = reply.message
        if ack.accepted + ack.duplicates + len(ack.rejected) < len(batch.samples):
            raise PeerDown("Enexa answered, but did not account for every sample")
        return ack.stored_through, ack.rejected

    async def post_events(self, site_id: str, events: Sequence[Event]) -> None:
        await self._caller.call(POST_EVENTS, EventBatch(site_id=site_id, events=tuple(events)))

    async def post_status(self, status: SiteStatus) -> None:
        await self._caller.call(POST_STATUS, status)

    async def config(self, site_id: str) -> SiteConfig | None:
        """The version in force, or None where it is the one we fetched before."""
        etag = self._etags.get(site_id)
        headers = {"If-None-Match": etag} if etag else {}
        reply = await self._caller.call(GET_CONFIG, path={"site_id": site_id}, headers=headers)
        if reply.status == 304:
            return None
        assert isinstance(reply.message, SiteConfig)
        if "etag" in reply.headers:
            self._etags[site_id] = reply.headers["etag"]
        return reply.message

    def forget_config(self, site_id: str) -> None:
        """Ask for the whole document next time."""
        self._etags.pop(site_id, None)

    async def acknowledge_config(self, ack: ConfigAck) -> None:
        await self._caller.call(ACK_CONFIG, ack, path={"site_id": ack.site_id})

    async def schedule(self, site_id: str) -> SiteSchedule | None:
        """The current plan; None where Enexa has none yet, which is a useful answer too."""
        try:
            reply = await self._caller.call(GET_SCHEDULE, path={"site_id": site_id})
        except NotFound:
            return None
        assert isinstance(reply.message, SiteSchedule)
        return reply.message

    # ---- the controller itself ---------------------------------------------------------------------------------------

    async def bootstrap(self, controller_id: str) -> Bootstrap:
        """The first configuration and the assets; NotNow (with `state`) where this controller is past that."""
        reply = await self._caller.call(BOOTSTRAP_CONTROLLER, path={"id": controller_id})
        assert isinstance(reply.message, Bootstrap)
        return reply.message

    async def activate(self, controller_id: str) -> None:
        """Say that everything was tested; only a site that was heard of since its bootstrap goes live."""
        ready = Activate(status="ready", tests_passed=True)
        await self._caller.call(ACTIVATE_CONTROLLER, ready, path={"id": controller_id})

    async def renew_key(self, controller_id: str) -> RenewedKey:
        """Another API key; the one that asks holds for a while beside it."""
        reply = await self._caller.call(RENEW_KEY, path={"id": controller_id})
        assert isinstance(reply.message, RenewedKey)
        return reply.message

    async def firmware(self, device_type: str) -> Firmware | None:
        """The newest release, or None where there is none."""
        try:
            reply = await self._caller.call(GET_FIRMWARE, path={"device_type": device_type})
        except NotFound:
            return None
        assert isinstance(reply.message, Firmware)
        return reply.message

    async def download_firmware(self, sha256: str, into: BinaryIO, *, limit_bytes: int) -> None:
        """The file from Enexa itself, whatever other address a release may name."""
        await self._caller.download(GET_FIRMWARE_FILE, into, path={"sha256": sha256}, limit_bytes=limit_bytes)

    async def report_firmware(self, controller_id: str, status: FirmwareStatus) -> None:
        await self._caller.call(POST_FIRMWARE_STATUS, status, path={"id": controller_id})

    async def close(self) -> None:
        await self._caller.close()


async def register_controller(
    url: str, clock: Clock, *, ca_file: Path | None, token: str, serial: str, site_id: str
) -> Registered:
    """A one-time token buys a key, which is told only this once."""
    caller = Caller(url, clock, ca_file=ca_file)
    try:
        reply = await caller.call(
            REGISTER_CONTROLLER,
            RegisterController(serial=serial, site_id=site_id),
            headers={"Authorization": f"Bearer {token}"},
        )
    finally:
        await caller.close()
    assert isinstance(reply.message, Registered)
    return reply.message
