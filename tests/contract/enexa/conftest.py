"""Enexa on a free port, its clock at the second of the page's examples."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.enexa.stage import Stage, enexa


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with enexa(Stage(tmp_path)) as running:
        yield running
