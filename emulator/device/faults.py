"""The catalogue of faults: what each one is, what it takes, and which are active now.

Plant faults change physics or firmware, register faults change what is read or what a write does, wire faults change
the reply on its way. Each effect is written where it acts; this file only knows names, options and times.
"""

from collections.abc import Iterator, Mapping
from enum import Enum

from msgspec import Struct

from shared.errors import BadInput


class Layer(Enum):
    """Where a fault acts."""

    PLANT = "plant"
    REGISTER = "register"
    WIRE = "wire"


class Option(Struct, frozen=True):
    """A number that a fault takes: its value unless told, and the range that means something."""

    value: float
    low: float
    high: float
    whole: bool = False


class FaultKind(Struct, frozen=True, kw_only=True):
    """One row of the catalogue. An `instant` fault happens once and needs no clearing; `latched` ones outlive it."""

    name: str
    layer: Layer
    about: str
    options: Mapping[str, Option] = {}
    instant: bool = False
    latched: bool = False

    def options_of(self, given: Mapping[str, float]) -> dict[str, float]:
        """All options with what is given; `BadInput` for a name or a number that means nothing to this fault."""
        unknown = sorted(set(given) - set(self.options))
        if unknown:
            takes = ", ".join(self.options) or "no options"
            raise BadInput(f"the fault '{self.name}' takes {takes}, not {', '.join(unknown)}", fault=self.name)
        for name, value in given.items():
            option = self.options[name]
            if not option.low <= value <= option.high or (option.whole and value != int(value)):
                number = "a whole number" if option.whole else "a number"
                raise BadInput(
                    f"the option '{name}' of the fault '{self.name}' is {number} from {option.low:g} to "
                    f"{option.high:g}, not {value:g}",
                    fault=self.name,
                )
        return {name: given.get(name, option.value) for name, option in self.options.items()}


class ActiveFault(Struct, frozen=True, kw_only=True):
    """A fault while it lasts; `until_s` None means until somebody clears it."""

    name: str
    layer: Layer
    about: str
    options: Mapping[str, float]
    since_s: float
    until_s: float | None


def _plant(name: str, about: str, *, instant: bool = False, latched: bool = False, **options: Option) -> FaultKind:
    return FaultKind(name=name, layer=Layer.PLANT, about=about, options=options, instant=instant, latched=latched)


def _register(name: str, about: str, **options: Option) -> FaultKind:
    return FaultKind(name=name, layer=Layer.REGISTER, about=about, options=options)


def _wire(name: str, about: str, **options: Option) -> FaultKind:
    return FaultKind(name=name, layer=Layer.WIRE, about=about, options=options)


def _whole(value: int, low: int, high: int) -> Option:
    return Option(value, low, high, whole=True)


_UNIT = _whole(1, 1, 2)
_PCT = (0.0, 100.0)
_WORD = (0, 65_535)
_FROM, _TO = _whole(0, *_WORD), _whole(65_535, *_WORD)

