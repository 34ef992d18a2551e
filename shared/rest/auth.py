"""Who is calling: OAuth 2.0 client credentials, opaque tokens, hashes only.

A token is 256 random bits; what is kept is its SHA-256, so a look-up by hash is also a comparison in constant time.
A refresh token rotates: the old one returns the same successor for a grace minute, because a lost reply must not lock
a client out; used later it is taken for stolen and the whole family is revoked.

A client may have several secrets at once: a new one beside the old one with its end (`until`), so that a secret is
exchanged without a failed request. With its end, or with its removal, all tokens that it bought are void.
"""

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.contract.operations import Scope
from shared.contract.tokens import (
    ACCESS_TOKEN_LIFE_S,
    REFRESH_GRACE_S,
    REFRESH_TOKEN_LIFE_S,
    TokenReply,
    TokenRequest,
)
from shared.contract.wire import Id
from shared.errors import BadInput, InvalidMessage, TokenReused, Unauthenticated
from shared.moment import Moment

TOKENS_MAX = 10_000


class Credential(Struct, frozen=True, kw_only=True):
    """A client that may ask for tokens, and one of its secrets; `sites` empty = every site."""

    client_id: Id
    secret_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scope: Scope
    sites: tuple[Id, ...] = ()
    until: Annotated[datetime, Meta(tz=True)] | None = None
    """When a secret that was replaced ends; None = in force."""

    def holds(self, at: datetime) -> bool:
        return self.until is None or at < self.until


class Principal(Struct, frozen=True, kw_only=True):
    """Who a request comes from."""

    client_id: str
    scope: Scope
    sites: frozenset[str] = frozenset()

    def may_see(self, site_id: str) -> bool:
        return not self.sites or site_id in self.sites


class _Access(Struct, frozen=True, kw_only=True):
    principal: Principal
    expires_s: float
    family: str
    secret_sha256: str
    """What bought it."""


class _Refresh(Struct, kw_only=True):
    client_id: str
    secret_sha256: str
    family: str
    expires_s: float
    spent_s: float | None = None
    successor: TokenReply | None = None


def load_credentials(path: Path) -> tuple[Credential, ...]:
    """The clients of a service, from its JSON file; BadInput where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Credential, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise BadInput(f"cannot read the credentials file {path}: {error}; `make up` writes one") from error


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


digest_of_shown = lru_cache(maxsize=1024)(digest)
"""For tokens that come with every request; what they are worth is looked up anew each time."""


NOBODY = (Credential(client_id="nobody", secret_sha256="0" * 64, scope=Scope.VIEWER),)
"""No secret has this hash."""


def by_client(credentials: Iterable[Credential]) -> dict[str, tuple[Credential, ...]]:
    """All secrets of each client, in the order given."""
    found: dict[str, tuple[Credential, ...]] = {}
    for each in credentials:
        found[each.client_id] = (*found.get(each.client_id, ()), each)
    return found


def matching(credentials: tuple[Credential, ...], secret: str, at: datetime) -> Credential | None:
    """The one of a client's credentials that a secret belongs to and that holds; None where there is none."""
    given, found = digest(secret), None
    # Compare in any case, so that an unknown client takes as long as a wrong secret.
    for each in credentials or NOBODY:
        if hmac.compare_digest(given, each.secret_sha256) and each.holds(at):
            found = each
    return found


