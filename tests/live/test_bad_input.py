"""Whatever is wrong with what a person gave: one sentence with the thing and the remedy, and nothing left running."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.live.stack import Stack, free_ports

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]

GAP = """timestamp_utc,interval_s,price_eur_per_mwh
2024-04-30T22:00:00Z,3600,66.81
2024-05-01T01:00:00Z,3600,43.99
"""


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "stack", free_ports())


def refused(stack: Stack, *words: str) -> str:
    """The one sentence with which `make up` gave up."""
    done = stack.make("up", "ENGINE=native", *words)
    assert done.returncode != 0, done.stdout
    assert not stack.survivors(), "something was left running"
    return sentence_of(done)


def sentence_of(done: "subprocess.CompletedProcess[str]") -> str:
    said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert "Traceback" not in done.stderr, done.stderr
    assert len(said) == 1, f"one sentence was wanted: {said}"
    return said[0]


def test_a_busy_port_is_named_with_the_variable_that_moves_it(stack: Stack) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", stack.ports.amperio))
        squatter.listen()

        sentence = refused(stack)

    assert str(stack.ports.amperio) in sentence
    assert "AMPERIO_PORT=" in sentence


def test_a_price_file_that_is_not_there_is_named(stack: Stack) -> None:
    sentence = refused(stack, "PRICES=nowhere/prices.csv")

    assert "nowhere/prices.csv" in sentence
    assert "PRICES" in sentence


def test_a_price_file_that_makes_no_sense_is_named(stack: Stack, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("timestamp_utc,interval_s,price_eur_per_mwh\nyesterday,3600,12\n")

    assert "prices.csv" in refused(stack, f"PRICES={prices}")


def test_a_gap_in_the_prices_is_named_with_its_hour(stack: Stack, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(GAP)

    sentence = refused(stack, f"PRICES={prices}", "DATE=2024-05-01")

    assert "2024-04-30T23:00" in sentence or "2024-05-01" in sentence


@pytest.mark.parametrize("word", ["DATE=2024-02-30", "SPEED=0", "SCENARIO=no_such_story", "STATION=no_such_station"])
def test_a_word_that_means_nothing_is_named(stack: Stack, word: str) -> None:
    assert word.partition("=")[2] in refused(stack, word)


def test_asking_a_stack_that_is_not_there_says_how_to_start_one(stack: Stack) -> None:
    for target in ("status", "token"):
        done = stack.make(target)
        assert done.returncode != 0
        assert "make up" in done.stdout + done.stderr
    assert stack.make("down").returncode == 0
