"""Coefficients sampled in coordinates in which they are nearly independent; all other declarations are unchanged.

A vector of coefficients that is multiplied by a data matrix, `X b`, becomes `b = c + B z` as in `whitening`. The
map is linear, so the density is that of `b` up to a constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Declaration, Density, Deterministic, Item, Potential, Random
from bayesrun.language.functions import dot
from bayesrun.language.plan import of_values
from bayesrun.language.values import constant, fixed, variable
from bayesrun.models.regression.blocked_algebra import triangular

if TYPE_CHECKING:
    from bayesrun.models.regression.expansion import Expansion

_MIN_RATIO = 1e-6
_WIDE = 10.0
"""Sd of the whitened coefficients' base measure, which the priors' potential cancels."""


def whitened(direct: Declaration, expansion: Expansion) -> Declaration:
    """Return a declaration of the same model with whitened coefficients; it is reported as the original.

    Vectors whose prior is not a density on the real line are left unchanged.
    """
    designs = dict(expansion.whitened)
    items: list[Item] = []
    helpers, coords = set(direct.helpers), dict(direct.coords)
    for item in direct.items:
        if not isinstance(item, Random) or item.name not in designs or not item.plan.unconstrained:
            items.append(item)
            continue
        matrix = expansion.columns[designs[item.name]].values
        settings = expansion.settings[next(n for n, s in expansion.settings.items() if _is_of(item.name, s.prefix))]
        centre = np.zeros(matrix.shape[1]) if item.initial is None else np.asarray(item.initial.known)
        items += _whitened(item, centre, _basis(matrix, settings.spread))
        helpers |= {item.name, f"{item.name}_whitened"}
        coords[f"{item.name}_whitened_dim_0"] = range(matrix.shape[1])
    if len(items) == len(direct.items):
        return direct
    return replace(direct, items=tuple(items), coords=coords, helpers=frozenset(helpers), reported=direct)


def _is_of(name: str, prefix: str) -> bool:
    return name == f"{prefix}coefficients"


def _basis(matrix: NDArray[Any], spread: float) -> NDArray[Any]:
    """Return the map from whitened coordinates to coefficients, over (column, column)."""
    lengths = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    lengths = np.where(lengths > 0, lengths, 1.0)
    _, values, vectors = np.linalg.svd(triangular(matrix, lengths))
    values = np.r_[values, np.zeros(len(vectors) - len(values))]
    kept = np.maximum(values, _MIN_RATIO * values[0])
    return np.asarray(spread * vectors.T / kept / lengths[:, None])


def _whitened(item: Random, centre: NDArray[Any], basis: NDArray[Any]) -> list[Item]:
    name, size = f"{item.name}_whitened", len(basis)
    base = of_values(name, "Normal", {"mu": fixed(0.0), "sigma": fixed(_WIDE)}, (None,), (size,))
    coordinates = variable(name, (None,), (size,))
    coefficients = (constant(centre) + dot(constant(basis), coordinates)).named(item.plan.dims)
    densities = (Density(base, coordinates, -1), Density(item.plan, variable(item.name, item.plan.dims, (size,))))
    return [
        Random(base, (f"{name}_dim_0",)),
        Deterministic(item.name, coefficients, item.dims),
        Potential(f"prior_of_{item.name}", None, densities),
    ]
