"""Tokens: one hour, hashed, rotated with a grace minute, revoked at once."""

import pytest

from shared.clock import ManualClock
from shared.contract.operations import Scope
from shared.contract.tokens import TokenReply, TokenRequest
from shared.errors import Unauthenticated
from shared.rest.auth import Credential, TokenBook, digest


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def book() -> TokenBook:
    return TokenBook(
        [
            Credential(client_id="operator", secret_sha256=digest("right"), scope=Scope.OPERATOR),
            Credential(client_id="CTRL001", secret_sha256=digest("key"), scope=Scope.MIDDLEWARE, sites=("SITE001",)),
        ]
    )


def log_in(book: TokenBook, clock: ManualClock) -> TokenReply:
    return book.grant(
        TokenRequest(grant_type="client_credentials", client_id="operator", client_secret="right"), clock.now()
    )


def refresh(book: TokenBook, clock: ManualClock, token: str | None) -> TokenReply:
    return book.grant(TokenRequest(grant_type="refresh_token", refresh_token=token), clock.now())


def test_an_access_token_lives_one_hour(book: TokenBook, clock: ManualClock) -> None:
    token = log_in(book, clock).access_token
    assert book.principal(token, clock.advance(3595)).client_id == "operator"
    with pytest.raises(Unauthenticated):
        book.principal(token, clock.advance(10))


@pytest.mark.parametrize(
    ("client_id", "secret"), [("operator", "wrong"), ("nobody", "right"), ("", ""), ("operator", "")]
)
def test_a_wrong_secret_buys_nothing(book: TokenBook, clock: ManualClock, client_id: str, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        book.grant(
            TokenRequest(grant_type="client_credentials", client_id=client_id, client_secret=secret), clock.now()
        )


def test_an_api_key_is_a_bearer_token_of_its_controller_and_an_operators_secret_is_not(
    book: TokenBook, clock: ManualClock
) -> None:
    assert book.principal("key", clock.now()).may_see("SITE001")
    assert not book.principal("key", clock.now()).may_see("SITE002")
    with pytest.raises(Unauthenticated):
        book.principal("right", clock.now())


def test_a_lost_reply_to_a_refresh_locks_nobody_out(book: TokenBook, clock: ManualClock) -> None:
    first = log_in(book, clock)
    successor = refresh(book, clock, first.refresh_token)
    clock.advance(30)
    assert refresh(book, clock, first.refresh_token) == successor


def test_a_refresh_token_used_after_the_grace_minute_revokes_its_family(book: TokenBook, clock: ManualClock) -> None:
    first = log_in(book, clock)
    successor = refresh(book, clock, first.refresh_token)
    clock.advance(61)
    with pytest.raises(Unauthenticated):
        refresh(book, clock, first.refresh_token)
    with pytest.raises(Unauthenticated):
        book.principal(successor.access_token, clock.now())
    assert log_in(book, clock).access_token


def test_revocation_is_immediate(book: TokenBook, clock: ManualClock) -> None:
    token = log_in(book, clock)
    book.revoke("operator")
    with pytest.raises(Unauthenticated):
        book.principal(token.access_token, clock.now())
    with pytest.raises(Unauthenticated):
        refresh(book, clock, token.refresh_token)
