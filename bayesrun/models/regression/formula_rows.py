"""The columns of a fitted formula for new rows, with the levels, knots and means of the fit."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.factors import codes_of, formula_column, row_column, value_key
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.language.formula_grammar import shown
from bayesrun.language.formulas import Design, Formula, categorical_in
from bayesrun.lazy import formulaic, pd, xr

_KEY = "predict.data"


def columns_at(formula: Formula, design: Design, rows: xr.Dataset, dim: str) -> NDArray[Any]:
    """Return the columns of a fitted formula for new rows (row, column).

    Parameters
    ----------
    formula
        The formula.
    design
        What was learned.
    rows
        The new rows.
    dim
        The row dimension.

    Raises
    ------
    UserError
        For levels not seen in the fit, values outside a spline's range, and columns that are not finite: by
        column and row.
    """
    problems: list[Problem] = []
    variables = {name: row_column(rows, name) for name in formula.variables}
    levels = _levels(formula, design)
    arrays = {
        name: _as_fitted(array, levels[name], problems) if name in levels else formula_column(rows, name, False)
        for name, array in variables.items()
    }
    if problems:
        raise UserError(problems)
    arrays = arrays or {dim: rows[dim].values}
    try:
        matrix, unseen = _evaluated(formula, design, arrays)
    except _NotComputed as error:
        raise _not_computed(formula, design, arrays, rows[dim]) from error
    if unseen:
        raise _unseen(formula, design, arrays, rows[dim])
    _check_finite(design, matrix, rows, dim)
    return matrix


def _levels(formula: Formula, design: Design) -> dict[str, list[Any]]:
    """Return the levels of each variable that is a factor of the formula."""
    found: dict[str, list[Any]] = {}
    for expr, (kind, state) in design.spec.encoder_state.items():
        name = categorical_in(expr)
        if kind.value == "categorical" and name in formula.variables:
            found[str(name)] = list(state.get("categories", []))
    return found


def _as_fitted(array: xr.DataArray, levels: list[Any], problems: list[Problem]) -> NDArray[Any]:
    """Replace labels of new rows by the fit's labels of equal value."""
    codes, unseen = codes_of(array.values, levels)
    for label in pd.unique(array.values[unseen]):
        where = places(array.copy(data=unseen & (array.values == label)))
        message = f"the model was not fitted to '{label}' of '{array.name}' ({where})"
        hint = did_you_mean(value_key(label), map(value_key, levels))
        problems.append(Problem(f"{_KEY}.{array.name}", message, hint))
    known = np.empty(len(levels), dtype=object)
    known[:] = levels
    found = known[np.where(codes < 0, 0, codes)]
    return found if isinstance(levels[0], str) else np.array(found.tolist())


def _unseen(formula: Formula, design: Design, arrays: Mapping[str, NDArray[Any]], labels: xr.DataArray) -> UserError:
    """Make the error of a level that the fit has not seen of something computed, such as `C(month(day))`."""
    first = _first_row(labels.size, lambda rows: bool(_evaluated(formula, design, _part(arrays, rows))[1]))
    _, found = _evaluated(formula, design, _part(arrays, slice(first, first + 1)))
    message = f"the model was not fitted to the level {found} in '{formula.text}' ({_place(labels, first)})"
    return UserError([Problem(_KEY, message, "predict for levels that the fit has seen")])


def _not_computed(
    formula: Formula, design: Design, arrays: Mapping[str, NDArray[Any]], labels: xr.DataArray
) -> UserError:
    """Make the error of a row for which a term has no value, such as one outside of a spline's range."""

    def fails(rows: slice) -> str:
        try:
            _evaluated(formula, design, _part(arrays, rows))
        except _NotComputed as error:
            return str(error)
        return ""

    first = _first_row(labels.size, lambda rows: bool(fails(rows)))
    text = fails(slice(first, first + 1)) or fails(slice(0, labels.size))
    where = f"'{formula.text}' can't be computed for the new rows ({_place(labels, first)})"
    if "upper and/or lower bounds" in text or "knots" in text:
        message = f"{where}: a spline has no value outside the range of the fitted rows"
        hint = (
            "widen the range in the fit by lower_bound and upper_bound, as in bs(x, df=4, lower_bound=0, upper_bound=9)"
        )
        return UserError([Problem(_KEY, message, hint)])
    return UserError([Problem(_KEY, f"{where}: {text}", "correct the rows")])


def _first_row(size: int, at_fault: Callable[[slice], bool]) -> int:
    """Return the first row at fault by bisection, where one of `size` rows is."""
    first, stop = 0, size
    while stop - first > 1:  # the first row at fault is in this range
        middle = (first + stop) // 2
        first, stop = (first, middle) if at_fault(slice(first, middle)) else (middle, stop)
    return first


def _part(arrays: Mapping[str, NDArray[Any]], rows: slice) -> dict[str, NDArray[Any]]:
    return {name: array[rows] for name, array in arrays.items()}


def _place(labels: xr.DataArray, row: int) -> str:
    return f"{labels.name} {labels.values[row]}"


class _NotComputed(Exception):
    """A term has no value for some row."""


def _evaluated(formula: Formula, design: Design, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], str]:
    """Return the columns, and the levels that the fit has not seen, in words; empty when there are none."""
    try:
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            matrix = design.at(arrays)
        unseen = [str(one.message) for one in caught if issubclass(one.category, formulaic.errors.DataMismatchWarning)]
        return matrix, ", ".join(text.partition("{")[2].partition("}")[0] for text in unseen)
    except Exception as error:  # whatever NumPy, pandas and formulaic raise on unfit rows
        lines = str(error).strip().splitlines()
        text = re.sub(r"\x1b\[[0-9;]*m", "", lines[0]) if lines else type(error).__name__
        raise _NotComputed(shown(text)) from error


def _check_finite(design: Design, matrix: NDArray[Any], rows: xr.Dataset, dim: str) -> None:
    problems = []
    for column in np.flatnonzero(~np.isfinite(matrix).all(axis=0)):
        where = places(rows[dim].copy(data=~np.isfinite(matrix[:, column])))
        problems.append(Problem(_KEY, f"'{design.columns[column]}' is not finite ({where})", "correct the rows"))
    if problems:
        raise UserError(problems)
