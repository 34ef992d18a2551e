"""The limits in force: the lowest of all, in every mode, and never none."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.amperio.site.autonomy import CONSERVATIVE
from services.amperio.site.fallback import slot_in_force
from services.amperio.site.limits import Held, check_config, limits_in_force
from shared.contract.dispatch import GridOperatorLimit
from shared.contract.schedule import SiteSchedule
from shared.contract.telemetry import Mode
from shared.moment import moment_at
from tests.unit.amperio.bench import SITE, a_config, a_schedule
from tests.unit.emulator.rig import NOON

HOUR = timedelta(hours=1)
KW = st.none() | st.floats(min_value=0.0, max_value=10_000.0)


@given(st.sampled_from(list(Mode)), st.booleans(), KW, KW, KW)
def test_c4_unlimited_is_not_a_state(
    mode: Mode, configured: bool, held_kw: float | None, operator_kw: float | None, fallback_kw: float | None
) -> None:
    operator = None if operator_kw is None else GridOperatorLimit(import_kw=operator_kw, from_=NOON)
    limits = limits_in_force(
        NOON,
        mode,
        a_config() if configured else None,
        Held(grid_limit_kw=held_kw, operator=operator),
        fallback_clearance_kw=fallback_kw,
    )

    assert 0.0 <= limits.import_max_kw <= 87.0
    for cap in (held_kw, operator_kw):
        assert cap is None or limits.import_max_kw <= cap
    if mode in (Mode.SAFE, Mode.RESYNC) or not configured:
        assert limits.import_max_kw <= 40.0
        assert limits.reserve_pct >= 30.0
    assert limits.reserve_pct < limits.soc_max_pct


CAPS: list[tuple[str, dict[str, Any], timedelta, float]] = [
    ("before it begins", {"import_kw": 10.0, "from_": NOON + HOUR}, timedelta(0), 83.5),
    ("when it begins", {"import_kw": 10.0, "from_": NOON + HOUR}, HOUR, 10.0),
    ("while it lasts", {"import_kw": 10.0, "from_": NOON, "until": NOON + HOUR}, HOUR / 2, 10.0),
    ("when it ends", {"import_kw": 10.0, "from_": NOON, "until": NOON + HOUR}, HOUR, 83.5),
    ("no end means until withdrawn", {"import_kw": 10.0, "from_": NOON}, 1000 * HOUR, 10.0),
    ("zero", {"import_kw": 0.0, "from_": NOON}, timedelta(0), 0.0),
    ("below the 4.2 kW of section 14a", {"import_kw": 3.0, "from_": NOON}, timedelta(0), 3.0),
    ("above the connection", {"import_kw": 500.0, "from_": NOON}, timedelta(0), 83.5),
    ("as high as the configuration", {"import_kw": 83.5, "from_": NOON}, timedelta(0), 83.5),
]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("when", "cap", "after", "limit_kw"), CAPS, ids=[row[0] for row in CAPS])
def test_c10_the_grid_operators_cap(
    when: str, cap: dict[str, Any], after: timedelta, limit_kw: float, mode: Mode
) -> None:
    """In every mode, and so without Enexa too: silence releases nothing."""
    held = Held(operator=GridOperatorLimit(**cap))

    limits = limits_in_force(NOON + after, mode, a_config(), held, fallback_clearance_kw=40.0)

    assert limits.import_max_kw == (min(limit_kw, 40.0) if mode in CONSERVATIVE else limit_kw)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("import_limit_kw", {"grid": {"import_limit_kw": 87.1}}),
    ("soc_reserve_pct must be below", {"battery": {"soc_reserve_pct": 90.0}}),
    ("soc_min_pct", {"battery": {"soc_min_pct": 25.0}}),
    ("soc_max_pct", {"battery": {"soc_max_pct": 96.0}}),
    ("fallback_import_kw", {"grid": {"import_limit_kw": 30.0}}),
]


@pytest.mark.parametrize(("why", "wrong"), REFUSED)
def test_a_configuration_beyond_the_machine_is_refused_with_the_field(why: str, wrong: dict[str, Any]) -> None:
    refused = check_config(a_config(**wrong), SITE)

    assert refused is not None
    assert why in refused.reason
    assert check_config(a_config(), SITE) is None
    assert check_config(a_config(), "SITE002") is not None


SLOTS = [(-1.0, None), (0.0, -10.0), (899.0, -10.0), (900.0, 20.0), (1799.0, 20.0), (1800.0, None)]


@pytest.mark.parametrize(("second", "setpoint_kw"), SLOTS)
def test_c5_a_schedule_speaks_only_inside_its_validity_slot_by_slot(second: float, setpoint_kw: float | None) -> None:
    schedule = a_schedule(moment_at(NOON), -10.0, 20.0)

    slot = slot_in_force(NOON + timedelta(seconds=second), schedule, SITE)

    assert (slot.setpoint_kw if slot else None) == setpoint_kw
    assert slot_in_force(NOON, schedule, "SITE002") is None
    assert slot_in_force(NOON, None, SITE) is None


def silent(schedule: SiteSchedule, kind: str) -> SiteSchedule | None:
    """The schedule damaged in a way after which it says nothing about its second hour."""
    second_hour = schedule.slots[4:8]
    match kind:
        case "missing":
            return None
        case "another site's":
            return msgspec.structs.replace(schedule, site_id="SITE002")
        case "run out":
            return msgspec.structs.replace(schedule, valid_until=schedule.valid_from + HOUR)
        case "not yet valid":
            return msgspec.structs.replace(schedule, valid_from=schedule.valid_from + 2 * HOUR)
        case "with a hole":
            return msgspec.structs.replace(schedule, slots=schedule.slots[:4])
        case _:
            moved = tuple(msgspec.structs.replace(slot, start=slot.start + 24 * HOUR) for slot in second_hour)
            return msgspec.structs.replace(schedule, slots=(*schedule.slots[:4], *moved))


KINDS = ("missing", "another site's", "run out", "not yet valid", "with a hole", "of tomorrow")


@pytest.mark.parametrize("kind", KINDS)
def test_c5_a_hundred_looks_at_schedules_that_say_nothing_about_now_find_nothing(kind: str) -> None:
    whole = a_schedule(moment_at(NOON), *(float(number) for number in range(8)))
    looks = [NOON + HOUR + timedelta(seconds=213 * number) for number in range(17)]

    assert [slot_in_force(at, silent(whole, kind), SITE) for at in looks] == [None] * 17
    assert all(slot_in_force(at, whole, SITE) is not None for at in looks), "the control: whole, it speaks"
