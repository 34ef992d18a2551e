"""The report of a study: one file, nothing beside it, every day a link, and figures that are the study's own."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest

from services.enexa.market.prices import daily_series
from services.enexa.market.tariffs import Tariff
from services.enexa.planning.compiled import fast_backward
from services.enexa.simulation.compare import Planner, compare
from services.enexa.simulation.compiled import fast_run_steps
from services.enexa.simulation.drawing import Line, axis, figure
from services.enexa.simulation.page import page
from services.enexa.simulation.plant import OWN
from services.enexa.simulation.scenarios import CHARGEPOST
from services.enexa.simulation.site import Visit, run_reactive, stretch
from services.enexa.simulation.study import Study, parts_of, run_of_bound, study_of

START = datetime(2024, 5, 6, 22, 0, tzinfo=UTC)
PROFILE = tuple(30.0 if 40 <= quarter < 60 else -20.0 if quarter < 8 else 140.0 for quarter in range(96))
VOID = {"meta", "line", "rect", "polyline", "polygon"}


def three_days() -> Study:
    visits = [
        Visit(start=START + timedelta(days=day, hours=hour), until=START + timedelta(days=day, hours=hour + 1),
              energy_kwh=45.0, max_power_kw=140.0)
        for day in (0, 2) for hour in (9, 15, 17)
    ]  # fmt: skip
    prices = daily_series(PROFILE, START.date() - timedelta(days=16), 22)
    given = stretch(
        start=START, minutes=3 * 1440, plant=CHARGEPOST, tariff=Tariff(), prices=prices, visits=visits,
        start_soc_pct=40.0, ev_loss_ratio=0.05, own_kw=0.4,
    )  # fmt: skip
    return compare(
        given, prices, causes=True, planner=Planner.TABLE, recursion=fast_backward(), step_function=fast_run_steps(),
        title="SmartEMS & <friends>", conditions=["one & only"], command="enexa compare",
    )  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return three_days()


class Checker(HTMLParser):
    """Every element is closed in the order it was opened, and nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert "src" not in given
        assert tag not in {"script", "link", "img", "iframe"}
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.timeout(180)  # compiles on a busy machine
def test_the_page_stands_alone_and_every_link_leads_to_a_day(study: Study) -> None:
    text = page(study)
    checker = Checker()
    checker.feed(text)
    checker.close()

    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids) == len(study.parts) == 3
    assert {link.removeprefix("#") for link in checker.links} <= set(checker.ids)
    assert set(checker.ids) <= {link.removeprefix("#") for link in checker.links}
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "SmartEMS &amp; &lt;friends&gt;" in text
    assert "one &amp; only" in text
    assert "prefers-color-scheme:dark" in text
    assert text.count('class="day chosen"') == 1


@pytest.mark.timeout(180)  # as above
def test_the_figures_on_the_page_are_the_studys(study: Study) -> None:
    text = page(study)
    captured = study.captured_ratio
    assert captured is not None

    assert f"{captured * 100:.1f}\u00a0%" in text
    assert f"{study.saved_eur:.2f}\u00a0€" in text
    for track in study.tracks:
        assert f"{track.kpis.net_eur:.2f}".replace("-", "−") in text
        assert sum(track.parts_eur) == pytest.approx(track.kpis.net_eur, abs=1e-6)
    assert sum(study.regret_eur.values()) + study.saved_eur == pytest.approx(study.possible_eur, abs=1e-6)
    shares = [float(each) for each in re.findall(r'<i class="(?:captured|cause-\d)" style="width:([\d.]+)%', text)]
    assert sum(shares) >= 99.9


@pytest.mark.timeout(180)  # as above
def test_the_bound_stands_beside_the_controllers_with_books_that_close(study: Study) -> None:
    perfect = study.tracks[-1]
    assert perfect.name == "perfect"
    assert all(perfect.kpis.net_eur <= track.kpis.net_eur + 1e-6 for track in study.tracks)
    into = perfect.kpis.import_kwh - perfect.kpis.export_kwh + perfect.kpis.pv_used_kwh + perfect.kpis.pv_exported_kwh
    drawn = perfect.kpis.ev_kwh + perfect.kpis.own_kwh + perfect.kpis.charged_kwh - perfect.kpis.discharged_kwh
    assert into == pytest.approx(drawn, abs=1e-6)
    assert perfect.kpis.ev_kwh == pytest.approx(study.requested_kwh, abs=1e-3)


def test_one_controller_alone_has_a_page_without_a_comparison() -> None:
    given = stretch(
        start=START, minutes=1440, plant=CHARGEPOST, tariff=Tariff(),
        prices=daily_series(PROFILE, START.date(), 4), visits=[], start_soc_pct=40.0, own_kw=0.4,
    )  # fmt: skip
    run = run_reactive(given)

    text = page(study_of(given, {"reactive": run}, title="Alone", judged="reactive", bounded=False))

    assert "Why not more" not in text
    assert "Saved per day" not in text
    assert "Reactive BMS pays" in text
    assert np.allclose(run.record[OWN], 0.4)


def test_days_are_local_and_one_that_loses_an_hour_has_92_quarters() -> None:
    start = datetime(2024, 3, 29, 23, 0, tzinfo=UTC)
    given = stretch(
        start=start, minutes=71 * 60, plant=CHARGEPOST, tariff=Tariff(),
        prices=daily_series(PROFILE, start.date(), 5), visits=[], start_soc_pct=40.0,
    )  # fmt: skip

    assert [part.last - part.first for part in parts_of(given)] == [96, 92, 96]


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((0.0, 143.0), (0.0, 50.0, 100.0, 150.0)),
        ((-80.0, 170.0), (-100.0, 0.0, 100.0, 200.0)),
        ((0.0,), (0.0, 0.25, 0.5, 0.75, 1.0)),
        ((-3.2,), (-4.0, -3.0, -2.0, -1.0, 0.0)),
    ],
)
def test_an_axis_has_round_marks_that_hold_all_values(values: tuple[float, ...], marks: tuple[float, ...]) -> None:
    assert axis(values).marks == marks


def test_a_plot_places_values_between_its_marks() -> None:
    drawn = figure(
        [Line(name="a", css="ev", values=(0.0, 100.0), filled=True)], title="T", unit="kW", ticks=[(50, "12")]
    )

    assert 'points="500.0,1000.0 1000.0,0.0"' in drawn
    assert '<polygon class="ev"' in drawn
    assert 'left:50.00%">12<' in drawn


def test_a_bound_that_leaves_a_car_short_says_so() -> None:
    from services.enexa.simulation.evaluation import bound_of  # noqa: PLC0415  only this test needs it alone

    visits = [Visit(start=START, until=START + timedelta(minutes=30), energy_kwh=90.0, max_power_kw=300.0)]
    given = stretch(
        start=START, minutes=1440, plant=CHARGEPOST, tariff=Tariff(), prices=daily_series(PROFILE, START.date(), 4),
        visits=visits, start_soc_pct=11.0, own_kw=0.4,
    )  # fmt: skip
    bound = bound_of(given)

    run = run_of_bound(given, bound)

    assert bound.unserved_kwh > 1.0
    assert run.rest_kwh.sum() == pytest.approx(bound.unserved_kwh)
