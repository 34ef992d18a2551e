"""Where a running stack keeps its things: one directory, outside of version control, thrown away without regret."""

import os
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]


class Places(Struct, frozen=True):
    """The layout below the stack's directory, `.stack` unless STACK_DIR says otherwise."""

    directory: Path

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def record(self) -> Path:
        return self.run / "stack.json"

    def data(self, *, simulated: bool) -> Path:
        """Stores on the real clock; those on a shifted or scaled clock live apart, so that the two never mix."""
        return self.directory / ("simulated" if simulated else "data")

    def log_of(self, program: str) -> Path:
        return self.logs / f"{program}.log"

    def make(self) -> None:
        """Create the directories, readable by nobody else."""
        for directory in (self.directory, self.pki, self.secrets, self.logs, self.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def places() -> Places:
    """The layout this environment asks for."""
    return Places(Path(os.environ.get("STACK_DIR") or ROOT / ".stack").resolve())
