"""How words become numbers and numbers words: registers, spans of registers, and writes, all read from annotations.

A span is a frozen struct whose fields carry their register (`Annotated[float | None, Reg(...)]`). From that one
annotation follow decoding, encoding, ranges, access and documentation. A value the device does not have (a sentinel,
NaN, an undefined enum) decodes to None and never to a number. A value outside its range is refused, never wrapped.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, IntEnum, IntFlag
from functools import cache, cached_property
from types import NoneType
from typing import Annotated, Generic, Literal, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

from msgspec import Struct

from shared.errors import OutOfBounds

Value: TypeAlias = float | int | str | None
Source: TypeAlias = Literal["published", "field", "assumed", "published (type assumed)"]
T = TypeVar("T", bound=Struct)

READ_INPUT, READ_HOLDING, WRITE_ONE, WRITE_MANY = 4, 3, 6, 16
MOST_WORDS_READ, MOST_WORDS_WRITTEN = 125, 123
CHARGER_2_OFFSET = 10_000
LEAST_FLOAT = 2.0**-126
"""The least that a float of two words says with all its digits."""


class Kind(Enum):
    """A register's type: name in the map, words, struct code, sentinel, and the raw values one may write."""

    U16 = ("uint16", 1, "H", 0xFFFF, 0, 0xFFFE)
    U32 = ("uint32", 2, "I", 0xFFFF_FFFF, 0, 0xFFFF_FFFE)
    I32 = ("int32", 2, "i", -0x8000_0000, -0x7FFF_FFFF, 0x7FFF_FFFF)
    F32 = ("float32", 2, "f", math.nan, -3.4028234663852886e38, 3.4028234663852886e38)
    TEXT = ("string32", 16, "32s", 0, 0, 0)

    def __init__(self, type_name: str, words: int, code: str, sentinel: float, *writable: float) -> None:
        self.type_name = type_name
        self.words = words
        self.code = code
        self.sentinel = sentinel
        self.low, self.high = writable


U16, U32, I32, F32, TEXT = Kind.U16, Kind.U32, Kind.I32, Kind.F32, Kind.TEXT


class Table(Enum):
    """The two of Modbus's four tables that a ChargePost has."""

    INPUT = READ_INPUT
    HOLDING = READ_HOLDING


class WordOrder(Enum):
    """Which word of a 32-bit value has the lower address; bytes inside a word are always big-endian."""

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"


WORD_ORDER = WordOrder.HIGH_FIRST
"""Assumed for v2.6; this one setting changes it for the emulator and the middleware alike."""


class Reg(Struct, frozen=True):
    """One row of the map, placed `offset` words after its span's address.

    `factor` turns the wire's number into ours (kW, our sign). `low`, `high` and `default` are raw, as on the wire;
    `default` is the power-on value, and may name another register. `clamps` says that the device takes `high` for
    anything above it instead of answering with exception 03.
    """

    offset: int
    kind: Kind
    factor: float
    unit: str
    vendor: str
    meaning: str
    writable: bool = False
    low: int | None = None
    high: int | None = None
    default: int | str | None = None
    clamps: bool = False
    source: Source = "published"


