"""The seeds that ship with Enexa, and what a fast clock changes in them."""

import pytest

from services.enexa.registry.configs import first_version
from services.enexa.seeds import SEEDS, at_speed, load_seed
from shared.clock import ManualClock
from shared.errors import BadInput


@pytest.mark.parametrize("station", sorted(each.stem for each in SEEDS.glob("*.toml")))
def test_every_shipped_seed_is_a_configuration_that_the_registry_takes(station: str) -> None:
    config = first_version("SITE001", load_seed(station).config, at=ManualClock().now().at, author="seed")
    assert config.version == 1
    assert config.battery.units


def test_an_unknown_station_is_named_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="chargepost"):
        load_seed("nowhere")


@pytest.mark.parametrize(("speed", "watchdog_s"), [(1.0, 10), (5.0, 10), (30.0, 30), (60.0, 60), (3600.0, 60)])
def test_a_fast_clock_gets_a_watchdog_of_a_real_second_as_far_as_the_device_goes(speed: float, watchdog_s: int) -> None:
    assert at_speed(load_seed("chargepost").config, speed).safety.watchdog_s == watchdog_s
