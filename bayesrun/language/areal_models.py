"""Effects of areas that are like those of their neighbours: conditional autoregressions of an adjacency matrix.

`W` is a matrix, or the pairs of adjacent areas, (pair, 2), which count from 0. The matrix is symmetric with 1 for
neighbours (or other weights above 0), 0 for others, and `D` the diagonal matrix of its row sums. A proper conditional
autoregression (Besag 1974) is multivariate normal with the precision matrix `tau (D - alpha W)`; the intrinsic one
has `alpha = 1`, and sums to 0 over each set of connected areas. Both are a known matrix times independent standard
normal numbers: with the eigenvalues `l` and eigenvectors `V` of `D^-1/2 W D^-1/2`,

    x = mu + D^-1/2 V (z / sqrt(tau (1 - alpha l))),

so that no matrix is decomposed while sampling. A scaled intrinsic autoregression has variances whose geometric mean is
`sigma^2`, whatever the map (Sorbye and Rue 2014, doi:10.1016/j.spasta.2013.06.004): its `sigma` then means the same in
every map, as in the BYM2 model (Riebler et al. 2016, doi:10.1177/0962280216660421).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.declaration import Draft
from bayesrun.language.functions import dot
from bayesrun.language.plan import Plan, of_values, variables_of
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, apply, constant, fixed

Array = NDArray[Any]

AREAL = ("CAR", "ICAR")
_ZERO = 1e-9
"""Eigenvalues of a precision matrix up to which it is singular."""


def declare_areas(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    """Add the effects of areas as a function of standard normal numbers, the helper `NAME_offset`."""
    matrix = adjacency_of(this)
    if len(this.shape) != 1 or this.shape[0] != len(matrix):
        message = f"is {len(matrix)} by {len(matrix)}, but '{this.name}' has shape {this.shape}"
        raise fail(f"{this.key}.W", message, "write dims: with the dim of the areas")
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    degrees = matrix.sum(axis=1)
    if this.family.name == "CAR":
        roots = 1.0 / np.sqrt(degrees)
        values, vectors = np.linalg.eigh(roots[:, None] * matrix * roots)
        alpha = this.values["alpha"]
        scale = apply("power", [(constant(1.0) - alpha * values) * this.values["tau"], -0.5])
        factor = roots[:, None] * vectors
    else:
        factor = intrinsic_factor(matrix, scaled=this.flags.get("scaled", True))
        scale = this.values.get("sigma", constant(1.0)) * np.ones(factor.shape[1])
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    name = f"{this.name}_offset"
    standard = of_values(name, "Normal", unit, (None,), (factor.shape[1],), this.key)
    axes = draft.name_axes(name, (None,), (factor.shape[1],), scope)
    offset = draft.random(standard, axes, helper=True)[name]
    effects = dot(constant(factor), scale.named((None,)) * offset.named((None,))).named(this.dims)
    moved = effects + this.values["mu"].named(this.dims) if "mu" in this.values else effects
    draft.deterministic(this.name, moved, dims)
    return variables_of(this)


def intrinsic_factor(matrix: Array, scaled: bool) -> Array:
    """Return the matrix (area, dimension) whose product with its transpose is the covariance of an intrinsic model."""
    values, vectors = np.linalg.eigh(np.diag(matrix.sum(axis=1)) - matrix)
    kept = values > _ZERO * values.max()
    factor = vectors[:, kept] / np.sqrt(values[kept])
    if scaled:
        factor = factor / np.exp(0.5 * np.mean(np.log((factor**2).sum(axis=1))))
    return np.asarray(factor)


def _of_pairs(pairs: Array, size: int, key: str) -> Array:
    """Return the adjacency matrix of pairs of adjacent areas."""
    wrong = pairs[(pairs != np.floor(pairs)) | (pairs < 0) | (pairs >= size)]
    if wrong.size:
        message = f"pairs of areas count from 0 to {size - 1} (got {wrong[0]:g})"
        raise fail(key, message, "areas that count from 1: W: stack(node1 - 1, node2 - 1)")
    matrix = np.zeros((size, size))
    first, second = pairs.astype(np.int64).T
    matrix[first, second] = matrix[second, first] = 1.0
    if np.any(first == second):
        raise fail(key, f"area {first[first == second][0]} is a neighbour of itself", "leave such pairs out")
    return matrix


def adjacency_of(this: Plan) -> Array:
    """Return the adjacency matrix of a plan.

    Raises
    ------
    UserError
        When it is no adjacency matrix.
    """
    given, key = this.values["W"], f"{this.key}.W"
    if given.known is None:
        raise fail(key, "must not depend on a random variable", "name an array of the data")
    matrix = np.asarray(given.known, dtype=float)
    if matrix.shape[1] == 2 and this.shape != (2,):
        matrix = _of_pairs(matrix, this.shape[-1], key)
    if matrix.shape[0] != matrix.shape[1]:
        raise fail(key, f"must be a square matrix (got {matrix.shape[0]} by {matrix.shape[1]})", "one row per area")
    if not np.array_equal(matrix, matrix.T):
        i, j = map(int, np.argwhere(matrix != matrix.T)[0])
        raise fail(key, f"must be symmetric: element ({i}, {j}) is not element ({j}, {i})", "neighbours are mutual")
    if np.any(matrix < 0) or np.any(np.diag(matrix) != 0):
        raise fail(key, "must be 0 or above, with 0 on its diagonal", "1 for neighbours, 0 for all others")
    alone = np.flatnonzero(matrix.sum(axis=1) == 0)
    if alone.size:
        raise fail(key, f"area {alone[0]} has no neighbour", "join it to the nearest area, or leave it out")
    return matrix
