"""Where chains start, and in which coordinates they move: what `sampler.init` decides, seen from the log density.

Jitter helps chains to disagree when they should, but only if the jittered points are usable. A posterior that is
strongly correlated needs a dense mass matrix, or coordinates in which it is nearly spherical; that is seen from the
curvature at its mode (Laplace's approximation).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import CompiledModel, LogDensity
from bayesrun.errors import SamplingError, UserError
from bayesrun.lazy import linalg, optimize
from bayesrun.samplers.base import Init, NutsSpec

Vector = NDArray[np.float64]
Density = Callable[[Vector], tuple[float, Vector]]

log = logging.getLogger("bayesrun.sampling")

CORRELATED_UP_TO = 200
"""Parameters up to which `init: auto` looks at correlations; beyond, estimating them costs more than it saves."""
_STRONG = 0.9
"""Correlation at the mode from which on coordinates are changed."""
_FREE_UP_TO = 100
"""Parameters up to which turning a point into other coordinates costs little beside its gradient."""
_NEARLY_NORMAL = 10.0
"""Mean squared error of the gradient that Laplace's approximation predicts, in its own coordinates, where its square is
1 on average: below 1 of posteriors that are nearly normal, hundreds of hierarchies whose densities rise to where
scales are infinite."""
_POINTS = 15
_MIN_EIGENVALUE = 1e-12
"""Least eigenvalue, relative to the diagonal, of a curvature that has an inverse."""
_MAX_DISTANCE = 20.0
"""Standard deviations from the mode up to which an initial point is left as it is."""
_STEEP = 1e10
"""An initial point whose gradient is larger than this is not usable."""
_HALVINGS = 40
_NUDGE = 0.01
_TRIES = 100
"""Random points among which a usable one is sought."""
_WITHIN = 2.0
"""Random points are uniform between minus and plus this, in each unconstrained parameter."""
_DOWNHILL = (1, 3, 10, 30, 100)
_NEWTON_STEPS = 5
_NEWTON_GAIN = 1e-3


def settle_start(model: CompiledModel, seed: int, chosen: bool) -> None:
    """Check that the model has a density where it starts; where its likelihood is zero, start elsewhere.

    The centre of a vague prior may be a place where all data are impossible to the precision of numbers, such as a
    probability of `exp(-1200)`. Random points are then tried, uniform between -2 and 2 in each unconstrained parameter,
    and the first is taken where the density and its gradient are finite.

    Parameters
    ----------
    model
        The model; it starts from the point that is found.
    seed
        Decides the random points.
    chosen
        Whether initial values are the user's own, which are not replaced.

    Raises
    ------
    UserError
        When the density of a prior is zero at its own initial value, the model is wrong whatever the point, or the
        density of the data is zero there and at random points.
    """
    try:
        model.check_initial_point()
    except UserError as error:
        elsewhere = ("model (", "model.potentials.")  # what may be better at other points
        of_model = [problem for problem in error.problems if not problem.key.startswith(elsewhere)]
        searchable = not any(block.discrete for block in model.blocks) and model.missing_gradient() is None
        if chosen or of_model or not searchable:
            raise
        density = model.log_density()
        rng = np.random.default_rng([seed, _TRIES])
        for number in range(1, _TRIES + 1):
            point = rng.uniform(-_WITHIN, _WITHIN, density.size)
            if is_usable(density.evaluate, point, flat=True):
                model.begin_at(point)
                reasons = "; ".join(problem.message for problem in error.problems)
                log.info("start: %s; chains begin around random point %d of up to %d", reasons, number, _TRIES)
                return
        raise UserError(
            [replace(one, message=f"{one.message}, and at {_TRIES} random points") for one in error.problems]
        ) from None


def correlated(spec: NutsSpec, size: int) -> bool:
    """Return whether nutpie's mass matrix has correlations: a diagonal one plus the strongest directions."""
    if spec.init == "auto":
        log.info("mass matrix: %s", "diagonal + strongest correlations" if size <= CORRELATED_UP_TO else "diagonal")
        return size <= CORRELATED_UP_TO
    return "full" in spec.init


def choose_init(model: CompiledModel, seed: int) -> Init:
    """Choose initial points and mass matrix of an engine's own NUTS, by PyMC3's names.

    Parameters
    ----------
    model
        Its log density has a gradient.
    seed
        Decides the jitter that is tried.
    """
    density = model.log_density()
    initial, evaluate = density.initial_point, density.evaluate
    jitter = np.random.default_rng(seed).uniform(-1, 1, size=(4, initial.size))
    jitter_works = all(is_usable(evaluate, initial + j, flat=True) for j in jitter)
    dense = initial.size <= CORRELATED_UP_TO and strongest_correlation(evaluate, initial) > _STRONG
    if dense:
        return "jitter+adapt_full" if jitter_works else "adapt_full"
    return "jitter+adapt_diag" if jitter_works else "adapt_diag"


