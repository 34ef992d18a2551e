"""Backoff, guards of numbers, and the tree of errors."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import RETRY_AFTER_CEILING_S, Backoff
from shared.errors import Refused, SiteError, StoreFailed, Unreachable, family
from shared.units import clamp, energy_kwh, finite


def test_backoff_doubles_to_its_ceiling_and_starts_again_after_success() -> None:
    backoff, waits = Backoff(), []
    for _ in range(9):
        backoff = backoff.failed()
        waits.append(backoff.wait_s())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.cleared().wait_s() == 0.0


@given(st.integers(1, 10_000), st.floats(0, 0.999), st.floats(0, 1e6))
def test_backoff_is_jittered_upwards_only_and_never_earlier_than_asked(
    failures: int, jitter: float, asked_s: float
) -> None:
    backoff = Backoff(failures=failures)
    plain_s = backoff.wait_s()
    wait_s = backoff.wait_s(jitter=jitter, retry_after_s=asked_s)
    assert wait_s >= min(asked_s, RETRY_AFTER_CEILING_S)
    assert plain_s <= wait_s <= max(1.2 * plain_s, RETRY_AFTER_CEILING_S)


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 0), st.floats(0, 1e3))
def test_clamp_stays_inside_and_changes_nothing_that_is_inside(value: float, low: float, high: float) -> None:
    held = clamp(value, low, high)
    assert low <= held <= high
    assert held == value or not low <= value <= high


def test_nan_never_passes_a_clamp() -> None:
    with pytest.raises(AssertionError):
        clamp(math.nan, 0.0, 1.0)


def test_energy_and_finite() -> None:
    assert energy_kwh(60.0, 900.0) == 15.0
    assert [finite(each) for each in (1.0, None, math.nan, math.inf)] == [True, False, False, False]


def test_every_error_code_is_unique_and_its_status_fits_its_branch() -> None:
    errors = family(SiteError)
    assert len({each.code for each in errors}) == len(errors)
    assert all(400 <= each.http_status < 500 for each in family(Refused))
    assert all(each.retry for each in family(Unreachable))


def test_an_error_tells_its_facts() -> None:
    error = StoreFailed("the outbox cannot be written", path="outbox.db", free_bytes=0)
    assert str(error) == "the outbox cannot be written (path=outbox.db, free_bytes=0)"
    assert error.facts["free_bytes"] == 0
