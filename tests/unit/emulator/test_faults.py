"""Every plant and register fault is seen from outside, ends when it is cleared, and is in the truth."""

import os
import re
import struct
from collections.abc import Callable
from math import isclose
from pathlib import Path
from typing import Any

import pytest

from emulator.device.faults import CATALOGUE, KINDS, FaultKind, Layer
from shared.chargepost.layout import Span
from shared.chargepost.registers import (
    BATTERY_1,
    BATTERY_2,
    CHARGER_1,
    CONTROL_1,
    ERRORS,
    GRID,
    MANAGEMENT,
    STATUS,
    WARNINGS,
)
from shared.chargepost.states import Errors, GridMode, OperationState, ProcessState, Warnings
from shared.errors import BadInput
from tests.unit.emulator.rig import Rig


def controlled() -> Rig:
    """A station under control with a car that charges while the batteries help."""
    return Rig().take_control(clearance_kw=80.0).charging(max_kw=120.0)


def trips_at_ten(rig: Rig) -> bool:
    rig.run(1).take_control(interval_s=10).run(10)
    return Warnings.WATCHDOG_TRIGGERED in Warnings(rig.read(WARNINGS).warnings or 0)


def ignored_beat(rig: Rig) -> bool:
    rig.take_control(interval_s=10)
    for _ in range(25):
        rig.run(3)
        rig.write(MANAGEMENT.write(watchdog_interval_s=10))
    return rig.read(WARNINGS).warnings == Warnings.WATCHDOG_TRIGGERED


def clearance_after_write(rig: Rig) -> tuple[float | None, float]:
    """What reads back and what flows when 20 kW are ordered."""
    assert rig.write(MANAGEMENT.write(clearance_kw=20.0)) == 0
    rig.run(2)
    return rig.read(MANAGEMENT).clearance_kw, rig.read(GRID).grid_kw or 0.0


def stored_only(rig: Rig) -> bool:
    shown_kw, flows_kw = clearance_after_write(rig)
    return shown_kw == 20.0 and flows_kw > 79.0


def apart(rig: Rig) -> bool:
    rig.run(1)
    return abs((rig.read(BATTERY_1).soc_pct or 0.0) - (rig.read(BATTERY_2).soc_pct or 0.0)) > 18.0


def inverted(rig: Rig) -> bool:
    rig.post.unplug(1)
    rig.write(MANAGEMENT.write(grid_mode=GridMode.MANUAL))
    rig.write(CONTROL_1.write(grid_target_kw=20.0))
    rig.run(2)
    return abs(rig.read(BATTERY_1).battery_kw or 0.0) < 0.01


def half_written(rig: Rig) -> bool:
    rig.write(MANAGEMENT.write(clearance_kw=30.0, request_kw=10.0))
    after = rig.read(MANAGEMENT)
    return after.clearance_kw == 30.0 and after.request_kw is None


def counter_moves(rig: Rig) -> bool:
    before = rig.read(CHARGER_1).ev_energy_kwh or 0.0
    rig.run(10)
    return (rig.read(CHARGER_1).ev_energy_kwh or 0.0) > before and rig.read(CHARGER_1).ev_kw == 0.0


def nothing_moves(rig: Rig) -> bool:
    before = rig.words(4, 1000, 28), rig.words(4, 7000, 25), rig.words(4, 3000, 45)
    rig.run(5)
    return before == (rig.words(4, 1000, 28), rig.words(4, 7000, 25), rig.words(4, 3000, 45))


def soc_stands(rig: Rig) -> bool:
    before = rig.read(BATTERY_1).soc_pct
    rig.run(120)
    return rig.read(BATTERY_1).soc_pct == before and (before or 0.0) - rig.post.strings[0].soc_pct > 1.0


def battery_reads_low(rig: Rig) -> bool:
    rig.post.unplug(1)
    rig.run(2)
    return isclose(rig.read(BATTERY_1).battery_kw or 0.0, 0.905 * rig.post.strings[0].power_kw, rel_tol=1e-5)


