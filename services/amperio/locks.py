"""Local locks as files: whoever sits at this machine stands above everything remote."""

from pathlib import Path

LOCKS = "locks"
"""The directory of locks inside the data directory."""


class Locks:
    """Local locks as files: made and removed only by a person (or an emergency stop) on this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def locked(self, site_id: str) -> bool:
        return self._file(site_id).exists()

    def lock(self, site_id: str, reason: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file(site_id).write_text(reason + "\n")

    def unlock(self, site_id: str) -> bool:
        """False where it was not locked."""
        try:
            self._file(site_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def _file(self, site_id: str) -> Path:
        return self._directory / f"{site_id}.lock"
