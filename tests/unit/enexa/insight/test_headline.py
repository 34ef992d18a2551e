"""The one sentence: true in every state, silent about reasons that do not fit."""

import msgspec
import pytest

from services.enexa.insight.headline import headline, why
from services.enexa.planning.schedule import Reason
from shared.contract.telemetry import Control, LimitedBy, Mode
from tests.unit.enexa.insight.samples import sample

FROM_CAR = "a car needs more than the grid gives"


@pytest.mark.parametrize(
    ("battery_kw", "ev_kw", "reason", "cars", "battery"),
    [
        (-20.0, (50.0, 0.0), "cheap_slot", "One car charges with 50 kW", "takes 20 kW because energy is cheap"),
        (40.0, (80.0, 60.0), "ev_assist", "2 cars charge with 140 kW", f"gives 40 kW because {FROM_CAR}"),
        (0.0, (0.0, 0.0), "idle", "No car is charging", "rests, the grid gives 3 kW"),
        (-5.0, (0.0, 0.0), None, "No car is charging", "takes 5 kW"),
    ],
)
def test_what_the_site_does_in_one_sentence(
    battery_kw: float, ev_kw: tuple[float, ...], reason: str | None, cars: str, battery: str
) -> None:
    told = headline(sample(battery_kw=battery_kw, ev_kw=ev_kw), reason, 1.0)

    assert told == f"{cars}; the battery {battery}."


def test_a_battery_that_does_the_opposite_of_the_wish_gets_no_reason() -> None:
    assert "because" not in headline(sample(battery_kw=30.0, wish_kw=-10.0), "cheap_slot", 1.0)


def test_a_car_that_must_be_served_is_the_reason_whatever_was_wished() -> None:
    served = msgspec.structs.replace(
        sample(battery_kw=30.0), control=Control(wish_kw=-10.0, limited_by=(LimitedBy.EV_MUST_SERVE,))
    )

    assert "a car needs more than the grid gives" in headline(served, "cheap_slot", 1.0)


def test_an_old_or_missing_sample_is_never_told_in_the_present_tense() -> None:
    assert "No data" in headline(None, "cheap_slot", None)
    assert "unknown" in headline(None, "cheap_slot", 100.0)
    assert "unknown" in headline(sample(mode=Mode.DEVICE_LOST), "cheap_slot", 1.0)


def test_every_reason_has_words_of_its_own() -> None:
    assert all(why(reason) != reason.replace("_", " ") for reason in Reason)
