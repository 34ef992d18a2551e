"""`make up` on one machine: the loop closes, and a program that is killed heals without a loss."""

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from shared.contract.dispatch import CommandStatus
from shared.contract.reads import Series
from tests.live.stack import PROGRAMS, SITE, Stack, running_stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("live") / "stack") as running:
        yield running


def fresh(stack: Stack, after: datetime | None = None) -> datetime | None:
    """The time of the newest stored sample, where it is fresh (and newer than `after`)."""
    latest = stack.latest()
    at = latest.sample.timestamp
    return at if latest.age_s < 5 and (after is None or at > after) else None


def missing_seconds(series: Series, since: datetime, until: datetime) -> list[datetime]:
    """Seconds between two stored samples that hold neither a sample nor a declared gap."""
    held = {point.at.replace(microsecond=0) for point in series.points}
    missing = []
    at = since.replace(microsecond=0) + SECOND
    while at < until.replace(microsecond=0):
        near = held & {at - SECOND, at + SECOND}
        declared = any(gap.from_ - SECOND <= at <= gap.until + SECOND for gap in series.gaps)
        if at not in held and len(near) < 2 and not declared:
            missing.append(at)
        at += SECOND
    return missing


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_telemetry_arrives_once_a_second(stack: Stack) -> None:
    first = stack.wait_for(lambda: fresh(stack), "a first sample")
    last = stack.wait_for(lambda: fresh(stack, first + timedelta(seconds=9)), "ten more seconds of samples")

    series = stack.seconds(first, last + timedelta(seconds=1))

    # Cycles stand on a grid of whole seconds: one that begins late, as the first may, shortens the step behind it.
    steps_s = [(later.at - earlier.at).total_seconds() for earlier, later in pairwise(series.points)]
    assert len(series.points) >= 10
    assert all(0.0 < step_s < 2.0 for step_s in steps_s), steps_s
    assert 0.9 < sum(steps_s) / len(steps_s) < 1.1, steps_s


def test_a_plan_is_made_for_the_published_prices(stack: Stack) -> None:
    schedule = stack.wait_for(stack.schedule, "a plan")

    starts = [slot.start for slot in schedule.slots]
    assert schedule.version >= 1
    assert len(starts) >= 4 * 12, "a plan looks half a day ahead at least"
    assert all(later - earlier == timedelta(minutes=15) for earlier, later in pairwise(starts))
    assert len({slot.price_eur_per_mwh for slot in schedule.slots}) > 1, "prices of a day are not all the same"
    assert all(slot.reason for slot in schedule.slots), "each slot says why"


def test_a_dispatched_setpoint_is_verified(stack: Stack) -> None:
    verified = stack.wait_for(stack.verified, "a verified command")

    command = verified[0]
    assert command.site_id == SITE
    assert command.reason
    assert command.applied_kw is not None
    assert command.measured_kw is not None
    assert abs(command.measured_kw - command.applied_kw) <= max(2.0, 0.05 * abs(command.applied_kw))
    steps = [change.status for change in command.history]
    assert steps == sorted(steps, key=list(CommandStatus).index)


def test_a_second_up_shows_the_first_and_starts_nothing(stack: Stack) -> None:
    before = stack.record().programs

    done = stack.make("up")

    assert done.returncode == 0, done.stderr
    assert "already up" in done.stdout
    assert stack.record().programs == before


def test_other_options_for_a_running_stack_are_refused(stack: Stack) -> None:
    done = stack.make("up", "SPEED=60")

    assert done.returncode != 0
    assert "make down" in done.stderr


def test_status_shows_health_clock_and_fresh_data(stack: Stack) -> None:
    stack.wait_for(lambda: fresh(stack), "a fresh sample")
    done = stack.make("status")

    assert done.returncode == 0, done.stdout
    for name in PROGRAMS:
        assert re.search(rf"^{name} +(ok|degraded) +\d+", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^SITE001 +newest sample is \d+\.\d s old", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("service", ["enexa_tls", "amperio_tls"])
def test_services_speak_tls_1_3_and_nothing_older(stack: Stack, service: str) -> None:
    port = getattr(stack.ports, service)
    context = ssl.create_default_context(cafile=str(stack.places.pki / "ca.pem"))
    with connect(port) as raw, context.wrap_socket(raw, server_hostname="localhost") as spoken:
        assert spoken.version() == "TLSv1.3"

    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(port) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname="localhost")


def test_killing_enexa_loses_no_sample(stack: Stack) -> None:
    before = stack.wait_for(lambda: fresh(stack), "a fresh sample")

    stack.kill("enexa")

    after = stack.wait_for(lambda: fresh(stack, before + timedelta(seconds=10)), "samples after the kill")
    stack.wait_for(
        lambda: not missing_seconds(stack.seconds(before, after), before, after), "every second of the outage is stored"
    )
    late = [gap for gap in stack.seconds(before, after).gaps if gap.until - gap.from_ > 2.5 * SECOND]
    assert not late, "Amperio sampled all the time; a busy machine may miss one cycle"


def test_killing_amperio_loses_nothing_stored_and_shows_the_gap(stack: Stack) -> None:
    before = stack.wait_for(lambda: fresh(stack), "a fresh sample")
    held = {point.at for point in stack.seconds(before - timedelta(seconds=30), before).points}

    for _ in range(3):  # each start waits longer than the one before, so that seconds are missing on any machine
        stack.kill("amperio")

    after = stack.wait_for(lambda: fresh(stack, before + timedelta(seconds=10)), "samples after the kill")
    stack.wait_for(
        lambda: not missing_seconds(stack.seconds(before, after), before, after),
        "every second is stored or declared a gap",
    )
    series = stack.seconds(before - timedelta(seconds=30), after)
    assert held <= {point.at for point in series.points}
    assert series.gaps, "the seconds without a sampler are shown as a gap"


def test_killing_the_emulator_heals_and_the_setpoints_come_back(stack: Stack) -> None:
    before = stack.wait_for(lambda: fresh(stack), "a fresh sample")

    stack.kill("emulator")

    stack.wait_for(
        lambda: (
            (latest := stack.latest()).sample.timestamp > before + timedelta(seconds=3)
            and latest.sample.battery.soc_pct is not None
            and latest.age_s < 5
        ),
        "the battery is read again",
    )
    stack.wait_for(lambda: stack.truth()["external"], "Amperio has taken control again")
    after = stack.latest().sample.timestamp
    stack.wait_for(
        lambda: not missing_seconds(stack.seconds(before, after), before, after),
        "the middleware's own rhythm had no gap",
    )


def test_after_all_that_setpoints_are_verified_again(stack: Stack) -> None:
    now = stack.wait_for(lambda: fresh(stack), "a fresh sample")

    stack.wait_for(
        lambda: [each for each in stack.verified() if each.planned_at >= now],
        "a command planned after the kills is verified",
    )


def test_down_leaves_nothing_running_and_up_continues_where_it_stopped(stack: Stack) -> None:
    assert "down" in stack.down()
    assert not stack.survivors()
    assert not stack.places.record.exists()

    stack.up()

    earlier = stack.wait_for(stack.commands, "the dispatch log of before")
    assert any(each.status is CommandStatus.VERIFIED for each in earlier)
    stack.wait_for(lambda: fresh(stack), "samples")
