"""Price series: what is known when, days of 92, 96 and 100 quarter hours, and gaps."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.enexa.market.prices import PriceSeries, daily_series, published_until, whole_days
from services.enexa.market.tariffs import Tariff
from shared.energy.slots import slots_of_day
from shared.errors import BadInput

PROFILE = tuple(float(quarter) for quarter in range(96))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2024-05-01T10:59:00+00:00", "2024-05-01T22:00:00+00:00"),
        ("2024-05-01T11:00:00+00:00", "2024-05-02T22:00:00+00:00"),
        ("2024-01-15T11:59:00+00:00", "2024-01-15T23:00:00+00:00"),
        ("2024-01-15T12:00:00+00:00", "2024-01-16T23:00:00+00:00"),
        ("2024-10-26T11:30:00+00:00", "2024-10-27T23:00:00+00:00"),
    ],
)
def test_tomorrow_is_known_from_one_o_clock_local_time(now: str, until: str) -> None:
    assert published_until(datetime.fromisoformat(now)) == datetime.fromisoformat(until)


@pytest.mark.parametrize(
    ("day", "quarters"), [(date(2024, 3, 31), 92), (date(2024, 5, 1), 96), (date(2024, 10, 27), 100)]
)
def test_a_day_has_as_many_quarters_as_its_clock(day: date, quarters: int) -> None:
    series = daily_series(PROFILE, day, 1)

    assert len(series.starts) == len(slots_of_day(day)) == quarters
    assert series.gaps() == ()
    assert series.price_eur_per_mwh[-1] == 95.0
    assert whole_days(series) == (day,)


def test_only_what_is_published_is_told() -> None:
    series = daily_series(PROFILE, date(2024, 5, 1), 4)
    now = datetime(2024, 5, 1, 9, tzinfo=UTC)

    assert series.published(now).until == datetime(2024, 5, 1, 22, tzinfo=UTC)


def test_a_gap_has_no_price_and_is_named() -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    series = PriceSeries(
        starts=(start, start + timedelta(hours=2)), interval_s=(3600, 900), price_eur_per_mwh=(1.0, 2.0)
    )

    assert series.price_at(start + timedelta(minutes=59)) == 1.0
    assert series.price_at(start + timedelta(minutes=60)) is None
    assert series.price_at(start - timedelta(seconds=1)) is None
    assert series.price_at(start + timedelta(minutes=135)) is None
    (gap,) = series.gaps()
    assert gap.until - gap.start == timedelta(hours=1)


def test_a_profile_must_be_a_day() -> None:
    with pytest.raises(BadInput, match="96"):
        daily_series((1.0,) * 24, date(2024, 5, 1), 1)


def test_exporting_is_worthless_under_the_floor() -> None:
    tariff = Tariff()

    assert tariff.export_eur_per_kwh(19.99) is None
    assert tariff.export_eur_per_kwh(20.0) == pytest.approx(0.016)
    assert tariff.import_eur_per_kwh(-120.0) == pytest.approx(-0.04)
