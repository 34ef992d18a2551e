"""Alerts reach people: by mail and webhook over real sockets, once each way, and whatever the receiver is doing."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from services.enexa.alerts import AlertBook
from services.enexa.messengers import Mail, messengers
from services.enexa.settings import settings_from
from services.enexa.state import Board
from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from shared.clock import SystemClock
from shared.contract.events import Severity
from shared.contract.reads import Alert
from shared.errors import BadInput
from tests.integration.enexa.mailbox import Mailbox, delivering
from tests.integration.enexa.stage import eventually, free_port

TO = ("people@example.org", "night@example.org")
FAST = 50.0
"""A second between two attempts is 20 ms of the test's time."""


@contextlib.asynccontextmanager
async def book(directory: Path, **settings: str) -> AsyncIterator[AlertBook]:
    """An alert book with what the settings name, its rounds running."""
    store, clock = Store(sqlite_url(directory / "enexa.sqlite")), SystemClock(speed=FAST)
    await store.open()
    made = AlertBook(store, Board(), clock, messengers(settings_from(settings)))
    rounds = [asyncio.create_task(each.run()) for each in made.rounds()]
    yield made
    for each in rounds:
        each.cancel()
    await asyncio.gather(*rounds, return_exceptions=True)
    await store.close()


def mail(port: int, scheme: str = "smtp", host: str = "127.0.0.1") -> dict[str, str]:
    return {"ENEXA_ALERT_SMTP": f"{scheme}://{host}:{port}", "ENEXA_ALERT_MAIL_TO": ", ".join(TO)}


async def test_an_alert_and_its_end_are_a_letter_each(tmp_path: Path) -> None:
    async with delivering(Mailbox()) as mailbox, book(tmp_path, **mail(mailbox.port)) as alerts:
        for _ in range(3):
            await alerts.raise_alert("middleware_silent", None, "Amperio does not answer", Severity.CRITICAL)
        await alerts.clear("middleware_silent", None)
        await eventually(lambda: _count(mailbox, 2))

    (receivers, raised), (_, cleared) = mailbox.letters
    assert tuple(receivers) == TO
    assert raised["Subject"] == "[critical] platform: middleware_silent raised"
    assert "Amperio does not answer" in str(raised.get_payload())
    assert cleared["Subject"].endswith("cleared")
    assert raised["Message-ID"] != cleared["Message-ID"]


async def test_a_mail_server_that_is_away_gets_the_letter_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    async with book(tmp_path, **mail(port)) as alerts:
        await alerts.raise_alert("plan_failed", "SITE001", "no plan")
        await asyncio.sleep(0.05)
        async with delivering(Mailbox(), port) as mailbox:
            await eventually(lambda: _count(mailbox, 1))


async def test_a_letter_that_is_refused_for_good_does_not_hold_up_the_next(tmp_path: Path) -> None:
    async with delivering(Mailbox()) as mailbox, book(tmp_path, **mail(mailbox.port)) as alerts:
        mailbox.refusing = 554
        await alerts.raise_alert("plan_failed", "SITE001", "no plan")
        await eventually(lambda: _refused(mailbox, 1))
        mailbox.refusing = 0
        await alerts.raise_alert("config_rejected", "SITE001", "rejected")
        await eventually(lambda: _count(mailbox, 1))

    assert "config_rejected" in mailbox.letters[-1][1]["Subject"]


async def test_a_password_is_told_to_a_server_with_a_good_certificate_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    trusted, secret = tmp_path / "ca.pem", tmp_path / "password"
    authority.cert_pem.write_to_path(str(trusted))
    secret.write_text("smtp-secret")
    named = {"ENEXA_ALERT_SMTP_USER": "enexa", "ENEXA_ALERT_SMTP_PASSWORD_FILE": str(secret)}
    async with delivering(Mailbox(password="smtp-secret"), tls=tls) as mailbox:
        (stranger,) = messengers(settings_from({**mail(mailbox.port, "smtps", "localhost"), **named}))
        with pytest.raises(Exception, match=r"(?i)certificate"):
            await stranger.send(example())
        assert mailbox.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        async with book(tmp_path, **mail(mailbox.port, "smtps", "localhost"), **named) as alerts:
            await alerts.raise_alert("plan_failed", "SITE001", "no plan")
            await eventually(lambda: _count(mailbox, 1))

    assert mailbox.logins == ["enexa"]


async def test_a_webhook_gets_the_alert_as_json_and_mail_does_not_wait_for_it(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def hook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(each.split(b":")[1]) for each in head.splitlines() if each.lower().startswith(b"content-length")
        )
        heard.append(await reader.readexactly(length))
        status = b"503 Service Unavailable" if len(heard) == 1 else b"204 No Content"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hook, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with (
        server,
        delivering(Mailbox()) as mailbox,
        book(tmp_path, ENEXA_ALERT_WEBHOOK=url, **mail(mailbox.port)) as alerts,
    ):
        await alerts.raise_alert("plan_failed", "SITE001", "no plan")
        await eventually(lambda: _count(mailbox, 1))
        await eventually(lambda: _heard(heard, 2))

    first, second = (msgspec.json.decode(each, type=Alert) for each in heard)
    assert (first, second.code) == (second, "plan_failed")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"ENEXA_ALERT_SMTP": "http://mail.example.org"}, "ENEXA_ALERT_SMTP"),
        ({"ENEXA_ALERT_SMTP": "smtp://user:word@mail.example.org"}, "ENEXA_ALERT_SMTP"),
        ({"ENEXA_ALERT_MAIL_TO": ""}, "ENEXA_ALERT_MAIL_TO"),
        ({"ENEXA_ALERT_SMTP_USER": "enexa"}, "ENEXA_ALERT_SMTP_PASSWORD_FILE"),
    ],
    ids=["scheme", "user in the address", "nobody", "no password"],
)
def test_a_mail_setting_that_cannot_be_used_is_named(more: dict[str, str], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        messengers(settings_from({**mail(25), **more}))


def test_no_password_leaves_in_the_clear() -> None:
    with pytest.raises(BadInput, match="in the clear"):
        Mail("smtp://mail.example.org", "enexa@example.org", TO, user="enexa", password="word")


def example() -> Alert:
    return Alert(
        alert_id="a1",
        site_id=None,
        severity=Severity.INFO,
        code="plan_failed",
        text="no plan",
        raised_at=datetime(2024, 1, 15, 10, 0, tzinfo=UTC),
    )


async def _count(mailbox: Mailbox, count: int) -> bool:
    return len(mailbox.letters) >= count


async def _refused(mailbox: Mailbox, count: int) -> bool:
    return mailbox.refused_count >= count


async def _heard(heard: list[Any], count: int) -> bool:
    return len(heard) >= count
