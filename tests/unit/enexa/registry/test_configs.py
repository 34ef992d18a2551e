"""Configurations: versions follow each other, changes are named, and what contradicts itself is refused."""

import msgspec
import pytest

from services.enexa.registry.configs import changes, check, document_of, etag, limits_of, next_version, parse_etag
from services.enexa.registry.firmware import Release, check_newer, newest
from services.enexa.seeds import SEEDS, load_seed
from shared.errors import BadInput, InvalidMessage, LostUpdate, OutOfBounds
from tests.unit.enexa.dispatching.scene import CONFIG, START


def test_a_version_follows_the_one_that_if_match_names() -> None:
    made = next_version(CONFIG, document_of(CONFIG), if_match=etag(1), at=START, author="operator")

    assert (made.version, made.author, made.site_id) == (2, "operator", "SITE001")
    with pytest.raises(LostUpdate):
        next_version(made, document_of(CONFIG), if_match=etag(1), at=START, author="operator")
    with pytest.raises(InvalidMessage):
        next_version(made, document_of(CONFIG), if_match=None, at=START, author="operator")


def test_changes_name_each_field_with_both_values() -> None:
    units = CONFIG.battery.units
    stronger = msgspec.structs.replace(units[1], charge_max_kw=120.0)
    battery = msgspec.structs.replace(CONFIG.battery, soc_max_pct=85.0, units=(units[0], stronger))

    found = changes(CONFIG, msgspec.structs.replace(CONFIG, battery=battery))

    assert [(each.field, each.before, each.after) for each in found] == [
        ("battery.soc_max_pct", 90.0, 85.0),
        ("battery.units[1].charge_max_kw", 110.0, 120.0),
    ]
    assert changes(CONFIG, CONFIG) == ()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('"7"', 7),
        ('W/"7"', 7),
        (' "7" ', 7),
        ('"abc"', None),
        ("7", None),
        ('"7', None),
        ('"7\u00b2"', None),
        ("", None),
        ('"99999999999"', None),
    ],
)
def test_an_etag_is_read_back_and_nothing_else_is(text: str, version: int | None) -> None:
    assert parse_etag(text) == version


def test_limits_are_the_sums_of_the_units() -> None:
    limits = limits_of(CONFIG)

    assert (limits.charge_max_kw, limits.discharge_max_kw, limits.soc_min_pct) == (220.0, 220.0, 10.0)


def test_two_units_of_one_name_are_refused_by_field() -> None:
    unit = CONFIG.battery.units[0]
    battery = msgspec.structs.replace(CONFIG.battery, units=(unit, unit))

    with pytest.raises(OutOfBounds) as refusal:
        check(msgspec.structs.replace(CONFIG, battery=battery))
    assert refusal.value.facts["field"] == "battery.units"


@pytest.mark.parametrize("station", sorted(path.stem for path in SEEDS.glob("*.toml")))
def test_every_seed_is_a_sound_configuration_with_its_equipment(station: str) -> None:
    seed = load_seed(station)

    check(seed.config)
    assert {"battery", "charger", "meter"} <= {each.type for each in seed.assets}


def test_an_unknown_station_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="chargepost_pv"):
        load_seed("../chargepost")


def test_firmware_goes_forward_only() -> None:
    def release(version: str) -> Release:
        return Release(device_type="controller", version=version, sha256="0" * 64, signature="", size_bytes=1)

    shelf = [release("2.9.0"), release("2.10.0"), release("2.1.5")]

    assert newest(shelf) == release("2.10.0")
    check_newer("2.10.1", shelf)
    for version in ("2.10.0", "2.9.9"):
        with pytest.raises(OutOfBounds):
            check_newer(version, shelf)
