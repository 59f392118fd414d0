"""Recurrences: what is computed row by row from the rows before, as a small program, and its meaning in NumPy.

A program has variables, which are computed in order at each row. Each has a block of instructions on single numbers,
which refer to inputs at the row, to variables at this row or an earlier one, and to instructions above. Engines compile
it as one function; `run` is the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Operations = Mapping[str, Callable[..., Any]]

STEP_OPERATIONS = frozenset(
    (
        *("abs", "add", "and", "atan", "clip", "cos", "divide", "equal", "erf", "exp", "expm1", "greater"),
        *("greater_equal", "less", "less_equal", "log", "log1p", "logit", "maximum", "minimum", "multiply"),
        *("negative", "not", "not_equal", "or", "positive", "power", "sigmoid", "sign", "sin", "sqrt", "square"),
        *("subtract", "tan", "tanh", "where"),
    )
)
"""Operations on the numbers of a row that an instruction may call; all but the comparisons have a derivative."""


@dataclass(frozen=True)
class Instruction:
    """One number of a row.

    Parameters
    ----------
    kind
        `constant`: a number; `input`: an input at this row; `now`: a variable at this row; `lag`: a variable at an
        earlier row; `call`: an operation on instructions above.
    number
        The constant.
    of
        The input, the variable, or the operands, by number.
    lag
        How many rows earlier.
    operation
        Name of the operation.
    """

    kind: Literal["constant", "input", "now", "lag", "call"]
    number: float = 0.0
    of: tuple[int, ...] = ()
    lag: int = 0
    operation: str = ""


@dataclass(frozen=True)
class StepVariable:
    """A variable of a recurrence.

    Parameters
    ----------
    name
        Its name.
    block
        Instructions; the last one is its value.
    before
        Inputs that hold its values before the first row, the nearest first.
    first
        Inputs that hold its values at the first rows, where the block is not evaluated.
    data
        Whether it is a data variable, which a forward simulation replaces by draws.
    """

    name: str
    block: tuple[Instruction, ...]
    before: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    data: bool = False


@dataclass(frozen=True)
class AlongRows:
    """What goes along the rows of several series, with inputs that may differ between series and between rows.

    Parameters
    ----------
    inputs
        Of each input whether it differs between the series, whether it differs between the rows, and whether a
        derivative is needed.
    series
        Shape of the dims along which it does not run: each element is a series of its own.
    rows
        Number of rows.
    """

    inputs: tuple[tuple[bool, bool, bool], ...]
    series: tuple[int, ...]
    rows: int

    @property
    def width(self) -> int:
        """Number of series."""
        return math.prod(self.series)

    def flat(self, inputs: Sequence[Any], draws: Sequence[bool] | None = None) -> list[Array]:
        """Return inputs as arrays (draw, series, row) whose axes are 1 where nothing differs."""
        varies = draws or [False] * len(inputs)
        found = []
        for given, (by_series, by_row, _), of_draws in zip(inputs, self.inputs, varies, strict=True):
            array = np.asarray(given, dtype=float)
            count = len(array) if of_draws else 1
            found.append(array.reshape(count, self.width if by_series else 1, self.rows if by_row else 1))
        return found


@dataclass(frozen=True)
class Program(AlongRows):
    """A recurrence.

    Parameters
    ----------
    inputs, series, rows
        As of all that goes along rows.
    variables
        Its variables, each after those that it needs at the same row.
    """

    variables: tuple[StepVariable, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: (variable, *series, row)."""
        return (len(self.variables), *self.series, self.rows)


class RecurrenceRows:
    """The values of a recurrence, row by row, at several draws of its inputs at once.

    Parameters
    ----------
    program
        The recurrence.
    inputs
        Over (draw, series, row), as `Program.flat` returns them.
    operations
        The meaning of each operation.
    count
        Number of draws.
    """

    def __init__(self, program: Program, inputs: Sequence[Array], operations: Operations, count: int = 1) -> None:
        self.program, self.inputs, self._operations = program, list(inputs), operations
        self.values = np.empty((len(program.variables), count, program.width, program.rows))

    def compute(self, number: int, row: int, now: Callable[[int], Any] | None = None) -> Array:
        """Compute a variable at a row, and keep it.

        Parameters
        ----------
        number
            Of the variable.
        row
            The row; all earlier rows are known.
        now
            Returns another variable at this row; None if those before it are known.
        """
        variable = self.program.variables[number]
        if row < len(variable.first):
            value = self._input(variable.first[row], row)
        else:
            value = self.instructions(number, row, now)[-1]
        self.values[number, :, :, row] = value
        return np.asarray(self.values[number, :, :, row])

    def instructions(self, number: int, row: int, now: Callable[[int], Any] | None = None) -> list[Any]:
        """Return the value of each instruction of a variable at a row, numbers or arrays (draw, series)."""
        found: list[Any] = []
        for one in self.program.variables[number].block:
            found.append(self._value(one, row, found, now))
        return found

    def _value(self, one: Instruction, row: int, found: list[Any], now: Callable[[int], Any] | None) -> Any:
        if one.kind == "call":
            return self._operations[one.operation](*[found[i] for i in one.of])
        if one.kind == "constant":
            return one.number
        if one.kind == "input":
            return self._input(one.of[0], row)
        if one.kind == "now":
            return self.values[one.of[0], :, :, row] if now is None else now(one.of[0])
        if row >= one.lag:
            return self.values[one.of[0], :, :, row - one.lag]
        before = self.program.variables[one.of[0]].before
        return self._input(before[one.lag - row - 1], row)

    def _input(self, number: int, row: int) -> Array:
        array = self.inputs[number]
        return array[:, :, row if array.shape[2] > 1 else 0]


def run(operations: Operations, *rest: Any) -> Array:
    """Compute a recurrence.

    Parameters
    ----------
    operations
        The meaning of each operation.
    rest
        The inputs, each of any shape with as many elements as its series times its rows; then the `Program`.

    Returns
    -------
    ndarray
        Over (variable, *series, row).
    """
    *inputs, program = rest
    rows = RecurrenceRows(program, program.flat(inputs), operations)
    with np.errstate(all="ignore"):
        for row in range(program.rows):
            for number in range(len(program.variables)):
                rows.compute(number, row)
    return rows.values[:, 0].reshape(program.shape)


def at_draws(
    operations: Operations, inputs: Sequence[Any], varies: Sequence[bool], program: Program, count: int
) -> Array:
    """Compute a recurrence at all draws at once.

    Parameters
    ----------
    operations
        The meaning of each operation.
    inputs
        As those of `run`; one that varies has an axis of draws before its own.
    varies
        Which inputs do.
    program
        The recurrence.
    count
        Number of draws.

    Returns
    -------
    ndarray
        Over (draw, variable, *series, row).
    """
    rows = RecurrenceRows(program, program.flat(inputs, varies), operations, count)
    with np.errstate(all="ignore"):
        for row in range(program.rows):
            for number in range(len(program.variables)):
                rows.compute(number, row)
    return np.moveaxis(rows.values, 1, 0).reshape(count, *program.shape)
