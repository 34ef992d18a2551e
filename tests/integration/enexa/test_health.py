"""Health tells the truth about the platform: each failure in turn is named, and gone when it is mended (goal G8)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from services.enexa.store.database import Database
from shared.errors import StoreFailed
from tests.integration.enexa.stage import Stage, enexa, eventually, middleware


async def checks(stage: Stage) -> tuple[int, str, dict[str, bool]]:
    """HTTP status, the word for it, and each question with its answer."""
    async with aiohttp.ClientSession() as session, session.get(f"{stage.url}/v1/health") as reply:
        found = await reply.json(content_type=None)
        if "checks" not in found:
            return reply.status, found["code"], {}
        return reply.status, found["status"], {each["name"]: each["ok"] for each in found["checks"]}


def certificate(directory: Path, days: float) -> Path:
    path = directory / f"cert{days}.pem"
    until = datetime.now(UTC) + timedelta(days=days)
    issued = trustme.CA().issue_cert("localhost", not_before=until - timedelta(days=90), not_after=until)
    path.write_bytes(issued.cert_chain_pems[0].bytes())
    return path


async def test_g8_what_others_fail_to_do_is_degraded_and_still_served(tmp_path: Path) -> None:
    async with enexa(Stage(tmp_path, tls_cert=certificate(tmp_path, 60))) as stage:

        async def lonely() -> Any:
            status, word, answers = await checks(stage)
            silent = {name for name, ok in answers.items() if not ok}
            return (status, word) == (200, "degraded") and silent == {
                "middleware",
                "plan_SITE001",
                "telemetry_SITE001",
            }

        assert await eventually(lonely)
        async with middleware(stage):

            async def together() -> bool:
                return (await checks(stage))[2]["middleware"]

            assert await eventually(together, within_s=60)


@pytest.mark.parametrize("days", [0.5, -1.0])
async def test_g8_a_certificate_that_ends_within_a_day_is_told(tmp_path: Path, days: float) -> None:
    async with enexa(Stage(tmp_path, tls_cert=certificate(tmp_path, days))) as stage:
        status, word, answers = await checks(stage)

    assert (status, word, answers["certificate"]) == (200, "degraded", False)


async def test_g8_a_store_that_fails_is_unhealthy_with_503_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with enexa(Stage(tmp_path)) as stage:

        async def works() -> bool:
            status, word, answers = await checks(stage)
            return (status, word, answers["store"]) == (200, "degraded", True)

        def broken(*_: object) -> Any:
            raise StoreFailed("the disk is gone")

        assert await eventually(works)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", broken)
            patch.setattr(Database, "group", broken)
            status, _, _ = await checks(stage)

        assert status == 503
        assert await eventually(works)
