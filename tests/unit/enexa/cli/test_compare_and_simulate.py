"""`enexa compare` and `enexa simulate`: files in, files out, and mistakes as one sentence."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.enexa.commands import main

DAY = "2024-05-08"
START = datetime(2024, 5, 7, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day's prices, three cars two years before, and a roof of another year."""
    folder = tmp_path_factory.mktemp("inputs")
    hours = [START + timedelta(hours=hour) for hour in range(-24, 48)]
    prices = [f"{at:%Y-%m-%dT%H:%M:%SZ},3600,{220 if at.hour in (16, 17) else 40}" for at in hours]
    (folder / "prices.csv").write_text("timestamp_utc,interval_s,price_eur_per_mwh\n" + "\n".join(prices) + "\n")
    came = [START - timedelta(days=728) + timedelta(hours=hour) for hour in (7, 12, 18)]
    cars = [f"{at:%Y-%m-%dT%H:%M:%SZ},{at + timedelta(minutes=40):%Y-%m-%dT%H:%M:%SZ},30.0,110.0" for at in came]
    (folder / "cars.csv").write_text("start,end,energy_kwh,max_power_kw\n" + "\n".join(cars) + "\n")
    sun = [
        {"time": f"{at - timedelta(days=1461):%Y%m%d:%H}10", "P": 8000.0 if 8 <= at.hour < 16 else 0.0} for at in hours
    ]
    (folder / "sun.json").write_text(json.dumps({"outputs": {"hourly": sun}}))
    return folder


def words(files: Path, *more: str) -> list[str]:
    return [
        "--plant", "chargepost", "--date", DAY, "--sessions", str(files / "cars.csv"), "--shift-days", "728",
        "--prices", str(files / "prices.csv"), *more,
    ]  # fmt: skip


@pytest.mark.timeout(180)  # compiles on a busy machine
def test_compare_writes_page_json_and_csv_of_the_same_figures(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"

    code = main(["compare", *words(files, "--html", f"{out}.html", "--json", f"{out}.json", "--csv", f"{out}.csv")])

    shown = capsys.readouterr()
    study = json.loads((tmp_path / "new" / "folder.json").read_bytes())
    rows = {row["figure"]: row for row in csv.DictReader((tmp_path / "new" / "folder.csv").read_text().splitlines())}
    page = (tmp_path / "new" / "folder.html").read_text()
    assert code == 0
    assert shown.err == ""
    assert [track["name"] for track in study["tracks"]] == ["reactive", "smart", "perfect"]
    assert len(study["regret_eur"]) == 3
    assert float(rows["net_eur"]["smart"]) == pytest.approx(study["tracks"][1]["kpis"]["net_eur"])
    assert f"{study['tracks'][1]['kpis']['net_eur']:.2f}" in page
    assert "cars.csv" in page
    assert str(files) not in page
    assert "of the possible" in shown.out


@pytest.mark.timeout(180)  # as above
def test_simulate_takes_a_roof_of_another_year_and_writes_every_minute(files: Path, tmp_path: Path) -> None:
    minutes, page = tmp_path / "minutes.csv", tmp_path / "page.html"

    code = main(
        ["simulate", *words(files, "--controller", "reactive", "--pv", str(files / "sun.json"), "--pv-shift-days",
                            "1461", "--minutes", str(minutes), "--html", str(page))]
    )  # fmt: skip

    rows = list(csv.DictReader(minutes.read_text().splitlines()))
    assert code == 0
    assert len(rows) == 1440
    assert sum(float(row["pv_used_kw"]) for row in rows) / 60 > 5.0
    assert {row["timestamp_utc"][:4] for row in rows} == {"2024"}
    assert "64 kWh" in page.read_text()


@pytest.mark.timeout(180)  # as above
def test_measured_losses_cost_energy(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = []
    for more in ((), ("--losses",)):
        assert main(["simulate", *words(files, "--controller", "reactive", *more)]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("own_kwh"))
        own.append(float(line.split()[1]))

    assert own[1] > own[0] - 90 * 0.02
    assert own[1] != own[0]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--days", "0"), "at least one day"),
        (("--date", "2023-01-01"), "No session begins"),
        (("--pv", "sun.json"), "does not cover"),
        (("--pv", "nowhere.csv"), "cannot be read"),
        (("--scenario", "nowhere"), "nowhere"),
        (("--json", "."), "name of a file"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(
    files: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str], sentence: str
) -> None:
    flag, value = more
    value = str(files / value) if value == "sun.json" else value

    code = main(["simulate", *words(files, "--controller", "reactive", "--plain", flag, value)])

    shown = capsys.readouterr()
    assert code == 2
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
