"""Settings of all three programs: what they take, and the sentence for each mistake."""

from pathlib import Path

import pytest

from emulator import settings as emulator
from services.amperio import settings as amperio
from services.enexa import settings as enexa
from shared.errors import BadInput
from shared.settings import ProcessSettings, networks, read_secret, read_settings

PROGRAMS = [(emulator.PREFIX, emulator.Settings), (amperio.PREFIX, amperio.Settings), (enexa.PREFIX, enexa.Settings)]


@pytest.mark.parametrize(("prefix", "of"), PROGRAMS)
def test_an_empty_environment_gives_the_defaults(prefix: str, of: type[ProcessSettings]) -> None:
    assert read_settings({"PATH": "/usr/bin", prefix + "PORT": ""}, prefix, of) == of()


@pytest.mark.parametrize(("prefix", "of"), PROGRAMS)
def test_values_are_converted_to_their_types(prefix: str, of: type[ProcessSettings]) -> None:
    given = {prefix + "SPEED": "60", prefix + "DATA_DIR": "data", prefix + "ORIGIN_SIM": "2024-05-01T00:00:00+02:00"}
    settings = read_settings(given, prefix, of)
    assert settings.speed == 60.0
    assert getattr(settings, "data_dir", None) == Path("data")
    assert settings.origin_sim is not None
    assert settings.origin_sim.isoformat() == "2024-05-01T00:00:00+02:00"


@pytest.mark.parametrize(("prefix", "of"), PROGRAMS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPEED", "0"),
        ("SPEED", "nan"),
        ("PORT", "70000"),
        ("PORT", "x"),
        ("ORIGIN_SIM", "2024-05-01"),
        ("LOG_LEVEL", "-"),
    ],
)
def test_a_wrong_value_names_its_variable(prefix: str, of: type[ProcessSettings], name: str, value: str) -> None:
    with pytest.raises(BadInput, match=prefix + name):
        read_settings({prefix + name: value}, prefix, of)


@pytest.mark.parametrize(("prefix", "of"), PROGRAMS)
def test_a_misspelt_variable_is_named_with_the_known_ones(prefix: str, of: type[ProcessSettings]) -> None:
    with pytest.raises(BadInput, match=rf"{prefix}SPEDE.*{prefix}SPEED"):
        read_settings({prefix + "SPEDE": "60"}, prefix, of)


def test_a_list_of_networks_is_split_and_checked() -> None:
    assert networks(" 10.0.0.0/8, 192.168.1.1 ,", "X_ALLOWLIST") == ("10.0.0.0/8", "192.168.1.1")
    with pytest.raises(BadInput, match="X_ALLOWLIST"):
        networks("everybody", "X_ALLOWLIST")


def test_a_secret_comes_from_a_file_that_holds_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("abc\n")
    assert read_secret(file, "X_SECRET_FILE") == "abc"
    file.write_text("\n")
    for path in (None, file, tmp_path / "missing"):
        with pytest.raises(BadInput, match="X_SECRET_FILE"):
            read_secret(path, "X_SECRET_FILE")
