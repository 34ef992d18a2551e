"""German and English numbers and times; local shown, UTC in the hover text."""

from datetime import UTC, datetime

import pytest

from services.enexa.web.formats import Format, chosen_format, date_text, duration, number, time_tag

DE, EN = Format.GERMAN, Format.ENGLISH


@pytest.mark.parametrize(
    ("value", "digits", "german", "english"),
    [
        (1234.56, 1, "1.234,6", "1,234.6"),
        (-0.04, 1, "0,0", "0.0"),
        (-25.0, 0, "−25", "−25"),
        (None, 1, "–", "–"),
        (1_000_000.0, 0, "1.000.000", "1,000,000"),
    ],
)
def test_numbers(value: float | None, digits: int, german: str, english: str) -> None:
    assert number(value, DE, digits) == german
    assert number(value, EN, digits) == english


def test_a_sign_is_shown_where_it_is_asked_for_and_never_for_zero() -> None:
    assert number(3.0, EN, 1, sign=True) == "+3.0"
    assert number(-3.0, EN, 1, sign=True) == "−3.0"
    assert number(0.0, EN, 1, sign=True) == "0.0"


@pytest.mark.parametrize(("month", "shown"), [(1, "11:30:00"), (7, "12:30:00")])
def test_times_are_local_in_winter_and_summer_and_utc_stands_behind_them(month: int, shown: str) -> None:
    tag = str(time_tag(datetime(2026, month, 15, 10, 30, tzinfo=UTC), EN))

    assert f">{shown}<" in tag
    assert f'title="2026-{month:02}-15 10:30:00 UTC"' in tag


def test_dates() -> None:
    midnight = datetime(2024, 4, 30, 22, 0, tzinfo=UTC)

    assert date_text(midnight, DE) == "01.05.2024"
    assert date_text(midnight, EN) == "01 May 2024"
    assert str(time_tag(None, DE)) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.02, "20 ms"), (4.55, "4.5 s"), (90.0, "90 s"), (600.0, "10 min"), (9000.0, "2.5 h")],
)
def test_durations_in_the_unit_that_reads_best(seconds: float | None, text: str) -> None:
    assert duration(seconds, EN) == text


@pytest.mark.parametrize(
    ("cookie", "language", "expected"),
    [
        (None, "de-DE,de;q=0.9,en;q=0.8", DE),
        (None, "fr,en;q=0.8,de;q=0.7", EN),
        ("en", "de", EN),
        ("xx", "de", DE),
        (None, "", EN),
    ],
)
def test_the_readers_choice_comes_first_then_the_browser(cookie: str | None, language: str, expected: Format) -> None:
    assert chosen_format(cookie, language) is expected
