"""Charging sessions from OCPP-style JSON: transactions with meter readings, as back ends of chargers export them.

Two shapes are read, alone or as a list, or under `transactions`:

    flat     {"transactionId", "startTimestamp", "stopTimestamp", "meterStart", "meterStop", "meterValues": [...]}
    2.0.1    a list of TransactionEvent requests: {"eventType", "timestamp", "transactionInfo", "meterValue": [...]}

Energy is meterStop - meterStart, or the last reading minus the first. The highest power is the highest `Power.Active.
Import` reading; without one it is the steepest rise between two energy readings; a session with neither is refused,
because nobody can tell from energy and stay how fast a car drew.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from services.enexa.importers.checks import instant
from services.enexa.planning.problem import SessionRecord
from shared.errors import BadInput

ENERGY, POWER = "Energy.Active.Import.Register", "Power.Active.Import"
UNITS = {"Wh": 0.001, "kWh": 1.0, "W": 0.001, "kW": 1.0}
DEFAULT_UNIT = {ENERGY: "Wh", POWER: "W"}
Shape = TypeVar("Shape")


class UnitOfMeasure(Struct):
    unit: str = ""
    multiplier: int = 0


class Sampled(Struct, rename="camel"):
    """One reading; OCPP 1.6 names its unit in `unit` and its values are texts, 2.0.1 has `unitOfMeasure`."""

    value: float | str
    measurand: str = ENERGY
    phase: str | None = None
    unit: str | None = None
    unit_of_measure: UnitOfMeasure | None = None


class MeterValue(Struct, rename="camel"):
    timestamp: str
    sampled_value: list[Sampled]


class Transaction(Struct):
    """A finished transaction in one piece."""

    start_timestamp: str = field(name="startTimestamp")
    stop_timestamp: str = field(name="stopTimestamp")
    transaction_id: str | int = field(name="transactionId", default="")
    meter_start_wh: float | None = field(name="meterStart", default=None)
    meter_stop_wh: float | None = field(name="meterStop", default=None)
    meter_values: list[MeterValue] = field(name="meterValues", default_factory=list)


class TransactionInfo(Struct, rename="camel"):
    transaction_id: str


class TransactionEvent(Struct, rename="camel"):
    """One OCPP 2.0.1 request."""

    event_type: str
    timestamp: str
    transaction_info: TransactionInfo
    meter_value: list[MeterValue] = field(default_factory=list)


class Transactions(Struct):
    transactions: list[Transaction]


class Reading(Struct, frozen=True):
    at: datetime
    measurand: str
    value: float


def ocpp_sessions(text: str, name: str) -> list[SessionRecord]:
    """The finished sessions of a document in the order of the file; one that has not ended is left to the next file."""
    return [_session(each, name) for each in _transactions(text, name)]


def _transactions(text: str, name: str) -> list[Transaction]:
    """The document's transactions, whichever of the shapes it has."""
    if (several := _as(text, Transactions)) is not None:
        return several.transactions
    if (one := _as(text, Transaction)) is not None:
        return [one]
    if (events := _as(text, list[TransactionEvent])) is not None:
        return _joined(events)
    try:
        return msgspec.json.decode(text, type=list[Transaction])
    except msgspec.MsgspecError as error:
        raise BadInput("Not OCPP transactions as we know them", file=name, detail=str(error)[:160]) from error


def _as(text: str, kind: type[Shape]) -> Shape | None:
    """The document as this shape, or None where it is another."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None


def _joined(events: Iterable[TransactionEvent]) -> list[Transaction]:
    """The events of each transaction that was seen from Started to Ended, put together."""
    by_id: dict[str, list[TransactionEvent]] = {}
    for event in events:
        by_id.setdefault(event.transaction_info.transaction_id, []).append(event)
    whole = []
    for number, parts in by_id.items():
        kinds = {part.event_type: part for part in parts}
        if "Started" in kinds and "Ended" in kinds:
            whole.append(
                Transaction(
                    transaction_id=number,
                    start_timestamp=kinds["Started"].timestamp,
                    stop_timestamp=kinds["Ended"].timestamp,
                    meter_values=[value for part in parts for value in part.meter_value],
                )
            )
    return whole


def _session(given: Transaction, name: str) -> SessionRecord:
    which = str(given.transaction_id)
    start, until = instant(given.start_timestamp, name, 1), instant(given.stop_timestamp, name, 1)
    if until <= start:
        raise BadInput("A session ends before it begins", file=name, transaction=which)
    readings = sorted(_readings(given, name), key=lambda reading: reading.at)
    energies = [reading for reading in readings if reading.measurand == ENERGY]
    if given.meter_start_wh is not None and given.meter_stop_wh is not None:
        energy_kwh = (given.meter_stop_wh - given.meter_start_wh) / 1000
    elif len(energies) >= 2:
        energy_kwh = energies[-1].value - energies[0].value
    else:
        raise BadInput("A session without meter readings; its energy cannot be known", file=name, transaction=which)
    powers_kw = [reading.value for reading in readings if reading.measurand == POWER] or _rises_kw(energies)
    if not powers_kw:
        raise BadInput("A session without power readings; its power cannot be known", file=name, transaction=which)
    return SessionRecord(start=start, until=until, energy_kwh=energy_kwh, max_power_kw=max(powers_kw))


def _readings(given: Transaction, name: str) -> Iterable[Reading]:
    """Totals in kW and kWh; single phases are parts of a total and left out."""
    for meter in given.meter_values:
        at = instant(meter.timestamp, name, 1)
        for sampled in meter.sampled_value:
            if sampled.measurand in DEFAULT_UNIT and sampled.phase is None:
                yield Reading(at, sampled.measurand, _value(sampled, name))


def _value(sampled: Sampled, name: str) -> float:
    measure = sampled.unit_of_measure or UnitOfMeasure()
    unit = sampled.unit or measure.unit or DEFAULT_UNIT[sampled.measurand]
    if unit not in UNITS:
        raise BadInput("A meter reading in a unit we do not know", file=name, unit=unit, known=", ".join(UNITS))
    try:
        return float(sampled.value) * UNITS[unit] * 10.0**measure.multiplier
    except ValueError as error:
        raise BadInput("A meter reading is not a number", file=name, value=str(sampled.value)[:40]) from error


def _rises_kw(energies: list[Reading]) -> list[float]:
    return [
        (after.value - before.value) * 3600 / (after.at - before.at).total_seconds()
        for before, after in pairwise(energies)
        if after.at > before.at
    ]