KINDS = (
    # What real stations showed, and plant faults with their error bits.
    _plant(
        "kva_plateau",
        "real power plateaus at 83.3 kW because the power factor falls",
        power_factor=Option(0.9606, 0.5, 1.0),
    ),
    _plant(
        "pack_imbalance",
        "the strings stand at different states of charge",
        instant=True,
        first=Option(85.0, *_PCT),
        second=Option(41.0, *_PCT),
    ),
    _plant("deep_drain", "floor, reserve and derating are off and the battery is used before the grid"),
    _plant(
        "control_lost_silently", "operation_mode falls to 0; later setpoints are accepted and ignored", instant=True
    ),
    _plant("grid_mode_flipped", "a technician switches grid_mgmt_mode over", instant=True),
    _plant("reboot", "connections drop, registers return to power-on values, MID counters persist", instant=True),
    _plant("estop", "emergency stop: everything opens and stays open until reset on site", latched=True),
    _plant("crash_sensor", "the crash sensor opens everything until reset on site", latched=True),
    _plant("ups_failure", "the electronics have lost their buffered supply; no session starts"),
    _plant("thermal_alarm", "a string is too hot: its limits collapse", temperature=Option(60.0, -40.0, 120.0)),
    _plant("contactor_stuck", "the battery contactor of a unit does not close", unit=_UNIT),
    _plant("string_offline", "one string is gone", unit=_UNIT),
    _plant("grid_outage", "no voltage at the connection point"),
    _plant("phase_loss", "one phase is gone; the converters stop"),
    _plant("error_flags_corrupted", "the error register fails its own check; nothing else happens"),
    _plant("limits_collapse", "charge and discharge limits of both strings read and are 0"),
    _plant("watchdog_skewed", "the watchdog trips late or early by this ratio", ratio=Option(1.5, 0.5, 10.0)),
    _plant("heartbeat_ignored", "writes of 2500 are confirmed and do not restart the countdown"),
    _plant("setpoint_ignored", "writes are confirmed and neither stored nor applied"),
    _plant("setpoint_not_applied", "writes are stored and read back, but do not act"),
    _plant("setpoint_clamped", "the device quietly holds the clearance under a limit", limit=Option(40.0, 0.0, 87.0)),
    _plant("setpoint_inverted", "manual grid targets act with the opposite sign"),
    _plant("partial_write", "only the first half of an FC 16 is stored"),
    _plant("second_master", "another master writes its own clearance over ours", clearance=_whole(10, 0, 87)),
    _plant(
        "soc_jump",
        "the state of charge of one string jumps",
        instant=True,
        unit=_UNIT,
        points=Option(20.0, -100.0, 100.0),
    ),
    _plant(
        "counter_reset",
        "the meter's counters start again at 0, or jump to another value",
        instant=True,
        to_kwh=Option(0.0, 0.0, 1e7),
    ),
    # What is read.
    _register("p_ev_stuck_zero", "P_EV reads 0 while the energy counter moves"),
    _register("ev_counter_resets", "E_EV_chg starts again at every session"),
    _register("battery_meter_bias", "the charge leg of P_bat is metered low", ratio=Option(0.905, 0.0, 10.0)),
    _register("meter_skew", "the three meters sample one frame apart"),
    _register("clearance_echo", "2010 repeats the commanded clearance whatever is in force"),
    _register("ev_max_static", "P_EV_max stays at its handshake value", value=Option(250.0, 0.0, 1_000.0)),
    _register("soc_sentinel", "soc_EV reads 65535"),
    _register("soc_frozen", "the battery's state of charge no longer changes on the wire"),
    _register("energy_collapse", "E_full and E_empty collapse to a few kWh when idle", ratio=Option(0.03, 0.0, 10.0)),
    _register("null_frames", "measurements read as their sentinels", from_address=_FROM, to_address=_TO),
    _register("stale_frozen", "measurements stop while the link stays alive", from_address=_FROM, to_address=_TO),
    _register("torn_32_bit", "32-bit values mix words of two seconds"),
    _register("words_swapped", "32-bit values come and go low word first"),
    _register("bytes_swapped", "registers come and go low byte first"),
    _register(
        "meter_sign_flipped", "a meter counts the other way round: 0 the grid, 1 or 2 a battery", meter=_whole(0, 0, 2)
    ),
    _register("scale_changed", "all powers are off by a factor", factor=Option(10.0, -1e6, 1e6)),
    _register(
        "register_value",
        "an input register reads a fixed word, and the one behind it too unless next_word is -1",
        address=_whole(7_006, *_WORD),
        word=_whole(65_535, *_WORD),
        next_word=_whole(-1, -1, 65_535),
    ),
    _register("not_a_number", "floats read as not a number", from_address=_FROM, to_address=_TO),
    _register(
        "infinite", "floats read infinity, or minus infinity", from_address=_FROM, to_address=_TO, sign=_whole(1, -1, 1)
    ),
    _register("state_undefined", "enumerations read an undefined value", value=_whole(99, *_WORD)),
    _register("soc_out_of_range", "the battery's state of charge reads an impossible value", value=_whole(101, *_WORD)),
    _register("duplicate_address", "two devices have the same address and answer in turns"),
    # What happens to replies.
    _wire("telemetry_gap", "the link is dead: connections drop and new ones are closed"),
    _wire("refused", "nobody listens on the port: connections drop and new ones are refused"),
    _wire("occupied", "the device takes no further connection"),
    _wire("slow_replies", "replies come late", delay=Option(0.9, 0.0, 600.0), jitter=Option(0.0, 0.0, 600.0)),
    _wire("lost_replies", "requests act, replies are lost", ratio=Option(1.0, 0.0, 1.0)),
    _wire("half_open", "connections stay up, nothing is answered and nothing acts"),
    _wire("stalled_burst", "replies are held back and come all at once", hold=Option(3.0, 0.0, 600.0)),
    _wire("reset", "a request is answered by a reset of the connection"),
    _wire("reset_mid_frame", "half a reply, then a reset"),
    _wire("finish", "a request is answered by closing the connection"),
    _wire("wrong_transaction_id", "replies carry another transaction id", offset=_whole(1, -65_535, 65_535)),
    _wire("zero_transaction_id", "replies carry transaction id 0"),
    _wire("repeated_transaction_id", "replies carry the previous transaction id"),
    _wire("wrong_protocol_id", "the protocol id is not 0", value=_whole(1, *_WORD)),
    _wire("wrong_length", "the length field lies", offset=_whole(2, -65_535, 65_535)),
    _wire("wrong_unit", "replies come from another unit", unit=_whole(2, 0, 255)),
    _wire("wrong_function", "replies carry another function code"),
    _wire("wrong_byte_count", "the byte count lies", offset=_whole(2, -255, 255)),
    _wire("short_data", "a register is missing"),
    _wire("long_data", "a register too many"),
    _wire("wrong_echo", "a write is confirmed with another address"),
    _wire("wrong_quantity", "a write is confirmed with another quantity or value"),
    _wire("trickle", "replies come byte by byte", delay=Option(0.05, 0.0, 10.0)),
    _wire("glued_replies", "replies come two in a segment"),
    _wire("garbage_before", "noise precedes a reply", count=_whole(5, 1, 1_000)),
    _wire("garbage_after", "noise follows a reply", count=_whole(5, 1, 1_000)),
    _wire("truncated", "the end of a reply is missing"),
    *(
        _wire(
            f"exception_{code:02x}",
            f"requests are refused with exception {code:#04x}: those with this function, or all (0), that touch these "
            "addresses, the first so many of them, or all (0)",
            function=_whole(0, 0, 127),
            count=_whole(0, 0, 1_000_000),
            from_address=_FROM,
            to_address=_TO,
        )
        for code in (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0A, 0x0B, 0x63)
    ),
)

