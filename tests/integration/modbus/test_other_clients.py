"""Four clients that others wrote read, write and are refused as the rules say."""

import asyncio
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pyModbusTCP.client import ModbusClient

from tests.integration.modbus.served import Served, serving

NODE = Path(__file__).parent / "node"
NPM_S = 90.0
POWER_ON = [60, 0, 0, 0, 0, 0, 0, 40_000, 0x8000, 0, 0, 0]
WRITTEN = [30, 0, 0, 0, 0, 0, 1, 0x53D8, 0x8000, 0, 0, 0]


def imported_w(served: Served) -> float:
    """What the meter's register must show: import counts negative."""
    return -served.station.post.meter.grid_kw * 1000.0


async def test_pymodbus() -> None:
    async with serving() as served:
        client = AsyncModbusTcpClient("127.0.0.1", port=served.port, retries=0, reconnect_delay=0)
        await client.connect()
        grid = await client.read_input_registers(1000, count=28, device_id=1)
        assert struct.unpack(">f", struct.pack(">2H", *grid.registers[:2]))[0] == pytest.approx(imported_w(served))
        assert (await client.read_holding_registers(2500, count=12, device_id=1)).registers == POWER_ON
        assert not (await client.write_register(2500, 30, device_id=1)).isError()
        assert not (await client.write_registers(2506, [1, 0x53D8], device_id=1)).isError()
        assert (await client.read_holding_registers(2500, count=12, device_id=1)).registers == WRITTEN
        refusals = [
            (await client.read_coils(0, count=1, device_id=1), 1),
            (await client.read_input_registers(1028, count=1, device_id=1), 2),
            (await client.write_register(2500, 1, device_id=1), 3),
            (await client.read_input_registers(1000, count=2, device_id=9), 0x0B),
            (await client.mask_write_register(address=2500, device_id=1), 1),
            (await client.read_device_information(device_id=1), 1),
        ]
        assert [reply.exception_code for reply, _ in refusals] == [code for _, code in refusals]
        client.close()


async def test_py_modbus_tcp() -> None:
    def talk(port: int) -> dict[str, object]:
        client = ModbusClient(host="127.0.0.1", port=port, unit_id=1, auto_open=True, timeout=3.0)
        seen: dict[str, object] = {"grid": client.read_input_registers(1000, 28)}
        seen["power_on"] = client.read_holding_registers(2500, 12)
        seen["wrote"] = (client.write_single_register(2500, 30), client.write_multiple_registers(2506, [1, 0x53D8]))
        seen["written"] = client.read_holding_registers(2500, 12)
        refusals: list[Callable[[], object]] = [
            lambda: client.read_coils(0, 1),
            lambda: client.read_input_registers(1028, 1),
            lambda: client.write_single_register(2500, 1),
        ]
        codes = []
        for refused in refusals:
            refused()
            codes.append(client.last_except)
        client.unit_id = 9
        client.read_input_registers(1000, 2)
        seen["codes"] = [*codes, client.last_except]
        client.close()
        return seen

    async with serving() as served:
        seen = await asyncio.to_thread(talk, served.port)

        grid = seen["grid"]
        assert isinstance(grid, list)
        assert struct.unpack(">f", struct.pack(">2H", *grid[:2]))[0] == pytest.approx(imported_w(served))
        assert seen["power_on"] == POWER_ON
        assert seen["wrote"] == (True, True)
        assert seen["written"] == WRITTEN
        assert seen["codes"] == [1, 2, 3, 0x0B]


async def ran(*command: str, cwd: Path | None = None, within_s: float = 25.0) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode()


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll (Debian package) is not installed")
async def test_mbpoll() -> None:
    async def mbpoll(served: Served, *words: str) -> tuple[int, str]:
        return await ran("mbpoll", "-m", "tcp", "-p", str(served.port), "-0", "-1", "-q", *words)

    async with serving() as served:
        code, out = await mbpoll(served, "-a", "1", "-t", "4", "-r", "2500", "-c", "12", "127.0.0.1")
        assert code == 0
        assert [int(line.split()[1]) & 0xFFFF for line in out.splitlines() if line.startswith("[")] == POWER_ON
        code, out = await mbpoll(served, "-a", "1", "-t", "3:float", "-B", "-r", "1000", "-c", "1", "127.0.0.1")
        assert float(out.split("[1000]:")[1]) == pytest.approx(imported_w(served), rel=1e-3)
        assert (await mbpoll(served, "-a", "1", "-t", "4", "-r", "2500", "127.0.0.1", "30"))[0] == 0
        assert (await mbpoll(served, "-a", "1", "-t", "4", "-r", "2506", "127.0.0.1", "1", "21464"))[0] == 0
        code, out = await mbpoll(served, "-a", "1", "-t", "4", "-r", "2500", "-c", "12", "127.0.0.1")
        assert [int(line.split()[1]) & 0xFFFF for line in out.splitlines() if line.startswith("[")] == WRITTEN
        refusals = [
            (("-a", "1", "-t", "0", "-r", "0", "-c", "1", "127.0.0.1"), "Illegal function"),
            (("-a", "1", "-t", "3", "-r", "1028", "-c", "1", "127.0.0.1"), "Illegal data address"),
            (("-a", "1", "-t", "4", "-r", "2500", "127.0.0.1", "1"), "Illegal data value"),
            (("-a", "9", "-t", "3", "-r", "1000", "-c", "2", "127.0.0.1"), "Target device failed to respond"),
        ]
        for words, sentence in refusals:
            assert sentence in (await mbpoll(served, *words))[1]


async def modbus_serial() -> Path:
    """A folder with the client installed; the test skips, and says so, where npm cannot bring it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is not installed: the JavaScript client is left out")
    place = Path(tempfile.gettempdir()) / "chargepost-modbus-serial-8.0.25"
    if not (place / "node_modules" / "modbus-serial").exists():
        draft = Path(tempfile.mkdtemp(prefix="chargepost-npm-"))
        shutil.copy(NODE / "package.json", draft)
        fetch = ("npm", "install", "--omit=optional", "--no-audit", "--no-fund", "--fetch-retries=1")
        try:
            code, out = await ran(*fetch, cwd=draft, within_s=NPM_S)
        except TimeoutError:
            pytest.skip(f"npm did not bring modbus-serial within {NPM_S:.0f} s")
        if code != 0:
            pytest.skip(f"npm cannot bring modbus-serial: {out.strip()[-200:]}")
        shutil.rmtree(place, ignore_errors=True)
        shutil.move(draft, place)
    shutil.copy(NODE / "conformance.js", place)
    return place


@pytest.mark.timeout(NPM_S + 60)
async def test_modbus_serial_from_npm() -> None:
    place = await modbus_serial()
    async with serving() as served:
        code, out = await ran("node", "conformance.js", str(served.port), cwd=place)

        assert code == 0, out
        seen = json.loads(out.splitlines()[-1])
        assert seen["grid"] == pytest.approx(imported_w(served), rel=1e-6)
        assert (seen["powerOn"], seen["written"]) == (POWER_ON, WRITTEN)
        assert [seen[name] for name in ("coils", "outside", "value", "unit")] == [1, 2, 3, 11]
