"""Samples packed for keeping: one column for each field, differences of whole numbers, and one compressed block (pure).

Telemetry repeats itself: most fields stay as they are for minutes, and readings are decimals with a few digits. A
column of readings is kept as whole numbers of its own smallest decimal step, as differences from one row to the next,
split into planes of equal significance; where a reading is no such decimal, its eight bytes are kept as they are. What
comes out of `unpack` is equal to what went in, bit by bit. Columns are found by their names, so that a block outlives
fields that are added or dropped.
"""

import sys
import types
import zlib
from array import array
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from services.enexa.store.schema import from_us, to_us
from shared.contract.telemetry import Telemetry

DECIMALS_MAX = 6
WIDTHS = (("b", 1), ("h", 2), ("i", 4), ("q", 8))
EXACT_MAX = 2.0**53
LEVEL = 9


class Kept(Struct, frozen=True):
    """A sample with its number in the stream and when it became known, in microseconds since 1970."""

    sequence: int
    received_us: int
    sample: Telemetry


class _Column(Struct, array_like=True):
    """`known` has a byte for each row and is empty where every row has a value; `form` says what `data` is."""

    form: str
    data: bytes
    known: bytes = b""


class _Block(Struct, array_like=True):
    rows: int
    columns: dict[str, _Column]


def pack(rows: Sequence[Kept]) -> bytes:
    """One block of rows in the order given."""
    columns = {
        "#sequence": _whole([row.sequence for row in rows]),
        "#received": _whole([row.received_us for row in rows]),
    }
    _split(Telemetry, [row.sample for row in rows], "", columns)
    return zlib.compress(msgspec.msgpack.encode(_Block(len(rows), columns)), LEVEL)


def unpack(block: bytes) -> list[Kept]:
    """What `pack` was given."""
    found = _block(block)
    numbers, received = _numbers(found.columns["#sequence"]), _numbers(found.columns["#received"])
    samples = _join(Telemetry, found.rows, "", found.columns)
    return [Kept(*row) for row in zip(numbers, received, samples, strict=True)]


def numbers(block: bytes) -> list[int]:
    """The sequence numbers of a block, without its samples."""
    return _numbers(_block(block).columns["#sequence"])


def _block(block: bytes) -> _Block:
    return msgspec.msgpack.decode(zlib.decompress(block), type=_Block)


# ---- messages to columns and back ------------------------------------------------------------------------------------


def _split(of: type[Struct], objects: Sequence[Any], path: str, columns: dict[str, _Column]) -> None:
    for name, kind, item in _fields(of):
        values = [None if each is None else getattr(each, name) for each in objects]
        if kind == "struct":
            _split(item, values, f"{path}{name}.", columns)
        elif kind == "structs":
            lengths = [0 if each is None else len(each) for each in values]
            columns[path + name] = _whole(lengths)
            for index in range(max(lengths, default=0)):
                listed = [None if each is None or index >= len(each) else each[index] for each in values]
                _split(item, listed, f"{path}{name}.{index}.", columns)
        else:
            columns[path + name] = _column(kind, values)


def _join(of: type[Struct], rows: int, path: str, columns: dict[str, _Column]) -> list[Any]:
    names: list[str] = []
    found: list[Sequence[Any]] = []
    for name, kind, item in _fields(of):
        column = columns.get(path + name)
        if kind == "struct":
            values: Sequence[Any] = _join(item, rows, f"{path}{name}.", columns)
        elif column is None:
            continue
        elif kind == "structs":
            lengths = _numbers(column)
            listed = [_join(item, rows, f"{path}{name}.{index}.", columns) for index in range(max(lengths, default=0))]
            turned = list(zip(*listed, strict=True)) if listed else [()] * rows
            values = [each[:length] for each, length in zip(turned, lengths, strict=True)]
        else:
            values = _values(kind, item, column)
        names.append(name)
        found.append(values)
    return [of(**dict(zip(names, row, strict=True))) for row in zip(*found, strict=True)]


