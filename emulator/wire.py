"""Wire faults: what happens to a reply on its way out, byte by byte; delays are real seconds, as sockets know them.

pymodbus's packet hook carries the faults of bytes (`outgoing`); those of time and of connections act around it.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from emulator.device.faults import Faults, Layer
from emulator.device.requests import exception
from shared.chargepost.layout import WRITE_ONE

if TYPE_CHECKING:
    from emulator.server import Handler

HEADER = struct.Struct(">HHHB")
GOLDEN = 0.6180339887498949
EXCEPTION = "exception_"
Bend: TypeAlias = Callable[[bytes, Faults], bytes]


class Wire:
    """The wire faults of one station; asked only while one of them is active."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._version = -1
        self._active = False
        self._chance = 0.0
        self._last_transaction = 0
        self._held: list[tuple[Handler, bytes]] = []
        self._answered: dict[str, tuple[float, int]] = {}

    @property
    def active(self) -> bool:
        """Whether any wire fault is on."""
        if self._version != self._faults.version:
            self._version = self._faults.version
            self._active = self._faults.in_layer(Layer.WIRE)
        return self._active

    @property
    def dead(self) -> bool:
        """No connection may live."""
        return self.active and (self._faults.has("telemetry_gap") or self._faults.has("refused"))

    @property
    def refused(self) -> bool:
        """Nobody may listen on the port."""
        return self.active and self._faults.has("refused")

    @property
    def occupied(self) -> bool:
        """No further connection may come."""
        return self.dead or (self.active and self._faults.has("occupied"))

    def answer(self, handler: "Handler", transaction: int, unit: int, pdu: bytes) -> None:
        """Let the station answer one request, and the fault have its way with the reply."""
        faults = self._faults
        if faults.has("half_open"):
            return
        reply = self._refusal(pdu) or handler.owner.answer(unit, pdu, handler.peer)
        if not reply or self._lost():
            return
        frame = HEADER.pack(transaction, 0, len(reply) + 1, unit) + reply
        self._deliver(handler, handler.trace_packet(True, frame))
        self._last_transaction = transaction

    def outgoing(self, sending: bool, data: bytes) -> bytes:
        """pymodbus's packet hook: bend the bytes of a frame."""
        if not sending or not self.active:
            return data
        if self._faults.has("repeated_transaction_id"):
            data = self._last_transaction.to_bytes(2, "big") + data[2:]
        for name, bend in BENDS.items():
            if self._faults.has(name):
                data = bend(data, self._faults)
        return data

    def _refusal(self, pdu: bytes) -> bytes:
        for name, fault in self._faults.active.items():
            if name.startswith(EXCEPTION) and _concerns(fault.options, pdu):
                since, given = self._answered.get(name, (fault.since_s, 0))
                given = given if since == fault.since_s else 0
                if fault.options["count"] and given >= fault.options["count"]:
                    continue
                self._answered[name] = (fault.since_s, given + 1)
                return exception(pdu[0], int(name.removeprefix(EXCEPTION), 16))
        return b""

    def _lost(self) -> bool:
        return self._faults.has("lost_replies") and self._draw() < self._faults.option("lost_replies", "ratio")

    def _draw(self) -> float:
        """In [0, 1), evenly spread and the same in every run."""
        self._chance = (self._chance + GOLDEN) % 1.0
        return self._chance

    def _deliver(self, handler: "Handler", frame: bytes) -> None:
        faults = self._faults
        if faults.has("reset"):
            handler.abort()
        elif faults.has("finish"):
            handler.close()
        elif faults.has("reset_mid_frame"):
            handler.put(frame[: len(frame) // 2])
            handler.loop.call_later(0.02, handler.abort)
        elif faults.has("stalled_burst"):
            self._hold(handler, frame)
        elif faults.has("trickle"):
            delay_s = faults.option("trickle", "delay")
            for place in range(len(frame)):
                handler.loop.call_later(delay_s * place, handler.put, frame[place : place + 1])
        elif faults.has("slow_replies"):
            delay_s = faults.option("slow_replies", "delay") + self._draw() * faults.option("slow_replies", "jitter")
            handler.put_after(delay_s, frame)
        else:
            handler.put(frame)

    def _hold(self, handler: "Handler", frame: bytes) -> None:
        if not self._held:
            asyncio.get_running_loop().call_later(self._faults.option("stalled_burst", "hold"), self._let_go)
        self._held.append((handler, frame))

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for handler, frame in held:
            handler.put(frame)


def _concerns(options: Mapping[str, float], pdu: bytes) -> bool:
    """Whether a request has the function code and touches the addresses that the options name."""
    if options["function"] not in {0.0, float(pdu[0])}:
        return False
    first = int.from_bytes(pdu[1:3], "big")
    count = 1 if pdu[0] == WRITE_ONE else max(1, int.from_bytes(pdu[3:5], "big"))
    return first <= options["to_address"] and options["from_address"] < first + count


def _header(data: bytes, **changes: int) -> bytes:
    transaction, protocol, length, unit = HEADER.unpack_from(data)
    fields = {"transaction": transaction, "protocol": protocol, "length": length, "unit": unit, **changes}
    return (
        HEADER.pack(*(fields[name] & 0xFFFF for name in ("transaction", "protocol", "length")), fields["unit"] & 0xFF)
        + data[7:]
    )


def _relength(data: bytes) -> bytes:
    return _header(data, length=len(data) - 6)


def _is_read(data: bytes) -> bool:
    return data[7] in {3, 4}


def _byte_count(data: bytes, faults: Faults) -> bytes:
    offset = int(faults.option("wrong_byte_count", "offset"))
    return data[:8] + bytes(((data[8] + offset) & 0xFF,)) + data[9:] if _is_read(data) else data


def _short(data: bytes, faults: Faults) -> bytes:
    del faults
    return _relength(data[:8] + bytes((data[8] - 2,)) + data[9:-2]) if _is_read(data) else data


def _long(data: bytes, faults: Faults) -> bytes:
    del faults
    return _relength(data[:8] + bytes((data[8] + 2,)) + data[9:] + b"\x12\x34") if _is_read(data) else data


def _echo(data: bytes, faults: Faults) -> bytes:
    del faults
    return data[:9] + bytes((data[9] ^ 0x01,)) + data[10:] if data[7] in {6, 16} else data


def _quantity(data: bytes, faults: Faults) -> bytes:
    del faults
    return data[:11] + bytes((data[11] ^ 0x01,)) + data[12:] if data[7] in {6, 16} else data


BENDS: dict[str, Bend] = {
    "wrong_function": lambda data, _faults: data[:7] + bytes((data[7] ^ 0x07,)) + data[8:],
    "wrong_byte_count": _byte_count,
    "short_data": _short,
    "long_data": _long,
    "wrong_echo": _echo,
    "wrong_quantity": _quantity,
    "wrong_transaction_id": lambda data, faults: _header(
        data, transaction=int.from_bytes(data[:2], "big") + int(faults.option("wrong_transaction_id", "offset"))
    ),
    "zero_transaction_id": lambda data, _faults: _header(data, transaction=0),
    "wrong_protocol_id": lambda data, faults: _header(data, protocol=int(faults.option("wrong_protocol_id", "value"))),
    "wrong_length": lambda data, faults: _header(
        data, length=int.from_bytes(data[4:6], "big") + int(faults.option("wrong_length", "offset"))
    ),
    "wrong_unit": lambda data, faults: _header(data, unit=int(faults.option("wrong_unit", "unit"))),
    "truncated": lambda data, _faults: data[:-1],
    "glued_replies": lambda data, _faults: data + data,
    "garbage_before": lambda data, faults: b"\xa5" * int(faults.option("garbage_before", "count")) + data,
    "garbage_after": lambda data, faults: data + b"\xa5" * int(faults.option("garbage_after", "count")),
}
