"""OAuth 2.0 tokens: client credentials and rotating refresh, the same on both services."""

from typing import Literal

from shared.contract.wire import Message, Text

ACCESS_TOKEN_LIFE_S = 3600
REFRESH_TOKEN_LIFE_S = 30 * 24 * 3600
REFRESH_GRACE_S = 60


class TokenRequest(Message, frozen=True, kw_only=True):
    """Sent as a form (RFC 6749) or as JSON with the same names."""

    grant_type: Literal["client_credentials", "refresh_token"]
    client_id: Text | None = None
    client_secret: Text | None = None
    refresh_token: Text | None = None
    scope: Text | None = None


class TokenReply(Message, frozen=True, kw_only=True):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- the word RFC 6749 asks for
    expires_in: int = ACCESS_TOKEN_LIFE_S
    refresh_token: str | None = None
    scope: str = ""