def initial_points(model: CompiledModel, density: LogDensity, spec: NutsSpec, seeds: Sequence[int]) -> Vector:
    """Choose each chain's first point.

    Parameters
    ----------
    model
        The model.
    density
        Its compiled density.
    spec
        `init` decides: the model's own initial values with or without jitter, or where ADVI or the mode are.
    seeds
        One per chain; decides its jitter.

    Returns
    -------
    ndarray
        Points (chain, parameter) where the density is finite and no gradient is 0, not finite or huge.

    Raises
    ------
    SamplingError
        When the density or the gradient is not finite at the model's own initial values.
    """
    jitter = 1.0 if spec.init == "auto" or "jitter" in spec.init else 0.0
    centres = _centres(model, density, spec, seeds)
    generators = [np.random.default_rng(s) for s in seeds]
    return np.stack([_near(density.evaluate, c, jitter, rng) for c, rng in zip(centres, generators, strict=True)])


def _centres(model: CompiledModel, density: LogDensity, spec: NutsSpec, seeds: Sequence[int]) -> Sequence[Vector]:
    if "advi" in spec.init or "map" in spec.init:
        return list(model.initial_points(spec.init, seeds))
    return [_downhill(density)] * len(seeds)


def _downhill(density: LogDensity) -> Vector:
    """Move a point that is finite but too steep to learn scales at, such as a scale of 1 for incomes of thousands."""
    initial = density.initial_point
    value, slope = density.evaluate(initial)
    if not np.isfinite(value) or not np.all(np.isfinite(slope)) or np.all(np.abs(slope) < _STEEP):
        return initial
    points = (towards_mode(density.evaluate, initial, steps) for steps in _DOWNHILL)
    return next((p for p in points if is_usable(density.evaluate, p, flat=True)), initial)


def _near(density: Density, centre: Vector, jitter: float, rng: np.random.Generator) -> Vector:
    """Jitter one point as far as it stays usable."""
    direction = rng.uniform(-1.0, 1.0, size=centre.size)
    point = usable_towards(density, centre, direction * jitter) if jitter else None
    if point is not None:
        return point
    if is_usable(density, centre):
        return centre
    return _nudged(density, centre, direction)


def usable_towards(density: Density, centre: Vector, step: Vector) -> Vector | None:
    """Return the first usable point (parameter) a whole step from a centre, half a step, and so on; None if none is."""
    points: Iterator[Vector] = (centre + step * 0.5**halvings for halvings in range(_HALVINGS))
    return next((point for point in points if is_usable(density, point)), None)


def _nudged(density: Density, centre: Vector, direction: Vector) -> Vector:
    """Step off a point where some gradients are 0: nutpie learns first scales from the gradient."""
    value, slope = density(centre)
    point: Vector = centre + np.where(slope == 0.0, _NUDGE * direction, 0.0)
    if not (np.isfinite(value) and is_usable(density, point, flat=True)):
        raise SamplingError("the log density or its gradient is not finite at the initial point")
    return point


def is_usable(density: Density, point: Vector, flat: bool = False) -> bool:
    """Return whether the density is finite and not too steep; a gradient of 0 needs `flat`."""
    value, slope = density(point)
    steepness = np.abs(slope)
    fine = np.isfinite(value) and bool(np.all(steepness < _STEEP))
    return bool(fine and (flat or np.all(steepness > 0.0)))


@dataclass(frozen=True)
class Coordinates:
    """Coordinates `z` in which a strongly correlated posterior is nearly spherical: `x = shift + A z`.

    nutpie learns a diagonal mass matrix plus the strongest directions, which is too little for a regression on
    raw columns, whose coefficients are correlated by 0.99 and more. The map is linear: the posterior is the same
    whatever `A` is, and a poor one only costs speed.

    Parameters
    ----------
    mode
        Point (parameter).
    factor
        `A`, lower triangular (parameter, parameter): the Cholesky factor of the covariance at the mode.
    """

    mode: Vector
    factor: Vector

    def nearer(self, points: Vector) -> Vector:
        """Move points that are too far from the mode to where the sampler can learn scales.

        Parameters
        ----------
        points
            First points of the chains (chain, parameter).
        """
        away = linalg.solve_triangular(self.factor, (points - self.mode).T, lower=True)
        furthest = np.max(np.abs(away), axis=0)
        return np.asarray(self.mode + (self.factor @ (away * np.minimum(1.0, _MAX_DISTANCE / furthest))).T)


