"""A million requests, pipelined or broken: nothing is lost, nothing mixed, and a healthy client notices none of it."""

import asyncio
from typing import Any

import pytest

from tests.integration.modbus.floods import healthy, known_answers, mutated, pipelined
from tests.integration.modbus.served import serving

MILLION = pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3_600)])
CONNECTIONS = 4
pytestmark = pytest.mark.timeout(120)  # a second of work, beside whatever else the machine does


@pytest.mark.parametrize("requests", [8_000, MILLION])
async def test_eight_requests_at_a_time_in_pieces_lose_and_mix_no_answer(requests: int) -> None:
    async with serving() as served:
        known = await known_answers(served.port)

        floods = (
            pipelined(served.port, known, requests // CONNECTIONS, depth=8, seed=seed) for seed in range(CONNECTIONS)
        )
        seen = await asyncio.gather(*floods)

        assert sum(each.answered for each in seen) == requests
        assert sum(each.wrong for each in seen) == 0


@pytest.mark.parametrize("requests", [8_000, MILLION])
async def test_broken_requests_close_their_connection_and_disturb_no_healthy_client(requests: int) -> None:
    crashes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
    async with serving(most_connections=50) as served:
        stop = asyncio.Event()
        beside = asyncio.create_task(healthy(served.port, stop))

        floods = (mutated(served.port, requests // CONNECTIONS, seed=seed) for seed in range(CONNECTIONS))
        seen = await asyncio.gather(*floods)
        stop.set()
        calm = await beside

        assert sum(each.wrong for each in seen) == 0
        assert sum(each.answered for each in seen) > 0.8 * requests
        assert sum(each.closed for each in seen) > requests / 2_000
        assert sum(each.kept_open for each in seen) == 0
        assert calm.answered > 20
        assert calm.wrong == 0
    assert crashes == []
