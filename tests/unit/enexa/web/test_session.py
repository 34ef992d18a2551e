"""Sessions: sealed, expiring, and ended by a changed secret."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enexa.web.session import SESSION_LIFE_S, Doorkeeper, load_key
from shared.contract.operations import Scope
from shared.errors import BadInput, Unauthenticated
from shared.rest.auth import Credential, digest

NOW = datetime(2026, 6, 16, 10, 0, tzinfo=UTC)
KEY = b"k" * 32
OPERATOR = Credential(client_id="operator", secret_sha256=digest("open sesame"), scope=Scope.OPERATOR)
MIDDLEWARE = Credential(client_id="CTRL001", secret_sha256=digest("machine"), scope=Scope.MIDDLEWARE)


def door(key: bytes = KEY, *, secret: str = "open sesame", speed: float = 1.0) -> Doorkeeper:
    return Doorkeeper((msgspec.structs.replace(OPERATOR, secret_sha256=digest(secret)), MIDDLEWARE), key, speed=speed)


def test_the_right_secret_opens_a_session_that_comes_back_whole() -> None:
    session = door().log_in("operator", "open sesame", NOW)

    assert session.is_operator
    assert door().open(door().seal(session), NOW) == session


@pytest.mark.parametrize(
    ("name", "secret"), [("operator", "wrong"), ("nobody", "open sesame"), ("", ""), ("CTRL001", "machine")]
)
def test_a_wrong_secret_an_unknown_name_and_a_machine_stay_outside(name: str, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        door().log_in(name, secret, NOW)


def test_a_session_ends_after_twelve_real_hours_whatever_the_clocks_speed() -> None:
    fast = door(speed=60.0)
    cookie = fast.seal(fast.log_in("operator", "open sesame", NOW))
    end = NOW + timedelta(seconds=SESSION_LIFE_S * 60.0)

    assert fast.open(cookie, end - timedelta(seconds=1)) is not None
    assert fast.open(cookie, end) is None


def test_a_restarted_server_still_knows_its_people_and_another_server_does_not() -> None:
    cookie = door().seal(door().log_in("operator", "open sesame", NOW))

    assert door().open(cookie, NOW) is not None
    assert door(b"x" * 32).open(cookie, NOW) is None


def test_a_changed_secret_ends_every_session() -> None:
    cookie = door().seal(door().log_in("operator", "open sesame", NOW))

    assert door(secret="another one").open(cookie, NOW) is None


@given(st.integers(0, 400), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_character_goes_unnoticed(place: int, char: str) -> None:
    cookie = door().seal(door().log_in("operator", "open sesame", NOW))
    place %= len(cookie)
    forged = cookie[:place] + char + cookie[place + 1 :]

    assert forged == cookie or door().open(forged, NOW) is None


@given(st.text(max_size=200))
def test_any_other_text_is_simply_no_session(text: str) -> None:
    assert door().open(text, NOW) is None


def test_the_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "made" / "session.key"
    first = load_key(path)

    assert load_key(path) == first
    assert path.stat().st_mode & 0o077 == 0


def test_a_key_that_cannot_be_used_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(BadInput, match="too short"):
        load_key(tmp_path / "short")
    with pytest.raises(BadInput, match="cannot keep"):
        load_key(tmp_path / "short" / "below")
