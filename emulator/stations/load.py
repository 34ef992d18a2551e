"""Station profiles by name or path; a new station is a new TOML file."""

from pathlib import Path

from emulator.physics.nameplate import StationProfile
from shared.errors import BadInput
from shared.scenario.load import load_toml

HERE = Path(__file__).parent


def station_names() -> tuple[str, ...]:
    """The stations that come with the product."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def load_station(name: str | Path) -> StationProfile:
    """A shipped profile by its name, or a file by its path; `BadInput` names the line and the reason."""
    path = Path(name)
    if path.suffix != ".toml":
        path = HERE / f"{name}.toml"
        if not path.exists():
            raise BadInput(f"there is no station '{name}'; the product has {', '.join(station_names())}")
    return load_toml(path, StationProfile)