def meters_skew(rig: Rig) -> bool:
    rig.run(3)
    rig.post.unplug(1)
    rig.run(1)
    balance_kw = (rig.read(GRID).grid_kw or 0.0) + (rig.read(BATTERY_1).battery_kw or 0.0)
    return (rig.read(CHARGER_1).ev_kw or 0.0) > 100.0 and balance_kw < 120.0


def torn(rig: Rig) -> bool:
    rig.run(2)
    before = GRID.fields["energy_imported_kwh"].encode(rig.post.meter.imported_kwh)
    rig.run(1)
    now = GRID.fields["energy_imported_kwh"].encode(rig.post.meter.imported_kwh)
    return before[1] != now[1] and rig.words(4, 1022, 2) == (now[0], before[1])


def collapsed(rig: Rig) -> bool:
    rig.post.unplug(1)
    rig.post.strings[0].energy_kwh = rig.post.strings[1].energy_kwh = 85.5
    rig.run(2)
    battery = rig.read(BATTERY_1)
    return (battery.energy_to_empty_kwh or 0.0) + (battery.energy_to_full_kwh or 0.0) < 4.0


def resets_per_session(rig: Rig) -> bool:
    rig.post.unplug(1)
    rig.plug()
    rig.run(5)
    return rig.read(CHARGER_1).ev_energy_kwh == 0.0


def echoes(rig: Rig) -> bool:
    rig.write(MANAGEMENT.write(operation_mode=0))
    rig.run(1)
    return rig.read(STATUS).import_limit_kw == 80.0


def deeply_drained(rig: Rig) -> bool:
    for string in rig.post.strings:
        string.energy_kwh = 12.0
    rig.write(MANAGEMENT.write(request_kw=0.0))
    rig.beat(400)
    return min(string.soc_pct for string in rig.post.strings) < 9.0


def rebooted(rig: Rig) -> bool:
    silent = rig.ask(b"\x03\x09\xc4\x00\x01") == b""
    rig.run(61)
    return silent and rig.read(MANAGEMENT).operation_mode == 0 and rig.read(WARNINGS).warnings == 2


def stands(error: Errors) -> Callable[[Rig], bool]:
    def check(rig: Rig) -> bool:
        rig.run(2)
        dark = rig.read(CHARGER_1).ev_kw == 0.0 and rig.read(BATTERY_1).battery_kw == 0.0
        return dark and rig.read(ERRORS).errors == error and rig.read(STATUS).operation_state is OperationState.OFF

    return check


def one_string(error: Errors) -> Callable[[Rig], bool]:
    def check(rig: Rig) -> bool:
        rig.run(2)
        first = rig.read(BATTERY_1)
        flows = rig.post.flows
        return (
            rig.read(ERRORS).errors == error
            and first.discharge_max_kw == 0.0
            and first.battery_kw == 0.0
            and flows.battery_2_kw > 5.0
        )

    return check


def shows(span_field: str, value: object) -> Callable[[Rig], bool]:
    spans: dict[str, Span[Any]] = {"grid": GRID, "battery": BATTERY_1, "charger": CHARGER_1, "status": STATUS}
    name, field = span_field.split(".")

    def check(rig: Rig) -> bool:
        rig.run(2)
        return bool(getattr(rig.read(spans[name]), field) == value)

    return check


def swapped_both_ways(rig: Rig) -> bool:
    """80 kW read low word first, and 60 kW act only when they are written so."""
    read = rig.run(1).words(3, 2506, 2) == (80_000 - 65_536, 1)
    written = rig.put(2506, 60_000, 0) == 0 and rig.run(1).words(3, 2506, 2) == (60_000, 0)
    return read and written and abs(rig.post.meter.grid_kw - 60.0) < 0.01


