"""The kit that Amperio runs against a station: Modbus/TCP v2.6 as the map has it, byte by byte, reading only.

Every frame is written here by hand; neither our client nor its codec takes part.
"""

import math
import socket
import struct
from typing import Any

from shared.chargepost.layout import MOST_WORDS_READ, Block, Field, Table
from shared.chargepost.registers import BATTERIES, GRID, MANAGEMENT, READ_BLOCKS, STATUS
from shared.conformance.checks import Check, Kit, NoAnswer, Saw

HEADER = struct.Struct(">HHHB")
READ = struct.Struct(">BHH")
PORT = 502
TIMEOUT_S = 5.0
FAR_AWAY = 60_000
"""An address of no block."""
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class Station:
    """A station's address; each question has a connection of its own."""

    def __init__(self, host: str, port: int = PORT, *, timeout_s: float = TIMEOUT_S) -> None:
        self.host = host
        self.port = port
        self._timeout_s = timeout_s

    def ask(self, *pdus: bytes, unit: int = 1) -> list[tuple[int, int, bytes]]:
        """All requests in one piece; transaction id, unit and PDU of each reply, in the order in which they came."""
        sent = b"".join(HEADER.pack(index, 0, len(pdu) + 1, unit) + pdu for index, pdu in enumerate(pdus, 1))
        try:
            with socket.create_connection((self.host, self.port), self._timeout_s) as link:
                link.sendall(sent)
                return [self._frame(link) for _ in pdus]
        except OSError as error:
            raise NoAnswer(f"{self.host}:{self.port}: {error or 'silence'}") from error

    def read(self, table: Table, address: int, count: int, unit: int = 1) -> bytes:
        """The registers' bytes; NoAnswer where the reply is an exception or of another size."""
        ((_, _, pdu),) = self.ask(READ.pack(table.value, address, count), unit=unit)
        if pdu[:1] != bytes((table.value,)) or len(pdu) != 2 + 2 * count:
            raise NoAnswer(f"{table.name.lower()} registers {address} to {address + count - 1}: {pdu[:8].hex(' ')}")
        return pdu[2:]

    def value(self, table: Table, unit: int, field: Field) -> Any:
        """One register, as our map reads it."""
        data = self.read(table, field.address, field.words, unit)
        return field.decode(struct.unpack(f">{field.words}H", data))

    def _frame(self, link: socket.socket) -> tuple[int, int, bytes]:
        head = self._exactly(link, HEADER.size)
        transaction, protocol, length, unit = HEADER.unpack(head)
        if protocol != 0 or not 2 <= length <= 254:
            raise NoAnswer(f"a header that is none: {head.hex(' ')}")
        return transaction, unit, self._exactly(link, length - 1)

    def _exactly(self, link: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = link.recv(count - len(data))
            if not more:
                raise NoAnswer("the station closed the connection")
            data += more
        return data


def _blocks(station: Station) -> Saw:
    missing = []
    for block in READ_BLOCKS:
        if block.unit_id != 1:
            continue  # a PV meter is not at every site
        try:
            station.read(block.table, block.address, block.count, block.unit_id)
        except NoAnswer as error:
            missing.append(str(error))
    if not missing:
        return Saw(True, True, "every block of the map")
    return Saw(False, not _needed(missing), "; ".join(missing[:3]))


def _needed(missing: list[str]) -> bool:
    """Without grid, status and management there is nothing to control by."""
    spans = ((GRID, "input"), (STATUS, "input"), (MANAGEMENT, "holding"))
    return any(f"{table} registers {_block_of(span).address} " in text for text in missing for span, table in spans)


def _block_of(span: Any) -> Block:
    return next(each for each in READ_BLOCKS if each.holds(span.address, span.count) and each.table is span.table)


def _exception(pdu: bytes, code: int) -> Any:
    def ask(station: Station) -> Saw:
        ((_, _, reply),) = station.ask(pdu)
        refused = len(reply) == 2 and reply[0] == pdu[0] | 0x80
        return Saw(refused and reply[1] == code, refused, reply[:8].hex(" "))

    return ask


def _pipelined(station: Station) -> Saw:
    block = READ_BLOCKS[1]
    pdus = [READ.pack(block.table.value, block.address, count) for count in (1, 2, 3, 4, 5)]
    try:
        got = station.ask(*pdus)
    except NoAnswer as error:
        return Saw(False, True, f"one at a time works: {error}")
    ordered = [(transaction, len(pdu)) for transaction, _, pdu in got] == [(n, 2 + 2 * n) for n in (1, 2, 3, 4, 5)]
    return Saw(ordered, True, f"{len(got)} replies, ids {[each[0] for each in got]}")


def _identity(station: Station) -> Saw:
    block = READ_BLOCKS[1]
    ((transaction, unit, _),) = station.ask(READ.pack(block.table.value, block.address, 1))
    right = (transaction, unit) == (1, 1)
    return Saw(right, right, f"transaction {transaction}, unit {unit}")


def _watchdog(station: Station) -> Saw:
    interval_s = station.value(Table.HOLDING, 1, MANAGEMENT.fields["watchdog_interval_s"])
    within = isinstance(interval_s, int | float) and 2 <= interval_s <= 60
    return Saw(within, True, f"{interval_s} s")


def _soc(station: Station) -> Saw:
    socs = [station.value(Table.INPUT, span.unit_id, span.fields["soc_pct"]) for span in BATTERIES]
    known = [soc for soc in socs if isinstance(soc, int | float)]
    return Saw(len(known) == 2 and all(0 <= soc <= 100 for soc in known), bool(known), f"{socs}")


def _grid(station: Station) -> Saw:
    grid_kw = station.value(Table.INPUT, 1, GRID.fields["grid_kw"])
    real = isinstance(grid_kw, float) and math.isfinite(grid_kw) and abs(grid_kw) < 1000
    return Saw(real, real, f"{grid_kw} kW")


_check = Kit("MODBUS").check
_FIRST = READ_BLOCKS[1].address
CHECKS: tuple[Check[Station], ...] = (
    _check("BLOCKS", "every block of the map is answered, by functions 03 and 04", "P025 P026 P029 P030 P032", _blocks),
    _check("IDENTITY", "a reply carries the request's transaction and unit", "P029", _identity),
    _check("PIPELINE", "five requests at once are all answered, in order", "P029", _pipelined),
    _check(
        "FUNCTION",
        "another function is refused with exception 01",
        "P030",
        _exception(b"\x2b\x0e\x01\x00", ILLEGAL_FUNCTION),
    ),
    _check(
        "ADDRESS",
        "an address of no block is refused with exception 02",
        "P030",
        _exception(READ.pack(3, FAR_AWAY, 1), ILLEGAL_ADDRESS),
    ),
    _check(
        "COUNT",
        "more than 125 registers are refused with exception 03",
        "P030",
        _exception(READ.pack(4, _FIRST, MOST_WORDS_READ + 1), ILLEGAL_VALUE),
    ),
    _check("WATCHDOG", "the watchdog's time lies between 2 and 60 s", "P027 P028", _watchdog),
    _check("SOC", "two batteries with a state of charge", "P032", _soc),
    _check("GRID", "the grid meter reads a power", "P032", _grid),
)
