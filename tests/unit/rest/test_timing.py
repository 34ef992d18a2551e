"""F7: how long a refusal takes says nothing about how near a guess was."""

import hmac
import random
import secrets
import statistics
import string
import time
from collections.abc import Callable

import pytest

from shared.clock import ManualClock
from shared.contract.operations import Scope
from shared.contract.tokens import TokenRequest
from shared.errors import Unauthenticated
from shared.rest import auth
from shared.rest.auth import Credential, TokenBook, digest

KEY = secrets.token_urlsafe(32)
TIMINGS = 200_000
THRESHOLD = 4.5
"""Of Welch's t, as dudect has it."""
KEPT_RATIO = 0.9
"""The slowest tenth is the machine's, not the program's."""


def book() -> TokenBook:
    return TokenBook(
        [
            Credential(client_id="CTRL001", secret_sha256=digest(KEY), scope=Scope.MIDDLEWARE),
            Credential(client_id="operator", secret_sha256=digest(KEY + "x"), scope=Scope.OPERATOR),
        ]
    )


def near(key: str) -> str:
    """All of a secret but its last characters."""
    return key[:-4] + "".join(random.choices(string.ascii_letters, k=4))


def far() -> str:
    return secrets.token_urlsafe(32)


def welch_t(refuse: Callable[[str], None], one: Callable[[], str], other: Callable[[], str], count: int) -> float:
    """Welch's t of two kinds of guesses that alternate by chance."""
    taken_ns: tuple[list[int], list[int]] = ([], [])
    kinds = [random.randrange(2) for _ in range(count)]
    # Made beforehand: what making a guess leaves in the caches is not to be measured.
    guesses = [text.encode() for text in ((one, other)[kind]() for kind in kinds)]
    for kind, made in zip(kinds, guesses, strict=True):
        guess = made.decode()
        began_ns = time.perf_counter_ns()
        refuse(guess)
        taken_ns[kind].append(time.perf_counter_ns() - began_ns)
    limit_ns = sorted(taken_ns[0] + taken_ns[1])[int(count * KEPT_RATIO)]
    kept = [[each for each in kind if each <= limit_ns] for kind in taken_ns]
    means = [statistics.fmean(kind) for kind in kept]
    errors = [statistics.variance(kind) / len(kind) for kind in kept]
    return float((means[0] - means[1]) / sum(errors) ** 0.5)


def refused_bearer() -> Callable[[str], None]:
    tokens, now = book(), ManualClock().now()

    def refuse(guess: str) -> None:
        try:
            tokens.principal(guess, now)
        except Unauthenticated:
            return
        raise AssertionError

    return refuse


def refused_log_in() -> Callable[[str], None]:
    tokens, now = book(), ManualClock().now()

    def refuse(guess: str) -> None:
        request = TokenRequest(grant_type="client_credentials", client_id="CTRL001", client_secret=guess)
        try:
            tokens.grant(request, now)
        except Unauthenticated:
            return
        raise AssertionError

    return refuse


def test_f7_only_digests_are_compared_and_as_many_for_a_stranger_as_for_a_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def noting(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(auth.hmac, "compare_digest", noting)  # type: ignore[attr-defined]  # what the module imported
    guess = near(KEY)
    for client_id in ("CTRL001", "operator", "nobody-of-this-name"):
        request = TokenRequest(grant_type="client_credentials", client_id=client_id, client_secret=guess)
        with pytest.raises(Unauthenticated):
            book().grant(request, ManualClock().now())

    assert [given for given, _ in compared] == [digest(guess)] * 3
    assert not any(known in (KEY, guess) for _, known in compared)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_f7_a_near_guess_takes_as_long_as_a_far_one() -> None:
    by_bearer = welch_t(refused_bearer(), lambda: near(KEY), far, TIMINGS)
    by_secret = welch_t(refused_log_in(), lambda: near(KEY), far, TIMINGS)

    print(f"F7: t = {by_bearer:.2f} for bearers, {by_secret:.2f} for secrets, {TIMINGS} timings each")
    assert abs(by_bearer) < THRESHOLD
    assert abs(by_secret) < THRESHOLD


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_f7_the_control_a_comparison_that_stops_at_the_first_difference_is_found() -> None:
    def refuse(guess: str) -> None:
        for one, other in zip(guess, KEY, strict=True):
            if one != other:
                return

    assert abs(welch_t(refuse, lambda: near(KEY), far, TIMINGS // 10)) > THRESHOLD