def bytes_swapped_both_ways(rig: Rig) -> bool:
    read = rig.run(1).words(3, 2500, 2) == (60 << 8, 1 << 8)
    return read and rig.put(2500, 30 << 8, many=False) == 0 and rig.words(3, 2500, 1) == (30 << 8,)


def two_devices(rig: Rig) -> bool:
    """Every second answer knows another counter, and what is written to one of them the other never hears."""
    rig.run(60)
    counters = [rig.words(4, 1022, 2) for _ in range(4)]
    assert rig.put(2500, 30, many=False) == 0
    intervals = {rig.words(3, 2500, 1) for _ in range(2)}
    return counters[0] == counters[2] != counters[1] == counters[3] and intervals == {(30,), (60,)}


def off_by_ten(rig: Rig) -> bool:
    rig.run(1)
    return isclose(rig.read(GRID).grid_kw or 0.0, 10.0 * rig.post.meter.grid_kw, rel_tol=1e-5)


SEEN: dict[str, Callable[[Rig], bool]] = {
    "kva_plateau": lambda rig: 83.2 < (rig.take_control(clearance_kw=87.0).run(2).read(GRID).grid_kw or 0.0) < 83.4,
    "pack_imbalance": lambda rig: (rig.run(1).read(BATTERY_1).soc_pct, rig.read(BATTERY_2).soc_pct) == (85, 41),
    "deep_drain": deeply_drained,
    "control_lost_silently": lambda rig: (
        rig.read(MANAGEMENT).operation_mode == 0 and clearance_after_write(rig)[1] > 39.0
    ),
    "grid_mode_flipped": lambda rig: rig.read(MANAGEMENT).grid_mode is GridMode.MANUAL,
    "reboot": rebooted,
    "estop": stands(Errors.EMERGENCY_STOP),
    "crash_sensor": stands(Errors.CRASH_SENSOR),
    "grid_outage": stands(Errors.GRID_OUTAGE),
    "phase_loss": stands(Errors.PHASE_LOSS),
    "ups_failure": lambda rig: (
        rig.run(10).read(CHARGER_1).process_state is ProcessState.CHARGING_ERROR
        and rig.read(ERRORS).errors == Errors.UPS_GRID_SUPPLY_FAILURE
    ),
    "thermal_alarm": lambda rig: (
        (rig.run(2).read(BATTERY_1).temperature_max_c or 0.0) > 55.0 and rig.read(BATTERY_1).discharge_max_kw == 0.0
    ),
    "contactor_stuck": one_string(Errors.CONTACTOR),
    "string_offline": one_string(Errors.STRING_OFFLINE),
    "limits_collapse": lambda rig: (
        rig.run(2).read(BATTERY_2).discharge_max_kw == 0.0 and rig.read(BATTERY_2).charge_max_kw == 0.0
    ),
    "watchdog_skewed": lambda rig: not trips_at_ten(rig),
    "heartbeat_ignored": ignored_beat,
    "setpoint_ignored": lambda rig: clearance_after_write(rig)[0] == 80.0,
    "setpoint_not_applied": stored_only,
    "setpoint_clamped": lambda rig: (rig.run(2).read(GRID).grid_kw or 0.0) < 40.1,
    "setpoint_inverted": inverted,
    "partial_write": half_written,
    "soc_jump": apart,
    "counter_reset": lambda rig: (rig.run(1).read(GRID).energy_imported_kwh or 0.0) < 0.05,
    "p_ev_stuck_zero": counter_moves,
    "ev_counter_resets": resets_per_session,
    "battery_meter_bias": battery_reads_low,
    "meter_skew": meters_skew,
    "clearance_echo": echoes,
    "ev_max_static": shows("charger.ev_max_kw", 250.0),
    "soc_sentinel": shows("charger.ev_soc_pct", None),
    "soc_frozen": soc_stands,
    "energy_collapse": collapsed,
    "null_frames": lambda rig: (
        set(rig.run(1).read(GRID).__struct_fields__)
        == {name for name in rig.read(GRID).__struct_fields__ if getattr(rig.read(GRID), name) is None}
    ),
    "stale_frozen": nothing_moves,
    "torn_32_bit": torn,
    "words_swapped": swapped_both_ways,
    "bytes_swapped": bytes_swapped_both_ways,
    "duplicate_address": two_devices,
    "second_master": lambda rig: rig.run(1).read(MANAGEMENT).clearance_kw == 10.0,
    "error_flags_corrupted": lambda rig: (
        rig.run(1).read(ERRORS).errors == Errors.ERROR_FLAGS_CORRUPTED and (rig.read(CHARGER_1).ev_kw or 0.0) > 100.0
    ),
    "meter_sign_flipped": lambda rig: (rig.run(1).read(GRID).grid_kw or 0.0) < -70.0,
    "scale_changed": off_by_ten,
    "register_value": shows("battery.soc_pct", None),
    "not_a_number": shows("grid.frequency_hz", None),
    "infinite": lambda rig: rig.run(1).words(4, 1008, 2) == (0x7F80, 0),
    "state_undefined": shows("charger.process_state", None),
    "soc_out_of_range": shows("battery.soc_pct", 101.0),
}

