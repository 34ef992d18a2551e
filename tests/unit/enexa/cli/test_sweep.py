"""`enexa sweep`: every combination, on processes or a Dask cluster by the same call, and nothing done twice."""

import csv
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.enexa.cli.sweep import sweep
from services.enexa.commands import main
from services.enexa.insight.comparison import Knobs
from shared.errors import BadInput

pytestmark = pytest.mark.timeout(240)  # processes that compile, on a busy machine


WORDS = ("battery_ratio=0", "cars_ratio=0,0.1")
"""Without a battery nothing is planned: such a variant is done in no time."""


def lines(target: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(target.read_text().splitlines()))


def test_a_sweep_is_every_combination() -> None:
    variants = sweep({"battery_ratio": (0.5, 1.0, 2.0), "fees_ratio": (1.0, 2.0), "plant": ("chargepost",)})

    assert len(set(variants)) == 6
    assert Knobs() in variants


@pytest.mark.parametrize(
    "axes",
    [
        {"colour_ratio": (1.0,)},
        {"pv_kwp": (1.0,) * 200, "fees_ratio": (1.0,) * 200},
        {"battery_ratio": (-1.0,)},
        {"efficiency_pct": (120.0,)},
    ],
)
def test_unknown_knobs_floods_and_values_out_of_range_are_refused(axes: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(BadInput):
        sweep(axes)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two variants come to on a process of this machine."""
    out = tmp_path_factory.mktemp("swept") / "new" / "sweep.csv"
    assert main(["sweep", *WORDS, "--out", str(out), "--workers", "1"]) == 0
    return out


def test_a_sweep_says_what_each_variant_came_to(swept: Path) -> None:
    rows = {row["cars_ratio"]: row for row in lines(swept)}

    assert set(rows) == {"0", "0.1"}
    assert [rows[ratio]["sessions_count"] for ratio in ("0", "0.1")] == ["0", "2"]
    assert float(rows["0"]["smart_eur"]) == pytest.approx(0.0, abs=1e-6)
    for row in rows.values():
        assert float(row["smart_eur"]) == pytest.approx(float(row["reactive_eur"]), abs=1e-3)
        assert float(row["perfect_eur"]) <= float(row["smart_eur"]) + 1e-3
    assert float(rows["0.1"]["smart_eur"]) > 1.0


def test_a_sweep_goes_on_where_it_stopped_and_names_what_fails(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep.csv"
    shutil.copy(swept, out)

    code = main(
        ["sweep", "battery_ratio=0", "cars_ratio=0", "plant=chargepost,elsewhere", "--out", str(out), "--workers", "1"]
    )

    shown = capsys.readouterr()
    assert code == 1
    assert lines(out) == lines(swept)
    assert "1 of 2 variants" in shown.out
    assert "1 from before" in shown.out
    assert "plant=elsewhere" in shown.err


CLUSTER = """
import sys
from distributed import LocalCluster

with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
                  dashboard_address=":0") as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.readline()
"""
ASKING = """
import sys
from services.enexa.cli import sweep
from services.enexa.commands import main

address, *words = sys.argv[1:]
sweep.CONNECT_S = 1
assert main([*words, "--cluster", "tcp://127.0.0.1:1"]) == 2
sweep.CONNECT_S = 60
sys.exit(main([*words, "--cluster", address]))
"""


@pytest.mark.skipif(find_spec("distributed") is None, reason="the extra 'cluster' is not installed")
def test_the_same_call_runs_on_a_cluster_where_one_answers_at_the_address(swept: Path, tmp_path: Path) -> None:
    """Both ends have processes of their own: their threads stay out of this one."""
    there = tmp_path / "there.csv"

    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:  # fmt: skip
        try:
            assert cluster.stdout is not None
            address = cluster.stdout.readline().strip()
            assert address.startswith("tcp://127.0.0.1:")
            done = subprocess.run(
                [sys.executable, "-c", ASKING, address, "sweep", *WORDS, "--out", str(there)],
                check=False, capture_output=True, text=True, timeout=200,
            )  # fmt: skip
        finally:
            cluster.communicate("done\n", timeout=60)

    assert done.returncode == 0, done.stderr
    assert "No Dask scheduler answers there" in done.stderr
    assert sorted(map(str, lines(there))) == sorted(map(str, lines(swept)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cars_ratio"], "needs values"),
        (["cars_ratio=a"], "Write a knob as"),
        (["cars_ratio=1", "--scenario", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["sweep", *words, "--out", str(tmp_path / "sweep.csv")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_of_other_columns_is_not_mixed_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep.csv"
    out.write_text("a,b\n1,2\n")

    assert main(["sweep", "cars_ratio=1", "--out", str(out)]) == 2
    assert "other columns" in capsys.readouterr().err
    assert out.read_text() == "a,b\n1,2\n"
