"""HiGHS, kept warm: one live model per shape, changed in place; binaries only where the price test asks for them."""

import highspy
import numpy as np
from msgspec import Struct, structs

from services.enexa.planning.exclusivity import Pair
from services.enexa.planning.layout import Integers, Layout
from services.enexa.planning.program import Floats, Program
from shared.errors import SolverFailed

MAX_COEFFICIENT_CHANGES = 3000
MAX_LIVE_MODELS = 4


class Solution(Struct, frozen=True):
    """An optimum: values of the columns, duals of the rows, and how exact and how long."""

    x: Floats
    row_dual: Floats
    column_dual: Floats
    objective_eur: float
    gap_eur: float
    solve_s: float


class Solver:
    """Solves programs; remembers the model and basis of the last few shapes, so that a re-plan starts warm."""

    def __init__(self, *, time_limit_s: float = 10.0, gap_eur: float = 0.01) -> None:
        self._time_limit_s = time_limit_s
        self._gap_eur = gap_eur
        self._live: dict[Layout, _LiveModel] = {}

    def solve(self, program: Program, pairs: tuple[Pair, ...] = ()) -> Solution:
        """The optimum; raises SolverFailed where HiGHS gives none within the time limit."""
        if pairs:
            return self._solve_mixed(program, pairs)
        live = self._live.pop(program.layout, None)
        if live is None:
            live = _LiveModel(program, self._new_highs(), self._time_limit_s)
        else:
            live.change(program)
        solution = live.run()
        self._live[program.layout] = live
        while len(self._live) > MAX_LIVE_MODELS:
            self._live.pop(next(iter(self._live)))
        return solution

    def _solve_mixed(self, program: Program, pairs: tuple[Pair, ...]) -> Solution:
        highs = self._new_highs()
        pass_program(highs, with_binaries(program, pairs), binaries=len(pairs))
        solution = run_highs(highs)
        columns, rows = len(program.cost), len(program.row_low)
        return structs.replace(
            solution,
            x=solution.x[:columns],
            row_dual=solution.row_dual[:rows],
            column_dual=solution.column_dual[:columns],
        )

    def _new_highs(self) -> "highspy.Highs":
        highs = highspy.Highs()
        options = {
            "output_flag": False,
            "threads": 1,
            "time_limit": self._time_limit_s,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": self._gap_eur,
        }
        for name, value in options.items():
            require(highs.setOptionValue(name, value), f"HiGHS refused its option {name}")
        return highs


class _LiveModel:
    """One HiGHS model and the program it holds."""

    def __init__(self, program: Program, highs: "highspy.Highs", time_limit_s: float) -> None:
        self._highs = highs
        self._time_limit_s = time_limit_s
        self._program = program
        pass_program(highs, program)

    def change(self, program: Program) -> None:
        """Turn the held program into `program`, of the same shape; the basis stays."""
        highs, held = self._highs, self._program
        columns = np.arange(len(program.cost), dtype=np.int32)
        rows = np.arange(len(program.row_low), dtype=np.int32)
        changed = np.flatnonzero(program.values != held.values)
        if len(changed) > MAX_COEFFICIENT_CHANGES:
            basis = highs.getBasis()
            pass_program(highs, program)
            require(highs.setBasis(basis), "HiGHS refused the last basis")
        else:
            for entry in changed:
                highs.changeCoeff(int(program.rows[entry]), int(program.columns[entry]), float(program.values[entry]))
            require(highs.changeColsCost(len(columns), columns, program.cost), "HiGHS refused the costs")
            require(highs.changeColsBounds(len(columns), columns, program.low, program.high), "bounds refused")
            require(highs.changeRowsBounds(len(rows), rows, program.row_low, program.row_high), "rows refused")
        moved = program.first_slot - held.first_slot
        # With drawn scenarios each plan has other cars, and an old basis of theirs is worth no more than none.
        if program.layout.scenarios == 1 and 0 < moved < program.layout.slots:
            self._move_basis(moved)
        self._program = program

    def _move_basis(self, slots: int) -> None:
        """A plan that begins later is mostly the plan before, `slots` slots further on: so is its basis."""
        columns, rows = self._program.layout.moved_on(slots)
        basis = self._highs.getBasis()
        column_status, row_status = list(basis.col_status), list(basis.row_status)
        basis.col_status = [column_status[column] for column in columns]
        basis.row_status = [row_status[row] for row in rows]
        # The slots at either end leave it with too few or too many basic columns; HiGHS repairs a basis called alien.
        basis.alien = True
        require(self._highs.setBasis(basis), "HiGHS refused the moved basis")

    def run(self) -> Solution:
        # HiGHS counts its limit over all runs of a model: without this a kept model would one day only time out.
        limit_s = self._highs.getRunTime() + self._time_limit_s
        require(self._highs.setOptionValue("time_limit", limit_s), "HiGHS refused its time limit")
        return run_highs(self._highs)


