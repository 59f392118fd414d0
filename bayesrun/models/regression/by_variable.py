"""`by` of a smooth: one smooth for each level of a factor, or a smooth that is multiplied by a column of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.base import Role
from bayesrun.data.factors import LABELS, as_levels, codes_of, formula_column, levels_of, row_column, value_key
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.lazy import xr
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.smooth_calls import SmoothCall

Array = NDArray[Any]


@dataclass(frozen=True)
class By:
    """What a smooth varies with.

    Parameters
    ----------
    column
        The column; None if there is none.
    levels
        The levels of a factor; None for numbers.
    """

    column: str | None = None
    levels: tuple[Any, ...] | None = None

    @property
    def is_factor(self) -> bool:
        """Whether there is a smooth for each level."""
        return self.levels is not None

    @property
    def is_numeric(self) -> bool:
        """Whether the smooth is multiplied by numbers."""
        return self.column is not None and self.levels is None

    def codes(self, rows: Rows) -> Array:
        """Return the level of each row, as codes from 0.

        Raises
        ------
        UserError
            For levels that the fit has not seen.
        """
        column = _labels(rows, str(self.column))
        codes = codes_of(column.values, self.levels or ())[0]
        if (codes < 0).any():
            label = next(iter(column.values[codes < 0]))
            where = places(rows.data[rows.dim].copy(data=codes < 0))
            message = f"the model was not fitted to '{label}' of '{self.column}' ({where})"
            hint = did_you_mean(value_key(label), map(value_key, self.levels or ()))
            raise UserError([Problem(f"{rows.key}.{self.column}", message, hint)])
        return codes

    def numbers(self, rows: Rows) -> Array:
        """Return the numbers that multiply the smooth, over the rows."""
        return np.asarray(rows.data[str(self.column)].values.astype(float))

    def combined(self, draws: xr.DataArray, design: xr.DataArray, columns: xr.Dataset, name: str) -> xr.DataArray:
        """Return draws of coefficients times the columns of rows, over (chain, draw, row).

        Parameters
        ----------
        draws
            Over (chain, draw, column), for a factor over (chain, draw, level, column).
        design
            Over (row, column).
        columns
            All columns of the rows, with the codes of the levels.
        name
            Name of the smooth.
        """
        if not self.is_factor:
            return draws.dot(design)
        own = draws.isel({f"{name}_level": columns[f"{name}_code"]})
        return (own * design).sum(str(design.dims[-1]))

    def note(self, call: SmoothCall, alone: bool) -> tuple[str, ...]:
        """Return what to know of curves that differ by level where the levels have no effect of their own."""
        if not (self.is_factor and alone):
            return ()
        hint = f"put {self.column} into the formula as well, unless all levels have the same mean"
        return (f"the curves of {call.short} have a mean of 0 each: {hint}",)

    def plain(self) -> Mapping[str, Any]:
        """Return it as values that JSON can hold."""
        levels = None if self.levels is None else [x.item() if hasattr(x, "item") else x for x in self.levels]
        return {"column": self.column, "levels": levels}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> By:
        """Rebuild it from the output of `plain`."""
        return cls(content["column"], None if content["levels"] is None else tuple(content["levels"]))


def learn_by(call: SmoothCall, rows: Rows) -> By:
    """Find out whether `by` is a factor or numbers.

    Raises
    ------
    UserError
        For a column that is not over the rows, and a factor with one level.
    """
    if call.by is None:
        return By()
    column = row_column(rows.data, call.by)
    if column.dims != (rows.dim,):
        raise call.fault(f"'{call.by}' must be over the rows, one value each", "'by' is a column")
    coded = LABELS in rows.data[call.by].attrs if call.by in rows.data.data_vars else False
    text = column.dtype.kind in "OUSb" or "levels" in column.attrs
    if not (call.labelled or coded or text):
        if column.dtype.kind not in "iuf":
            raise call.fault(f"'{call.by}' contains neither labels nor numbers", "make a column of it with data.derive")
        return By(call.by)
    found = _labels(rows, call.by)
    given = found.attrs.get("levels")
    levels = as_levels(np.atleast_1d(given).tolist()) if given is not None else levels_of(found.values)[0]
    there = np.unique(codes_of(found.values, levels)[0])
    if len(there) < 2:
        raise call.fault(f"'{call.by}' has a single level", f"write {call.function}({', '.join(call.inputs)})")
    return By(call.by, tuple(levels[code] for code in there))


def smooth_roles(call: SmoothCall) -> tuple[Role, ...]:
    """Return the columns of a call: numbers, and labels or numbers of `by`."""
    inputs = tuple(Role(name, "predictor", "number_or_date", call.key) for name in call.inputs)
    return inputs if call.by is None else (*inputs, Role(call.by, "predictor", "any", call.key))


def input_points(call: SmoothCall, rows: Rows) -> Array:
    """Return the inputs over (row, input); dates are days since 1970-01-01.

    Raises
    ------
    UserError
        For columns that are not over the rows, or not finite.
    """
    parts = []
    for name in call.inputs:
        column = row_column(rows.data, name)
        if column.dims != (rows.dim,) or column.dtype.kind not in "iufbM":
            hint = "a smooth takes columns of numbers; make one of it with data.derive"
            raise call.fault(f"'{name}' must be numbers over the rows", hint)
        values = np.asarray(formula_column(rows.data, name, False), dtype=float)
        if not np.isfinite(values).all():
            where = places(rows.data[rows.dim].copy(data=~np.isfinite(values)))
            raise UserError(
                [Problem(rows.key, f"'{name}' of '{call.text}' is not finite ({where})", "correct the rows")]
            )
        parts.append(values)
    return np.column_stack(parts)


def told_outside(call: SmoothCall, rows: Rows, low: Array, high: Array, then: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each input of which rows are outside of the range of the fitted rows.

    Parameters
    ----------
    call
        The call.
    rows
        The rows.
    low, high
        The range of each input.
    then
        What the smooth does there, for each input.
    """
    points, found = input_points(call, rows), []
    for number, name in enumerate(call.inputs):
        outside = (points[:, number] < low[number]) | (points[:, number] > high[number])
        if outside.any():
            where = places(rows.data[rows.dim].copy(data=outside))
            told = f"'{name}' is outside the range of the fit, {low[number]:.4g} to {high[number]:.4g} ({where})"
            found.append(f"{call.short}: {told}; {then[number]}")
    return tuple(found)


def _labels(rows: Rows, name: str) -> xr.DataArray:
    """Return a column as labels, even if the name is that of a factor's codes."""
    of = rows.data[name].attrs.get(LABELS) if name in rows.data.data_vars else None
    return row_column(rows.data, str(of) if of is not None else name)
