"""Three real processes through spoilt wires, and the conformance kits over real TLS: minutes, so behind `make soak`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.stack.places import ROOT
from tests.live.relay import DOWN, UP, Relay, Toxic, Verb
from tests.live.spoilt import SpoiltStack, spoilt_stack
from tests.live.test_the_loop import fresh, missing_seconds

pytestmark = [pytest.mark.live, pytest.mark.soak, pytest.mark.timeout(600)]

KIT_S = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpoiltStack]:
    with spoilt_stack(tmp_path_factory.mktemp("spoilt") / "stack") as running:
        running.wait_for(lambda: running.truth()["external"], "Amperio is in control")
        running.wait_for(lambda: fresh(running), "a fresh sample")
        yield running


def _spoil(stack: SpoiltStack, relay: Relay, verb: Verb, *, direction: str = DOWN, amount: float = 0.0) -> None:
    """Let a toxic strike a few times, and take it away."""
    struck = relay.counts.get(verb, 0)
    relay.add(Toxic(verb=verb, direction=direction, amount=amount))
    stack.wait_for(lambda: relay.counts.get(verb, 0) >= struck + 2, f"{verb} strikes twice")
    relay.remove(verb)


def _heals(stack: SpoiltStack, since: datetime) -> datetime:
    return stack.wait_for(lambda: fresh(stack, since + timedelta(seconds=3)), "fresh samples afterwards")


def test_spoilt_wires_lose_no_second_and_store_none_twice(stack: SpoiltStack) -> None:
    begun = at = stack.wait_for(lambda: fresh(stack), "a fresh sample")

    for verb in (Verb.CORRUPT, Verb.DUPLICATE, Verb.SWAP, Verb.TIMEOUT):
        _spoil(stack, stack.field, verb)
    at = _heals(stack, at)
    for verb in (Verb.CORRUPT, Verb.DUPLICATE, Verb.RESET_PEER):
        _spoil(stack, stack.to_enexa, verb, direction=UP)
    _spoil(stack, stack.to_amperio, Verb.LATENCY, amount=0.3)
    stack.to_enexa.add(Toxic(verb=Verb.HOLD))
    stack.wait_for(lambda: stack.to_enexa.counts.get(Verb.HOLD, 0) >= 1, "a reply is held")
    stack.to_enexa.remove(Verb.HOLD)
    stack.to_enexa.add(Toxic(verb=Verb.DOWN))
    stack.wait_for(lambda: stack.latest().age_s > 5, "Enexa hears nothing")
    stack.to_enexa.remove(Verb.DOWN)

    at = _heals(stack, at)
    stack.wait_for(
        lambda: not missing_seconds(stack.seconds(begun, at), begun, at), "every second is stored or declared"
    )
    points = [point.at for point in stack.seconds(begun, at).points]
    assert len(points) == len(set(points)), "no second is stored twice"
    stack.wait_for(lambda: stack.truth()["external"], "Amperio is in control again")


@pytest.mark.parametrize(
    ("words", "who", "secret"),
    [
        (("services.amperio", "conformance", "--enexa", "enexa_tls"), "CTRL001", "amperio_at_enexa"),
        (("services.enexa", "conformance", "--amperio", "amperio_tls"), "enexa", "enexa_at_amperio"),
        (("services.amperio", "conformance", "--modbus", "modbus"), None, None),
    ],
)
def test_the_kits_pass_against_three_real_processes(
    stack: SpoiltStack, words: tuple[str, ...], who: str | None, secret: str | None, tmp_path: Path
) -> None:
    *command, port_name = words
    port = getattr(stack.ports, port_name)
    address = f"127.0.0.1:{port}" if who is None else f"https://localhost:{port}"
    asked = ["--html", str(tmp_path / "kit.html"), "--junit", str(tmp_path / "kit.xml")]
    if who is not None:
        asked += ["--client-id", who, "--ca", str(stack.places.pki / "ca.pem")]

    done = subprocess.run(
        [sys.executable, "-m", *command, address, *asked],
        cwd=ROOT,
        env={**os.environ, "CONFORMANCE_SECRET": stack.secret(secret) if secret else ""},
        capture_output=True,
        text=True,
        timeout=KIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert who is None or "conforms     " in next(line for line in done.stdout.splitlines() if "TLS12" in line)
    assert (tmp_path / "kit.html").read_text().count("<tr>") > 250, "every sentence of the page has its row"
    assert "<testsuite " in (tmp_path / "kit.xml").read_text()