RELIABILITY = {
    "E01": "exception_01", "E02": "exception_02", "E03": "exception_03", "E04": "exception_04", "E05": "exception_05",
    "E06": "exception_06", "E07": "exception_08 exception_0a exception_0b exception_63", "E08": "slow_replies",
    "E09": "slow_replies", "E10": "stalled_burst", "E11": "torn_32_bit", "E12": "words_swapped bytes_swapped",
    "E13": "stale_frozen soc_frozen", "E14": "heartbeat_ignored", "E15": "watchdog_skewed",
    "E16": "",  # the profile's fallback_clearance_kw, and no fault
    "E17": "setpoint_not_applied setpoint_ignored", "E18": "lost_replies", "E19": "setpoint_clamped",
    "E20": "reboot counter_reset", "E21": "control_lost_silently grid_mode_flipped", "E22": "second_master",
    "E23": "partial_write", "E24": "wrong_unit", "E25": "not_a_number infinite",
    "E26": "null_frames register_value soc_sentinel", "E27": "soc_out_of_range register_value", "E28": "soc_jump",
    "E29": "meter_sign_flipped", "E30": "scale_changed", "E31": "counter_reset ev_counter_resets",
    "E32": "",  # the map has no clock
    "E33": "state_undefined", "E34": "limits_collapse thermal_alarm",
    "E35": "contactor_stuck estop crash_sensor ups_failure string_offline error_flags_corrupted",
    "E36": "setpoint_inverted", "W01": "wrong_transaction_id zero_transaction_id repeated_transaction_id",
    "W02": "wrong_protocol_id wrong_length short_data long_data truncated wrong_byte_count",
    "W03": "wrong_function wrong_echo wrong_quantity", "W04": "trickle glued_replies",
    "W05": "garbage_before garbage_after", "W06": "refused finish reset reset_mid_frame",
    "W07": "half_open lost_replies",
    "W08": "lost_replies slow_replies", "W09": "half_open", "W10": "occupied", "W11": "duplicate_address",
}  # fmt: skip
"""What plays each row of reliability.md 3.1 and 3.2."""


def rows_of(name: str, first: str, last: str) -> list[str]:
    """First cells of the tables between two headings of a reference."""
    path = Path(os.environ.get("SHARED", "../shared")) / "reference" / name
    if not path.exists():
        pytest.skip(f"{path} is absent; set SHARED to compare the catalogue with its reference")
    part = path.read_text(encoding="utf-8").split(first)[1].split(last)[0]
    return [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("|")]


