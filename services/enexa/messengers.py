"""How an alert reaches people who are not looking: webhook and e-mail, each tried for a while and never in the way."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from services.enexa.settings import Settings
from shared.backoff import Backoff
from shared.clock import Clock
from shared.contract.reads import Alert
from shared.errors import BadInput, PeerDown, Refused, SiteError
from shared.settings import read_secret

TIMEOUT_S = 10.0
ATTEMPTS = 6
WAITING_MAX = 100
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}

log = structlog.get_logger()


class Messenger(Protocol):
    """One way to people; `name` appears in the log."""

    name: str

    async def send(self, alert: Alert) -> None:
        """Hand an alert over; PeerDown where it may be tried again, Refused where not."""


class Webhook:
    """The alert as JSON, by POST."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, alert: Alert) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self._url, data=msgspec.json.encode(alert), headers=headers, allow_redirects=False
                ) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PeerDown("the webhook does not answer", error=str(error) or type(error).__name__) from error
        if status >= 500 or status == 429:
            raise PeerDown("the webhook is not well", status=status)
        if status >= 300:
            raise Refused("the webhook refused", status=status)


class Mail:
    """The alert as a short letter. `smtp://`, `smtp+starttls://` or `smtps://`, then host and perhaps port."""

    name = "mail"

    def __init__(
        self, url: str, sender: str, receivers: tuple[str, ...], *, user: str = "", password: str = ""
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.username:
            raise BadInput(f"ENEXA_ALERT_SMTP is {', '.join(PORTS)}://HOST[:PORT] without a user, not {url!r}")
        if not receivers or not all("@" in each for each in (sender, *receivers)):
            raise BadInput("ENEXA_ALERT_MAIL_TO and ENEXA_ALERT_MAIL_FROM are addresses, the first separated by commas")
        if user and parts.scheme == "smtp":
            raise BadInput("ENEXA_ALERT_SMTP_USER needs smtp+starttls:// or smtps://: no password leaves in the clear")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]
        self._sender, self._receivers = sender, receivers
        self._user, self._password = user, password

    async def send(self, alert: Alert) -> None:
        letter = self._letter(alert)
        try:
            await asyncio.to_thread(self._hand_over, letter)
        except smtplib.SMTPResponseException as error:
            kind = PeerDown if 400 <= error.smtp_code < 500 else Refused
            raise kind("the mail server refused", code=error.smtp_code) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise Refused("the mail server takes none of the addresses") from error
        except (smtplib.SMTPException, OSError) as error:
            raise PeerDown("the mail server does not answer", error=str(error) or type(error).__name__) from error

    def _letter(self, alert: Alert) -> EmailMessage:
        turn = "cleared" if alert.cleared_at is not None else "raised"
        letter = EmailMessage()
        letter["From"], letter["To"] = self._sender, ", ".join(self._receivers)
        letter["Subject"] = f"[{alert.severity.value}] {alert.site_id or 'platform'}: {alert.code} {turn}"
        letter["Date"] = format_datetime(alert.cleared_at or alert.raised_at)
        letter["Message-ID"] = f"<{alert.alert_id}.{turn}@enexa>"
        until = f"Cleared at {alert.cleared_at.isoformat()}.\n" if alert.cleared_at is not None else ""
        letter.set_content(f"{alert.text}\n\nRaised at {alert.raised_at.isoformat()}.\n{until}")
        return letter

    def _hand_over(self, letter: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self._scheme == "smtps":
            link: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=context)
        else:
            link = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        with link:
            if self._scheme == "smtp+starttls":
                link.starttls(context=context)
            if self._user:
                link.login(self._user, self._password)
            link.send_message(letter)


class Round:
    """One messenger's queue: in order, each alert a few times with growing pauses, and then the next."""

    def __init__(self, messenger: Messenger, clock: Clock) -> None:
        self._messenger = messenger
        self._clock = clock
        self._waiting: asyncio.Queue[Alert] = asyncio.Queue(WAITING_MAX)

    def add(self, alert: Alert) -> None:
        if self._waiting.full():
            log.warning("alert_not_sent", by=self._messenger.name, code=alert.code, error="too many wait")
            return
        self._waiting.put_nowait(alert)

    async def run(self) -> None:
        """A loop of the application."""
        while True:
            await self._deliver(await self._waiting.get())

    async def _deliver(self, alert: Alert) -> None:
        backoff = Backoff()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._messenger.send(alert)
            except SiteError as error:
                last = not isinstance(error, PeerDown) or attempt == ATTEMPTS
                event = "alert_not_sent" if last else "alert_delayed"
                log.warning(event, by=self._messenger.name, code=alert.code, error=str(error))
                if last:
                    return
                backoff = backoff.failed()
                await self._clock.sleep(backoff.wait_s())
            else:
                log.info("alert_sent", by=self._messenger.name, code=alert.code, alert_id=alert.alert_id)
                return


def messengers(settings: Settings) -> list[Messenger]:
    """Those that the settings name; BadInput where one of them cannot be used."""
    found: list[Messenger] = []
    if settings.alert_webhook:
        found.append(Webhook(settings.alert_webhook))
    if settings.alert_smtp:
        secret_file = settings.alert_smtp_password_file
        password = read_secret(secret_file, "ENEXA_ALERT_SMTP_PASSWORD_FILE") if settings.alert_smtp_user else ""
        receivers = tuple(each.strip() for each in settings.alert_mail_to.split(",") if each.strip())
        found.append(
            Mail(
                settings.alert_smtp,
                settings.alert_mail_from,
                receivers,
                user=settings.alert_smtp_user,
                password=password,
            )
        )
    return found
