"""The side door for demos and tests: read the truth, let a car arrive, raise and clear faults. Plain HTTP, loopback."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, delete, get, post
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct
from msgspec.structs import replace

from emulator.device.faults import KINDS, ActiveFault, FaultKind
from emulator.device.truth import COLUMNS, Note, Stretch
from emulator.runtime import Runtime, Unit
from shared.clock import Clock
from shared.errors import BadInput, Conflict, InvalidMessage, NotFound, OutOfBounds, SiteError
from shared.scenario.schema import Car, Event, EvLeaves

MOST_BODY = 64 * 1024
MOST_ROWS, MOST_NOTES, LATEST = 3_600, 1_000, 60
T = TypeVar("T")


class InjectFault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raise this fault now, for `for_s` clock seconds or until it is cleared."""

    fault: Annotated[str, Meta(min_length=1, max_length=80)]
    for_s: Annotated[float, Meta(gt=0.0, le=31_622_400.0)] | None = None
    options: dict[str, float] = {}


class ClearFaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Clear one fault, or all of them where no name is given."""

    fault: Annotated[str, Meta(min_length=1, max_length=80)] | None = None


class StationHealth(Struct, frozen=True, kw_only=True):
    name: str
    port: int
    steps: int
    connections: int
    waiting_cars: int
    faults: tuple[str, ...]
    silent: bool


class Health(Struct, frozen=True, kw_only=True):
    status: str
    at: datetime
    speed: float
    steps: int
    behind_s: float
    stations: tuple[StationHealth, ...]


class OutletTruth(Struct, frozen=True, kw_only=True):
    """A car as it really is, whatever the registers say of it."""

    process: str
    soc_pct: float | None
    session_kwh: float
    lifetime_kwh: float
    max_kw: float | None


class TruthNow(Struct, frozen=True, kw_only=True):
    """The last physics second, in our signs: + into the site's AC bus."""

    station: str
    at: datetime
    values: dict[str, float]
    soc_pct: tuple[float, float]
    outlets: tuple[OutletTruth, ...]
    watchdog: str
    external: bool
    faults: tuple[ActiveFault, ...]


class Series(Struct, frozen=True, kw_only=True):
    """Physics seconds; ask again with `after` set to the last row's number."""

    columns: tuple[str, ...]
    first: int
    last: int
    rows: tuple[tuple[float, ...], ...]


class Notes(Struct, frozen=True, kw_only=True):
    """What happened once; ask again with `after` set to the last note's number."""

    notes: tuple[Note, ...]


class Catalogue(Struct, frozen=True, kw_only=True):
    active: tuple[ActiveFault, ...]
    kinds: tuple[FaultKind, ...]


