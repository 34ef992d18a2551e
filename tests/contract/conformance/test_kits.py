"""The kits pass against our own twins, and fail exactly where a twin is bent."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from services.amperio.conformance import enexa as enexa_kit
from services.amperio.conformance import modbus as modbus_kit
from services.enexa.conformance import amperio as amperio_kit
from shared.conformance.checks import Check, Verdict, run_checks
from shared.conformance.command import exit_code
from shared.conformance.page import sentences
from shared.conformance.peer import Peer
from shared.conformance.report import html, junit, text_lines
from tests.contract.conformance.bent import Bend, Reply, bent, bent_station
from tests.integration.amperio.stage import playing
from tests.integration.enexa.stage import Stage, enexa
from tests.integration.modbus.served import serving

pytestmark = pytest.mark.timeout(120)

WITHOUT_TLS = {"TLS13", "TLS12"}


async def _ask(checks: Sequence[Check[Any]], subject: Any, *, writing: bool = False) -> tuple[Verdict, ...]:
    return await asyncio.to_thread(lambda: tuple(run_checks(checks, subject, writing=writing)))


def _peer(url: str, who: str) -> Peer:
    return Peer(url, client_id=who, secret=f"{who}-secret", site_id="SITE001", timeout_s=30.0)


def _told(verdicts: Sequence[Verdict]) -> str:
    return "\n".join(text_lines("the twin", verdicts))


def _broken(verdicts: Sequence[Verdict]) -> set[str]:
    return {each.check.partition("-")[2] for each in verdicts if each.conforms is False}


def _without(*names: str) -> Any:
    def change(told: dict[str, Any]) -> None:
        for name in names:
            told.pop(name, None)

    return change


def _on(path: str, *, method: str = "GET", **change: Any) -> Bend:
    """Bend the answers of one path: another status, a header gone, or an edited body."""

    def bend(asked: str, where: str, reply: Reply) -> None:
        if asked != method or not where.startswith(path):
            return
        if "drops" in change:
            reply.headers.pop(change["drops"], None)
        if "status" in change and reply.status == change.get("of", reply.status):
            reply.status = change["status"]
        if "edit" in change:
            reply.edit(change["edit"])

    return bend


def _everywhere(bend_reply: Any) -> Bend:
    return lambda method, path, reply: bend_reply(reply)


def _plain_problem(reply: Reply) -> None:
    if reply.status >= 400:
        reply.headers["content-type"] = "text/html"


ENEXA_BENDS: tuple[tuple[str, Bend, set[str]], ...] = (
    ("a configuration without battery", _on("/v1/config/", edit=_without("battery")), {"CONFIG"}),
    ("no version tracking", _on("/v1/config/", drops="etag"), {"ETAG"}),
    ("a site without a name", _on("/v1/sites", edit=lambda t: t.get("sites") and t["sites"][0].pop("name")), {"SITES"}),
    ("no meters", _on("/v1/sites/SITE001/assets", edit=_without("meters")), {"ASSETS"}),
    ("a capacity is missing", _on("/v1/equipment/", edit=_without("capacity_kwh")), {"SPECS"}),
    (
        "tokens live two hours",
        _on("/v1/oauth/token", method="POST", edit=lambda t: t.update(expires_in=7200)),
        {"TOKEN"},
    ),
    ("401 does not challenge", _on("/v1/sites", drops="www-authenticate"), {"NOTOKEN"}),
    ("an unknown site is answered by default", _on("/v1/config/NOSUCHSITE", status=200, of=404), {"NOSITE"}),
    ("bad telemetry is taken", _on("/v1/telemetry", method="POST", status=200), {"JSON", "NAIVE", "NUMBER"}),
    ("anybody may register", _on("/v1/controllers/register", method="POST", status=201), {"ENROL"}),
    ("health is not JSON", _on("/v1/health", edit=lambda t: t.clear()), {"HEALTH"}),
)
AMPERIO_BENDS: tuple[tuple[str, Bend, set[str]], ...] = (
    ("no status in the acknowledgement", _on("/v1/dispatch", method="POST", edit=_without("status")), {"ACK"}),
    ("a command for nobody is taken", _on("/v1/dispatch", method="POST", status=200, of=404), {"NOSITE"}),
    (
        "what must be refused is taken",
        _on("/v1/dispatch", method="POST", status=200, of=422),
        {"BOUND", "STALE", "DISGUISE"},
    ),
    ("no record of a command", _on("/v1/dispatch/", status=404, of=200), {"RECORD"}),
    ("the site's mode is a secret", _on("/v1/sites/SITE001/state", edit=_without("mode")), {"STATE"}),
    ("health forgets the sites", _on("/v1/health", edit=lambda t: t.update(sites=[])), {"SITEHEALTH"}),
)


async def test_the_kit_passes_against_our_enexa_and_fails_where_it_is_bent(tmp_path: Path) -> None:
    async with enexa(Stage(tmp_path)) as stage:
        plain = await _ask(enexa_kit.CHECKS, _peer(stage.url, "CTRL001"))
        assert exit_code(plain) == 0, _told(plain)
        assert {each.check.partition("-")[2] for each in plain if each.conforms is None} >= WITHOUT_TLS

        for name, bend, broken in ENEXA_BENDS:
            with bent(stage.port, bend) as url:
                checks = [each for each in enexa_kit.CHECKS if _worth(each, broken)]
                verdicts = await _ask(checks, _peer(url, "CTRL001"))
            assert _broken(verdicts) == broken, f"{name}\n{_told(verdicts)}"

        with bent(stage.port, _everywhere(_plain_problem)) as url:
            verdicts = await _ask([each for each in enexa_kit.CHECKS if not each.writes], _peer(url, "CTRL001"))
        assert exit_code(verdicts) == 1, "refusals as HTML do not conform, and a client still gets along\n" + _told(
            verdicts
        )


async def test_the_kit_with_writing_passes_too(tmp_path: Path) -> None:
    async with enexa(Stage(tmp_path)) as stage:
        checks = [each for each in enexa_kit.CHECKS if each.writes and not each.id.endswith("-RATE")]
        verdicts = await _ask(checks, _peer(stage.url, "CTRL001"), writing=True)

    assert exit_code(verdicts) == 0, _told(verdicts)
    assert all(each.conforms for each in verdicts), _told(verdicts)


async def test_the_kit_passes_against_our_amperio_and_fails_where_it_is_bent(tmp_path: Path) -> None:
    async with playing(tmp_path, speed=1.0) as stage:
        url = f"http://127.0.0.1:{stage.port}"
        plain = await _ask(amperio_kit.CHECKS, _peer(url, "enexa"))
        assert exit_code(plain) == 0, _told(plain)

        for name, bend, broken in AMPERIO_BENDS:
            with bent(stage.port, bend) as bent_url:
                checks = [each for each in amperio_kit.CHECKS if _worth(each, broken)]
                verdicts = await _ask(checks, _peer(bent_url, "enexa"))
            assert _broken(verdicts) == broken, f"{name}\n{_told(verdicts)}"


def _worth(check: Check[Peer], broken: set[str]) -> bool:
    """Of a bent twin: what has to fail, and a sample of what must not; asking everything each time takes a minute."""
    name = check.id.partition("-")[2]
    return name in broken or name in {"SITES", "NORECORD", "METHOD", "CONTROLLER", "WORD"}


def _other_id(frame: bytes) -> bytes:
    return b"\x77" + frame[1:]


def _code_4(frame: bytes) -> bytes:
    return frame[:8] + b"\x04" if frame[7] & 0x80 else frame


def _no_holding(frame: bytes) -> bytes:
    return frame[:4] + b"\x00\x03" + frame[6:7] + b"\x83\x02" if frame[7] == 3 else frame


def _low_byte_first(frame: bytes) -> bytes:
    data = bytearray(frame)
    if data[7] in (3, 4):
        data[9::2], data[10::2] = frame[10::2], frame[9::2]
    return bytes(data)


MODBUS_BENDS = (
    ("another transaction", _other_id, {"IDENTITY", "PIPELINE"}),
    ("every exception is 04", _code_4, {"FUNCTION", "ADDRESS", "COUNT"}),
    ("no holding registers", _no_holding, {"BLOCKS", "WATCHDOG"}),
    ("bytes swapped", _low_byte_first, {"WATCHDOG", "SOC"}),
)


async def test_the_kit_passes_against_our_station_and_fails_where_it_is_bent() -> None:
    async with serving() as served:
        served.run(3)
        plain = await _ask(modbus_kit.CHECKS, modbus_kit.Station("127.0.0.1", served.port))
        assert exit_code(plain) == 0, _told(plain)

        for name, bend, broken in MODBUS_BENDS:
            with bent_station(served.port, bend) as port:
                verdicts = await _ask(modbus_kit.CHECKS, modbus_kit.Station("127.0.0.1", port))
            assert _broken(verdicts) >= broken, f"{name}\n{_told(verdicts)}"
            assert _broken(verdicts) - broken <= {"GRID"}, f"{name}\n{_told(verdicts)}"


async def test_a_peer_that_is_not_there_fails_everywhere() -> None:
    verdicts = await _ask(enexa_kit.CHECKS[:3], _peer("http://127.0.0.1:9", "CTRL001"))

    assert verdicts[2].word == "FAILS"


def _verdict(conforms: bool | None, works: bool | None) -> Verdict:
    return Verdict(
        check="ENEXA-X", title="a <title>", covers=("P148",), conforms=conforms, works=works, seen='"<&>"', took_s=0.1
    )


@pytest.mark.parametrize(
    ("conforms", "works", "word", "code"),
    [
        (True, True, "conforms", 0),
        (False, True, "still works", 1),
        (False, False, "FAILS", 3),
        (None, None, "not tried", 0),
    ],
)
def test_each_verdict_has_its_word_its_code_and_its_place_in_the_reports(
    conforms: bool | None, works: bool | None, word: str, code: int
) -> None:
    verdicts = (_verdict(conforms, works),)

    suite = ElementTree.fromstring(junit("a & b", verdicts))
    page = html("a & b", verdicts, sentences())

    assert verdicts[0].word == word
    assert exit_code(verdicts) == code
    assert (suite.get("failures"), suite.get("skipped")) == (
        str(int(conforms is False)),
        str(int(conforms is None)),
    )
    assert "a &lt;title&gt;" in page
    assert all(sentence.id in page for sentence in sentences())
