"""Local locks as files: whoever sits at this machine stands above everything remote."""

from pathlib import Path

from shared.clock import real_now_s

LOCKS = "locks"
"""The directory of locks inside the data directory."""
LOOK_EVERY_S = 0.2
"""Real seconds; one look at the directory serves all sites of the process."""


class Locks:
    """Local locks as files: made and removed only by a person (or an emergency stop) on this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: frozenset[str] = frozenset()
        self._looked_s = float("-inf")

    def locked(self, site_id: str) -> bool:
        now_s = real_now_s()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._seen = frozenset(path.stem for path in self._directory.glob("*.lock"))
        return site_id in self._seen

    def lock(self, site_id: str, reason: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file(site_id).write_text(reason + "\n")
        self._seen |= {site_id}

    def unlock(self, site_id: str) -> bool:
        """False where it was not locked."""
        try:
            self._file(site_id).unlink()
        except FileNotFoundError:
            return False
        self._seen -= {site_id}
        return True

    def _file(self, site_id: str) -> Path:
        return self._directory / f"{site_id}.lock"
