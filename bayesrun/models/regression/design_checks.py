"""Checks of a GLM's data: responses out of range, collinear columns, complete separation.

The latter two would only become visible as a posterior that the likelihood does not identify.

Collinear columns: a combination of columns is zero in every row. Complete separation: a combination separates every
success from every failure, so that the likelihood increases without bound as its coefficients grow
(Albert and Anderson 1984, doi:10.1093/biomet/71.1.1). Both are first searched for in a subset of the rows: full rank,
or overlap, in a subset implies the same in all rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import shown_values
from bayesrun.errors import Problem
from bayesrun.lazy import optimize
from bayesrun.models.regression.design_matrix import Prepared
from bayesrun.models.regression.glm_spec import KEY, GlmSpec

Matrix = NDArray[Any]

_ANYWAY = "or let the priors alone decide: model.options.check_design=false"
_ADDS_UP = re.compile(r"\bc[rcs]\((?:[^()]|\([^()]*\))*\)")
"""A natural or cyclic cubic spline, whose columns add up to 1 unless they are centred."""
_DATE_AS_LEVEL = re.compile(r"([^\[:]+)\[\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}[^\]]*\]")
_MOST_LEVELS = 8
_SOME = 2_000
_ZERO = 1e-9


def wrong_response(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    """Find responses outside the family's domain."""
    if spec.known_family().domain == "real":
        return
    values = prepared.response.values.astype(float)
    known = ~np.isnan(values)
    top = np.inf if spec.family != "binomial" else 1 if prepared.trials is None else prepared.trials[known]
    words = "counts" if spec.family != "binomial" else "0 or 1"
    words = words if prepared.trials is None else f"counts from 0 to {spec.options.trials}"
    bad = np.zeros(values.shape, dtype=bool)
    values = values[known]
    bad[known] = (values < 0) | (values != np.round(values)) | (values > top)
    if bad.any():
        got = shown_values(prepared.response, prepared.response.copy(data=bad))
        hint = "give the left side a condition (Y > median(Y)), model.options.trials, or another family"
        yield Problem(KEY, f"the response of family {spec.family} must be {words} (got {got})", hint)