class Field(Struct, frozen=True, kw_only=True):
    """One register at its place: what a reader, a writer and a page of documentation need to know."""

    name: str
    span: str
    unit_id: int
    table: Table
    address: int
    reg: Reg
    choices: type[IntEnum] | type[IntFlag] | None

    @property
    def words(self) -> int:
        return self.reg.kind.words

    @property
    def end(self) -> int:
        """The first address after this value."""
        return self.address + self.reg.kind.words

    @property
    def vendor(self) -> str:
        """The name in the vendor's document."""
        return self.reg.vendor

    @property
    def function_codes(self) -> tuple[int, ...]:
        """The codes that may carry this register."""
        if self.table is Table.INPUT:
            return (READ_INPUT,)
        if not self.reg.writable:
            return (READ_HOLDING,)
        if self.words > 1:
            return (READ_HOLDING, WRITE_MANY)
        return (READ_HOLDING, WRITE_ONE, WRITE_MANY)

    @property
    def optional(self) -> bool:
        """Whether writing the sentinel has a meaning here, such as "no request"."""
        return self.reg.default == self.reg.kind.sentinel

    def value_of(self, raw: float | bytes) -> Value:
        """Our value of a raw number as `struct` unpacks it; None where the device has none."""
        kind = self.reg.kind
        if isinstance(raw, bytes):
            return raw.rstrip(b"\0 ").decode("ascii", "replace")
        if raw == kind.sentinel or not _says_something(raw):
            return None
        if self.choices is not None:
            return _choice(self.choices, int(raw))
        return raw * self.reg.factor + 0.0

    def raw_of(self, value: Value) -> float | bytes:
        """The raw number for one of our values, rounded; `OutOfBounds` where the wire cannot say it."""
        kind = self.reg.kind
        if kind is TEXT:
            return self._raw_text(value)
        if value is None:
            if kind is F32 or not self.reg.writable or self.optional:
                return kind.sentinel
            raise OutOfBounds("this register has no value for 'none'", register=self.name)
        if isinstance(value, str) or not math.isfinite(value):
            raise OutOfBounds("not a number", register=self.name, value=str(value))
        exact = value / self.reg.factor
        raw = exact if kind is F32 else round(exact)
        low = kind.low if self.reg.low is None else self.reg.low
        high = kind.high if self.reg.high is None else self.reg.high
        if not low <= raw <= high:
            raise OutOfBounds(
                "outside the register's range",
                register=self.name,
                value=value,
                low=min(low * self.reg.factor, high * self.reg.factor),
                high=max(low * self.reg.factor, high * self.reg.factor),
            )
        return raw

    def decode(self, words: Sequence[int], order: WordOrder = WORD_ORDER) -> Value:
        """Our value of this register's words."""
        assert len(words) == self.words
        if order is WordOrder.LOW_FIRST and self.words == 2:
            words = (words[1], words[0])
        return self.value_of(struct.unpack(">" + self.reg.kind.code, struct.pack(f">{len(words)}H", *words))[0])

    def encode(self, value: Value, order: WordOrder = WORD_ORDER) -> tuple[int, ...]:
        """This register's words for one of our values; `OutOfBounds` instead of wrapping."""
        packed = struct.pack(">" + self.reg.kind.code, self.raw_of(value))
        words = struct.unpack(f">{self.words}H", packed)
        return (words[1], words[0]) if order is WordOrder.LOW_FIRST and self.words == 2 else words

    def _raw_text(self, value: Value) -> bytes:
        if not isinstance(value, str) or not value.isascii() or len(value) > 2 * self.words:
            raise OutOfBounds("at most 32 ASCII characters", register=self.name, value=str(value))
        return value.encode("ascii")


def _choice(choices: type[IntEnum] | type[IntFlag], number: int) -> int | None:
    if issubclass(choices, IntFlag):
        return choices(number)
    return cast("int", choices(number)) if number in choices.__members__.values() else None


class RegisterWrite(Struct, frozen=True, kw_only=True):
    """One request that writes: FC 06 for a single word, FC 16 for more; atomic on the device."""

    unit_id: int
    function: int
    address: int
    words: tuple[int, ...]
    names: tuple[str, ...]

    def confirmed_by(self, words: Sequence[int]) -> bool:
        """Whether a read-back of the same addresses shows the same words; floats are never compared."""
        return tuple(words) == self.words


