"""Who is logged in: a signed cookie, so that a restarted server still knows its people.

The signing key of a session is derived from the server's key *and* the person's own secret hash; a changed or revoked
secret therefore ends all sessions of that person at once, without a list of sessions anywhere.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.contract.operations import Scope
from shared.errors import BadInput, Unauthenticated
from shared.rest.auth import Credential, by_client, matching

SESSION_LIFE_S = 12 * 3600.0
KEY_BYTES = 32
COOKIE_MAX_CHARS = 2048
PEOPLE = (Scope.OPERATOR, Scope.VIEWER)


class Session(Struct, frozen=True, kw_only=True):
    """One log-in; `csrf` must come back with everything that changes something."""

    client_id: str
    scope: Scope
    sites: tuple[str, ...]
    csrf: str
    expires_at: datetime

    @property
    def is_operator(self) -> bool:
        return self.scope is Scope.OPERATOR

    def may_see(self, site_id: str) -> bool:
        return not self.sites or site_id in self.sites


class Doorkeeper:
    """Check secrets, and seal and open sessions. `speed` is the clock's: a session lasts twelve real hours."""

    def __init__(self, people: Iterable[Credential], key: bytes, *, speed: float = 1.0) -> None:
        assert len(key) >= KEY_BYTES
        self._key = key
        self._life = timedelta(seconds=SESSION_LIFE_S * speed)
        self.admit(people)

    def admit(self, people: Iterable[Credential]) -> None:
        """Those who may come in from now on; sessions of everybody else, and of secrets that are gone, are over."""
        self._people = by_client(each for each in people if each.scope in PEOPLE)

    def log_in(self, client_id: str, secret: str, now: datetime) -> Session:
        """A new session; Unauthenticated where name and password do not belong together."""
        person = matching(self._people.get(client_id, ()), secret, now)
        if person is None:
            raise Unauthenticated("name and password do not belong together")
        return Session(
            client_id=client_id,
            scope=person.scope,
            sites=person.sites,
            csrf=secrets.token_urlsafe(24),
            expires_at=min(now + self._life, person.until or now + self._life),
        )

    def seal(self, session: Session) -> str:
        """With the secret that is in force longest, so that a session outlives the exchange of a password."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode()
        own = self._people[session.client_id]
        newest = next((each for each in own if each.until is None), own[-1])
        return f"{body}.{self._signature(newest, body)}"

    def open(self, cookie: str, now: datetime) -> Session | None:
        """The session of a cookie; None where it is missing, forged, expired or its person is gone."""
        body, _, signature = cookie.partition(".")
        if not signature or len(cookie) > COOKIE_MAX_CHARS:
            return None
        try:
            session = msgspec.json.decode(base64.urlsafe_b64decode(body), type=Session)
        except (msgspec.DecodeError, binascii.Error, ValueError):
            return None
        for person in self._people.get(session.client_id, ()):
            if hmac.compare_digest(self._signature(person, body), signature) and person.holds(now):
                return session if now < session.expires_at and session.scope is person.scope else None
        return None

    def _signature(self, person: Credential, body: str) -> str:
        key = hmac.digest(self._key, person.secret_sha256.encode(), "sha256")
        return hmac.new(key, body.encode(), sha256).hexdigest()


def load_key(path: Path) -> bytes:
    """The server's signing key, made on first start; BadInput where the place cannot be used."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot keep the session key in {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise BadInput(f"the session key in {path} is too short; delete the file and start again")
    return key
