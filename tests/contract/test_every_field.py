"""Every field of every request body of both services refuses what it cannot hold (reliability.md J08, J09, J11, N, T).

The rows are made from the messages themselves: a field that is added tomorrow is asked tomorrow.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect

from shared.contract.operations import OPERATIONS, Operation
from shared.contract.wire import decode_request, strict_type
from shared.errors import InvalidMessage, OutOfBounds, SiteError
from tests.contract.catalogue import NO_INSTANTS, NOT_FINITE, NUMBERS_AS_TEXT, TOO_LONG_NUMBERS

BODIES = {each.name: each for each in OPERATIONS if each.request is not None and each.served}
WORDS = ("A1", "0" * 64, "1.2.3", "50.0:0.1", "1")
"""One of these fits whatever pattern a text may have to match."""
NO_NUMBERS = (*NOT_FINITE, *NUMBERS_AS_TEXT, *TOO_LONG_NUMBERS, "true", "[]", "{}")
NO_TIMES = ("0", "-1", "1e10", '"1705312800"', "true", '"2024-01-15T10:00:00"', *(f'"{each}"' for each in NO_INSTANTS))
NO_WORDS = ("1", "true", "[]", "{}")
BEYOND = "\0 \u202e"
MARK = "<here>"
Path = tuple[str | int, ...]


def example(kind: inspect.Type) -> Any:
    """The least that fits."""
    match kind:
        case inspect.Metadata():
            least = example(kind.type)
        case inspect.StructType():
            tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
            least = tag | {each.encode_name: example(each.type) for each in kind.fields if each.required}
        case inspect.UnionType():
            least = example(next(each for each in kind.types if not isinstance(each, inspect.NoneType)))
        case inspect.ListType() | inspect.VarTupleType():
            least = [example(kind.item_type)] * (kind.min_length or 0)
        case inspect.FloatType() | inspect.IntType():
            lower, upper = bounds(kind)
            least = next(each for each in (lower, 1, upper) if each is not None and within(kind, each))
        case inspect.StrType():
            fits = (word for word in WORDS if re.search(kind.pattern or "", word))
            least = next(word for word in fits if len(word) >= (kind.min_length or 0))
        case inspect.LiteralType():
            least = kind.values[0]
        case inspect.EnumType():
            least = next(iter(kind.cls)).value
        case inspect.DateTimeType():
            least = "2024-01-15T10:00:01Z"
        case inspect.BoolType():
            least = True
        case inspect.DictType():
            least = {}
        case _:
            raise AssertionError(kind)
    return least


def bounds(kind: inspect.FloatType | inspect.IntType) -> tuple[float | None, float | None]:
    """The lower and the upper limit, be they allowed themselves or not."""
    return kind.ge if kind.ge is not None else kind.gt, kind.le if kind.le is not None else kind.lt


def within(kind: inspect.FloatType | inspect.IntType, value: float) -> bool:
    return not any(
        (
            kind.ge is not None and value < kind.ge,
            kind.gt is not None and value <= kind.gt,
            kind.le is not None and value > kind.le,
            kind.lt is not None and value >= kind.lt,
        )
    )


def leaves(kind: inspect.Type, at: Path = ()) -> Iterator[tuple[Path, inspect.Type]]:
    """Each field that holds one value, and where it stands; each object too."""
    if isinstance(kind, inspect.Metadata):
        yield from leaves(kind.type, at)
    elif isinstance(kind, inspect.StructType):
        yield at, kind
        for each in kind.fields:
            yield from leaves(each.type, (*at, each.encode_name))
    elif isinstance(kind, inspect.UnionType):
        inner = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        if len(inner) == 1:
            yield from leaves(inner[0], at)
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
        yield from leaves(kind.item_type, (*at, 0))
    else:
        yield at, kind


def body_with(whole: inspect.Type, at: Path, raw: str) -> bytes:
    """The least body that has this field, with `raw` in its place."""
    body = placed(whole, copy.deepcopy(example(whole)), at)
    return json.dumps(body).replace(f'"{MARK}"', raw).encode()


def placed(kind: inspect.Type, value: Any, at: Path) -> Any:
    if not at:
        return MARK
    if isinstance(kind, inspect.Metadata):
        return placed(kind.type, value, at)
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
        return placed(kind, value if value is not None else example(kind), at)
    if isinstance(kind, inspect.StructType):
        field = next(each for each in kind.fields if each.encode_name == at[0])
        inner = value.get(field.encode_name)
        return value | {field.encode_name: placed(field.type, example(field.type) if inner is None else inner, at[1:])}
    assert isinstance(kind, inspect.ListType | inspect.VarTupleType)
    rest = value or [example(kind.item_type)]
    return [placed(kind.item_type, rest[0], at[1:]), *rest[1:]]


def refusal(operation: Operation, body: bytes) -> SiteError | None:
    try:
        decode_request(body, operation.request, no_duplicates=True)
    except SiteError as error:
        return error
    return None


def wrong(kind: inspect.Type) -> Iterator[tuple[str, type[SiteError]]]:
    """What a field of this kind refuses, and how."""
    if isinstance(kind, inspect.FloatType | inspect.IntType):
        whole = isinstance(kind, inspect.IntType)
        # A whole number of 400 digits is one, only too large.
        yield from ((raw, OutOfBounds if whole and raw.isdigit() else InvalidMessage) for raw in NO_NUMBERS)
        yield from ((raw, InvalidMessage) for raw in ("1.5", "1e-1") if whole)
        lower, upper = bounds(kind)
        yield from ((str(each), OutOfBounds) for each in (lower, upper) if each is not None and not within(kind, each))
        yield from ((str(each - 1), OutOfBounds) for each in (lower,) if each is not None)
        yield from ((str(each + 1), OutOfBounds) for each in (upper,) if each is not None)
    elif isinstance(kind, inspect.DateTimeType):
        yield from ((raw, InvalidMessage) for raw in NO_TIMES)
    elif isinstance(kind, inspect.StrType):
        yield from ((raw, InvalidMessage) for raw in NO_WORDS)
        if kind.pattern is not None:
            yield json.dumps(BEYOND), OutOfBounds
        if kind.max_length is not None:
            yield json.dumps("x" * (kind.max_length + 1)), OutOfBounds
    elif isinstance(kind, inspect.EnumType | inspect.LiteralType):
        yield '"no such word"', InvalidMessage


@pytest.mark.parametrize("name", BODIES)
def test_each_field_refuses_what_it_cannot_hold_and_each_object_what_it_does_not_know(name: str) -> None:
    operation = BODIES[name]
    asked = 0
    for variant in variants(operation):
        whole = inspect.type_info(variant)
        assert refusal(operation, json.dumps(example(whole)).encode()) is None, f"{variant}: the least body is taken"
        for at, kind in leaves(whole):
            if isinstance(kind, inspect.StructType):
                asked += knows_its_fields(operation, whole, at, kind)
                continue
            for raw, expected in wrong(kind):
                found = refusal(operation, body_with(whole, at, raw))
                assert isinstance(found, expected), (at, raw[:60], found)
                asked += 1
    assert asked > 0


def knows_its_fields(operation: Operation, whole: inspect.Type, at: Path, kind: inspect.StructType) -> int:
    """Unknown fields and missing ones are refused by name, at every depth; how many were tried."""
    least = example(kind)
    cases = [({**least, unknown: 1}, unknown) for unknown in ("colour", "__proto__", "constructor", "$ref", "@type")]
    required = [each.encode_name for each in kind.fields if each.required]
    cases += [({name: value for name, value in least.items() if name != gone}, gone) for gone in required]
    for content, named in cases:
        found = refusal(operation, body_with(whole, at, json.dumps(content)) if at else json.dumps(content).encode())
        assert isinstance(found, InvalidMessage), (at, named, found)
        assert named in found.sentence, (at, named, found.sentence)
    return len(cases)


def variants(operation: Operation) -> list[Any]:
    """The messages that an operation takes: a command is one of several."""
    whole = inspect.type_info(strict_type(operation.request))
    if isinstance(whole, inspect.UnionType):
        return [each.cls for each in whole.types if isinstance(each, inspect.StructType)]
    return [strict_type(operation.request)]


def test_every_number_is_bounded_and_every_time_has_a_zone() -> None:
    """A limit that nobody wrote is how NaN, infinity and a thousandfold power come in."""
    open_: list[tuple[str, Path]] = []
    for name, operation in BODIES.items():
        for variant in variants(operation):
            for at, kind in leaves(inspect.type_info(variant)):
                if isinstance(kind, inspect.FloatType | inspect.IntType) and None in bounds(kind):
                    open_.append((name, at))
                if isinstance(kind, inspect.DateTimeType) and kind.tz is not True:
                    open_.append((name, at))
    assert not open_