CATALOGUE: Mapping[str, FaultKind] = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> FaultKind:
    """The catalogue's row; `BadInput` for a name that is not there."""
    kind = CATALOGUE.get(name)
    if kind is None:
        raise BadInput(f"there is no fault '{name}'; `chargepost faults` lists them", fault=name)
    return kind


class Faults:
    """What is wrong now. `version` moves with every change, so that effects are worked out once and not each second."""

    __slots__ = ("active", "next_end_s", "version")

    def __init__(self) -> None:
        self.active: dict[str, ActiveFault] = {}
        self.next_end_s = float("inf")
        self.version = 0

    def begin(self, name: str, now_s: float, *, for_s: float | None, options: Mapping[str, float]) -> ActiveFault:
        """Raise a fault; raised again, it takes the new options and end."""
        kind = kind_of(name)
        fault = ActiveFault(
            name=name,
            layer=kind.layer,
            about=kind.about,
            options=kind.options_of(options),
            since_s=now_s,
            until_s=None if for_s is None else now_s + for_s,
        )
        if not kind.instant:
            self.active[name] = fault
        self._changed()
        return fault

    def end(self, name: str) -> bool:
        """Clear a fault; False if it was not there."""
        kind_of(name)
        gone = self.active.pop(name, None) is not None
        self._changed()
        return gone

    def expired(self, now_s: float) -> Iterator[ActiveFault]:
        """The faults whose time is over, each cleared as it is given."""
        if now_s < self.next_end_s:
            return
        for fault in list(self.active.values()):
            if fault.until_s is not None and fault.until_s <= now_s:
                del self.active[fault.name]
                self._changed()
                yield fault

    def has(self, name: str) -> bool:
        return name in self.active

    def option(self, name: str, option: str, otherwise: float = 0.0) -> float:
        """An option of an active fault."""
        fault = self.active.get(name)
        return otherwise if fault is None else fault.options[option]

    def in_layer(self, layer: Layer) -> bool:
        return any(fault.layer is layer for fault in self.active.values())

    def _changed(self) -> None:
        self.version += 1
        ends = (fault.until_s for fault in self.active.values() if fault.until_s is not None)
        self.next_end_s = min(ends, default=float("inf"))