class TokenBook:
    """All tokens in force; in memory, because every client can ask for a new one with its secret at any time."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._listed = by_client(credentials)
        self._credentials = dict(self._listed)
        self._access: dict[str, _Access] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._index()

    def relist(self, credentials: Iterable[Credential]) -> None:
        """The clients of the credentials file as it is now; whoever is no longer in it is shut out at once."""
        before, self._listed = self._listed, by_client(credentials)
        for client_id in before.keys() - self._listed.keys():
            self.revoke(client_id)
        for client_id, secrets_of_one in self._listed.items():
            self.put(client_id, secrets_of_one)

    def put(self, client_id: str, credentials: tuple[Credential, ...]) -> None:
        """The secrets of a client from now on; tokens that were bought with any other are void at once."""
        self._credentials[client_id] = credentials
        self._index()
        rights = {each.secret_sha256: _principal_of(each) for each in credentials}
        self._access = {
            key: each
            for key, each in self._access.items()
            if each.principal.client_id != client_id or rights.get(each.secret_sha256) == each.principal
        }
        self._refresh = {
            key: each
            for key, each in self._refresh.items()
            if each.client_id != client_id or each.secret_sha256 in rights
        }

    def revoke(self, client_id: str) -> None:
        """End a client: its secrets and all its tokens are void at once."""
        self.put(client_id, ())

    def _index(self) -> None:
        """API keys by their hash, and the ends of secrets that were replaced."""
        everyone = [each for secrets_of_one in self._credentials.values() for each in secrets_of_one]
        self._keys = {each.secret_sha256: each for each in everyone if each.scope is Scope.MIDDLEWARE}
        self._ends = {each.secret_sha256: each.until for each in everyone if each.until is not None}

    def grant(self, request: TokenRequest, now: Moment) -> TokenReply:
        self._forget_expired(now)
        if request.grant_type == "refresh_token":
            return self._rotate(request, now)
        credential = self._check_secret(request.client_id or "", request.client_secret or "", now)
        return self._issue(credential, secrets.token_hex(8), now)

    def _check_secret(self, client_id: str, secret: str, now: Moment) -> Credential:
        found = matching(self._credentials.get(client_id, ()), secret, now.at)
        if found is None:
            raise Unauthenticated("unknown client or wrong secret")
        return found

    def principal(self, bearer: str, now: Moment) -> Principal:
        """Who a bearer token speaks for; an API key (a client's secret) of a middleware is accepted too."""
        key = digest_of_shown(bearer)
        access = self._access.get(key)
        if access is not None:
            end = self._ends.get(access.secret_sha256)
            if now.s >= access.expires_s or (end is not None and now.at >= end):
                raise Unauthenticated("the token has expired")
            return access.principal
        credential = self._keys.get(key)
        if credential is None or not credential.holds(now.at):
            raise Unauthenticated("unknown token")
        return _principal_of(credential)

    def _issue(self, credential: Credential, family: str, now: Moment) -> TokenReply:
        access, refresh = self._drawn(), self._drawn()
        self._access[digest(access)] = _Access(
            principal=_principal_of(credential),
            expires_s=now.s + ACCESS_TOKEN_LIFE_S,
            family=family,
            secret_sha256=credential.secret_sha256,
        )
        self._refresh[digest(refresh)] = _Refresh(
            client_id=credential.client_id,
            secret_sha256=credential.secret_sha256,
            family=family,
            expires_s=now.s + REFRESH_TOKEN_LIFE_S,
        )
        self._bound()
        return TokenReply(access_token=access, refresh_token=refresh, scope=credential.scope.value)

    def _drawn(self) -> str:
        """A token that nobody can guess; a simulation draws its own from its seed."""
        return secrets.token_urlsafe(32)

    def _rotate(self, request: TokenRequest, now: Moment) -> TokenReply:
        if not request.refresh_token:
            raise InvalidMessage("refresh_token is missing", field="refresh_token")
        known = self._refresh.get(digest(request.refresh_token))
        credential = self._buyer_of(known, now) if known else None
        if known is None or credential is None or now.s >= known.expires_s:
            raise Unauthenticated("unknown or expired refresh token")
        if known.spent_s is not None:
            if known.successor is not None and now.s - known.spent_s <= REFRESH_GRACE_S:
                return known.successor
            self._revoke_family(known.family)
            raise TokenReused("this refresh token was used before; all its descendants are revoked")
        known.spent_s = now.s
        known.successor = self._issue(credential, known.family, now)
        return known.successor

    def _buyer_of(self, refresh: _Refresh, now: Moment) -> Credential | None:
        """The secret that bought a token, where it still holds."""
        own = self._credentials.get(refresh.client_id, ())
        return next((each for each in own if each.secret_sha256 == refresh.secret_sha256 and each.holds(now.at)), None)

    def _revoke_family(self, family: str) -> None:
        self._access = {key: each for key, each in self._access.items() if each.family != family}
        self._refresh = {key: each for key, each in self._refresh.items() if each.family != family}

    def _forget_expired(self, now: Moment) -> None:
        self._access = {key: each for key, each in self._access.items() if now.s < each.expires_s}
        self._refresh = {key: each for key, each in self._refresh.items() if now.s < each.expires_s}

    def _bound(self) -> None:
        while len(self._access) > TOKENS_MAX:
            self._access.pop(next(iter(self._access)))
        while len(self._refresh) > TOKENS_MAX:
            self._refresh.pop(next(iter(self._refresh)))


def _principal_of(credential: Credential) -> Principal:
    return Principal(client_id=credential.client_id, scope=credential.scope, sites=frozenset(credential.sites))
