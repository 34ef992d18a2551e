"""One Modbus PDU in, one PDU out: exactly FC 03, 04, 06 and 16, and the right exception code for every mistake."""

import struct
from typing import TYPE_CHECKING

from emulator.device.bank import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, NO_GATEWAY_TARGET
from shared.chargepost.layout import (
    MOST_WORDS_READ,
    MOST_WORDS_WRITTEN,
    READ_HOLDING,
    READ_INPUT,
    WRITE_MANY,
    WRITE_ONE,
)
from shared.moment import Moment

if TYPE_CHECKING:
    from emulator.device.chargepost import ChargePost

READ = struct.Struct(">BHH")
WRITE_MANY_HEAD = struct.Struct(">BHHB")


def answer(post: "ChargePost", now: Moment, unit_id: int, pdu: bytes, peer: str) -> bytes:
    """The reply to a request, or its exception."""
    function = pdu[0] if pdu else 0
    if unit_id not in post.bank.units:
        return exception(function, NO_GATEWAY_TARGET)
    if function in {READ_HOLDING, READ_INPUT}:
        return _read(post, unit_id, function, pdu)
    if function == WRITE_ONE:
        if len(pdu) != READ.size:
            return exception(function, ILLEGAL_VALUE)
        _, address, _ = READ.unpack(pdu)
        return write(post, now, unit_id, function, address, pdu[3:5], peer) or pdu
    if function == WRITE_MANY:
        return _write_many(post, now, unit_id, pdu, peer)
    return exception(function, ILLEGAL_FUNCTION)


def exception(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))


def _read(post: "ChargePost", unit_id: int, function: int, pdu: bytes) -> bytes:
    if len(pdu) != READ.size:
        return exception(function, ILLEGAL_VALUE)
    _, address, count = READ.unpack(pdu)
    if not 1 <= count <= MOST_WORDS_READ:
        return exception(function, ILLEGAL_VALUE)
    if post.masks.active:
        page = post.bank.page(unit_id, function, address, count, post.steps)
        if page is None:
            return exception(function, ILLEGAL_ADDRESS)
        at = 2 * (address - page.start)
        return bytes((function, 2 * count)) + post.masks.shown(page, post)[at : at + 2 * count]
    data = post.bank.read(unit_id, function, address, count, post.steps)
    if isinstance(data, int):
        return exception(function, data)
    return bytes((function, 2 * count)) + data


def _write_many(post: "ChargePost", now: Moment, unit_id: int, pdu: bytes, peer: str) -> bytes:
    if len(pdu) < WRITE_MANY_HEAD.size:
        return exception(WRITE_MANY, ILLEGAL_VALUE)
    _, address, count, size = WRITE_MANY_HEAD.unpack_from(pdu)
    data = pdu[WRITE_MANY_HEAD.size :]
    if not 1 <= count <= MOST_WORDS_WRITTEN or size != 2 * count or len(data) != size:
        return exception(WRITE_MANY, ILLEGAL_VALUE)
    if address + count > 0x10000:
        return exception(WRITE_MANY, ILLEGAL_ADDRESS)
    return write(post, now, unit_id, WRITE_MANY, address, data, peer) or pdu[:5]


def write(post: "ChargePost", now: Moment, unit_id: int, function: int, address: int, data: bytes, peer: str) -> bytes:
    """Let `peer` write; nothing where it was taken, else its exception."""
    faults = post.faults
    if faults.has("setpoint_ignored"):
        post.truth.note(now.at, "ignored", f"unit {unit_id}, {address}", peer=peer, new=data.hex())
        return b""
    if faults.has("partial_write") and len(data) > 2:
        data = data[: max(4, len(data) // 4 * 2)]
    if faults.has("bytes_swapped"):
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    changes = post.bank.write(unit_id, address, data, words_swapped=faults.has("words_swapped"))
    if isinstance(changes, int):
        return exception(function, changes)
    for change in changes:
        post.truth.note(post.now.at, "write", change.name, peer=peer, old=change.old, new=change.new)
    post.written({change.name for change in changes}, now)
    return b""
