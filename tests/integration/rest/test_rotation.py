"""F8: secrets are exchanged under load without a failed request, and the old one is refused after its overlap."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from shared.clock import ManualClock
from shared.contract.operations import AMPERIO_TOKEN, POST_TELEMETRY, Scope
from shared.contract.telemetry import Telemetry
from shared.contract.tokens import TokenRequest
from shared.errors import SiteError, Unauthenticated
from shared.rest.auth import TokenBook, digest
from shared.rest.call import Caller
from shared.rest.credentials import CredentialsFile
from tests.integration.rest.served import CREDENTIALS, Served, running

OVERLAP_S = 60.0
CALLERS = 4


class Rotation:
    """A client whose secret is exchanged again and again while it calls."""

    def __init__(self, served: Served, path: Path) -> None:
        self.served = served
        self.path = path
        self.file = CredentialsFile(path, served.book.relist)
        self.secret = "secret-0"
        self.calls = 0
        self.failures: list[SiteError] = []
        self._number = 0
        self._write([self._entry(self.secret)])
        self.file.look()

    def exchange(self) -> str:
        """A new secret beside the old one, which gets its end; the old one is answered."""
        old, self._number = self.secret, self._number + 1
        new = f"secret-{self._number}"
        end = self.served.clock.now().at + timedelta(seconds=OVERLAP_S)
        self._write([{**self._entry(old), "until": end.isoformat()}, self._entry(new)])
        self.file.look()
        self.secret = new
        return old

    def caller(self) -> Caller:
        return Caller(
            self.served.url,
            self.served.clock,
            client_id="CTRL001",
            secret=lambda: self.secret,
            token_operation=AMPERIO_TOKEN,
        )

    async def call_for_ever(self) -> None:
        caller = self.caller()
        try:
            while True:
                sample = Telemetry(site_id="SITE001", timestamp=self.served.clock.now().at)
                try:
                    await caller.call(POST_TELEMETRY, sample)
                except SiteError as error:
                    self.failures.append(error)
                self.calls += 1
        finally:
            await caller.close()

    async def let_call(self, times: int) -> None:
        """Until so many more calls were answered."""
        wanted = self.calls + times
        async with asyncio.timeout(60):
            while self.calls < wanted:  # noqa: ASYNC110 -- what it waits for happens on sockets
                await asyncio.sleep(0.001)

    def refused(self, secret: str) -> bool:
        request = TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret=secret)
        try:
            self.served.book.grant(request, self.served.clock.now())
        except Unauthenticated:
            return True
        return False

    def _entry(self, secret: str) -> dict[str, object]:
        scope = Scope.MIDDLEWARE.value
        return {"client_id": "CTRL001", "secret_sha256": digest(secret), "scope": scope, "sites": ["SITE001"]}

    def _write(self, entries: list[dict[str, object]]) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self.path)


async def play(directory: Path, rotations: int) -> Rotation:
    """Exchange, let both secrets be used, let the old one end, and look whether it is refused."""
    async with running() as served:
        rotation = Rotation(served, directory / "clients.json")
        calling = [asyncio.create_task(rotation.call_for_ever()) for _ in range(CALLERS)]
        await rotation.let_call(CALLERS)
        for _ in range(rotations):
            old = rotation.exchange()
            assert not rotation.refused(old)
            await rotation.let_call(2 * CALLERS)
            served.clock.advance(OVERLAP_S)
            assert rotation.refused(old)
            await rotation.let_call(2 * CALLERS)
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
        return rotation


async def test_f8_ten_secrets_are_exchanged_under_load_without_a_failed_request(tmp_path: Path) -> None:
    assert (await play(tmp_path, 10)).failures == []


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_f8_a_hundred_secrets(tmp_path: Path) -> None:
    rotation = await play(tmp_path, 100)

    print(f"F8: 100 exchanges, {rotation.calls} requests, {len(rotation.failures)} failed")
    assert rotation.failures == []


async def test_f8_the_control_a_secret_that_is_replaced_without_an_overlap_fails_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rotation, "exchange", without_overlap)

    async with running() as served:
        rotation = Rotation(served, tmp_path / "clients.json")
        calling = asyncio.create_task(rotation.call_for_ever())
        await rotation.let_call(3)
        rotation.exchange()
        await rotation.let_call(3)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)

    assert rotation.failures


def without_overlap(rotation: Rotation) -> str:
    rotation._write([rotation._entry("another")])
    rotation.file.look()
    return rotation.secret


def test_tokens_end_with_the_secret_that_bought_them_and_so_do_their_successors(tmp_path: Path) -> None:
    clock, book = ManualClock(), TokenBook(CREDENTIALS)
    path = tmp_path / "clients.json"
    file = CredentialsFile(path, book.relist)
    old = {"client_id": "CTRL001", "secret_sha256": digest("s2"), "scope": "middleware", "sites": ["SITE001"]}
    new = {**old, "secret_sha256": digest("new")}

    bought = book.grant(
        TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret="s2"), clock.now()
    )
    end = (clock.now().at + timedelta(seconds=OVERLAP_S)).isoformat()
    path.write_text(json.dumps([{**old, "until": end}, new]))
    file.look()
    assert book.principal(bought.access_token, clock.now()).client_id == "CTRL001"
    assert book.principal("s2", clock.now()) == book.principal("new", clock.now())
    clock.advance(OVERLAP_S)
    for dead in (bought.access_token, "s2"):
        with pytest.raises(Unauthenticated):
            book.principal(dead, clock.now())
    with pytest.raises(Unauthenticated):
        book.grant(TokenRequest(grant_type="refresh_token", refresh_token=bought.refresh_token), clock.now())
    path.write_text("half a fi")
    with structlog.testing.capture_logs() as logs:
        file.look()
    assert book.principal("new", clock.now()).client_id == "CTRL001"
    assert [each["event"] for each in logs] == ["credentials_unusable"]
    path.write_text("[]")
    file.look()
    with pytest.raises(Unauthenticated):
        book.principal("new", clock.now())
