"""The planner's worker: it plans in a process of its own, and never outlives the server."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from services.enexa.planning_job import PlanningJob
from services.enexa.planning_request import plan_request
from services.enexa.pricing import PriceSource
from shared.errors import OutOfBounds, SolverFailed
from tests.integration.enexa.stage import eventually
from tests.unit.enexa.dispatching.scene import CONFIG, START, config, sample

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(120)  # a process starts and loads its solver, on a machine that may be busy

HOLDER = """
import asyncio
from tests.integration.enexa.test_planning_job import hold
asyncio.run(hold())
"""


async def test_a_plan_comes_back_with_its_report_and_a_bad_request_with_its_reason() -> None:
    job = PlanningJob()
    prices = PriceSource(file=None, scenario="reference_day").published(START)
    try:
        planned = await job.make(plan_request(CONFIG, sample(), prices, now=START, version=7))
        upside_down = config(battery=type(CONFIG.battery)(units=CONFIG.battery.units, soc_min_pct=50, soc_max_pct=40))
        with pytest.raises(OutOfBounds):
            await job.make(plan_request(upside_down, sample(), prices, now=START, version=8))
    finally:
        job.close()

    schedule = planned.schedule
    assert (schedule.version, schedule.made_at) == (7, START)
    assert schedule.valid_from <= START < schedule.valid_until
    assert len(planned.report.explanations) == len(schedule.slots)
    assert "total_eur" in planned.report.costs_eur


async def test_a_worker_that_crashes_says_why() -> None:
    job = PlanningJob()
    prices = PriceSource(file=None, scenario="reference_day").published(START)
    request = plan_request(CONFIG, sample(), prices, now=START, version=7)
    try:
        with pytest.raises(SolverFailed, match=r"the planner crashed: \w+Error: .+"):
            await job.make(msgspec.structs.replace(request, plant=None))
        assert (await job.make(request)).schedule.version == 7
    finally:
        job.close()


async def hold() -> None:
    """Start a worker, tell its number, and wait to be killed."""
    job = PlanningJob()
    print(await job.worker_pid(), flush=True)
    await asyncio.sleep(60)


async def test_a_worker_ends_when_its_server_is_killed() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    worker = int(await server.stdout.readline())

    server.send_signal(signal.SIGKILL)
    await server.communicate()

    async def gone() -> bool:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(gone)
