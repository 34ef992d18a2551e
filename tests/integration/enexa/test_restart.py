"""What a platform that was killed makes of what it had begun."""

from pathlib import Path

from services.enexa.dispatching.reconcile import StepState
from services.enexa.platform import Platform
from services.enexa.pricing import PriceSource
from services.enexa.seeds import plant_seed
from services.enexa.store.database import sqlite_url
from services.enexa.store.store import Store
from shared.clock import ManualClock
from tests.unit.enexa.dispatching.scene import START


async def started(path: Path, clock: ManualClock) -> Platform:
    store = Store(sqlite_url(path))
    await store.open()
    await plant_seed(store, "chargepost", clock.now().at, speed=1.0)
    platform = Platform(clock=clock, store=store, prices=PriceSource(file=None, scenario="reference_day"))
    await platform.load()
    return platform


async def test_a_reconciliation_that_was_cut_short_is_shown_and_stored_as_interrupted(tmp_path: Path) -> None:
    clock = ManualClock(START)
    platform = await started(tmp_path / "enexa.sqlite", clock)
    (site_id,) = platform.cores
    begun = platform.cores[site_id].begin_reconciliation(clock.now(), "the middleware answers again", 90.0)
    await platform.keep_reconciliation(begun.view)
    await platform.store.close()

    clock.advance(30.0)
    platform = await started(tmp_path / "enexa.sqlite", clock)
    shown = platform.board.site(site_id).reconciliation
    stored = await platform.store.journal.reconciliations(site_id)
    await platform.store.close()

    assert shown is not None
    assert (shown.record_id, shown.interrupted, shown.finished_at) == (begun.view.record_id, True, clock.now().at)
    assert shown.steps[0].state == StepState.INTERRUPTED.value
    assert len(stored) == 1
