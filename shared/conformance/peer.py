"""A peer over HTTPS as a stranger sees it: one connection per question, raw status, headers and bytes.

It uses the standard library alone, not our own client: a kit that shared its client with the twins could not see what
that client forgives.
"""

import http.client
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from shared.conformance.checks import NoAnswer, NotTried
from shared.errors import BadInput

REPLY_MAX_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 10.0
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; NoAnswer where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise NoAnswer(f"HTTP {self.status} with a body that is no JSON: {error}") from error

    @property
    def problem(self) -> bool:
        """A problem document as RFC 9457 has it."""
        kind = self.headers.get("content-type", "").split(";")[0].strip()
        try:
            told = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return False
        return kind == "application/problem+json" and isinstance(told, dict) and {"title", "status"} <= set(told)


class Peer:
    """One base address, and the credentials that were given for it."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        client_id: str | None = None,
        secret: str | None = None,
        site_id: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"'{url}' is no http or https address")
        self.url = url.rstrip("/")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.client_id = client_id
        self.given_site = site_id
        self._prefix = parts.path.rstrip("/")
        self._secret = secret
        self._timeout_s = timeout_s
        self._token: Answer | None = None
        try:
            self.tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except OSError as error:
            raise BadInput(f"cannot read the CA file {ca_file}: {error}") from error

    # ---- asking -----------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
    ) -> Answer:
        """One request on a connection of its own; NoAnswer where none comes back."""
        sent = {
            "Accept": "application/json",
            **({"Content-Type": "application/json"} if body else {}),
            **(headers or {}),
        }
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        connection = self._connection()
        try:
            connection.request(method, self._prefix + path, body=body, headers=sent)
            response = connection.getresponse()
            raw = response.read(REPLY_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if len(raw) > REPLY_MAX_BYTES:
            raise NoAnswer(f"{method} {path}: more than {REPLY_MAX_BYTES} bytes")
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, raw)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET with the token."""
        return self.send("GET", path, headers=headers, bearer=self.bearer())

    def post(self, path: str, message: Any) -> Answer:
        """POST JSON (bytes go as they are) with the token."""
        body = message if isinstance(message, bytes) else msgspec.json.encode(message)
        return self.send("POST", path, body=body, bearer=self.bearer())

    # ---- tokens -----------------------------------------------------------------------------------------------------

    def grant(self, form: Mapping[str, str]) -> Answer:
        """Ask for a token with this form."""
        return self.send("POST", "/v1/oauth/token", body=urlencode(form).encode(), headers=FORM)

    def log_in(self) -> Answer:
        """A token for the credentials that were given; NotTried where none were."""
        if self.client_id is None or self._secret is None:
            raise NotTried("no credentials were given (--client-id, and the secret in the environment)")
        return self.grant(
            {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self._secret}
        )

    def token(self) -> Answer:
        """The token of this run, asked for once."""
        if self._token is None:
            self._token = self.log_in()
        return self._token

    def bearer(self) -> str:
        """The access token; NotTried where the peer gives none, which its own check tells."""
        told = self.token()
        if told.status != 200 or not isinstance(told.json.get("access_token"), str):
            raise NotTried(f"the peer gave no token (HTTP {told.status})")
        return str(told.json["access_token"])

    # ---- what several checks need -----------------------------------------------------------------------------------

    def site(self) -> str:
        """The site to ask about: the one given, or the first one listed."""
        if self.given_site is not None:
            return self.given_site
        sites = self.get("/v1/sites").json.get("sites")
        if not sites:
            raise NotTried("the peer lists no site")
        return str(sites[0]["id"])

    def now(self) -> datetime:
        """The peer's own clock, which may run apart from ours, as its health tells it."""
        told = self.send("GET", "/v1/health").json
        try:
            return datetime.fromisoformat(str(told["clock"])).astimezone(UTC)
        except (KeyError, TypeError, ValueError) as error:
            raise NotTried("the peer's health tells no clock to date a message by") from error

    def hello(self, newest: ssl.TLSVersion | None = None) -> str:
        """The TLS version that is spoken, at most `newest`; NoAnswer where there is no handshake."""
        context = self.tls
        if newest is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.maximum_version = newest
        try:
            with (
                socket.create_connection((self.host, self.port), self._timeout_s) as raw,
                context.wrap_socket(raw, server_hostname=self.host) as spoken,
            ):
                return spoken.version() or "none"
        except OSError as error:
            raise NoAnswer(f"no TLS: {error}") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self.secure:
            return http.client.HTTPSConnection(self.host, self.port, timeout=self._timeout_s, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=self._timeout_s)
