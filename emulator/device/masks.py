"""Register faults: what a reader sees instead of the measurements, byte by byte, while the physics go on as ever."""

import struct
from collections.abc import Callable, Sequence
from enum import IntFlag
from functools import cache
from math import copysign, inf, nan
from typing import TYPE_CHECKING, TypeAlias

from emulator.device.bank import Page
from emulator.device.faults import Layer
from shared.chargepost.layout import F32, Field, Table
from shared.chargepost.registers import all_fields

if TYPE_CHECKING:
    from emulator.device.chargepost import ChargePost

Mask: TypeAlias = Callable[["Masks", bytearray, Page, "ChargePost"], None]
PageKey: TypeAlias = tuple[int, int]
IDLE_KW = 0.05
FIELDS: dict[PageKey, list[Field]] = {}
for _field in all_fields():
    FIELDS.setdefault((_field.unit_id, _field.address), []).append(_field)


class Masks:
    """Applied in the order of `MASKS` to a copy of a page. History is kept only while a fault needs it."""

    __slots__ = ("_frozen", "_history", "active")

    def __init__(self) -> None:
        self.active: tuple[str, ...] = ()
        self._frozen: dict[tuple[str, PageKey], bytes] = {}
        self._history: dict[PageKey, list[bytes]] = {}

    def change(self, post: "ChargePost") -> None:
        """Faults were raised or cleared."""
        active = post.faults.active
        self.active = tuple(name for name in MASKS if name in active and active[name].layer is Layer.REGISTER)
        for key in [key for key in self._frozen if key[0] not in self.active]:
            del self._frozen[key]
        if not self.active:
            self._history.clear()
        for name in FREEZING:
            for page in post.bank.pages(Table.INPUT):
                if name in self.active and (name, _key(page)) not in self._frozen:
                    page.pack(post.steps)
                    self._frozen[name, _key(page)] = bytes(page.data)

    def remember(self, post: "ChargePost") -> None:
        """Keep the last three seconds of every page; called once a second while masks are active."""
        for page in post.bank.pages(Table.INPUT):
            page.pack(post.steps)
            seconds = self._history.setdefault(_key(page), [])
            seconds.append(bytes(page.data))
            del seconds[:-3]

    def shown(self, page: Page, post: "ChargePost") -> bytearray:
        """The page as a reader sees it."""
        data = bytearray(page.data)
        for name in self.active:
            if page.block.table is Table.INPUT or name in ALSO_HOLDING:
                MASKS[name](self, data, page, post)
        return data

    def changes(self, name: str, page: Page, post: "ChargePost") -> bool:
        """Whether this one alone would show a reader of the page anything else than what is there."""
        if name not in self.active or (page.block.table is not Table.INPUT and name not in ALSO_HOLDING):
            return False
        data = bytearray(page.data)
        MASKS[name](self, data, page, post)
        return data != page.data

    def fields(self, page: Page) -> Sequence[Field]:
        """The page's registers."""
        return _fields_between(page.block.table, page.block.unit_id, page.start, page.stop)

    def frozen(self, name: str, page: Page) -> bytes:
        """The page as it was when the fault began."""
        return self._frozen[name, _key(page)]

    def ago(self, page: Page, seconds: int) -> bytes:
        """The page some seconds ago, or as long ago as is known."""
        history = self._history.get(_key(page))
        return history[max(0, len(history) - 1 - seconds)] if history else bytes(page.data)


@cache
def _fields_between(table: Table, unit_id: int, start: int, stop: int) -> tuple[Field, ...]:
    return tuple(
        field for address in range(start, stop) for field in FIELDS.get((unit_id, address), ()) if field.table is table
    )


def _key(page: Page) -> PageKey:
    return page.block.unit_id, page.start


def _raw(data: bytes | bytearray, page: Page, field: Field) -> float:
    raw: float = struct.unpack_from(">" + field.reg.kind.code, data, 2 * (field.address - page.start))[0]
    return raw


def _put(data: bytearray, page: Page, field: Field, raw: float) -> None:
    kind = field.reg.kind
    if kind is not F32:
        raw = int(min(max(round(raw), min(kind.low, kind.sentinel)), max(kind.high, kind.sentinel)))
    struct.pack_into(">" + kind.code, data, 2 * (field.address - page.start), raw)


