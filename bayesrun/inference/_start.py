"""Where NUTS starts and which mass matrix it adapts: what `sampler.init: auto` chooses.

Jitter helps chains to disagree when they should, but only where the jittered points are usable. A dense mass matrix
pays where the posterior is strongly correlated; that is seen from the curvature at its mode.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.errors import fail
from bayesrun.inference.base import NutsSpec

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

log = logging.getLogger("bayesrun.sampling")

_DENSE_UP_TO = 200
"""Variables (scalars) up to which a dense mass matrix is considered."""
_STRONG = 0.9
"""Correlation at the mode from which on a dense mass matrix is chosen."""
_NEWTON_STEPS = 5
_NEWTON_GAIN = 1e-3
_STEEP = 1e10
"""A jittered start whose gradient is larger than this is not usable."""


def nuts(model: pm.Model, spec: NutsSpec, seed: int) -> tuple[list[dict[str, Any]], Any]:
    """Make NUTS and its starting points; the model is in context."""
    import pymc3 as pm

    init = spec.init if spec.init != "auto" else _choose(model, seed)
    log.info("init: %s%s", init, " (chosen by init=auto)" if spec.init == "auto" else "")
    start, step = pm.init_nuts(
        init=init,
        chains=spec.chains,
        model=model,
        random_seed=seed,
        progressbar=False,
        target_accept=spec.target_accept,
        max_treedepth=spec.max_treedepth,
    )
    _check_gradient(step, start)
    return list(start), step


def _choose(model: pm.Model, seed: int) -> str:
    import numpy as np

    density = model.logp_dlogp_function()
    density.set_extra_values({})
    start = density.dict_to_array(model.test_point)
    jitter = np.random.default_rng(seed).uniform(-1, 1, size=(4, start.size))
    usable = all(_usable(*density(start + j)) for j in jitter)
    dense = start.size <= _DENSE_UP_TO and strongest_correlation(density, start) > _STRONG
    return ("jitter+" if usable else "") + ("adapt_full" if dense else "adapt_diag")


def _usable(value: Any, gradient: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(value) and np.all(np.isfinite(gradient)) and np.max(np.abs(gradient), initial=0) < _STEEP)


def strongest_correlation(density: Any, start: NDArray[Any]) -> float:
    """Estimate the largest correlation of the posterior from its curvature at the mode.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    start
        Where to look for the mode (parameter).

    Returns
    -------
    float
        Largest absolute correlation of the Laplace approximation; 0 where there is no proper mode.
    """
    return 0.0 if start.size < 2 else _correlation(curvature_at_mode(density, start).curvature)


@dataclass(frozen=True)
class Peak:
    """The mode (parameter) of a density, and the curvature (parameter, parameter) of its negative logarithm there."""

    mode: NDArray[Any]
    curvature: NDArray[Any]


def curvature_at_mode(density: Any, start: NDArray[Any]) -> Peak:
    """Look for the mode, and return the curvature of the negative log density there.

    A search along gradients is finished by a few of Newton's steps: with correlations near 1 it would not arrive.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    start
        Where to look for the mode (parameter).
    """
    mode, negative = towards_mode(density, start), _negative(density)
    curvature = _curvature(negative, mode)
    for _ in range(_NEWTON_STEPS):
        nearer = _newton(negative, mode, curvature)
        if nearer is None:
            break
        mode, curvature = nearer, _curvature(negative, nearer)
    return Peak(mode, curvature)


def towards_mode(density: Any, start: NDArray[Any], steps: int = 100) -> NDArray[Any]:
    """Search along gradients for the mode, and return the point (parameter) that at most so many steps come to.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    start
        Where to begin (parameter).
    steps
        Of L-BFGS.
    """
    from scipy.optimize import minimize

    found = minimize(_negative(density), start, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    point: NDArray[Any] = found.x
    return point


def _negative(density: Any) -> Any:
    """Return what is minimized: `(point) -> (negative log density, its gradient)`, finite everywhere."""
    import numpy as np

    def negative(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        value, gradient = density(point)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(point)
        return -float(value), -np.nan_to_num(gradient)

    return negative


def _newton(negative: Any, mode: NDArray[Any], curvature: NDArray[Any]) -> NDArray[Any] | None:
    """Take one of Newton's steps; None where it does not lead further down."""
    import numpy as np

    value, gradient = negative(mode)
    try:
        point: NDArray[Any] = mode - np.linalg.solve(curvature, gradient)
    except np.linalg.LinAlgError:
        return None
    return point if np.all(np.isfinite(point)) and negative(point)[0] < value - _NEWTON_GAIN else None


def _curvature(negative: Any, mode: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    steps = 1e-4 * np.maximum(1.0, np.abs(mode)) * np.eye(mode.size)
    rows = [(negative(mode + h)[1] - negative(mode - h)[1]) / (2 * h.sum()) for h in steps]
    return np.asarray(rows + np.transpose(rows)) / 2


def _correlation(hessian: NDArray[Any]) -> float:
    import numpy as np

    scale = np.sqrt(np.abs(np.diag(hessian)))
    if not np.all(np.isfinite(hessian)) or np.any(scale == 0):
        return 0.0
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    if values[0] <= 1e-12:
        return 0.0
    covariance = (vectors / values) @ vectors.T
    sd = np.sqrt(np.diag(covariance))
    return float(np.max(np.abs(covariance / np.outer(sd, sd) - np.eye(sd.size))))


def _check_gradient(step: Any, start: list[dict[str, Any]]) -> None:
    import numpy as np

    density = step._logp_dlogp_func
    density.set_extra_values({})
    value, gradient = density(density.dict_to_array(start[0]))
    if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
        point = density.array_to_full_dict(gradient)
        bad = [name for name, part in point.items() if not np.all(np.isfinite(part))] or ["the log density"]
        message = f"the gradient at the start is not finite in {', '.join(bad)}"
        raise fail("model.priors", message, "give the variable an `initval` inside its support, or a tighter prior")
