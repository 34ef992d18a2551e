"""The vocabulary of every body: bounded numbers, aware instants, ids; and the two decoders.

A message is defined once. Whoever *receives a request* decodes it with `decode_request`, which uses a strict twin
of the type made by `strict`: unknown fields are refused at every depth. Whoever *reads a reply* decodes it with
`decode_reply`, so that hosts may add fields. Both refuse strings for numbers, NaN, infinities and naive times.
"""

import json
import re
import types
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints, overload

import msgspec
from msgspec import Meta, Struct

from shared.errors import InvalidMessage, OutOfBounds

Id = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="letters, digits, _ and -, at most 64")]
Text = Annotated[str, Meta(max_length=500, pattern="^[^\\x00-\\x08\\x0b-\\x1f\\x7f]*$", description="one short text")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset; stored as UTC")]
PowerKw = Annotated[float, Meta(ge=-10_000.0, le=10_000.0, description="kW; into the site's AC bus is positive")]
OneWayKw = Annotated[float, Meta(ge=0.0, le=10_000.0, description="kW, never negative")]
EnergyKwh = Annotated[float, Meta(ge=0.0, le=1e9, description="kWh")]
Pct = Annotated[float, Meta(ge=0.0, le=100.0, description="percent, 0 to 100")]
Ratio = Annotated[float, Meta(gt=0.0, le=1.0, description="0 to 1")]
Celsius = Annotated[float, Meta(ge=-60.0, le=150.0, description="degrees Celsius")]
Seconds = Annotated[float, Meta(ge=0.0, le=1e8, description="seconds")]
EurPerMwh = Annotated[float, Meta(ge=-20_000.0, le=20_000.0, description="EUR/MWh")]
EurPerKwh = Annotated[float, Meta(ge=-20.0, le=20.0, description="EUR/kWh")]
Eur = Annotated[float, Meta(ge=-1e9, le=1e9, description="EUR")]
Sequence = Annotated[int, Meta(ge=0, le=9_007_199_254_740_991, description="per site and stream epoch, gap-free")]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Version = Annotated[int, Meta(ge=0, le=1_000_000_000)]

MAX_ECHO_CHARS = 100


class Message(Struct, frozen=True, kw_only=True, gc=False):
    """Base of everything that travels as JSON; the collector need not look at it, for it cannot point to itself."""


M = TypeVar("M", bound=Struct)


class Problem(Message, frozen=True, kw_only=True):
    """RFC 9457 problem document; `code` is stable and meant for programs, `title` and `detail` for people."""

    title: str
    status: int
    code: str
    detail: str = ""
    type: str = "about:blank"
    instance: str | None = None
    field: str | None = None
    retry_after_s: float | None = None
    facts: dict[str, str | int | float | bool | None] = msgspec.field(default_factory=dict)


class Nothing(Message, frozen=True, kw_only=True):
    """An empty object, for commands without parameters and replies without content."""


def strict(of: type[M]) -> type[M]:
    """The twin of `of` that refuses unknown fields at every depth; instances are instances of `of`."""
    return cast("type[M]", _strict_struct(of))


@cache
def _strict_struct(of: type[Struct]) -> type[Struct]:
    config = of.__struct_config__
    fields = [(name, strict_type(annotation), _settings(of, name)) for name, annotation in _annotations(of).items()]
    return msgspec.defstruct(
        of.__name__,
        cast("Any", fields),
        bases=(of,),
        module=of.__module__,
        frozen=True,
        kw_only=True,
        gc=config.gc,
        forbid_unknown_fields=True,
        tag_field=config.tag_field,
        tag=config.tag,
    )


def _annotations(of: type[Struct]) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)


def _settings(of: type[Struct], name: str) -> Any:
    """Default and wire name of a field, as `defstruct` wants them."""
    field = next(each for each in msgspec.structs.fields(of) if each.name == name)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory, name=field.encode_name)
    return msgspec.field(default=field.default, name=field.encode_name)


def strict_type(annotation: Any) -> Any:
    """Like `strict`, for any annotation: a union of messages, a tuple of them."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return _strict_struct(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(strict_type(args[0]), *args[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(strict_type(arg) for arg in args)]  # noqa: UP007 -- built from a computed tuple
    if origin in (tuple, list, dict):
        return origin[tuple(arg if arg is Ellipsis else strict_type(arg) for arg in args)]
    return annotation


@cache
def _strict_decoder(of: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(strict_type(of), strict=True)


@cache
def _lax_decoder(of: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(of, strict=True)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
# msgspec says what was wrong only in words; a violated bound is the one kind that means "understood but not allowed".
_BOUND = re.compile(r"Expected `\w+` (?:[<>]|matching|of length|that's a multiple)")
_WHERE = re.compile(r" - at `\$?\.?([^`]*)`$")


def encode(message: Struct) -> bytes:
    return _ENCODER.encode(message)


@overload
def decode_request(body: bytes, of: type[M], *, no_duplicates: bool = ...) -> M: ...
@overload
def decode_request(body: bytes, of: Any, *, no_duplicates: bool = ...) -> Any: ...
def decode_request(body: bytes, of: Any, *, no_duplicates: bool = False) -> Any:
    """A request body, strictly; InvalidMessage (400) for syntax, shape and type, OutOfBounds (422) for a value."""
    try:
        message = _strict_decoder(of).decode(body)
        if no_duplicates:
            json.loads(body, object_pairs_hook=_refuse_duplicates)
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        raise InvalidMessage(f"the body is not the JSON asked for: {_short(str(error))}") from error
    return message


@overload
def decode_reply(body: bytes, of: type[M]) -> M: ...
@overload
def decode_reply(body: bytes, of: Any) -> Any: ...
def decode_reply(body: bytes, of: Any) -> Any:
    """A reply body; unknown fields are welcome, anything else that does not fit raises InvalidMessage."""
    try:
        reply = _lax_decoder(of).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage(f"the reply is not the JSON agreed on: {_short(str(error))}") from error
    return reply


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_short(twice)!r} stands twice")
    return dict(pairs)


def _refusal(error: msgspec.ValidationError) -> InvalidMessage | OutOfBounds:
    text = str(error)
    where = _WHERE.search(text)
    field = where.group(1) if where else None
    sentence = _short(_WHERE.sub("", text), 300)
    kind = OutOfBounds if _BOUND.search(text) else InvalidMessage
    return kind(sentence, field=field) if field else kind(sentence)


def _short(text: str, limit: int = MAX_ECHO_CHARS) -> str:
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


class Quality(StrEnum):
    """How far a reading may be trusted; a field that is not listed is good."""

    GOOD = "good"
    ESTIMATED = "estimated"
    STALE = "stale"
    UNKNOWN = "unknown"
