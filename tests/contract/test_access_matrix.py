"""Routes x credentials x roles x tenants of both services, generated from the table (goals F1 and F2)."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from msgspec import Struct

from services.enexa.inbox import Inbox
from shared.clock import SystemClock
from shared.contract.operations import GET_CONFIG, OPERATIONS, Host, Operation, Scope
from shared.rest.auth import digest
from tests.integration.amperio import stage as amperio_stage
from tests.integration.enexa import stage as enexa_stage

FAST: dict[str, Any] = {
    f"rate_{budget}_{unit}": 1_000_000.0
    for budget in ("telemetry", "command", "general")
    for unit in ("per_s", "burst")
}
ROLES = {
    Host.ENEXA: (Scope.MIDDLEWARE, Scope.OPERATOR, Scope.VIEWER),
    Host.AMPERIO: (Scope.PLATFORM, Scope.OPERATOR, Scope.VIEWER),
}
TENANTS = ("SITE001", "SITE002", "SITE003")
NOBODYS = "SITE999"
JSON = {"Content-Type": "application/json"}


class Got(Struct, frozen=True):
    status: int
    headers: dict[str, str]
    problem: Any


class Service:
    """A running service with a client of each role for each tenant, and a session that says anything."""

    def __init__(self, host: Host, url: str, session: aiohttp.ClientSession) -> None:
        self.host = host
        self.url = url
        self._session = session

    async def send(self, operation: Operation, path: str, headers: dict[str, str]) -> Got:
        body = b"{}" if operation.request is not None else None
        async with self._session.request(
            operation.method, self.url + path, headers={**JSON, **headers}, allow_redirects=False, data=body
        ) as reply:
            raw = await reply.content.read(65_536) if operation.name != "stream" or reply.status != 200 else b"{}"
            with contextlib.suppress(msgspec.DecodeError):
                found = msgspec.json.decode(raw)
                return Got(reply.status, {name.lower(): value for name, value in reply.headers.items()}, found)
            return Got(reply.status, {}, None)

    async def login(self, client_id: str) -> tuple[str, str]:
        """Access and refresh token."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": f"{client_id}-secret"}
        async with self._session.post(f"{self.url}/v1/oauth/token", data=form) as reply:
            found = await reply.json()
            return found["access_token"], found["refresh_token"]


def clients(host: Host) -> list[dict[str, Any]]:
    return [
        {
            "client_id": f"{role.value}-{site}",
            "secret_sha256": digest(f"{role.value}-{site}-secret"),
            "scope": role.value,
            "sites": [site],
        }
        for role in ROLES[host]
        for site in TENANTS
    ]


@contextlib.asynccontextmanager
async def running(host: Host, directory: Path) -> AsyncIterator[Service]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        if host is Host.ENEXA:
            stage = enexa_stage.Stage(directory, **FAST)
            (directory / "clients.json").write_text(json.dumps(clients(host)))
            for site in TENANTS[1:]:
                Inbox(stage.settings.data_dir).put_site(site, "chargepost")
            async with enexa_stage.enexa(stage):
                yield Service(host, stage.url, session)
            return
        amperio = amperio_stage.Stage(
            directory, enexa_url="http://127.0.0.1:9", clock=SystemClock(origin_sim=amperio_stage.START)
        )
        (directory / "clients.json").write_text(json.dumps(clients(host)))
        amperio.settings = msgspec.structs.replace(amperio.settings, **FAST)
        async with amperio.playing():
            yield Service(host, f"http://127.0.0.1:{amperio.port}", session)


def paths(operation: Operation, site: str) -> str:
    ids = {"type": "battery", "device_type": "controller", "sha256": "0" * 64, "command_id": "none"}
    return operation.path.format_map({"site_id": site, "controller_id": "CTRL001", "id": "CTRL001", **ids})


def closed(host: Host) -> list[Operation]:
    return [each for each in OPERATIONS if each.host is host and each.scopes]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("host", list(Host))
async def test_f1_no_route_answers_a_credential_that_is_none(tmp_path: Path, host: Host) -> None:
    async with running(host, tmp_path) as service:
        role = f"{Scope.OPERATOR.value}-SITE001"
        access, refresh = await service.login(role)
        credentials: dict[str, dict[str, str]] = {
            "none": {},
            "garbage": {"Authorization": "Bearer garbage"},
            "cut short": {"Authorization": f"Bearer {access[:-1]}"},
            "a refresh token": {"Authorization": f"Bearer {refresh}"},
            "a secret": {"Authorization": f"Bearer {role}-secret"},
            "basic": {"Authorization": "Basic b3BlcmF0b3I6b3BlcmF0b3I="},
            "two tokens in one header": {"Authorization": f"Bearer {access} {access}"},
            "an empty bearer": {"Authorization": "Bearer "},
            "an unsigned JWT": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcGVyYXRvciJ9."},
            "8 KB": {"Authorization": "Bearer " + "A" * 8000},
            "a cookie": {"Cookie": f"token={access}; enexa_local={access}"},
            "another header": {"X-API-Key": access, "X-Original-Authorization": f"Bearer {access}"},
        }
        for kind, headers in credentials.items():
            for each in closed(host):
                got = await service.send(each, paths(each, "SITE001"), headers)
                assert got.status == 401, (kind, each.name, got)
                assert got.headers["www-authenticate"].startswith("Bearer")
                assert got.problem["code"] == "unauthenticated"
        in_the_query = await service.send(closed(host)[-1], f"/v1/sites?access_token={access}", {})
        assert in_the_query.status in (401, 405)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("host", list(Host))
async def test_f2_each_role_reaches_what_the_table_says_and_no_other_tenants_site(tmp_path: Path, host: Host) -> None:
    async with running(host, tmp_path) as service:
        await _all_sites_are_there(service)
        for tenant in TENANTS:
            for role in ROLES[host]:
                access, _ = await service.login(f"{role.value}-{tenant}")
                headers = {"Authorization": f"Bearer {access}"}
                for each in closed(host):
                    got = await service.send(each, paths(each, tenant), headers)
                    if role not in each.scopes:
                        assert got.status == 403, (role, each.name, got)
                        continue
                    assert got.status not in (401, 403, 405, 500), (role, each.name, got)
                    if "{site_id}" in each.path:
                        await _no_difference(service, each, tenant, headers)


async def _all_sites_are_there(service: Service) -> None:
    """Enexa takes new sites within seconds; Amperio's stage has one station."""
    if service.host is Host.AMPERIO:
        return
    for tenant in TENANTS:
        access, _ = await service.login(f"viewer-{tenant}")
        headers = {"Authorization": f"Bearer {access}"}

        async def known(path: str = paths(GET_CONFIG, tenant), headers: dict[str, str] = headers) -> bool:
            return (await service.send(GET_CONFIG, path, headers)).status == 200

        await enexa_stage.eventually(known)


async def _no_difference(service: Service, operation: Operation, tenant: str, headers: dict[str, str]) -> None:
    """What is another tenant's and what does not exist look the same."""
    nobodys = await service.send(operation, paths(operation, NOBODYS), headers)
    for other in TENANTS:
        if other == tenant:
            continue
        got = await service.send(operation, paths(operation, other), headers)
        assert got.status == nobodys.status == 404, (operation.name, tenant, other, got)
        told = {name: value for name, value in got.problem.items() if name != "instance"}
        plain = {name: value for name, value in nobodys.problem.items() if name != "instance"}
        assert json.dumps(told).replace(other, "") == json.dumps(plain).replace(NOBODYS, "")