@cache
def _fields(of: type[Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Name, kind (struct, structs, float, int, instant, label) and type of each field."""
    hints = get_type_hints(of)
    return tuple((each.name, *_kind(hints[each.name])) for each in msgspec.structs.fields(of))


def _kind(annotation: Any) -> tuple[str, Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0])
    if origin in (Union, types.UnionType):
        others = [each for each in args if each is not type(None)]
        return _kind(others[0]) if len(others) == 1 else ("label", annotation)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return "struct", annotation
    if origin is tuple and isinstance(args[0], type) and issubclass(args[0], Struct):
        return "structs", args[0]
    return {float: "float", int: "int", datetime: "instant"}.get(annotation, "label"), annotation


# ---- columns ---------------------------------------------------------------------------------------------------------


def _column(kind: str, values: list[Any]) -> _Column:
    known = b""
    if None in values:
        known = bytes(each is not None for each in values)
        values = [each for each in values if each is not None]
    if kind == "float":
        made = _decimals(values)
    elif kind == "int":
        made = _whole(values)
    elif kind == "instant":
        made = _whole([to_us(each) for each in values])
    else:
        made = _labels(values)
    made.known = known
    return made


def _values(kind: str, of: Any, column: _Column) -> list[Any]:
    if kind == "float":
        values: list[Any] = _floats(column)
    elif kind == "int":
        values = _numbers(column)
    elif kind == "instant":
        values = [from_us(each) for each in _numbers(column)]
    else:
        values = _unlabelled(of, column)
    if not column.known:
        return values
    following = iter(values)
    return [next(following) if each else None for each in column.known]


def _decimals(values: list[float]) -> _Column:
    """As whole numbers of the smallest decimal step that gives every value back to the last bit."""
    wanted = array("d", values)
    for decimals in range(DECIMALS_MAX + 1):
        step = 10.0**decimals
        if any(round(each * step) / step != each for each in values[:8]):
            continue
        if any(abs(each) * step >= EXACT_MAX for each in values):
            break
        whole = [round(each * step) for each in values]
        if array("d", [each / step for each in whole]).tobytes() == wanted.tobytes():
            return _Column(f"d{decimals}", _whole(whole).data)
    return _Column("f", _planes(wanted.tobytes(), 8))


def _floats(column: _Column) -> list[float]:
    if column.form == "f":
        return array("d", _unplaned(column.data, 8)).tolist()
    step = 10.0 ** int(column.form[1:])
    return [each / step for each in _numbers(column)]


def _whole(values: list[int]) -> _Column:
    """The first number, then differences, as narrow as they fit."""
    if not values:
        return _Column("i", b"")
    steps = [after - before for before, after in pairwise(values)]
    low, high = min(steps, default=0), max(steps, default=0)
    code, width = next(
        (each for each in WIDTHS if -(1 << 8 * each[1] - 1) <= low <= high < 1 << 8 * each[1] - 1), WIDTHS[-1]
    )
    return _Column(
        "i", code.encode() + values[0].to_bytes(8, "little", signed=True) + _planes(array(code, steps).tobytes(), width)
    )


def _numbers(column: _Column) -> list[int]:
    if not column.data:
        return []
    code = chr(column.data[0])
    value = int.from_bytes(column.data[1:9], "little", signed=True)
    found = [value]
    for step in array(code, _unplaned(column.data[9:], dict(WIDTHS)[code])):
        value += step
        found.append(value)
    return found


def _labels(values: list[Any]) -> _Column:
    """Each different value once, and for each row which one it is."""
    keys = [msgspec.msgpack.encode(each) for each in values]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    listed = msgspec.msgpack.encode([msgspec.Raw(key) for key in places])
    width = 1 if len(places) <= 256 else 4
    rows = array("B" if width == 1 else "I", [places[key] for key in keys]).tobytes()
    return _Column("l", len(listed).to_bytes(4, "little") + bytes([width]) + listed + _planes(rows, width))


def _unlabelled(of: Any, column: _Column) -> list[Any]:
    size, width = int.from_bytes(column.data[:4], "little"), column.data[4]
    listed = msgspec.msgpack.decode(column.data[5 : 5 + size], type=list[of])
    rows = array("B" if width == 1 else "I", _unplaned(column.data[5 + size :], width))
    return [listed[place] for place in rows]


def _planes(flat: bytes, width: int) -> bytes:
    """All lowest bytes, then all second bytes, ...: bytes that resemble each other lie together."""
    return b"".join(flat[byte::width] for byte in range(width)) if width > 1 else flat


def _unplaned(planes: bytes, width: int) -> bytes:
    if width == 1:
        return planes
    rows = len(planes) // width
    flat = bytearray(len(planes))
    for byte in range(width):
        flat[byte::width] = planes[byte * rows : (byte + 1) * rows]
    return bytes(flat)


assert sys.byteorder == "little", "blocks are written on little-endian machines"
