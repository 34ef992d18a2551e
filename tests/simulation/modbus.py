"""What Amperio's Modbus client does, without the socket: requests to PDUs, replies to readings and outcomes."""

import struct
from collections.abc import Iterable

from services.amperio.site.orders import Outcome
from services.amperio.site.reads import Reading, ReadRequest
from shared.chargepost.layout import MOST_WORDS_WRITTEN, READ_HOLDING, WRITE_ONE, RegisterWrite
from shared.errors import (
    DeviceBusy,
    DeviceFailed,
    DeviceRefused,
    GatewayProblem,
    IllegalAddress,
    IllegalFunction,
    IllegalValue,
    SiteError,
    WrongReply,
)
from shared.moment import Moment
from tests.simulation.links import DeviceLink

READ = struct.Struct(">BHH")
EXCEPTIONS: dict[int, type[DeviceRefused]] = {
    1: IllegalFunction,
    2: IllegalAddress,
    3: IllegalValue,
    4: DeviceFailed,
    5: DeviceBusy,
    6: DeviceBusy,
    10: GatewayProblem,
    11: GatewayProblem,
}


class ModbusSide:
    """One connection to one station; every reply is checked before it is believed."""

    def __init__(self, link: DeviceLink) -> None:
        self._link = link
        self._pdus: dict[ReadRequest, bytes] = {}

    def look(self, now: Moment, requests: Iterable[ReadRequest]) -> tuple[Reading, ...]:
        """All reads of a cycle; LinkDown or WrongReply where the connection is lost."""
        return tuple([self._read(now, request) for request in requests])

    def carry_out(self, now: Moment, writes: Iterable[RegisterWrite]) -> tuple[Outcome, ...]:
        """Each write, read back word for word."""
        return tuple([self._write(now, write) for write in writes])

    def _read(self, now: Moment, request: ReadRequest) -> Reading:
        pdu = self._pdus.get(request)
        if pdu is None:
            pdu = self._pdus[request] = READ.pack(request.table.value, request.address, request.count)
        reply = self._link.exchange(now, request.unit_id, pdu)
        if reply[0] == pdu[0] and len(reply) == 2 + 2 * request.count and reply[1] == 2 * request.count:
            return Reading(request=request, data=reply[2:])
        return Reading(request=request, error_code=refusal_of(pdu, reply).code)

    def _write(self, now: Moment, write: RegisterWrite) -> Outcome:
        assert len(write.words) <= MOST_WORDS_WRITTEN
        words = struct.pack(f">{len(write.words)}H", *write.words)
        if write.function == WRITE_ONE:
            pdu = struct.pack(">BH", write.function, write.address) + words
        else:
            pdu = struct.pack(">BHHB", write.function, write.address, len(write.words), len(words)) + words
        try:
            reply = self._link.exchange(now, write.unit_id, pdu)
            if reply != (pdu if write.function == WRITE_ONE else pdu[:5]):
                refused = refusal_of(pdu, reply)
                return Outcome(write=write, error_code=refused.code, refused=True)
            back = READ.pack(READ_HOLDING, write.address, len(write.words))
            reply = self._link.exchange(now, write.unit_id, back)
            if reply[0] != READ_HOLDING or len(reply) != 2 + len(words):
                return Outcome(write=write, error_code=refusal_of(back, reply).code)
        except SiteError as error:
            return Outcome(write=write, error_code=error.code, refused=isinstance(error, DeviceRefused))
        return Outcome(write=write, words=struct.unpack(f">{len(write.words)}H", reply[2:]))


def refusal_of(pdu: bytes, reply: bytes) -> DeviceRefused:
    """The device's exception; raises WrongReply where the reply is none."""
    if len(reply) != 2 or reply[0] != pdu[0] | 0x80:
        raise WrongReply("the reply belongs to no request")
    kind = EXCEPTIONS.get(reply[1], DeviceFailed)
    return kind(f"exception {reply[1]}")
