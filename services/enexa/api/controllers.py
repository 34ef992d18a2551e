"""Controllers: the three steps of onboarding, and their firmware."""

import asyncio
from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import File, Response

from services.enexa.firmware import FirmwareShelf
from services.enexa.onboarding import Onboarding
from shared.contract.firmware import parse_version
from shared.contract.operations import (
    ACTIVATE_CONTROLLER,
    BOOTSTRAP_CONTROLLER,
    GET_FIRMWARE,
    GET_FIRMWARE_FILE,
    POST_FIRMWARE_STATUS,
    REGISTER_CONTROLLER,
    RENEW_KEY,
    RESUME_CONTROLLER,
    SUSPEND_CONTROLLER,
)
from shared.contract.registry import (
    Activate,
    Activated,
    Bootstrap,
    Controller,
    Firmware,
    FirmwareStatus,
    FirmwareStatusAck,
    RegisterController,
    Registered,
)
from shared.errors import NotFound, UnknownController
from shared.rest.auth import Principal
from shared.rest.gate import Answer, Call, ClientGone, Gate, Route, serves

DEVICE_OF_CONTROLLERS = "controller"


def routes(onboarding: Onboarding, shelf: FirmwareShelf, public_url: str) -> list[Route]:
    @serves(REGISTER_CONTROLLER)
    async def register(call: Call[RegisterController]) -> Registered:
        bearer = call.headers["authorization"].partition(" ")[2].strip()
        return await onboarding.register(call.body, bearer, call.now)

    @serves(BOOTSTRAP_CONTROLLER)
    async def bootstrap(call: Call[None]) -> Bootstrap:
        return await onboarding.bootstrap(_own(call.path["id"], call.principal), call.now)

    @serves(ACTIVATE_CONTROLLER)
    async def activate(call: Call[Activate]) -> Activated:
        return await onboarding.activate(_own(call.path["id"], call.principal), call.body, call.now)

    @serves(RENEW_KEY)
    async def renew_key(call: Call[None]) -> Answer:
        renewed = await onboarding.renew_key(_own(call.path["id"], call.principal), call.now)
        return Answer(renewed, headers={"Cache-Control": "no-store"})

    @serves(SUSPEND_CONTROLLER)
    async def suspend(call: Call[None]) -> Controller:
        return onboarding.view(await onboarding.suspend(_seen(onboarding, call)))

    @serves(RESUME_CONTROLLER)
    async def resume(call: Call[None]) -> Controller:
        return onboarding.view(await onboarding.resume(_seen(onboarding, call)))

    @serves(GET_FIRMWARE)
    async def firmware(call: Call[None]) -> Firmware:
        release = await asyncio.to_thread(shelf.newest, call.path["device_type"])
        if release is None:
            raise NotFound("there is no firmware for this device type")
        return Firmware(
            version=release.version,
            url=f"{public_url.rstrip('/')}/v1/firmware/files/{release.sha256}",
            sha256=release.sha256,
            signature=release.signature,
            size_bytes=release.size_bytes,
        )

    @serves(POST_FIRMWARE_STATUS)
    async def firmware_status(call: Call[FirmwareStatus]) -> FirmwareStatusAck:
        parse_version(call.body.current_version)
        await onboarding.report_firmware(_own(call.path["id"], call.principal), call.body)
        release = await asyncio.to_thread(shelf.newest, DEVICE_OF_CONTROLLERS)
        return FirmwareStatusAck(latest_version=release.version if release is not None else None)

    return [register, bootstrap, activate, renew_key, suspend, resume, firmware, firmware_status]


def file_handler(shelf: FirmwareShelf, gate: Gate) -> HTTPRouteHandler:
    """The handler that hands a firmware file out, after the gate has let the request pass."""

    @serves(GET_FIRMWARE_FILE)
    async def admit(call: Call[None]) -> Answer:
        if await asyncio.to_thread(shelf.file, call.path["sha256"]) is None:
            raise NotFound("no such file")
        return Answer()

    @get(GET_FIRMWARE_FILE.path.replace("{sha256}", "{sha256:str}"), name=GET_FIRMWARE_FILE.name)
    async def firmware_file(request: Request[Any, Any, Any]) -> Response[bytes] | File:
        digest = str(request.path_params["sha256"])
        try:
            raw = await gate.pass_through(admit, request.scope, request.receive, {"sha256": digest})
        except ClientGone:
            return Response(b"", status_code=499)
        headers = {name.decode(): value.decode("latin-1") for name, value in raw.headers}
        media_type = headers.pop("content-type", "")
        path = shelf.file(digest)
        if raw.status != GET_FIRMWARE_FILE.status or path is None:
            return Response(raw.body, status_code=raw.status, headers=headers, media_type=media_type)
        return File(path=path, filename=f"{digest}.bin", media_type="application/octet-stream", headers=headers)

    return firmware_file


def _own(controller_id: str, principal: Principal | None) -> str:
    """A controller speaks for itself only; any other one does not exist for it."""
    if principal is None or principal.client_id != controller_id:
        raise UnknownController("no such controller")
    return controller_id


def _seen(onboarding: Onboarding, call: Call[None]) -> str:
    """The controller in the path; one at a site that the caller may not see does not exist for them."""
    assert call.principal is not None
    record = onboarding.controller(call.path["id"])
    if not call.principal.may_see(record.site_id):
        raise UnknownController("no such controller")
    return record.id
