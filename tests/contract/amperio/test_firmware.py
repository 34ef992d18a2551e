"""Firmware as the middleware takes it: only what is newer, signed and whole, and every step is reported."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.amperio.enexa_client import EnexaClient
from services.amperio.firmware import FirmwareKeeper
from services.amperio.version import VERSION
from services.enexa.firmware import PUBLIC_KEY, FirmwareShelf
from shared.contract.operations import GET_CONTROLLER
from shared.contract.registry import FirmwareStatus
from tests.integration.enexa.stage import Stage, enexa

pytestmark = pytest.mark.timeout(60)


class Bench:
    """Enexa's shelf on one side, the keeper on the other; `reports` is what arrived between them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.shelf = FirmwareShelf(stage.settings.data_dir / "firmware")
        self.client = EnexaClient(stage.url, stage.clock, ca_file=None, client_id="CTRL001", secret="CTRL001-secret")
        self.reports: list[str] = []
        self.directory = stage.directory / "fetched"
        report = self.client.report_firmware

        async def heard(controller_id: str, status: FirmwareStatus) -> None:
            await report(controller_id, status)
            self.reports.append(status.status)

        self.client.report_firmware = heard  # type: ignore[method-assign]  # the real call, and a look at it

    @property
    def key_file(self) -> Path:
        return self.stage.settings.data_dir / "firmware" / PUBLIC_KEY

    def release(self, version: str, content: bytes = b"firmware " * 100_000) -> Path:
        """A file on the platform's shelf; where it lies there."""
        file = self.stage.directory / "controller.bin"
        file.write_bytes(content)
        path = self.shelf.file(self.shelf.add(file, "controller", version).sha256)
        assert path is not None
        return path

    def keeper(self, key_file: Path | None) -> FirmwareKeeper:
        return FirmwareKeeper("CTRL001", self.client, self.directory, key_file, self.stage.clock)

    def fetched(self) -> list[Path]:
        return sorted(self.directory.glob("*")) if self.directory.exists() else []


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with enexa(Stage(tmp_path)) as stage:
        made = Bench(stage)
        yield made
        await made.client.close()


async def test_a_newer_signed_release_is_fetched_once_and_each_step_is_reported(bench: Bench) -> None:
    at_enexa = bench.release("2.1.0")
    keeper = bench.keeper(bench.key_file)

    await keeper.check()
    await keeper.check()

    assert bench.reports == ["downloading 2.1.0", "ready 2.1.0", "ready 2.1.0"]
    (file,) = bench.fetched()
    assert file.read_bytes() == at_enexa.read_bytes()
    assert file.name == f"controller-2.1.0-{at_enexa.name}.bin"
    reply = await bench.stage.caller("viewer").call(GET_CONTROLLER, path={"controller_id": "CTRL001"})
    assert reply.message.firmware == VERSION, "what is fetched is not installed"


async def test_a_file_that_is_not_what_was_signed_is_rejected_and_leaves_nothing(bench: Bench) -> None:
    bench.release("2.1.0").write_bytes(b"something else")

    await bench.keeper(bench.key_file).check()

    assert bench.reports[0] == "downloading 2.1.0"
    assert bench.reports[1].startswith("rejected 2.1.0: the file's sha256 is")
    assert bench.fetched() == []


async def test_a_release_that_somebody_else_signed_is_not_even_fetched(bench: Bench, tmp_path: Path) -> None:
    bench.release("2.1.0")
    stranger = FirmwareShelf(tmp_path / "stranger")
    key_file = tmp_path / "stranger.pem"
    key_file.parent.mkdir(exist_ok=True)
    (tmp_path / "file").write_bytes(b"x")
    stranger.add(tmp_path / "file", "controller", "1.0.0")
    key_file.write_bytes(stranger.public_key())

    await bench.keeper(key_file).check()

    assert bench.reports == ["rejected 2.1.0: the signature is not that of our platform"]
    assert bench.fetched() == []


@pytest.mark.parametrize(("content", "why"), [(None, "FileNotFoundError"), (b"no key", "ValueError")])
async def test_without_a_usable_key_no_release_is_taken_and_enexa_is_told_why(
    bench: Bench, tmp_path: Path, content: bytes | None, why: str
) -> None:
    bench.release("2.1.0")
    key_file = tmp_path / "key.pem"
    if content is not None:
        key_file.write_bytes(content)

    await bench.keeper(key_file).check()
    await bench.keeper(None).check()

    assert why in bench.reports[0]
    assert "AMPERIO_FIRMWARE_KEY_FILE" in bench.reports[1]
    assert bench.fetched() == []


@pytest.mark.parametrize("version", ["0.0.9", VERSION])
async def test_what_is_not_newer_is_no_release_for_us(bench: Bench, version: str) -> None:
    await bench.keeper(None).check()
    bench.release(version)
    await bench.keeper(bench.key_file).check()

    assert bench.reports == ["ok", "ok"]
    assert bench.fetched() == []
