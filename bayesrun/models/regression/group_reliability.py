"""How well the rows of a group determine its effects, which decides how they are sampled.

With `v_j` the sampling variance of group j's least-squares estimate of an effect and `t` the variance between groups
(by moments), the reliability is the median of `t / (t + v_j)`. Centred effects mix at a rate that grows with it,
non-centred ones at one that falls (Papaspiliopoulos, Roberts and Skold 2007, doi:10.1214/088342307000000014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.models.regression.linear_terms import Setting

Array = NDArray[Any]


@dataclass(frozen=True)
class Beside:
    """Another grouping of the same formula.

    Parameters
    ----------
    codes
        Code of each row.
    finer
        Whether its groups are parts of the groups in question.
    coarser
        Whether the groups in question are parts of its groups.
    """

    codes: Array
    finer: bool
    coarser: bool = False


def reliability(matrix: Array, codes: Array, groups: int, setting: Setting, others: Sequence[Beside] = ()) -> float:
    """Return how reliably the rows of the median group determine its effects, for the least reliable effect.

    Parameters
    ----------
    matrix
        Columns of the effects (row, effect).
    codes
        Group of each row.
    groups
        Number of groups.
    setting
        Residual and information of each row.
    others
        The other groupings. Of groups within these groups the means, not the rows, tell an intercept; larger groups
        have effects of their own, so that the variance between groups is that within them.
    """
    if setting.residual is None or setting.information is None:
        return 0.0
    known = np.isfinite(setting.residual)
    z, e, w, of = matrix[known], setting.residual[known], setting.information[known], codes[known]
    finer = [other.codes[known] for other in others if other.finer]
    if finer and np.all(z == 1.0):
        next_finer = min(finer, key=lambda one: len(np.unique(one)))
        parts = np.unique(next_finer, return_index=True)[1]
        sizes = np.bincount(next_finer)
        e = (np.bincount(next_finer, e) / np.maximum(sizes, 1))[next_finer[parts]]
        z, w, of = z[parts], np.ones(len(parts)), of[parts]
        if len(parts) <= groups:
            return 0.0
    coarser = [other.codes[known] for other in others if other.coarser]
    within = None
    if coarser and not finer:
        largest = max(coarser, key=lambda one: len(np.unique(one)))
        within = np.zeros(groups, dtype=np.int64)
        within[of] = largest
    return _share_between(z, e, w, of, groups, within)


def _share_between(z: Array, e: Array, w: Array, of: Array, groups: int, within: Array | None = None) -> float:
    """Return the reliability of the median group's least reliable effect; `within` is the larger group of each."""
    size = z.shape[1]
    cross = np.empty((groups, size, size))
    sums = np.empty((groups, size))
    for j in range(size):
        sums[:, j] = np.bincount(of, w * z[:, j] * e, groups)
        for k in range(j + 1):
            cross[:, j, k] = cross[:, k, j] = np.bincount(of, w * z[:, j] * z[:, k], groups)
    values = np.linalg.eigvalsh(cross)
    whole = values[:, 0] > 1e-9 * np.maximum(values[:, -1], 1e-300)
    if np.count_nonzero(whole) < max(2, groups // 2):
        return 0.0
    variances = np.linalg.inv(cross[whole])
    estimates = np.einsum("jkl,jl->jk", variances, sums[whole])
    everywhere = np.zeros((groups, size))
    everywhere[whole] = estimates
    rest = e - np.einsum("nk,nk->n", z, everywhere[of])
    inside, freedom = whole[of], np.count_nonzero(whole[of]) - size * np.count_nonzero(whole)
    noise = float(np.sum(w[inside] * rest[inside] ** 2) / freedom) if freedom > 0 else 1.0
    sampling = noise * np.einsum("jkk->jk", variances)
    between = np.maximum(0.0, _squares(estimates, None if within is None else within[whole]) - sampling.mean(axis=0))
    total = between + sampling
    share = np.divide(between, total, out=np.zeros_like(total), where=total > 0)  # 0 without variation
    return float(np.min(np.median(share, axis=0)))


def _squares(estimates: Array, within: Array | None) -> Array:
    """Return the mean square of estimates of groups, around the mean of the larger group that they are part of."""
    if within is None:
        return np.asarray(np.mean(estimates**2, axis=0))
    parts = np.bincount(within)
    means = np.stack([np.bincount(within, column) for column in estimates.T], axis=1) / np.maximum(parts, 1)[:, None]
    freedom = len(within) - np.count_nonzero(parts)
    around = np.sum((estimates - means[within]) ** 2, axis=0)
    return np.asarray(around / freedom if freedom else np.zeros(estimates.shape[1]))