class Span(Generic[T]):
    """Neighbouring registers that are read together and become one frozen struct."""

    def __init__(
        self, name: str, table: Table, address: int, of: type[T], *, unit_id: int = 1, order: WordOrder = WORD_ORDER
    ) -> None:
        self.name = name
        self.table = table
        self.address = address
        self.of = of
        self.unit_id = unit_id
        self.order = order
        self.fields: Mapping[str, Field] = _fields(self)
        self.end = max(field.end for field in self.fields.values())
        self.count = self.end - address
        self._last: tuple[bytes, T] | None = None
        assert self.count <= MOST_WORDS_READ, f"{name} does not fit into one request"

    def decode(self, words: Sequence[int]) -> T:
        """The struct that these words say; `words` begin at the span's address, more may follow."""
        return self.decode_bytes(struct.pack(f">{self.count}H", *words[: self.count]))

    def decode_bytes(self, data: bytes, offset: int = 0) -> T:
        """The same from bytes as they come from the wire."""
        data = data[offset : offset + 2 * self.count]
        last = self._last
        if last is not None and last[0] == data:
            return last[1]  # most spans say the same for minutes, and a frozen struct can be said twice
        unpack, steps = self._codec
        raws = unpack(self._swapped(data) if self.order is WordOrder.LOW_FIRST else data)
        decoded = self.of(**{name: value_of(raw) for (name, value_of), raw in zip(steps, raws, strict=True)})
        self._last = data, decoded
        return decoded

    def write(self, **values: Value) -> RegisterWrite:
        """One request that sets these fields, which must be writable neighbours without a gap between them."""
        assert values, "a write needs at least one field"
        fields = sorted((self.fields[name] for name in values), key=lambda field: field.address)
        words: list[int] = []
        for field in fields:
            assert field.reg.writable, f"{self.name}.{field.name} is read-only"
            assert field.address == fields[0].address + len(words), f"a gap before {self.name}.{field.name}"
            words += field.encode(values[field.name], self.order)
        return RegisterWrite(
            unit_id=self.unit_id,
            function=WRITE_ONE if len(words) == 1 else WRITE_MANY,
            address=fields[0].address,
            words=tuple(words),
            names=tuple(f"{self.name}.{field.name}" for field in fields),
        )

    @cached_property
    def _codec(self) -> "tuple[Callable[[bytes], tuple[float | bytes, ...]], tuple[_Step, ...]]":
        layout, steps, at = ">", [], self.address
        for field in sorted(self.fields.values(), key=lambda field: field.address):
            layout += "xx" * (field.address - at) + field.reg.kind.code
            steps.append((field.name, _value_reader(field)))
            at = field.end
        return struct.Struct(layout).unpack, tuple(steps)

    def _swapped(self, data: bytes) -> bytes:
        swapped = bytearray(data)
        for field in self.fields.values():
            if field.words == 2:
                at = 2 * (field.address - self.address)
                swapped[at : at + 4] = swapped[at + 2 : at + 4] + swapped[at : at + 2]
        return bytes(swapped)


_Step: TypeAlias = tuple[str, Callable[[float | bytes], Value]]


def _value_reader(field: Field) -> Callable[[float | bytes], Value]:
    """`field.value_of`, with the questions that never change asked once; adding 0.0 turns minus zero into zero."""
    kind, factor = field.reg.kind, field.reg.factor
    if kind is TEXT:
        return field.value_of
    if field.choices is not None:
        return cache(field.value_of)  # at most 65536 words, in truth a handful
    if kind is F32:
        return lambda raw: cast("float", raw) * factor + 0.0 if _says_something(cast("float", raw)) else None
    sentinel = kind.sentinel
    return lambda raw: None if raw == sentinel else cast("float", raw) * factor + 0.0


def _says_something(raw: float) -> bool:
    """NaN and infinity say nothing, and a subnormal float is words that belong to something else."""
    return math.isfinite(raw) and (raw == 0.0 or abs(raw) >= LEAST_FLOAT)


def _fields(span: Span[T]) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, hint in get_type_hints(span.of, include_extras=True).items():
        assert get_origin(hint) is Annotated, f"{span.name}.{name} has no register"
        plain, reg = get_args(hint)[:2]
        assert isinstance(reg, Reg)
        kinds = [kind for kind in (get_args(plain) or (plain,)) if kind is not NoneType]
        choices = kinds[0] if issubclass(kinds[0], IntEnum | IntFlag) else None
        found[name] = Field(
            name=name,
            span=span.name,
            unit_id=span.unit_id,
            table=span.table,
            address=span.address + reg.offset,
            reg=reg,
            choices=choices,
        )
    return found


class Block(Struct, frozen=True, kw_only=True):
    """A contiguous readable range: inside it every read succeeds and gaps read 0, outside it is exception 02."""

    unit_id: int
    table: Table
    address: int
    count: int

    @property
    def end(self) -> int:
        """The first address after the block."""
        return self.address + self.count

    def holds(self, address: int, count: int) -> bool:
        return self.address <= address and address + count <= self.end
