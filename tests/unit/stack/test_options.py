"""What may be said to `make up`, and the sentence for everything else."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.stack.options import Options, Ports, read_options
from shared.errors import BadInput

NOW = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)


def test_nothing_said_is_the_reference_day_on_the_real_clock() -> None:
    options = read_options([], {})

    assert options == Options()
    assert options.scenario == "reference_day"
    assert options.station == "chargepost"
    assert not options.simulated
    assert options.origin_sim(NOW) == NOW


@pytest.mark.parametrize(
    ("day", "midnight_in_utc"),
    [
        ("2024-05-01", datetime(2024, 4, 30, 22, 0, tzinfo=UTC)),
        ("2024-01-01", datetime(2023, 12, 31, 23, 0, tzinfo=UTC)),
        ("2024-03-31", datetime(2024, 3, 30, 23, 0, tzinfo=UTC)),
        ("2024-10-28", datetime(2024, 10, 27, 23, 0, tzinfo=UTC)),
    ],
)
def test_a_date_starts_the_clock_at_that_local_midnight(day: str, midnight_in_utc: datetime) -> None:
    options = read_options([f"DATE={day}"], {})

    assert options.origin_sim(NOW) == midnight_in_utc
    assert options.simulated


def test_a_fast_clock_is_a_simulated_one() -> None:
    assert read_options(["SPEED=60"], {}).simulated


def test_ports_move_with_the_variable_of_the_program_that_listens_there() -> None:
    assert read_options([], {"ENEXA_TLS_PORT": "9443", "CHARGEPOST_PORT": "5021"}).ports == Ports(
        enexa_tls=9443, modbus=5021
    )


@pytest.mark.parametrize(
    ("word", "named", "remedy"),
    [
        ("DATE=2024-13-01", "DATE=2024-13-01", "YYYY-MM-DD"),
        ("DATE=tomorrow", "DATE=tomorrow", "YYYY-MM-DD"),
        ("SPEED=0", "SPEED=0", "above 0"),
        ("SPEED=nan", "SPEED=nan", "above 0"),
        ("SPEED=inf", "SPEED=inf", "above 0"),
        ("SPEED=fast", "SPEED=fast", "above 0"),
        ("SEED=-1", "SEED=-1", "whole number"),
        ("ENGINE=podman", "ENGINE=podman", "native"),
        ("DATABASE=mysql://x", "DATABASE=mysql://x", "postgresql://"),
        ("COLOUR=red", "COLOUR=red", "SCENARIO"),
        ("fast", "fast", "NAME=VALUE"),
        ("PRICES=nowhere.csv", "nowhere.csv", "readable CSV file"),
        ("SESSIONS=nowhere.csv", "nowhere.csv", "readable CSV file"),
    ],
)
def test_a_wrong_word_gets_one_sentence_with_the_thing_and_the_remedy(word: str, named: str, remedy: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read_options([word], {})

    assert named in refusal.value.sentence
    assert remedy in refusal.value.sentence
    assert "\n" not in refusal.value.sentence


def test_a_directory_and_an_empty_file_are_no_price_files(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    for name in (tmp_path, tmp_path / "empty.csv"):
        with pytest.raises(BadInput, match="price file"):
            read_options([f"PRICES={name}"], {})


@pytest.mark.parametrize("value", ["0", "65536", "https", "-1"])
def test_a_port_that_is_none_names_its_variable(value: str) -> None:
    with pytest.raises(BadInput, match="AMPERIO_PORT"):
        read_options([], {"AMPERIO_PORT": value})


def test_a_date_with_a_time_starts_the_clock_at_that_instant() -> None:
    options = read_options(["DATE=2024-01-15T10:00:01Z"], {})

    assert options.origin_sim(NOW) == datetime(2024, 1, 15, 10, 0, 1, tzinfo=UTC)
    assert options.simulated


@pytest.mark.parametrize("value", ["2024-01-15T10:00:01", "2024-01-15T25:00:00Z", "2024-02-30T10:00:00Z"])
def test_an_instant_without_an_offset_or_that_is_none_is_named(value: str) -> None:
    with pytest.raises(BadInput, match=value):
        read_options([f"DATE={value}"], {})
