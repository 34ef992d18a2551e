"""Days that people made themselves: a shipped day with other cars or another sun, kept as scenario files.

Each is a TOML file like those of the library, so that what a page saved is also played by `make sim SCENARIO=FILE`.
"""

import re
from pathlib import Path

from msgspec.structs import replace

from shared.errors import BadInput, NotFound, StoreFailed
from shared.scenario.load import load_scenario, scenario_names
from shared.scenario.schema import DailyProfile, DailySession, Scenario

SHIPPED = "reference_day"
NAME = re.compile(r"^[a-z0-9_]{1,40}$")
DAYS_MAX = 200
HOURS = 24
SESSION_FIELDS = ("stay_s", "capacity_kwh", "soc_start_pct", "soc_target_pct", "max_kw")


class OwnDays:
    """The shipped day and a directory of one's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> tuple[str, ...]:
        own = sorted(path.stem for path in self._directory.glob("*.toml") if NAME.match(path.stem))
        return (SHIPPED, *own)

    def load(self, name: str) -> Scenario:
        """NotFound for a day that nobody made."""
        if name == SHIPPED:
            return load_scenario(SHIPPED)
        if name not in self.names():
            raise NotFound("there is no such day")
        return load_scenario(self._directory / f"{name}.toml")

    def save(self, scenario: Scenario) -> None:
        """Keep a day under its own name, replacing what had it; BadInput for a name that cannot be used."""
        if not NAME.match(scenario.name):
            raise BadInput("a name has small letters, digits and _, at most 40", field="name")
        if scenario.name in scenario_names():
            raise BadInput("this name belongs to a shipped scenario; choose another", field="name")
        if scenario.name not in self.names() and len(self.names()) > DAYS_MAX:
            raise BadInput(f"at most {DAYS_MAX} days are kept", field="name")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            draft = self._directory / f".{scenario.name}.new"
            draft.write_text(to_toml(scenario), encoding="utf-8")
            draft.replace(self._directory / f"{scenario.name}.toml")
        except OSError as error:
            raise StoreFailed(f"the day cannot be kept: {error.strerror}") from error


def hourly(profile: DailyProfile | None) -> tuple[float, ...]:
    """A profile at the middle of each hour; zeros where there is none."""
    if profile is None:
        return (0.0,) * HOURS
    return tuple(round(profile.at(3600.0 * hour + 1800.0), 4) for hour in range(HOURS))


def with_sun(scenario: Scenario, ratios: tuple[float, ...]) -> Scenario:
    return replace(scenario, pv_ratio=DailyProfile(step_s=3600.0, values=ratios, linear=True))


def to_toml(scenario: Scenario) -> str:
    """A day as a scenario file: its profiles inline, its daily cars one by one."""
    lines = [
        f"name = {_text(scenario.name)}",
        f"story = {_text(scenario.story)}",
        f"seed = {scenario.seed}",
        f"station = {_text(scenario.station)}",
        f"ambient_c = {scenario.ambient_c!r}",
        f"duration_s = {scenario.duration_s!r}",
    ]
    for name, profile in (("price_eur_per_mwh", scenario.price_eur_per_mwh), ("pv_ratio", scenario.pv_ratio)):
        if profile is not None:
            lines += ["", *_profile(name, profile)]
    for session in scenario.sessions:
        lines += ["", *_session(session)]
    return "\n".join(lines) + "\n"


def _profile(name: str, profile: DailyProfile) -> list[str]:
    values = ", ".join(repr(float(value)) for value in profile.values)
    linear = "true" if profile.linear else "false"
    return [f"[{name}]", f"step_s = {profile.step_s!r}", f"linear = {linear}", f"values = [{values}]"]


def _session(session: DailySession) -> list[str]:
    numbers = [f"{name} = {float(getattr(session, name))!r}" for name in SESSION_FIELDS]
    return ["[[sessions]]", f"local_time = {_text(session.local_time)}", *numbers]


def _text(value: str) -> str:
    """A basic string; what TOML would not take inside is left out."""
    plain = "".join(letter for letter in value if letter.isprintable())
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
