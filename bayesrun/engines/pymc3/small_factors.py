"""Cholesky factors of small covariances, and normal vectors by them, as sums and products of their numbers.

PyMC3's own solve a triangular system and index by arrays: calls into Python and a threaded library that cost more than
the rest of a group model's gradient. For the handful of effects that vary between groups the same numbers come from a
few operations on vectors, all of them compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from pymc3.distributions.multivariate import _LKJCholeskyCov

LARGEST = 8
"""Size up to which a factor is written out; the number of operations grows with its square."""


class MvNormal(pm.MvNormal):  # type: ignore[misc]
    """`pm.MvNormal`, whose density by a small lower Cholesky factor is written out."""

    def logp(self, value: Any) -> Any:
        """Return the log density of each vector.

        Parameters
        ----------
        value
            The vectors: (..., element).
        """
        size = int(np.atleast_1d(self.shape)[-1])
        if self._cov_type != "chol" or size > LARGEST:
            return super().logp(value)
        factor, apart = self.chol_cov, tt.as_tensor_variable(value) - self.mu
        solved: list[Any] = []
        for i in range(size):
            rest = apart[..., i]
            for j, known in enumerate(solved):
                rest = rest - factor[i, j] * known
            solved.append(rest / factor[i, i])
        squares = sum(part**2 for part in solved)
        log_determinant = sum(tt.log(factor[i, i]) for i in range(size))
        inside = tt.all([tt.gt(factor[i, i], 0) for i in range(size)])
        density = -0.5 * (size * np.log(2 * np.pi) + squares) - log_determinant
        return tt.switch(inside, density, -np.inf)


def covariance_factor(name: str, eta: Any, n: int, sd_dist: Any) -> Any:
    """Make the Cholesky factor of a covariance with an LKJ prior; correlations and sds are deterministics.

    Parameters
    ----------
    name
        Of the factor; `NAME_corr` and `NAME_stds` are named after it.
    eta
        Of the LKJ distribution.
    n
        Number of rows.
    sd_dist
        Distribution of the sds.

    Returns
    -------
    variable
        The whole factor (row, column).
    """
    if n > LARGEST:
        return pm.LKJCholeskyCov(name, eta=eta, n=n, sd_dist=sd_dist, compute_corr=True)[0]
    packed = _LKJCholeskyCov(name, eta=eta, n=n, sd_dist=sd_dist)
    rows = [[packed[i * (i + 1) // 2 + j] for j in range(i + 1)] for i in range(n)]
    sds = [tt.sqrt(sum(element**2 for element in row)) for row in rows]
    pm.Deterministic(f"{name}_stds", tt.stack(sds))
    correlations = [[_correlation(rows, sds, i, j) for j in range(n)] for i in range(n)]
    pm.Deterministic(f"{name}_corr", _matrix(correlations))
    zero = tt.constant(0.0)
    return _matrix([[*row, *([zero] * (n - len(row)))] for row in rows])


def _correlation(rows: list[list[Any]], sds: list[Any], i: int, j: int) -> Any:
    if i == j:
        return tt.constant(1.0)
    shared = min(i, j) + 1
    return sum(rows[i][k] * rows[j][k] for k in range(shared)) / (sds[i] * sds[j])


def _matrix(elements: list[list[Any]]) -> Any:
    flat = [element for row in elements for element in row]
    return tt.stack(flat).reshape((len(elements), len(elements)))
