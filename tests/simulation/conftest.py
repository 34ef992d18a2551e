"""The programs' own log lines stand in the event log of a run; on the terminal they would drown its report."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def silent_programs() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[_dropped])
    yield
    structlog.configure(**before)


def _dropped(*_: object) -> EventDict:
    raise structlog.DropEvent
