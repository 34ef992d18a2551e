"""Health tells the truth: each inner failure is named within ten seconds, and forgotten when it is gone (goal G8)."""

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import Struct

from services.amperio.site.outbox import DEAD_QUIET_S
from shared.chargepost.registers import GRID, MANAGEMENT
from shared.clock import real_now_s
from shared.rest.certificates import certificate_check
from tests.integration.amperio.byhand import STORE_MAX_BYTES, ByHand, by_hand
from tests.unit.amperio.bench import SITE, a_config

WITHIN_S = 10


class Failure(Struct, frozen=True):
    """What breaks, the question of health that must say so, and how it is mended (None = it lasts)."""

    kind: str
    check: str
    breaks: Callable[[ByHand, pytest.MonkeyPatch], Any]
    mends: Callable[[ByHand], Any] | None = None
    unhealthy: bool = False


def fault(name: str) -> Callable[[ByHand, pytest.MonkeyPatch], None]:
    def begin(stage: ByHand, _: pytest.MonkeyPatch) -> None:
        stage.bench.rig.post.begin_fault(name)

    return begin


def no_fault(name: str) -> Callable[[ByHand], None]:
    def end(stage: ByHand) -> None:
        stage.bench.rig.post.end_fault(name)

    return end


def says(**what: Any) -> Callable[[ByHand, pytest.MonkeyPatch], None]:
    def say(stage: ByHand, _: pytest.MonkeyPatch) -> None:
        for name, value in what.items():
            setattr(stage, name, value)

    return say


def cut(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.bench.link_cut = True


def join(stage: ByHand) -> None:
    stage.bench.link_cut = False


def refuse_a_register(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.link.refuses = GRID.address


def give_all_registers(stage: ByHand) -> None:
    stage.link.refuses = None


def refuse_to_store(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr("services.amperio.scribe.tables.keep_rows", full)


def hang_the_store(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's patience is real time: here three seconds pass with each look at its clock."""
    ticks = count(real_now_s(), 3.0)
    monkeypatch.setattr("services.amperio.store.database.real_now_s", lambda: next(ticks))
    hung = threading.Event()
    stage.database.give(lambda _: hung.wait(20.0))
    stage.running = False

    def let_go() -> None:
        hung.set()
        monkeypatch.undo()

    stage.let_go = let_go


def let_the_store_go(stage: ByHand) -> None:
    stage.let_go()
    stage.running = True


def fill_the_file(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.amperio.checks._size", lambda _: int(0.91 * STORE_MAX_BYTES))


def fill_the_disk(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10 * 1024 * 1024}))


def fill_the_buffer(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.lane.outbox, "rows_max", 2)


def put_a_file_aside(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.database.quarantined = Path("amperio.db.damaged-1")


def meet_a_bug(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.lane._note_start()
    stage.lane._note_start()


def another_master(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.bench.rig.write(MANAGEMENT.write(request_kw=3.0))


def set_the_clock(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.clock.step_date(-61.0)


def refuse_a_sample(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.lane.dead_letters.note(stage.clock.now())


def let_ten_minutes_pass(stage: ByHand) -> None:
    stage.lane.dead_letters._latest_s -= DEAD_QUIET_S


def lose_the_configuration(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.lane.agent._use_config(None)


def send_an_impossible_configuration(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.lane.take_config(a_config(7, grid={"import_limit_kw": 120.0}))


def lock(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.locks.lock(SITE, "test")


def unlock(stage: ByHand) -> None:
    stage.locks.unlock(SITE)


def hang_the_intake(stage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.lane, "_intake_alive", lambda: False)


def strengthen_the_fallback(stage: ByHand, _: pytest.MonkeyPatch) -> None:
    stage.lane.take_config(a_config(8, safety={"fallback_import_kw": 30.0}))


FAILURES = (
    Failure("the store refuses", "store", refuse_to_store, unhealthy=True),
    Failure("the store hangs", "store", hang_the_store, let_the_store_go, unhealthy=True),
    Failure("the store's file is nearly full", "store_size", fill_the_file),
    Failure("the disk is nearly full", "disk", fill_the_disk),
    Failure("a damaged store was put aside", "store_history", put_a_file_aside),
    Failure("the control loop hangs", "lane", says(running=False), lambda stage: setattr(stage, "running", True), True),
    Failure("the control loop met a bug", "bugs", meet_a_bug),
    Failure("the link is down", "modbus", cut, join),
    Failure("the registers say nothing", "readable", fault("null_frames"), no_fault("null_frames")),
    Failure("the station refuses registers", "registers", refuse_a_register, give_all_registers),
    Failure("the registers stand still", "fresh", fault("stale_frozen"), no_fault("stale_frozen")),
    Failure("the station reports a fault", "faults", fault("ups_failure"), no_fault("ups_failure")),
    Failure("the station does not obey", "control", fault("heartbeat_ignored"), no_fault("heartbeat_ignored")),
    Failure("the heartbeat is not earned", "heartbeat", hang_the_intake),
    Failure("another master writes", "rival", another_master),
    Failure("the station is unsafe without us", "fallback", strengthen_the_fallback),
    Failure("the site is locked", "lock", lock, unlock),
    Failure("Enexa does not answer", "enexa", says(talking=False), lambda stage: setattr(stage, "talking", True)),
    Failure("nobody talks to Enexa", "forwarding", says(talking=None), lambda stage: setattr(stage, "talking", True)),
    Failure("Enexa refuses a sample for good", "dead_letters", refuse_a_sample, let_ten_minutes_pass),
    Failure("there is no configuration", "config", lose_the_configuration),
    Failure("the newest configuration was rejected", "config_version", send_an_impossible_configuration),
    Failure("the mode is not one to work in", "mode", cut, join),
    Failure("the clock was set", "clock", set_the_clock),
    Failure("the buffer is nearly full", "buffer", fill_the_buffer),
)


def test_goal_g8_there_are_at_least_twenty_kinds() -> None:
    assert len({each.kind for each in FAILURES}) >= 20
    assert len({each.check for each in FAILURES}) >= 20


async def test_goal_g8_a_site_to_which_nothing_happened_is_well(tmp_path: Path) -> None:
    """The control: no question is answered with no, whatever else happens to the table below."""
    async with by_hand(tmp_path) as stage:
        await stage.online()
        await stage.seconds(30)

        assert (stage.health().status, stage.ailing()) == ("ok", set())


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: each.kind.replace(" ", "_"))
async def test_goal_g8_each_inner_failure_is_told_within_ten_seconds_and_forgotten_when_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    async with by_hand(tmp_path) as stage:
        await stage.online()
        await stage.seconds(3)
        assert failure.check not in stage.ailing()

        failure.breaks(stage, monkeypatch)
        for _ in range(WITHIN_S + 1):
            if failure.check in stage.ailing():
                break
            await stage.seconds(1)

        assert failure.check in stage.ailing(), f"not told within {WITHIN_S} s"
        assert stage.health().status == ("unhealthy" if failure.unhealthy else "degraded")
        if failure.mends is not None:
            failure.mends(stage)
            await stage.seconds(30)
            assert failure.check not in stage.ailing()


def test_a_certificate_that_ends_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    unreadable = tmp_path / "cert.pem"
    unreadable.write_text("no certificate")

    (check,) = certificate_check(unreadable)

    assert not check.ok