def run_highs(highs: "highspy.Highs") -> Solution:
    """Run what the model holds and read the optimum."""
    before_s = highs.getRunTime()
    highs.run()
    status = highs.getModelStatus()
    info = highs.getInfo()
    solve_s = highs.getRunTime() - before_s
    found = status == highspy.HighsModelStatus.kOptimal or (
        status == highspy.HighsModelStatus.kTimeLimit and info.primal_solution_status == 2
    )
    if not found:
        raise SolverFailed("HiGHS found no plan", status=highs.modelStatusToString(status), solve_s=round(solve_s, 3))
    solution = highs.getSolution()
    objective_eur = float(info.objective_function_value)
    bound_eur = float(info.mip_dual_bound) if np.isfinite(info.mip_gap) else objective_eur
    return Solution(
        x=np.array(solution.col_value),
        row_dual=np.array(solution.row_dual),
        column_dual=np.array(solution.col_dual),
        objective_eur=objective_eur,
        gap_eur=max(0.0, objective_eur - bound_eur),
        solve_s=solve_s,
    )


def pass_program(highs: "highspy.Highs", program: Program, binaries: int = 0) -> None:
    """Hand a program to HiGHS; its last `binaries` columns are 0 or 1."""
    count = len(program.cost)
    integrality = np.zeros(count, dtype=np.int32)
    if binaries:
        integrality[-binaries:] = 1
    lp = highspy.HighsLp()
    lp.num_col_ = count
    lp.num_row_ = len(program.row_low)
    lp.col_cost_ = program.cost
    lp.col_lower_ = program.low
    lp.col_upper_ = program.high
    lp.row_lower_ = program.row_low
    lp.row_upper_ = program.row_high
    set_matrix(lp, program.rows, program.columns, program.values)
    if binaries:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[kind] for kind in integrality]
    require(highs.passModel(lp), "HiGHS refused the model")


def with_binaries(program: Program, pairs: tuple[Pair, ...]) -> Program:
    """The program with one binary per pair: either the one group of columns flows, or the other.

    In order: with a binary of 0 the one group is full, with 1 the other is empty.
    """
    count, rows = len(program.cost), len(program.row_low)
    more_rows: list[Integers] = []
    more_columns: list[Integers] = []
    more_values: list[Floats] = []
    limits: list[float] = []
    for index, pair in enumerate(pairs):
        binary = count + index
        one_limit, other_limit = float(program.high[pair.one].sum()), float(program.high[pair.other].sum())
        for side, group, sign, coefficient in (
            (0, pair.one, -1.0 if pair.in_order else 1.0, -one_limit),
            (1, pair.other, 1.0, other_limit),
        ):
            row = rows + 2 * index + side
            more_rows.append(np.full(len(group) + 1, row))
            more_columns.append(np.append(group, binary))
            more_values.append(np.append(np.full(len(group), sign), coefficient))
        limits += [-one_limit if pair.in_order else 0.0, other_limit]
    extra = len(pairs)
    return Program(
        program.layout,
        np.concatenate([program.cost, np.zeros(extra)]),
        np.concatenate([program.low, np.zeros(extra)]),
        np.concatenate([program.high, np.ones(extra)]),
        np.concatenate([program.row_low, np.full(2 * extra, -np.inf)]),
        np.concatenate([program.row_high, np.array(limits)]),
        np.concatenate([program.rows, *more_rows]),
        np.concatenate([program.columns, *more_columns]),
        np.concatenate([program.values, *more_values]),
    )


def require(status: "highspy.HighsStatus", sentence: str) -> None:
    """HiGHS answers with a status instead of raising; a warning is fine, an error is not."""
    if status == highspy.HighsStatus.kError:
        raise SolverFailed(sentence)


def set_matrix(lp: "highspy.HighsLp", rows: Integers, columns: Integers, values: Floats) -> None:
    """Give a model its matrix, from triplets without duplicates; the number of columns must be set before."""
    order = np.argsort(columns, kind="stable")
    counts = np.bincount(columns, minlength=lp.num_col_)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    lp.a_matrix_.index_ = rows[order].astype(np.int32)
    lp.a_matrix_.value_ = values[order]