def test_every_row_of_the_references_can_be_played_and_every_fault_plays_one() -> None:
    catalogue = rows_of("reliability.md", "### 3.1", "### 3.3")
    station = rows_of("chargepost.md", "## 4 Faults", "\n\n\n")[2:]

    assert [row for row in catalogue if row[1:].isdigit()] == list(RELIABILITY)
    listed = {name for row in station for name in re.findall(r"[a-z][a-z0-9_]+", row.split("(")[0])} - {"exceptions"}
    played = {name for names in RELIABILITY.values() for name in names.split()}
    assert listed | played == set(CATALOGUE)


NEEDS_LESS = {"kva_plateau", "watchdog_skewed"}


def test_every_fault_of_plant_and_registers_has_an_observer() -> None:
    assert set(SEEN) == {kind.name for kind in KINDS if kind.layer is not Layer.WIRE}


@pytest.mark.parametrize("name", SEEN)
def test_a_fault_is_seen_from_outside_and_not_without_it(name: str) -> None:
    def station() -> Rig:
        return Rig() if name in NEEDS_LESS else controlled()

    faulty = station()
    faulty.post.begin_fault(name)

    assert SEEN[name](faulty)
    assert not _seen_on(name, station())


def _seen_on(name: str, healthy: Rig) -> bool:
    try:
        return SEEN[name](healthy)
    except AssertionError:
        return False


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.instant], ids=lambda kind: kind.name)
def test_a_fault_ends_after_its_time_and_both_edges_are_in_the_truth(kind: FaultKind) -> None:
    name = kind.name
    rig = controlled()
    rig.post.begin_fault(name, for_s=5.0)
    assert rig.post.faults.has(name)

    rig.run(6)

    assert not rig.post.faults.has(name)
    edges = [note.new.split()[0] for note in rig.post.truth.notes if note.kind == "fault" and note.name == name]
    assert edges == ["begins", "ends"]


@pytest.mark.parametrize("name", ["estop", "crash_sensor", "grid_outage", "ups_failure", "string_offline"])
def test_after_a_plant_fault_is_cleared_the_car_charges_again(name: str) -> None:
    rig = controlled()
    rig.post.begin_fault(name)
    rig.beat(60)
    rig.post.end_fault(name)
    rig.beat(80)

    assert rig.read(CHARGER_1).ev_kw == pytest.approx(120.0, abs=0.5)
    assert rig.read(ERRORS).errors == Errors(0)


def test_an_emergency_stop_never_recovers_by_itself() -> None:
    rig = controlled()
    rig.post.begin_fault("estop")
    rig.run(4000)

    assert rig.read(ERRORS).errors == Errors.EMERGENCY_STOP
    assert rig.post.flows.grid_kw < 1.0


def test_several_faults_act_at_once() -> None:
    rig = controlled()
    for name in ("p_ev_stuck_zero", "string_offline", "soc_out_of_range"):
        rig.post.begin_fault(name)
    rig.run(2)

    assert rig.read(CHARGER_1).ev_kw == 0.0
    assert rig.read(BATTERY_2).soc_pct == 101.0
    assert rig.read(ERRORS).errors == Errors.STRING_OFFLINE