class SideDoor:
    """The routes over the running stations; `?station=` names one, the first is the default."""

    def __init__(self, clock: Clock, units: Sequence[Unit], runtime: Runtime) -> None:
        self._clock = clock
        self._units = {unit.name: unit for unit in units}
        self._runtime = runtime

    def handlers(self) -> list[ControllerRouterHandler]:
        """What a Litestar application takes."""
        return [
            self._get("/v1/health", lambda _: self.health()),
            self._get("/v1/truth", lambda request: self.truth(self._unit(request))),
            self._get("/v1/truth/series", self._series),
            self._get("/v1/truth/notes", self._notes),
            self._get("/v1/faults", lambda request: self.faults(self._unit(request))),
            self._post("/v1/faults", InjectFault, self._inject),
            self._post("/v1/faults/clear", ClearFaults, self._clear),
            self._post("/v1/events", Event, self._event),
            self._post("/v1/cars", Car, self._arrive),
            self._unplug(),
        ]

    def health(self) -> Health:
        return Health(
            status="ok",
            at=self._clock.now().at,
            speed=self._clock.speed,
            steps=self._runtime.steps,
            behind_s=self._runtime.behind_s,
            stations=tuple(
                StationHealth(
                    name=unit.name,
                    port=unit.server.port,
                    steps=unit.station.post.steps,
                    connections=len(unit.server.active_connections),
                    waiting_cars=unit.station.director.waiting,
                    faults=tuple(unit.station.post.faults.active),
                    silent=unit.station.post.silent,
                )
                for unit in self._units.values()
            ),
        )

    def truth(self, unit: Unit) -> TruthNow:
        it = unit.station.post
        first, second = it.strings
        return TruthNow(
            station=unit.name,
            at=it.now.at,
            values=it.truth.latest(),
            soc_pct=(first.soc_pct, second.soc_pct),
            outlets=tuple(
                OutletTruth(
                    process=outlet.process.name.lower(),
                    soc_pct=None if outlet.vehicle is None else outlet.vehicle.soc_pct,
                    session_kwh=outlet.session_kwh,
                    lifetime_kwh=outlet.lifetime_kwh,
                    max_kw=None if outlet.vehicle is None else outlet.vehicle.wish.max_kw,
                )
                for outlet in it.outlets
            ),
            watchdog=it.watchdog.state.value,
            external=it.levers.external,
            faults=tuple(it.faults.active.values()),
        )

    def faults(self, unit: Unit) -> Catalogue:
        return Catalogue(active=tuple(unit.station.post.faults.active.values()), kinds=KINDS)

    def _series(self, request: "Request[Any, Any, Any]") -> Series:
        unit = self._unit(request)
        stretch = _stretch(request, MOST_ROWS)
        if not {"after", "from", "to"} & set(request.query_params):
            stretch = replace(stretch, after=max(0, unit.station.post.truth.count - LATEST))
        rows = unit.history.seconds(stretch)
        return Series(
            columns=COLUMNS,
            first=rows[0][0] if rows else stretch.after,
            last=rows[-1][0] if rows else stretch.after,
            rows=tuple(row for _, row in rows),
        )

    def _notes(self, request: "Request[Any, Any, Any]") -> Notes:
        return Notes(notes=tuple(self._unit(request).history.notes(_stretch(request, MOST_NOTES))))

    def _inject(self, unit: Unit, wish: InjectFault) -> ActiveFault:
        return unit.station.post.begin_fault(wish.fault, for_s=wish.for_s, options=wish.options)

    def _clear(self, unit: Unit, wish: ClearFaults) -> Catalogue:
        it = unit.station.post
        for name in [wish.fault] if wish.fault else list(it.faults.active):
            it.end_fault(name)
        return self.faults(unit)

    def _arrive(self, unit: Unit, car: Car) -> TruthNow:
        unit.station.director.arrive(unit.station.post.now, car)
        return self.truth(unit)

    def _event(self, unit: Unit, event: Event) -> TruthNow:
        unit.station.director.perform(event, unit.station.post.now, unit.station.post)
        return self.truth(unit)

    def _unplug(self) -> ControllerRouterHandler:
        @delete("/v1/cars/{outlet:int}", status_code=200)
        async def unplug(request: Request[Any, Any, Any], outlet: int) -> Response[bytes]:
            unit = self._unit(request)
            if outlet not in {1, 2}:
                raise NotFound("outlets are 1 and 2", outlet=outlet)
            event = EvLeaves(at_s=0.0, outlet=outlet)
            if unit.station.post.outlets[outlet - 1].vehicle is None:
                raise Conflict("no car is plugged there", outlet=outlet)
            unit.station.director.perform(event, unit.station.post.now, unit.station.post)
            return _json(self.truth(unit), 200)

        return unplug

    def _unit(self, request: "Request[Any, Any, Any]") -> Unit:
        name = request.query_params.get("station")
        if name is None:
            return next(iter(self._units.values()))
        if name not in self._units:
            raise NotFound("no such station", station=name)
        return self._units[name]

    def _get(self, path: str, answer: Any) -> ControllerRouterHandler:
        @get(path)
        async def endpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
            return _json(answer(request), 200)

        return endpoint

    def _post(self, path: str, of: Any, act: Any) -> ControllerRouterHandler:
        @post(path)
        async def endpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
            body = await request.body()
            if len(body) > MOST_BODY:
                raise InvalidMessage("the body is too large", most_bytes=MOST_BODY)
            try:
                wish = msgspec.json.decode(body, type=of)
            except msgspec.ValidationError as error:
                raise OutOfBounds(str(error)) from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidMessage(str(error)) from error
            return _json(act(self._unit(request), wish), 201)

        return endpoint


def _number(request: "Request[Any, Any, Any]", name: str, otherwise: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidMessage("not a whole number of at most 12 digits", parameter=name)
    return int(text)


def _instant(request: "Request[Any, Any, Any]", name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that nobody has escaped arrives as a blank
    except ValueError as error:
        raise InvalidMessage("not an instant such as 2024-06-15T10:00:00Z", parameter=name) from error
    if at.tzinfo is None:
        raise InvalidMessage("an instant needs its offset, such as Z", parameter=name)
    return at


def _stretch(request: "Request[Any, Any, Any]", most: int) -> Stretch:
    """Which part of the truth a request asks for: `after` and `limit` by number, `from` and `to` by clock time."""
    return Stretch(
        after=_number(request, "after", 0),
        since=_instant(request, "from"),
        until=_instant(request, "to"),
        most=min(_number(request, "limit", most), most),
    )


def _json(value: Any, status: int) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def problem(_: "Request[Any, Any, Any]", error: Exception) -> Response[bytes]:
    """Our errors and Litestar's own as problem+json."""
    if isinstance(error, HTTPException):
        status, code, detail = error.status_code, "refused", str(error.detail)
    else:
        assert isinstance(error, SiteError)
        status = 422 if isinstance(error, BadInput) else error.http_status
        code, detail = error.code, str(error)
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": detail}
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/problem+json")
