"""The answers that `Idempotency-Key` asks for again: the same key with the same body creates nothing a second time.

Kept in memory, a bounded number for an hour: long enough for whoever lost a reply, and gone with the process like the
tokens. The key counts for the bearer that it came with, so that nobody reads another's answer.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

import msgspec
from msgspec import Struct

from shared.contract.operations import Operation
from shared.errors import IdempotencyMismatch, InProgress, InvalidMessage
from shared.moment import Moment

KEPT_MAX = 1000
KEPT_S = 3600.0
KEY_MAX_CHARS = 200
CREATED = frozenset({201, 202})


class Raw(Struct, frozen=True, kw_only=True):
    """The outcome of a request as bytes."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Slot:
    """One key of one caller: the body that it came with, and the answer once there is one."""

    def __init__(self, name: str, until_s: float) -> None:
        self.name = name
        self.until_s = until_s
        self.answer: Raw | None = None
        self._body: bytes | None = None

    def recall(self, body: object) -> Raw | None:
        """The answer given before, or None for the first; InProgress while that runs, IdempotencyMismatch otherwise."""
        digest = sha256(msgspec.json.encode(body)).digest()
        if self._body is None:
            self._body = digest
            return None
        if self._body != digest:
            raise IdempotencyMismatch("this Idempotency-Key was used with another body", field="Idempotency-Key")
        if self.answer is None:
            raise InProgress("the first request with this Idempotency-Key is still being worked on")
        return self.answer


class Answers:
    """The slots of a service."""

    def __init__(self) -> None:
        self._slots: OrderedDict[str, Slot] = OrderedDict()

    def slot(self, operation: Operation, path: str, headers: Mapping[str, str], now: Moment) -> Slot | None:
        """Where this call's answer is or will be kept; None where it creates nothing or has no key."""
        key = headers.get("idempotency-key")
        if key is None or operation.status not in CREATED:
            return None
        if not 0 < len(key) <= KEY_MAX_CHARS:
            raise InvalidMessage("an Idempotency-Key has 1 to 200 characters", field="Idempotency-Key")
        name = sha256(msgspec.json.encode((path, headers.get("authorization", ""), key))).hexdigest()
        kept = self._slots.get(name)
        return kept if kept is not None and now.s < kept.until_s else Slot(name, now.s + KEPT_S)

    def hold(self, slot: Slot) -> Slot:
        """Keep the slot from now on; another one where somebody with the same key was faster."""
        while len(self._slots) >= KEPT_MAX:
            self._slots.popitem(last=False)
        kept = self._slots.get(slot.name)
        if kept is None or kept.until_s < slot.until_s - KEPT_S:
            self._slots[slot.name] = kept = slot
        return kept

    def forget(self, slot: Slot) -> None:
        """A call that failed may be tried again under its key."""
        self._slots.pop(slot.name, None)
