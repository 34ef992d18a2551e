"""Onboarding over the wire: three steps in order, one-time tokens, no way around either; and signed firmware."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.enexa.firmware import FirmwareShelf
from services.enexa.inbox import Inbox
from services.enexa.registry.onboarding import TRANSITIONS, Step, after
from shared.contract.firmware import signed_bytes
from shared.contract.registry import OnboardingState
from shared.errors import NotNow, OutOfBounds
from tests.contract.enexa.http import Got, Http, http
from tests.integration.enexa.stage import PAGE_TIME, Stage, eventually

READY = {"status": "ready", "tests_passed": True}


def invite(stage: Stage, site_id: str = "SITE001", hours_ago: float = 0.0) -> str:
    return Inbox(stage.settings.data_dir).invite(site_id, PAGE_TIME - timedelta(hours=hours_ago))


async def register(link: Http, token: str, serial: str = "S-1", site_id: str = "SITE001") -> Got:
    return await link.send(
        "POST", "/v1/controllers/register", bearer=token, json={"serial": serial, "site_id": site_id}
    )


async def test_the_three_steps_of_the_page_lead_to_a_live_controller(stage: Stage) -> None:
    async with http(stage) as link:
        registered = await register(link, invite(stage))
        key, name = registered.json["api_key"], registered.json["controller_id"]
        boot = await link.send("GET", f"/v1/controllers/{name}/bootstrap", bearer=key)
        await link.send("POST", "/v1/status", bearer=key, json={"site_id": "SITE001", "online": True})
        active = await link.send("POST", f"/v1/controllers/{name}/activate", bearer=key, json=READY)
        seen = await link.send("GET", f"/v1/controllers/{name}", as_="viewer")

    assert registered.status == 201
    assert registered.json["config_url"].endswith("/v1/config/SITE001")
    assert {"config", "assets"} <= set(boot.json)
    assert (active.status, active.json["activated"]) == (200, True)
    assert (seen.json["state"], seen.json["serial"]) == ("active", "S-1")


async def test_steps_out_of_order_are_conflicts(stage: Stage) -> None:
    async with http(stage) as link:
        registered = await register(link, invite(stage))
        key, base = registered.json["api_key"], f"/v1/controllers/{registered.json['controller_id']}"
        early = await link.send("POST", base + "/activate", bearer=key, json=READY)
        await link.send("GET", base + "/bootstrap", bearer=key)
        again = await link.send("GET", base + "/bootstrap", bearer=key)
        unheard = await link.send("POST", base + "/activate", bearer=key, json=READY)
        await link.send("POST", "/v1/status", bearer=key, json={"site_id": "SITE001", "online": True})
        untested = await link.send("POST", base + "/activate", bearer=key, json={**READY, "tests_passed": False})
        await link.send("POST", base + "/activate", bearer=key, json=READY)
        twice = await link.send("POST", base + "/activate", bearer=key, json=READY)
        late = await link.send("GET", base + "/bootstrap", bearer=key)

    assert (early.status, early.json["code"]) == (409, "not_now")
    assert again.status == 200
    assert (unheard.status, untested.status) == (422, 422)
    assert (twice.status, late.status) == (409, 409)


async def test_a_token_is_good_once_for_one_site_and_for_a_day(stage: Stage) -> None:
    async with http(stage) as link:
        token = invite(stage)
        first, replay = await register(link, token), await register(link, token, serial="S-2")
        elsewhere = await register(link, invite(stage), serial="S-3", site_id="SITE002")
        expired = await register(link, invite(stage, hours_ago=25), serial="S-4")
        as_operator = await link.send(
            "POST", "/v1/controllers/register", as_="operator", json={"serial": "S-5", "site_id": "SITE001"}
        )
        sites = await link.send("GET", "/v1/sites", bearer=invite(stage))

    assert (first.status, replay.status) == (201, 401)
    assert (elsewhere.status, expired.status, as_operator.status, sites.status) == (404, 401, 403, 403)


@pytest.mark.timeout(60)
async def test_fifty_registrations_of_one_serial_make_one_key(stage: Stage) -> None:
    tokens = [invite(stage) for _ in range(50)]
    async with http(stage) as link:
        results = await asyncio.gather(*(register(link, token) for token in tokens))

    assert sorted(each.status for each in results) == [201, *[409] * 49]


async def test_a_controller_speaks_for_itself_only(stage: Stage) -> None:
    async with http(stage) as link:
        one = (await register(link, invite(stage), serial="S-1")).json
        two = (await register(link, invite(stage), serial="S-2")).json
        got = await link.send("GET", f"/v1/controllers/{two['controller_id']}/bootstrap", bearer=one["api_key"])

    assert got.status == 404


async def test_the_key_is_also_a_client_secret(stage: Stage) -> None:
    async with http(stage) as link:
        made = (await register(link, invite(stage))).json
        form = {
            "grant_type": "client_credentials",
            "client_id": made["controller_id"],
            "client_secret": made["api_key"],
        }
        got = await link.send("POST", "/v1/oauth/token", data=form)

    assert (got.status, got.json["scope"], got.json["expires_in"]) == (200, "middleware", 3600)


@pytest.mark.parametrize("state", list(OnboardingState))
@pytest.mark.parametrize("step", list(Step))
def test_the_table_knows_every_state_and_refuses_what_it_does_not_name(state: OnboardingState, step: Step) -> None:
    following = TRANSITIONS[state].get(step)
    if following is None:
        with pytest.raises(NotNow):
            after(state, step)
    else:
        assert after(state, step) is following


async def test_firmware_is_a_file_with_this_hash_and_this_signature(stage: Stage) -> None:
    shelf = FirmwareShelf(stage.settings.data_dir / "firmware")
    file = stage.directory / "controller.bin"
    file.write_bytes(b"firmware " * 1000)
    shelf.add(file, "controller", "2.1.0")
    async with http(stage) as link:
        release: dict[str, Any] = (await link.send("GET", "/v1/firmware/latest/controller", as_="CTRL001")).json
        path = "/" + release["url"].split("/", 3)[3]
        got = await link.send("GET", path, as_="CTRL001")
        stranger = await link.send("GET", path)
        missing = await link.send("GET", path[:-4] + "0000", as_="CTRL001")
        report = {"current_version": "2.0.5", "status": "ok"}
        status = await link.send("POST", "/v1/controllers/CTRL001/firmware/status", as_="CTRL001", json=report)
        none = await link.send("GET", "/v1/firmware/latest/toaster", as_="CTRL001")

    assert (release["version"], release["size_bytes"]) == ("2.1.0", 9000)
    assert (got.status, sha256(got.body).hexdigest()) == (200, release["sha256"])
    assert (stranger.status, missing.status, none.status) == (401, 404, 404)
    assert status.json == {"latest_version": "2.1.0"}
    key = load_pem_public_key(shelf.public_key())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(bytes.fromhex(release["signature"]), signed_bytes(release["sha256"], "2.1.0"))
    with pytest.raises(InvalidSignature):
        key.verify(bytes.fromhex(release["signature"]), signed_bytes(release["sha256"], "2.2.0"))


async def test_a_site_added_on_the_command_line_is_served_within_seconds(stage: Stage) -> None:
    Inbox(stage.settings.data_dir).put_site("SITE002", "chargepost_pv", 'The "other" park')
    token = invite(stage, "SITE002")
    async with http(stage) as link:

        async def registered() -> Got | None:
            got = await register(link, token, site_id="SITE002")
            return got if got.status != 404 else None

        got = await eventually(registered)
        assets = await link.send("GET", "/v1/sites/SITE002/assets", bearer=got.json["api_key"])
        sites = await link.send("GET", "/v1/sites", bearer=got.json["api_key"])

    assert got.status == 201
    assert [each["name"] for each in sites.json["sites"]] == ['The "other" park']
    assert assets.json["pv"]["id"] == "PV1"
    assert assets.json["pv"]["controller_id"] == got.json["controller_id"]


async def test_a_suspended_controller_is_shut_out_at_once_and_begins_anew_when_let_in_again(stage: Stage) -> None:
    async with http(stage) as link:
        token = await link.token("CTRL001")
        before = await link.send("GET", "/v1/sites", bearer=token)
        suspended = await link.send("POST", "/v1/controllers/CTRL001/suspend", as_="operator")
        with_token = await link.send("GET", "/v1/sites", bearer=token)
        with_key = await link.send("GET", "/v1/sites", bearer="CTRL001-secret")
        twice = await link.send("POST", "/v1/controllers/CTRL001/suspend", as_="operator")
        resumed = await link.send("POST", "/v1/controllers/CTRL001/resume", as_="operator")
        after = await link.send("GET", "/v1/sites", bearer="CTRL001-secret")
        skipped = await link.send("POST", "/v1/controllers/CTRL001/activate", bearer="CTRL001-secret", json=READY)
        by_viewer = await link.send("POST", "/v1/controllers/CTRL001/suspend", as_="viewer")
        unknown = await link.send("POST", "/v1/controllers/CTRL999/suspend", as_="operator")

    assert (before.status, suspended.status, suspended.json["state"]) == (200, 200, "suspended")
    assert (with_token.status, with_key.status, twice.status) == (401, 401, 409)
    assert (resumed.json["state"], after.status, skipped.status) == ("registered", 200, 409)
    assert (by_viewer.status, unknown.status) == (403, 404)


async def test_a_lost_reply_to_a_registration_is_answered_again_under_its_key(stage: Stage) -> None:
    wish = {"serial": "S-9", "site_id": "SITE001"}
    async with http(stage) as link:
        token = invite(stage)

        async def send(key: str, body: dict[str, str], bearer: str = token) -> Got:
            headers = {"Idempotency-Key": key}
            return await link.send("POST", "/v1/controllers/register", bearer=bearer, json=body, headers=headers)

        first, again = await send("k1", wish), await send("k1", wish)
        other = await send("k1", {**wish, "serial": "S-10"})
        stranger = await send("k1", wish, bearer="somebody-else")
        empty, long = await send("", wish), await send("k" * 201, wish)
        controllers = (await link.send("GET", "/v1/sites/SITE001/assets", as_="viewer")).status

    assert (first.status, again.status, controllers) == (201, 201, 200)
    assert again.json == first.json
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert (stranger.status, empty.status, long.status) == (401, 400, 400)


def test_a_release_never_goes_back(tmp_path: Path) -> None:
    shelf = FirmwareShelf(tmp_path / "firmware")
    file = tmp_path / "controller.bin"
    file.write_bytes(b"firmware")
    shelf.add(file, "controller", "2.1.0")
    for version in ("2.1.0", "2.0.9", "1.9.9"):
        with pytest.raises(OutOfBounds):
            shelf.add(file, "controller", version)
    for version in ("2.1", "2.1.0.0", "v2.2.0", "2.2.0-rc1", "-1.0.0"):
        with pytest.raises(OutOfBounds):
            shelf.add(file, "controller", version)
