"""When a peer that is busy wants to be asked again: both forms of Retry-After, and whatever else somebody writes."""

import pytest

from shared.rest.call import retry_after_s

DATE = "Mon, 15 Jan 2024 10:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "date", "wait_s"),
    [
        ("7", DATE, 7.0),
        ("Mon, 15 Jan 2024 10:01:30 GMT", DATE, 90.0),
        ("Mon, 15 Jan 2024 11:01:30 +0100", DATE, 90.0),
        ("Mon, 15 Jan 2024 09:00:00 GMT", DATE, 1.0),
        ("86400", DATE, 300.0),
        ("Tue, 16 Jan 2024 10:00:00 GMT", DATE, 300.0),
        ("9" * 400, DATE, 300.0),
        ("Mon, 15 Jan 2024 10:01:30 GMT", "", 1.0),
        ("Mon, 15 Jan 2024 10:01:30 -0000", DATE, 1.0),
        ("\u00b2", DATE, 1.0),
        ("-5", DATE, 1.0),
        ("soon", DATE, 1.0),
        ("", DATE, 1.0),
    ],
)
def test_a_wait_is_read_in_both_forms_and_has_a_ceiling(told: str, date: str, wait_s: float) -> None:
    assert retry_after_s({"retry-after": told, "date": date}) == wait_s


def test_no_word_is_a_second() -> None:
    assert retry_after_s({}) == 1.0