def test_a_fault_raised_on_a_register_changes_the_very_next_read() -> None:
    rig = controlled()
    assert (rig.read(CHARGER_1).ev_kw or 0.0) > 100.0

    rig.post.begin_fault("p_ev_stuck_zero")
    assert rig.read(CHARGER_1).ev_kw == 0.0

    rig.post.end_fault("p_ev_stuck_zero")
    assert (rig.read(CHARGER_1).ev_kw or 0.0) > 100.0


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("no_such_fault", {}, "no fault 'no_such_fault'"),
        ("estop", {"strength": 2.0}, "takes no options"),
        ("register_value", {"word": 65_536.0}, "'word' .* a whole number from 0 to 65535"),
        ("register_value", {"word": 1.5}, "a whole number"),
        ("string_offline", {"unit": 3.0}, "from 1 to 2"),
        ("garbage_before", {"count": 1e12}, "from 1 to 1000"),
        ("slow_replies", {"delay": -1.0}, "from 0 to 600"),
        ("watchdog_skewed", {"ratio": float("nan")}, "not nan"),
        ("scale_changed", {"factor": float("inf")}, "not inf"),
    ],
)
def test_unknown_faults_and_options_are_refused(name: str, options: dict[str, float], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Rig().post.begin_fault(name, options=options)


RANGED = ["null_frames", "stale_frozen", "not_a_number", "infinite"]


@pytest.mark.parametrize("name", RANGED)
def test_a_fault_of_registers_may_hit_a_range_of_addresses_only(name: str) -> None:
    rig = controlled()
    rig.post.begin_fault(name, options={"from_address": 1008, "to_address": 1009})
    at_start = rig.words(4, 1008, 2)
    rig.run(30)

    healthy = struct.unpack(">2H", struct.pack(">f", rig.post.meter.frequency_hz(rig.now.s)))
    outside = struct.unpack(">2H", struct.pack(">f", rig.post.meter.imported_kwh))
    assert rig.words(4, 1022, 2) == outside
    assert rig.words(4, 1008, 2) != healthy
    if name == "stale_frozen":
        assert rig.words(4, 1008, 2) == at_start


def test_two_words_of_one_value_may_be_fixed() -> None:
    rig = controlled()
    rig.post.begin_fault("register_value", options={"address": 1008, "word": 0, "next_word": 0})

    assert rig.read(GRID).frequency_hz == 0.0


@pytest.mark.parametrize("meter", [0, 1, 2])
def test_any_of_three_meters_may_count_the_other_way_round(meter: int) -> None:
    rig = controlled()
    rig.post.begin_fault("meter_sign_flipped", options={"meter": meter})
    rig.run(2)

    truth = [rig.post.meter.grid_kw, *(string.power_kw for string in rig.post.strings)]
    seen = [rig.read(GRID).grid_kw, rig.read(BATTERY_1).battery_kw, rig.read(BATTERY_2).battery_kw]
    signs = [-1.0 if each == meter else 1.0 for each in range(3)]
    assert seen == pytest.approx([sign * true for sign, true in zip(signs, truth, strict=True)], rel=1e-5)


def test_the_counters_may_jump_instead() -> None:
    rig = controlled()
    rig.post.begin_fault("counter_reset", options={"to_kwh": 5_000.0})
    rig.run(1)

    assert rig.read(GRID).energy_imported_kwh == pytest.approx(5_000.0, abs=0.1)


def test_a_write_that_is_ignored_is_in_the_truth_all_the_same() -> None:
    rig = controlled()
    rig.post.begin_fault("setpoint_ignored")
    rig.write(MANAGEMENT.write(operation_mode=0))

    assert [(note.name, note.new) for note in rig.post.truth.notes if note.kind == "ignored"] == [
        ("unit 1, 2501", "0000")
    ]


def test_a_second_master_is_in_the_truth_as_who_it_is() -> None:
    rig = controlled()
    rig.post.begin_fault("second_master", options={"clearance": 20})
    rig.run(3)
    rig.write(MANAGEMENT.write(clearance_kw=70.0))
    rig.run(3)

    writes = [note for note in rig.post.truth.notes if note.name == "management.clearance_kw"][-3:]
    assert [(note.peer, note.new) for note in writes] == [
        ("second master", "20"),
        ("local", "70"),
        ("second master", "20"),
    ]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_option_takes_the_ends_of_its_range(name: str) -> None:
    kind = CATALOGUE[name]
    for end in ("low", "high"):
        rig = controlled()
        rig.post.begin_fault(name, options={option: getattr(it, end) for option, it in kind.options.items()})
        rig.run(3)
        for span in (GRID, STATUS, BATTERY_1, CHARGER_1, MANAGEMENT):
            rig.ask(struct.pack(">BHH", span.table.value, span.address, span.count))


def test_every_fault_is_described() -> None:
    assert all(len(kind.about) > 15 for kind in CATALOGUE.values())
    assert len(CATALOGUE) == len(KINDS)
