"""The fitted normal distribution of ADVI: its draws on the variables' own scale, and both densities at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.inference._draws import Draws
from bayesrun.inference._gradient import parts_of

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Normal:
    """A normal distribution of the unconstrained parameters.

    Parameters
    ----------
    mean
        Over parameter, in the order of `parts_of`.
    factor
        Lower triangular Cholesky factor of the covariance (parameter, parameter).
    """

    mean: Vector
    factor: Vector


def normal_of(approximation: Any, model: pm.Model) -> Normal:
    """Read mean and covariance of a fitted `pm.MeanField` or `pm.FullRank`, in the order of the model's variables."""
    import numpy as np

    mean = np.asarray(approximation.mean.eval(), float)
    places = approximation.bij.rmap(np.arange(mean.size, dtype=float))
    order = np.concatenate([np.ravel(places[part.name]) for part in parts_of(model)]).astype(int)
    covariance = np.asarray(approximation.cov.eval(), float)[np.ix_(order, order)]
    return Normal(mean[order], np.linalg.cholesky(covariance))


def draw(model: pm.Model, normal: Normal, size: tuple[int, int], seed: int) -> tuple[Arrays, Arrays]:
    """Draw from the approximation.

    Parameters
    ----------
    model
        The model.
    normal
        The approximation.
    size
        Chains and draws.
    seed
        Decides the draws.

    Returns
    -------
    draws : dict
        Name to array (chain, draw, ...) of every variable on its own scale.
    stats : dict
        `lp`, the model's log density, and `log_q`, the approximation's (chain, draw), both unconstrained.
    """
    import numpy as np

    z = np.random.default_rng(seed).standard_normal((*size, normal.mean.size))
    points = normal.mean + z @ normal.factor.T
    log_q = -0.5 * (z**2).sum(-1) - np.log(np.diag(normal.factor)).sum() - 0.5 * normal.mean.size * np.log(2 * np.pi)
    return Draws(model).at(points), {"lp": _log_density(model, points), "log_q": log_q}


def _log_density(model: pm.Model, points: Vector) -> Vector:
    import numpy as np

    from bayesrun.inference._gradient import compile_gradient

    density = compile_gradient(model).density
    flat = points.reshape(-1, points.shape[-1])
    return np.array([density(point)[0] for point in flat]).reshape(points.shape[:2])
