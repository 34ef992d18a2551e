"""`enexa sweep`: a shipped day under every combination of knobs, on all cores or a Dask cluster, resumable."""

import argparse
import csv
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from services.enexa.cli.compare import bar
from services.enexa.insight.comparison import Comparison, Knobs
from shared.errors import BadInput, SiteError
from shared.scenario.load import load_scenario

MAX_VARIANTS = 10_000
CONNECT_S = 10
FIGURES = (
    "reactive_eur", "smart_eur", "perfect_eur", "captured_pct", "unserved_kwh", "reactive_unserved_kwh", "peak_kw",
    "sessions_count",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    turnable = ", ".join(Knobs.__struct_fields__)
    parser.add_argument("knobs", nargs="+", metavar="KNOB=V1,V2,...", help=turnable)
    parser.add_argument("--scenario", default="reference_day")
    parser.add_argument("--out", type=Path, default=Path("build/sweep.csv"), help="lines already there are not redone")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes on this machine")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="a Dask scheduler (tcp://host:8786) instead of this machine"
    )


def run(arguments: argparse.Namespace) -> int:
    """Append a line to the CSV as each variant is done; 1 where some failed, and they are named."""
    variants = sweep(dict(_axis(word) for word in arguments.knobs))
    load_scenario(arguments.scenario)
    target: Path = arguments.out
    target.parent.mkdir(parents=True, exist_ok=True)
    before = _done(target)
    todo = [knobs for knobs in variants if _key(knobs) not in before]
    play = partial(play_variant, arguments.scenario)
    failed = []
    with target.open("a", newline="", encoding="utf-8") as file, bar() as told:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow([*Knobs.__struct_fields__, *FIGURES])
        for index, (knobs, found) in enumerate(_played(play, todo, arguments), start=1):
            told("variants", index / len(todo))
            if isinstance(found, Comparison):
                writer.writerow([*_key(knobs), *_figures(found)])
                file.flush()
            else:
                failed.append(f"{_told(knobs)}: {found}")
    count = len(variants) - len(failed)
    sys.stdout.write(f"{count} of {len(variants)} variants in {target}, {len(variants) - len(todo)} from before\n")
    sys.stderr.writelines(f"not done, {line}\n" for line in failed)
    return 1 if failed else 0


def sweep(axes: dict[str, tuple[Any, ...]]) -> tuple[Knobs, ...]:
    """Every combination of the values of some knobs; raises BadInput for an unknown knob, a value out of its range or
    too many variants."""
    for name in axes:
        if name not in Knobs.__struct_fields__:
            raise BadInput("No such knob", knob=name, known=", ".join(Knobs.__struct_fields__))
    count = 1
    for values in axes.values():
        count *= max(len(values), 1)
    if count > MAX_VARIANTS:
        raise BadInput("Too many variants; give fewer values per knob", variants=count, most=MAX_VARIANTS)
    try:
        return tuple(msgspec.convert(dict(zip(axes, values, strict=True)), Knobs) for values in product(*axes.values()))
    except msgspec.ValidationError as error:
        raise BadInput("A knob cannot be turned so far", reason=str(error)) from error


def play_variant(scenario_name: str, knobs: Knobs) -> Comparison:
    """One variant, in whatever process, on whatever machine."""
    from services.enexa.insight.compare import compare  # noqa: PLC0415  the engine lives in the workers
    from services.enexa.planning.compiled import fast_backward  # noqa: PLC0415  loads numba
    from services.enexa.simulation.compiled import fast_run_steps  # noqa: PLC0415  as above

    return compare(load_scenario(scenario_name), knobs, recursion=fast_backward(), step_function=fast_run_steps())


def _played(
    play: "partial[Comparison]", todo: Sequence[Knobs], arguments: argparse.Namespace
) -> Iterator[tuple[Knobs, Comparison | str]]:
    """Each variant with its comparison, or with what went wrong, in the order in which they are done."""
    if not todo:
        return
    with _workers(arguments, len(todo)) as (submit, finished):
        waited = {submit(play, knobs): knobs for knobs in todo}
        for future in finished(waited):
            yield waited[future], _outcome(future)


def _outcome(future: "Future[Comparison]") -> Comparison | str:
    try:
        return future.result()
    except SiteError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a lost worker is told beside its variant, and the others go on
        return f"{type(error).__name__}: {error}"


@contextmanager
def _workers(arguments: argparse.Namespace, count: int) -> "Iterator[tuple[Any, Any]]":
    """Where work goes: (submit, as it is finished)."""
    if arguments.cluster is None:
        # Fresh processes: a copy of one that runs threads may wait for a lock that nobody holds any more.
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max(1, min(arguments.workers, count)), mp_context=fresh) as pool:
            yield pool.submit, as_completed
        return
    try:
        import distributed  # noqa: PLC0415  an extra: only who has a cluster needs it
    except ImportError as error:
        raise BadInput("A cluster needs the extra 'cluster': pip install 'charging-twins[cluster]'") from error
    try:
        client = distributed.Client(arguments.cluster, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]  # distributed has no types
    except (OSError, ValueError) as error:
        raise BadInput("No Dask scheduler answers there", address=arguments.cluster, within_s=CONNECT_S) from error
    with client:
        yield partial(client.submit, pure=False, retries=2), partial(distributed.as_completed, loop=client.loop)


def _axis(word: str) -> tuple[str, tuple[Any, ...]]:
    name, equals, values = word.partition("=")
    if name == "plant":
        return name, tuple(values.split(","))
    try:
        return name, tuple(float(value) for value in values.split(","))
    except ValueError as error:
        sentence = "Write a knob as NAME=1.0,1.5" if equals else "A knob needs values: NAME=1.0,1.5"
        raise BadInput(sentence, given=word) from error


def _key(knobs: Knobs) -> tuple[str, ...]:
    return tuple(_text(value) for value in structs.astuple(knobs))


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told(knobs: Knobs) -> str:
    untouched = structs.asdict(Knobs())
    return ", ".join(f"{name}={_text(value)}" for name, value in structs.asdict(knobs).items()
                     if value != untouched[name]) or "as built"  # fmt: skip


def _done(target: Path) -> set[tuple[str, ...]]:
    """The variants that a file holds already; BadInput where it was written for other columns."""
    if not target.exists() or target.stat().st_size == 0:
        return set()
    with target.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if next(rows) != [*Knobs.__struct_fields__, *FIGURES]:
            raise BadInput("This file has other columns; name another one with --out", file=str(target))
        return {tuple(row[: len(Knobs.__struct_fields__)]) for row in rows}


def _figures(found: Comparison) -> list[str]:
    captured = found.captured_pct
    return [
        *(f"{each.net_eur:.4f}" for each in (found.reactive, found.smart, found.perfect)),
        "" if captured is None else f"{captured:.2f}",
        f"{found.smart.unserved_kwh:.3f}",
        f"{found.reactive.unserved_kwh:.3f}",
        f"{found.smart.peak_kw:.2f}",
        str(found.sessions_count),
    ]