def wrong_design(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    """Find columns whose coefficients are not identified by the likelihood, and name them."""
    made = prepared.design
    known = ~prepared.response.isnull().values
    matrix = made.matrix if known.all() else made.matrix[known]
    yield from collinear_problems(matrix, made.columns)
    if spec.family == "binomial":
        yield from _separation(prepared, known)


def _separation(prepared: Prepared, known: NDArray[Any]) -> Iterator[Problem]:
    successes = prepared.response.values[known].astype(float)
    trials = np.ones(successes.size) if prepared.trials is None else prepared.trials[known]
    if np.any((successes > 0) & (successes < trials)):
        return  # a row with both successes and failures rules out separation
    if np.all(successes > 0) or not np.any(successes > 0):
        yield Problem(
            KEY, f"every row of the response is {int(successes[0] > 0)}", "the data hold no information about it"
        )
        return
    names = separating(prepared.design.matrix[known], successes > 0, prepared.design.columns)
    if names:
        message = f"complete separation: {', '.join(names)} separates every success from every failure"
        hint = f"the likelihood has no maximum: remove it, or merge levels; {_ANYWAY}, with priors narrow enough"
        yield Problem(KEY, message, hint)


def collinear_problems(matrix: Matrix, columns: Sequence[str]) -> Iterator[Problem]:
    """Find combinations of columns that are zero in every row, and say what resolves each."""
    for found in collinear(matrix, columns):
        names = list(dict.fromkeys(found))
        message = f"columns are collinear: {_by_term(names)}" if len(found) > 1 else f"'{names[0]}' is 0 in every row"
        if len(columns) > len(matrix):
            message += f"; {len(columns)} coefficients can't be told from {len(matrix)} rows"
        yield Problem(KEY, message, f"{_resolved(names)}; {_ANYWAY}")


def _by_term(names: Sequence[str]) -> str:
    """Return the names of columns, those of many levels as one."""
    terms: dict[str, list[str]] = {}
    for name in names:
        terms.setdefault(name.partition("[")[0], []).append(name)
    short = [
        several if len(several) <= _MOST_LEVELS else [f"{several[0]}, ..., {several[-1]} ({len(several)} levels)"]
        for several in terms.values()
    ]
    return ", ".join(name for several in short for name in several)


def _resolved(names: Sequence[str]) -> str:
    """Return what to change so that these columns are no longer collinear."""
    if len(names) == 1:
        levels = names[0].partition("[")[2]
        return (
            "no row has this combination: merge levels, or leave the interaction out" if ":" in levels else "remove it"
        )
    splines = [found[0] for name in names if (found := _ADDS_UP.search(name)) and "constraints" not in found[0]]
    if splines:
        centred = f"{splines[0][:-1]}, constraints='center')"
        return f"the columns of {splines[0]} add up to 1, as an intercept or all levels of a factor do: write {centred}"
    dates = [found[1] for name in names if (found := _DATE_AS_LEVEL.fullmatch(name))]
    if len(dates) > _MOST_LEVELS:
        return f"the dates are levels of a factor: list '{dates[0]}' in data.parse_dates, and write trend({dates[0]})"
    return "remove one of them"


def collinear(matrix: Matrix, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Find combinations of columns that are zero in every row.

    Parameters
    ----------
    matrix
        The design over (row, column).
    columns
        Names of the columns.

    Returns
    -------
    list of tuple of str
        The columns of each combination; none when the matrix has full rank.
    """
    some = _some(len(matrix))
    if not _null_space(matrix[some]).size:
        return []
    return [tuple(columns[j] for j in _members(row)) for row in _reduced(_null_space(matrix))]


def separating(matrix: Matrix, success: Matrix, columns: Sequence[str]) -> tuple[str, ...]:
    """Find a combination of columns that separates all successes from all failures.

    Parameters
    ----------
    matrix
        The design over (row, column).
    success
        True for a success, over the rows.
    columns
        Names of the columns.

    Returns
    -------
    tuple of str
        A minimal set of such columns (without constant ones); empty when successes and failures overlap.
    """
    scaled = matrix / _norms(matrix)
    signed = _rows_of_both(scaled, success)
    if not _separates(signed):
        return ()
    signed = scaled * _signs(success)
    if not _separates(signed):
        return ()
    constant = [j for j in range(matrix.shape[1]) if not matrix[:, j].std() > 0]
    kept = [j for j in range(matrix.shape[1]) if j not in constant]
    for j in list(kept):
        fewer = [k for k in kept if k != j]
        if _separates(signed[:, [*constant, *fewer]]):
            kept = fewer
    return tuple(columns[j] for j in kept)


def _separates(signed: Matrix) -> bool:
    """Return whether coefficients b with |b_j| <= 1 exist such that `signed @ b >= t > 0` in every row."""
    if signed.shape[1] == 0:
        return False
    bounds = [(-1.0, 1.0)] * signed.shape[1] + [(0.0, 1.0)]
    goal = np.r_[np.zeros(signed.shape[1]), -1.0]
    margins = np.c_[-signed, np.ones(len(signed))]
    found = optimize.linprog(goal, A_ub=margins, b_ub=np.zeros(len(signed)), bounds=bounds, method="highs")
    return bool(found.status == 0 and -found.fun > _ZERO)


def _rows_of_both(scaled: Matrix, success: Matrix) -> Matrix:
    picked = [np.flatnonzero(success == side)[_some(int(np.sum(success == side)))] for side in (True, False)]
    rows = np.concatenate(picked)
    return np.asarray(scaled[rows] * _signs(success[rows]))


def _signs(success: Matrix) -> Matrix:
    return np.asarray(np.where(success, 1.0, -1.0)[:, None])


def _some(size: int) -> Matrix:
    return np.arange(size) if size <= _SOME else np.random.default_rng(0).choice(size, _SOME, replace=False)


def _norms(matrix: Matrix) -> Matrix:
    norms = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    return np.asarray(np.where(norms > 0, norms, 1.0) / np.sqrt(max(1, len(matrix))))


def _null_space(matrix: Matrix) -> Matrix:
    triangle = np.linalg.qr(matrix / _norms(matrix), mode="r")
    _, values, vectors = np.linalg.svd(triangle, full_matrices=True)
    values = np.r_[values, np.zeros(vectors.shape[0] - values.size)]
    return np.asarray(vectors[values <= _ZERO * max(float(values[0]), 1.0) * 10])


def _reduced(rows: Matrix) -> Matrix:
    """Bring the null space into reduced row echelon form, so that each row names few columns."""
    rows, done = rows.copy(), 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        pivot = done + int(np.argmax(np.abs(rows[done:, column])))
        if abs(rows[pivot, column]) < 1e-6:
            continue
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column]
        others = np.arange(len(rows)) != done
        rows[others] -= np.outer(rows[others, column], rows[done])
        done += 1
    return rows


def _members(row: Matrix) -> list[int]:
    return [int(j) for j in np.flatnonzero(np.abs(row) > 1e-6 * np.max(np.abs(row)))]
