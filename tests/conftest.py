"""What many suites need: a clock that stands still, and the real data beside the project."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from shared.clock import ManualClock

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no reason to fail, and CI judges a change by the same examples every time.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    """A program run inside a test configures logging; the next test must not write to its closed stream."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def clock() -> ManualClock:
    """Time passes only when a test says so."""
    return ManualClock()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory with real prices and sessions, which is never part of the project."""
    directory = (ROOT / os.environ.get("SHARED", "../shared") / "data").resolve()
    if not directory.is_dir():
        pytest.skip(f"the real data are not here ({directory}): set SHARED to the directory that holds data/")
    return directory