def _scaled(wanted: Callable[[Field, float], bool], factor: Callable[["ChargePost"], float]) -> Mask:
    def mask(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
        for field in masks.fields(page):
            raw = _raw(data, page, field)
            if wanted(field, raw) and raw != field.reg.kind.sentinel:
                _put(data, page, field, raw * factor(post))

    return mask


def _fixed(wanted: Callable[[Field], bool], value: Callable[["ChargePost", Field], float | None]) -> Mask:
    """A mask that puts a raw value into every wanted register; None leaves it as it is."""

    def mask(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
        for field in masks.fields(page):
            if wanted(field):
                raw = value(post, field)
                if raw is not None:
                    _put(data, page, field, raw)

    return mask


def _option(fault: str, option: str) -> Callable[["ChargePost"], float]:
    return lambda post: post.faults.option(fault, option)


def _ranged(fault: str, value: Callable[["ChargePost", Field], float]) -> Callable[["ChargePost", Field], float | None]:
    """The value, for registers that touch the fault's range of addresses."""

    def ranged(post: "ChargePost", field: Field) -> float | None:
        first, last = _range(post, fault)
        return value(post, field) if field.address <= last and first < field.end else None

    return ranged


def _range(post: "ChargePost", fault: str) -> tuple[int, int]:
    return int(post.faults.option(fault, "from_address")), int(post.faults.option(fault, "to_address"))


def _index(field: Field) -> int:
    return 1 if field.span.startswith("charger_2") else 0


def _session_energy(post: "ChargePost", field: Field) -> float:
    return post.outlets[_index(field)].session_kwh


def _static_maximum(post: "ChargePost", field: Field) -> float | None:
    plugged = post.outlets[_index(field)].vehicle is not None
    return post.faults.option("ev_max_static", "value") * 1000.0 if plugged else None


def _commanded_clearance(post: "ChargePost", field: Field) -> float:
    del field
    value = post.bank.value(1, 2506)
    assert isinstance(value, int | float)
    return value * 1000.0


def _when_idle(post: "ChargePost", field: Field) -> bool:
    return abs(post.strings[_index(field)].power_kw) < IDLE_KW


def _collapsed(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    for field in masks.fields(page):
        if field.name in {"energy_to_empty_kwh", "energy_to_full_kwh"} and _when_idle(post, field):
            _put(data, page, field, _raw(data, page, field) * post.faults.option("energy_collapse", "ratio"))


def _frozen_soc(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    del post
    before = masks.frozen("soc_frozen", page)
    for field in masks.fields(page):
        if field.name == "soc_pct":
            _put(data, page, field, _raw(before, page, field))


def _frozen_range(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    first, last = _range(post, "stale_frozen")
    part = slice(2 * max(0, first - page.start), 2 * max(0, last + 1 - page.start))
    data[part] = masks.frozen("stale_frozen", page)[part]


def _flipped(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    """The sign of one meter: the station's, or that of a unit's battery."""
    meter = int(post.faults.option("meter_sign_flipped", "meter"))
    name = "grid_kw" if meter == 0 else "battery_kw"
    for field in masks.fields(page):
        if field.name == name and meter in {0, _index(field) + 1}:
            _put(data, page, field, -_raw(data, page, field))


def _skewed(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    """The grid meter is current, batteries are one frame old, cars two."""
    del post
    age = next(
        (age for name, age in (("battery_kw", 1), ("ev_kw", 2)) if any(f.name == name for f in masks.fields(page))), 0
    )
    data[:] = masks.ago(page, age)


def _torn(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    """The high word is of this second, the low word of the one before."""
    del post
    before = masks.ago(page, 1)
    for field in masks.fields(page):
        if field.words == 2:
            at = 2 * (field.address - page.start) + 2
            data[at : at + 2] = before[at : at + 2]


def _words_swapped(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    del post
    for field in masks.fields(page):
        if field.words == 2:
            at = 2 * (field.address - page.start)
            data[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]


def _bytes_swapped(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    del masks, page, post
    data[::2], data[1::2] = data[1::2], data[::2]


def _fixed_words(masks: Masks, data: bytearray, page: Page, post: "ChargePost") -> None:
    del masks
    address = int(post.faults.option("register_value", "address"))
    words = int(post.faults.option("register_value", "word")), int(post.faults.option("register_value", "next_word"))
    for each, word in enumerate(words, address):
        if page.start <= each < page.stop and word >= 0:
            struct.pack_into(">H", data, 2 * (each - page.start), word)


def _is_float(field: Field) -> bool:
    return field.reg.kind is F32


def _is_enumeration(field: Field) -> bool:
    return field.choices is not None and not issubclass(field.choices, IntFlag)


MASKS: dict[str, Mask] = {
    "stale_frozen": _frozen_range,
    "meter_skew": _skewed,
    "torn_32_bit": _torn,
    "p_ev_stuck_zero": _fixed(lambda field: field.name == "ev_kw", lambda _post, _field: 0.0),
    "ev_counter_resets": _fixed(lambda field: field.name == "ev_energy_kwh", _session_energy),
    "battery_meter_bias": _scaled(
        lambda field, raw: field.name == "battery_kw" and raw < 0.0, _option("battery_meter_bias", "ratio")
    ),
    "clearance_echo": _fixed(lambda field: field.name == "import_limit_kw", _commanded_clearance),
    "ev_max_static": _fixed(lambda field: field.name == "ev_max_kw", _static_maximum),
    "soc_sentinel": _fixed(lambda field: field.name == "ev_soc_pct", lambda _post, _field: 65_535.0),
    "soc_frozen": _frozen_soc,
    "energy_collapse": _collapsed,
    "meter_sign_flipped": _flipped,
    "scale_changed": _scaled(lambda field, _raw: field.reg.unit == "W", _option("scale_changed", "factor")),
    "soc_out_of_range": _fixed(
        lambda field: field.name == "soc_pct", lambda post, _field: post.faults.option("soc_out_of_range", "value")
    ),
    "state_undefined": _fixed(_is_enumeration, lambda post, _field: post.faults.option("state_undefined", "value")),
    "not_a_number": _fixed(_is_float, _ranged("not_a_number", lambda _post, _field: nan)),
    "infinite": _fixed(
        _is_float, _ranged("infinite", lambda post, _field: copysign(inf, post.faults.option("infinite", "sign")))
    ),
    "null_frames": _fixed(lambda _field: True, _ranged("null_frames", lambda _post, field: field.reg.kind.sentinel)),
    "register_value": _fixed_words,
    "words_swapped": _words_swapped,
    "bytes_swapped": _bytes_swapped,
}
FREEZING = ("stale_frozen", "soc_frozen")
ALSO_HOLDING = {"words_swapped", "bytes_swapped"}
