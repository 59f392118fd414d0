"""Where chains start, and whether their mass matrix adapts to correlations (`sampler.init`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bayesrun.errors import SamplingError
from bayesrun.inference._gradient import Gradient
from bayesrun.inference._start import towards_mode
from bayesrun.inference.base import NutsSpec

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

log = logging.getLogger("bayesrun.sampling")

CORRELATED_UP_TO = 200
"""Parameters up to which `init: auto` adapts to correlations; beyond, estimating them costs more than it saves."""
_STEEP = 1e10
_HALVINGS = 40
_NUDGE = 0.01
_DOWNHILL = (1, 3, 10, 30, 100)


def correlated(spec: NutsSpec, size: int) -> bool:
    """Say whether the mass matrix has correlations: a diagonal one and the strongest directions besides."""
    if spec.init == "auto":
        log.info("mass matrix: %s", "diagonal + strongest correlations" if size <= CORRELATED_UP_TO else "diagonal")
        return size <= CORRELATED_UP_TO
    return "full" in spec.init


def starts(model: pm.Model, gradient: Gradient, spec: NutsSpec, seeds: Sequence[int]) -> Vector:
    """Choose each chain's first point.

    Parameters
    ----------
    model
        The model.
    gradient
        Its compiled density.
    spec
        `init` decides: the model's own starting values with or without jitter, or where ADVI or the mode are.
    seeds
        One a chain; decides its jitter.

    Returns
    -------
    ndarray
        Points (chain, parameter) where the density is finite and no gradient is 0, not finite or huge.

    Raises
    ------
    SamplingError
        When the density or the gradient is not finite at the model's own starting values.
    """
    import numpy as np

    jitter = 1.0 if spec.init == "auto" or "jitter" in spec.init else 0.0
    centres = _centres(model, gradient, spec, seeds)
    return np.stack([_near(gradient, c, jitter, np.random.default_rng(s)) for c, s in zip(centres, seeds, strict=True)])


def _centres(model: pm.Model, gradient: Gradient, spec: NutsSpec, seeds: Sequence[int]) -> list[Vector]:
    if not ("advi" in spec.init or "map" in spec.init):
        return [_downhill(gradient)] * len(seeds)
    import numpy as np
    import pymc3 as pm

    from bayesrun.inference.theano_setup import compiling

    with model, compiling():
        points, _ = pm.init_nuts(init=spec.init, chains=len(seeds), random_seed=seeds[0], progressbar=False)
    return [np.concatenate([np.ravel(point[part.name]) for part in gradient.parts]) for point in points]


def _downhill(gradient: Gradient) -> Vector:
    """Leave a start that is finite and too steep to learn scales at, such as a scale of 1 for incomes of thousands."""
    import numpy as np

    value, slope = gradient.density(gradient.start)
    if not np.isfinite(value) or not np.all(np.isfinite(slope)) or np.all(np.abs(slope) < _STEEP):
        return gradient.start
    points = (towards_mode(gradient.density, gradient.start, steps) for steps in _DOWNHILL)
    return next((p for p in points if _usable(gradient, p, flat=True)), gradient.start)


def _near(gradient: Gradient, centre: Vector, jitter: float, rng: np.random.Generator) -> Vector:
    """Jitter one point as far as it stays usable."""
    direction = rng.uniform(-1.0, 1.0, size=centre.size)
    for halvings in range(_HALVINGS if jitter else 0):
        point: Vector = centre + direction * jitter * 0.5**halvings
        if _usable(gradient, point):
            return point
    if _usable(gradient, centre):
        return centre
    return _nudged(gradient, centre, direction)


def _nudged(gradient: Gradient, centre: Vector, direction: Vector) -> Vector:
    """Step off a point where some gradients are 0: nutpie learns first scales from the gradient."""
    import numpy as np

    value, slope = gradient.density(centre)
    point: Vector = centre + np.where(slope == 0.0, _NUDGE * direction, 0.0)
    if not (np.isfinite(value) and _usable(gradient, point, flat=True)):
        raise SamplingError("the log density or its gradient is not finite at the starting values")
    return point


def _usable(gradient: Gradient, point: Vector, flat: bool = False) -> bool:
    import numpy as np

    value, slope = gradient.density(point)
    steepness = np.abs(slope)
    fine = np.isfinite(value) and bool(np.all(steepness < _STEEP))
    return bool(fine and (flat or np.all(steepness > 0.0)))