def find_coordinates(density: LogDensity, spec: NutsSpec, around: Vector | None = None) -> Coordinates | None:
    """Find a linear map to nearly independent coordinates.

    Parameters
    ----------
    density
        The model's compiled density.
    spec
        Only `init: auto` chooses coordinates.
    around
        Where to look for the mode (parameter); null = the model's initial values.

    Returns
    -------
    Coordinates or None
        None where correlations are weak or the curvature is not that of a covariance; for many parameters, also where
        that of the typical set is another.
    """
    if spec.init != "auto" or not 2 <= density.size <= CORRELATED_UP_TO:
        return None
    found = curvature_at_mode(density.evaluate, density.initial_point if around is None else around)
    covariance = covariance_of(found.curvature)
    if covariance is None:
        return None
    strongest = _strongest(covariance)
    if strongest < _STRONG:
        return None
    made = Coordinates(found.point, np.asarray(np.linalg.cholesky(covariance)))
    if density.size > _FREE_UP_TO and not _is_nearly_normal(density.evaluate, made):
        return None
    log.info("coordinates: those of the curvature at the mode (strongest correlation %.3f)", strongest)
    return made


def _is_nearly_normal(density: Density, made: Coordinates) -> bool:
    """Return whether the gradient at draws of Laplace's approximation is the one that it predicts, `-z`."""
    errors = []
    for z in np.random.default_rng(_POINTS).normal(size=(_POINTS, len(made.mode))):
        _, gradient = density(made.mode + made.factor @ z)
        errors.append(np.mean((gradient @ made.factor + z) ** 2))
    return bool(np.median(errors) < _NEARLY_NORMAL)  # also false where it is not a number


def strongest_correlation(density: Density, initial: Vector) -> float:
    """Estimate the largest correlation of the posterior from its curvature at the mode.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    initial
        Where to look for the mode (parameter).

    Returns
    -------
    float
        Largest absolute correlation of the Laplace approximation; 0 where there is no proper mode.
    """
    if initial.size < 2:
        return 0.0
    covariance = covariance_of(curvature_at_mode(density, initial).curvature)
    return 0.0 if covariance is None else _strongest(covariance)


def _strongest(covariance: Vector) -> float:
    sd = np.sqrt(np.diag(covariance))
    return float(np.max(np.abs(covariance / np.outer(sd, sd) - np.eye(sd.size))))


def covariance_of(curvature: Vector) -> Vector | None:
    """Invert a curvature, scaled so that parameters of very different size do no harm."""
    scale = np.sqrt(np.abs(np.diag(curvature)))
    if not np.all(np.isfinite(curvature)) or np.any(scale == 0):
        return None
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    if values[0] <= _MIN_EIGENVALUE:
        return None
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))


@dataclass(frozen=True)
class Mode:
    """The mode (parameter) of a density, and the curvature (parameter, parameter) of its negative logarithm there."""

    point: Vector
    curvature: Vector


def curvature_at_mode(density: Density, initial: Vector) -> Mode:
    """Look for the mode, and return the curvature of the negative log density there.

    A search along gradients is finished by a few Newton steps: with correlations near 1 it would not converge.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    initial
        Where to look for the mode (parameter).
    """
    mode, negative = towards_mode(density, initial), _negative(density)
    curvature = _curvature(negative, mode)
    for _ in range(_NEWTON_STEPS):
        nearer = _newton(negative, mode, curvature)
        if nearer is None:
            break
        mode, curvature = nearer, _curvature(negative, nearer)
    return Mode(mode, curvature)


def towards_mode(density: Density, initial: Vector, steps: int = 100) -> Vector:
    """Search along gradients for the mode, and return the point (parameter) after at most `steps` steps.

    Parameters
    ----------
    density
        `(point) -> (log density, gradient)`, both of the unconstrained point (parameter).
    initial
        Where to begin (parameter).
    steps
        Of L-BFGS.
    """
    found = optimize.minimize(_negative(density), initial, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    point: Vector = found.x
    return point


def _negative(density: Density) -> Density:
    """Return what is minimized: `(point) -> (negative log density, its gradient)`, finite everywhere."""

    def negative(point: Vector) -> tuple[float, Vector]:
        value, gradient = density(point)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(point)
        return -float(value), -np.nan_to_num(gradient)

    return negative


def _newton(negative: Density, mode: Vector, curvature: Vector) -> Vector | None:
    """Take one Newton step; None where it does not lead further down."""
    value, gradient = negative(mode)
    try:
        point: Vector = mode - np.linalg.solve(curvature, gradient)
    except np.linalg.LinAlgError:
        return None
    return point if np.all(np.isfinite(point)) and negative(point)[0] < value - _NEWTON_GAIN else None


def _curvature(negative: Density, mode: Vector) -> Vector:
    steps = 1e-4 * np.maximum(1.0, np.abs(mode)) * np.eye(mode.size)
    rows = [(negative(mode + h)[1] - negative(mode - h)[1]) / (2 * h.sum()) for h in steps]
    return np.asarray(rows + np.transpose(rows)) / 2
