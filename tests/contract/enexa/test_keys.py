"""Secrets are exchanged while everything runs: API keys by their controllers, others in the credentials file (F8)."""

import json
from pathlib import Path

import pytest

from shared.rest.auth import digest
from tests.contract.enexa.http import Http, http
from tests.contract.enexa.test_onboarding import invite, register
from tests.integration.enexa.stage import Stage, enexa, eventually


async def asked(link: Http, *keys: str) -> list[int]:
    """What each of these bearers is answered."""
    return [(await link.send("GET", "/v1/sites", bearer=key)).status for key in keys]


async def renew(link: Http, controller_id: str, key: str) -> str:
    got = await link.send("POST", f"/v1/controllers/{controller_id}/key", bearer=key)
    assert (got.status, got.headers["cache-control"]) == (201, "no-store"), got.body
    assert got.json["previous_until"] > "2024-01-16T10:00"
    return str(got.json["api_key"])


async def test_a_new_key_holds_at_once_and_those_before_it_until_their_end_also_over_a_restart(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with enexa(stage), http(stage) as link:
        made = (await register(link, invite(stage))).json
        name, first = made["controller_id"], made["api_key"]
        lost = await renew(link, name, first)
        second = await renew(link, name, first)
        assert len({first, lost, second}) == 3
        assert await asked(link, first, lost, second) == [200] * 3

    again = Stage(tmp_path)
    async with enexa(again), http(again) as link:
        assert await asked(link, first, lost, second) == [200] * 3
        await link.send("POST", f"/v1/controllers/{name}/suspend", as_="operator")
        assert await asked(link, first, lost, second) == [401] * 3


async def test_without_an_overlap_the_old_key_ends_with_the_new_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, key_overlap_s=0.0)
    async with enexa(stage), http(stage) as link:
        made = (await register(link, invite(stage))).json
        got = await link.send("POST", f"/v1/controllers/{made['controller_id']}/key", bearer=made["api_key"])
        assert await asked(link, made["api_key"], got.json["api_key"]) == [401, 200]


async def test_a_controller_renews_its_own_key_and_no_other(stage: Stage) -> None:
    async with http(stage) as link:
        one = (await register(link, invite(stage), serial="S-1")).json
        other = (await register(link, invite(stage), serial="S-2")).json
        path = f"/v1/controllers/{other['controller_id']}/key"
        foreign = await link.send("POST", path, bearer=one["api_key"])
        operator = await link.send("POST", path, as_="operator")
        of_the_file = await link.send("POST", "/v1/controllers/CTRL001/key", as_="CTRL001")

    assert (foreign.status, operator.status, of_the_file.status) == (404, 403, 409)


async def test_a_password_is_exchanged_in_the_file_for_the_api_and_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.rest.credentials.LOOK_REAL_S", 0.05)
    stage = Stage(tmp_path)
    file = tmp_path / "clients.json"
    listed = json.loads(file.read_text())

    def write(*passwords: str) -> None:
        others = [each for each in listed if each["client_id"] != "operator"]
        own = {"client_id": "operator", "scope": "operator", "sites": ["SITE001"]}
        file.with_suffix(".new").write_text(
            json.dumps([*others, *({**own, "secret_sha256": digest(each)} for each in passwords)])
        )
        file.with_suffix(".new").replace(file)

    async with enexa(stage), http(stage) as link:

        async def statuses(password: str) -> tuple[int, int]:
            form = {"grant_type": "client_credentials", "client_id": "operator", "client_secret": password}
            token = await link.send("POST", "/v1/oauth/token", data=form)
            page = await link.send("POST", "/login", data={"name": "operator", "password": password})
            return token.status, page.status

        token = await link.token("operator")
        write("operator-secret", "another")
        await eventually(lambda: _is(statuses("another"), (200, 200)))
        assert await statuses("operator-secret") == (200, 200)
        assert await asked(link, token) == [200]
        write("another")
        await eventually(lambda: _is(statuses("operator-secret"), (401, 401)))
        assert await statuses("another") == (200, 200)
        assert await asked(link, token) == [401]


async def _is(asking: object, wanted: object) -> bool:
    return bool(await asking == wanted)  # type: ignore[misc]  # an awaitable of what is wanted
