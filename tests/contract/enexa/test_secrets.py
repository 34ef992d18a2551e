"""A hundred canary secrets go through the platform and stay in none of its files, logs, answers or lines (goal F6)."""

import json
import secrets
from typing import Any

import pytest

from services.enexa.inbox import Inbox
from shared.rest.auth import digest
from tests.contract.enexa.http import Http, http
from tests.integration.enexa.stage import PAGE_TIME, Stage, enexa

CLIENTS = 25
READY = {"status": "ready", "tests_passed": True}


class Canaries:
    """Every secret that was ever handed out or sent."""

    def __init__(self) -> None:
        self.all: set[str] = set()

    def new(self) -> str:
        return self.seen(secrets.token_urlsafe(32))

    def seen(self, secret: str) -> str:
        self.all.add(secret)
        return secret


@pytest.mark.timeout(90)
async def test_f6_no_secret_is_found_anywhere_after_it_was_used_rightly_and_wrongly(
    tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    canaries, stage = Canaries(), Stage(tmp_path)
    own = {f"client{number}": canaries.new() for number in range(CLIENTS)}
    listed = json.loads((tmp_path / "clients.json").read_text())
    for name, secret in own.items():
        listed.append({"client_id": name, "secret_sha256": digest(secret), "scope": "operator", "sites": []})
    (tmp_path / "clients.json").write_text(json.dumps(listed))
    bodies: list[bytes] = []
    async with enexa(stage), http(stage) as link:
        for name, secret in own.items():
            await _as_operator(link, canaries, name, secret, bodies)
        for number in range(5):
            await _as_controller(stage, link, canaries, number, bodies)
        audit = (await link.send("GET", "/v1/audit?limit=1000", as_="operator")).body
    told = capfd.readouterr()

    assert len(canaries.all) >= 100
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".sqlite" for path in kept)
    leaks = {
        where
        for where, content in {
            **{str(path): content for path, content in kept.items()},
            "the audit log": audit,
            "answers": b"".join(bodies),
            "the log": (told.out + told.err).encode(),
        }.items()
        for secret in canaries.all
        if secret.encode() in content
    }
    assert not leaks
    assert b"list_sites" in audit


async def _as_operator(link: Http, canaries: Canaries, name: str, secret: str, bodies: list[bytes]) -> None:
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    granted = (await link.send("POST", "/v1/oauth/token", data=form)).json
    access, refresh = canaries.seen(granted["access_token"]), canaries.seen(granted["refresh_token"])
    rotated = {"grant_type": "refresh_token", "refresh_token": refresh}
    again = (await link.send("POST", "/v1/oauth/token", data=rotated)).json
    canaries.seen(again["access_token"])
    wrong = {**form, "client_secret": canaries.new()}
    asked = (
        await link.send("POST", "/v1/oauth/token", data=wrong),
        await link.send("POST", "/v1/oauth/token", json={**form, "colour": secret}),
        await link.send("POST", "/v1/oauth/token", data={**rotated, "refresh_token": canaries.new()}),
        await link.send("GET", "/v1/sites", bearer=access),
        await link.send("GET", "/v1/sites", bearer=refresh),
        await link.send("GET", "/v1/sites", bearer=secret),
        await link.send("GET", f"/v1/sites?access_token={access}", bearer=access),
        await link.send("POST", "/v1/telemetry", bearer=access, json={"site_id": access}),
    )
    bodies += [got.body for got in asked]


async def _as_controller(stage: Stage, link: Http, canaries: Canaries, number: int, bodies: list[bytes]) -> None:
    token = canaries.seen(Inbox(stage.settings.data_dir).invite("SITE001", PAGE_TIME))
    wish = {"serial": f"S-{number}", "site_id": "SITE001"}
    made = await link.send("POST", "/v1/controllers/register", bearer=token, json=wish)
    key, name = canaries.seen(made.json["api_key"]), made.json["controller_id"]
    replay = await link.send("POST", "/v1/controllers/register", bearer=token, json=wish)
    boot = await link.send("GET", f"/v1/controllers/{name}/bootstrap", bearer=key)
    active = await link.send("POST", f"/v1/controllers/{name}/activate", bearer=key, json=READY)
    bodies += [replay.body, boot.body, active.body]
