"""Who is calling: OAuth 2.0 client credentials, opaque tokens, hashes only.

A token is 256 random bits; what is kept is its SHA-256, so a look-up by hash is also a comparison in constant time.
A refresh token rotates: the old one returns the same successor for a grace minute, because a lost reply must not lock
a client out; used later it is taken for stolen and the whole family is revoked.
"""

import hmac
import secrets
from collections.abc import Iterable
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
    """A client that may ask for tokens; `sites` empty = every site."""

    client_id: Id
    secret_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scope: Scope
    sites: tuple[Id, ...] = ()


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


class _Refresh(Struct, kw_only=True):
    client_id: str
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


class TokenBook:
    """All tokens in force; in memory, because every client can ask for a new one with its secret at any time."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._credentials = {each.client_id: each for each in credentials}
        self._access: dict[str, _Access] = {}
        self._refresh: dict[str, _Refresh] = {}

    def add(self, credential: Credential) -> None:
        self._credentials[credential.client_id] = credential

    def revoke(self, client_id: str) -> None:
        """End a client: its secret and all its tokens are void at once."""
        self._credentials.pop(client_id, None)
        self._access = {key: each for key, each in self._access.items() if each.principal.client_id != client_id}
        self._refresh = {key: each for key, each in self._refresh.items() if each.client_id != client_id}

    def grant(self, request: TokenRequest, now: Moment) -> TokenReply:
        self._forget_expired(now)
        if request.grant_type == "refresh_token":
            return self._rotate(request, now)
        credential = self.check_secret(request.client_id or "", request.client_secret or "")
        return self._issue(credential, secrets.token_hex(8), now)

    def check_secret(self, client_id: str, secret: str) -> Credential:
        """The credential behind a log-in; Unauthenticated where id and secret do not belong together."""
        credential = self._credentials.get(client_id)
        # Compare in any case, so that an unknown client takes as long as a wrong secret.
        known = credential.secret_sha256 if credential else "0" * 64
        if not hmac.compare_digest(digest(secret), known) or credential is None:
            raise Unauthenticated("unknown client or wrong secret")
        return credential

    def principal(self, bearer: str, now: Moment) -> Principal:
        """Who a bearer token speaks for; an API key (a client's secret) of a middleware is accepted too."""
        access = self._access.get(digest(bearer))
        if access is not None:
            if now.s >= access.expires_s:
                raise Unauthenticated("the token has expired")
            return access.principal
        key = digest(bearer)
        for credential in self._credentials.values():
            if credential.scope is Scope.MIDDLEWARE and hmac.compare_digest(credential.secret_sha256, key):
                return _principal_of(credential)
        raise Unauthenticated("unknown token")

    def _issue(self, credential: Credential, family: str, now: Moment) -> TokenReply:
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._access[digest(access)] = _Access(
            principal=_principal_of(credential), expires_s=now.s + ACCESS_TOKEN_LIFE_S, family=family
        )
        self._refresh[digest(refresh)] = _Refresh(
            client_id=credential.client_id, family=family, expires_s=now.s + REFRESH_TOKEN_LIFE_S
        )
        self._bound()
        return TokenReply(access_token=access, refresh_token=refresh, scope=credential.scope.value)

    def _rotate(self, request: TokenRequest, now: Moment) -> TokenReply:
        if not request.refresh_token:
            raise InvalidMessage("refresh_token is missing", field="refresh_token")
        known = self._refresh.get(digest(request.refresh_token))
        credential = self._credentials.get(known.client_id) if known else None
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
