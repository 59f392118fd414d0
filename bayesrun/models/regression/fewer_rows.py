"""A sum of squares over the rows of groups as one over fewer rows, which is the same whatever the coefficients are.

With the decomposition `Z_g = Q_g T_g` of the columns of the effects in the rows of group `g`, and `o_g` what is added,

    |X_g b + Z_g r_g + o_g|^2 = |Q_g' X_g b + T_g r_g + Q_g' o_g|^2 + |P_g X_g b + P_g o_g|^2,   P_g = I - Q_g Q_g':

as many rows as a group has effects, and rows without effects, which are reduced in the same way over all groups. What
is left after that does not depend on the coefficients. Only squares are added, so nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.models.regression.blocked_algebra import triangular

_MOST_GROUPS = 5_000
"""Number of groups up to which it takes a fraction of a second to reduce their rows, one group after another."""

Array = NDArray[Any]
Groups = tuple[tuple[Array, "Array | None"], ...]


@dataclass(frozen=True)
class SummedRows:
    """Rows of a linear predictor whose squares are summed.

    Parameters
    ----------
    matrix
        Columns of the coefficients, over (row, column).
    apart
        What is added to each row, over (row).
    groups
        Of each grouping: codes of the groups over the rows, and columns of the effects over (row, effect); None for an
        intercept alone.
    rest
        What is added to the sum.
    """

    matrix: Array
    apart: Array
    groups: Groups
    rest: float = 0.0


def fewer_rows(matrix: Array, apart: Array, groups: Groups) -> SummedRows:
    """Return rows with the same sum of squares: those given if there are several groupings, or very many groups.

    Parameters
    ----------
    matrix, apart, groups
        As of `SummedRows`.
    """
    if len(groups) != 1:
        return SummedRows(matrix, apart, groups)
    codes, given = groups[0]
    effects = np.ones((len(codes), 1)) if given is None else given
    joined = np.column_stack([matrix, apart])
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order], append=-1)) + 1
    if len(ends) > _MOST_GROUPS:
        return SummedRows(matrix, apart, groups)
    kept, columns, of = [], [], []
    left = np.empty_like(joined)
    begin = 0
    for end in ends:
        rows = order[begin:end]
        basis, factor = np.linalg.qr(effects[rows])
        inside = basis.T @ joined[rows]
        left[begin:end] = joined[rows] - basis @ inside
        kept.append(inside)
        columns.append(factor)
        of.append(np.full(len(factor), codes[rows[0]], dtype=np.int64))
        begin = end
    whole = _reduced(left)
    rest, last = whole[-1, -1] ** 2 if len(whole) == joined.shape[1] else 0.0, whole[: matrix.shape[1]]
    kept.append(last)
    columns.append(np.zeros((len(last), effects.shape[1])))
    of.append(np.full(len(last), codes[0], dtype=np.int64))
    made = np.concatenate(kept)
    if len(made) >= len(matrix):
        return SummedRows(matrix, apart, groups)
    x, o = np.ascontiguousarray(made[:, :-1]), np.ascontiguousarray(made[:, -1])
    return SummedRows(x, o, ((np.concatenate(of), np.concatenate(columns)),), float(rest))


def _reduced(rows: Array) -> Array:
    """Return the triangular factor of rows, whose columns may be zero."""
    lengths = np.sqrt(np.einsum("ij,ij->j", rows, rows))
    lengths = np.where(lengths > 0, lengths, 1.0)
    factor: Array = triangular(rows, lengths) * lengths
    return factor
