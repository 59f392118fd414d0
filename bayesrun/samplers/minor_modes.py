"""Chains that would begin in a mode of negligible mass begin near a better one.

A posterior of a differential equation has modes in which the solution misses the data, tens of nats below the main
one. NUTS does not leave such a mode within a run: the chain in it makes the whole run fail. Before sampling, each
chain's mode is sought, and that of the model's own initial values; where these searches are long, as no density that
is nearly normal has them, further ones start from random points. A mode's mass is that of Laplace's approximation,
`p(m) (2 pi)^(d/2) |S|^(1/2)` with `S` the inverse curvature at `m` (Tierney and Kadane 1986,
doi:10.1080/01621459.1986.10478240).

Only modes that are far below are left, never one that may count: chains that disagree must be seen to disagree. Where
all chains lead to the same mode, or one leads nowhere, as into the neck of a funnel, nothing changes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import LogDensity
from bayesrun.samplers.initial_points import (
    Density,
    covariance_of,
    curvature_at_mode,
    is_usable,
    towards_mode,
    usable_towards,
)

Vector = NDArray[np.float64]

log = logging.getLogger("bayesrun.sampling")

MODES_UP_TO = 50
"""Parameters up to which modes are compared: Laplace's error grows with their number."""
_FAR = 20.0
"""Nats below the best mode from which on a mode does not count; a fifth of a nat more for each parameter."""
_CONVERGED = 0.1
"""Largest squared Newton step, in standard deviations, of a search that has found its mode."""
_LONG = 30
"""Mean number of evaluations of a search from which on further searches are made."""
_FURTHER = 30
_WITHIN = 2.0
"""Further searches start, and new first points lie, uniformly between minus and plus this: of the unconstrained initial
values, and in standard deviations from the mode."""


@dataclass(frozen=True)
class _Basin:
    """A mode (parameter), a factor of its covariance (parameter, parameter), and the logarithm of its mass, nats."""

    mode: Vector
    factor: Vector
    mass: float


def leave_minor_modes(density: LogDensity, first: Vector, seeds: Sequence[int]) -> tuple[Vector, Vector | None]:
    """Move the first points of chains out of modes that hold no mass.

    Parameters
    ----------
    density
        The model's compiled density.
    first
        First points (chain, parameter).
    seeds
        One per chain; decides where a chain begins instead.

    Returns
    -------
    ndarray
        First points (chain, parameter), those of other chains as they were.
    ndarray or None
        The best mode (parameter); None where no chain is moved.
    """
    if not 2 <= density.size <= MODES_UP_TO:
        return first, None
    evaluate, far = density.evaluate, _FAR + 0.2 * density.size
    ends, evaluations = _ends(evaluate, [*first, density.initial_point])
    long = evaluations > _LONG * len(ends)
    # the own modes come before further searches: where none is one, as in a hierarchy, no chain can be moved from it
    if not long and not _differ(evaluate, ends, far):
        return first, None
    own = [_basin(evaluate, end) for end in ends[: len(first)]]
    if not any(own):
        return first, None
    if long:
        jitter = np.random.default_rng([seeds[0], 2]).uniform(-_WITHIN, _WITHIN, (_FURTHER, density.size))
        further = [point for point in density.initial_point + jitter if is_usable(evaluate, point)]
        ends += _ends(evaluate, further)[0]
        if not _differ(evaluate, ends, far):
            return first, None
    basins = [*own, *(_basin(evaluate, end) for end in ends[len(first) :])]
    best = max((basin for basin in basins if basin), key=lambda basin: basin.mass)
    below = {
        chain: best.mass - basin.mass
        for chain, basin in enumerate(own)
        if basin is not None and best.mass - basin.mass > far
    }
    if not below:
        return first, None
    moved = first.copy()
    for chain in below:
        moved[chain] = _near(evaluate, best, np.random.default_rng([seeds[chain], 1]))
    log.info("start: %s", _told(below))
    return moved, best.mode


def _differ(evaluate: Density, ends: Sequence[Vector], far: float) -> bool:
    """Return whether a search has ended more than `far` nats below another."""
    heights = [evaluate(end)[0] for end in ends]
    return bool(np.ptp([height for height in heights if np.isfinite(height)] or [0.0]) > far)


def _ends(evaluate: Density, points: Sequence[Vector]) -> tuple[list[Vector], int]:
    """Return the modes that searches from some points end at, and how often the density was evaluated."""
    count = 0

    def counted(point: Vector) -> tuple[float, Vector]:
        nonlocal count
        count += 1
        return evaluate(point)

    return [towards_mode(counted, point) for point in points], count


def _basin(evaluate: Density, end: Vector) -> _Basin | None:
    """Describe the mode that a search has found; None if it has found none, or one without a proper covariance."""
    found = curvature_at_mode(evaluate, end)
    covariance = covariance_of(found.curvature)
    if covariance is None:
        return None
    height, slope = evaluate(found.point)
    if not np.isfinite(height) or not slope @ covariance @ slope < _CONVERGED:
        return None
    try:
        factor: Vector = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return None
    return _Basin(found.point, factor, float(height + np.log(np.diag(factor)).sum()))


def _near(evaluate: Density, basin: _Basin, rng: np.random.Generator) -> Vector:
    step = basin.factor @ rng.uniform(-_WITHIN, _WITHIN, basin.mode.size)
    point = usable_towards(evaluate, basin.mode, step)
    return basin.mode if point is None else point


def _told(below: Mapping[int, float]) -> str:
    which = f"chain{'s' if len(below) > 1 else ''} {', '.join(map(str, below))}"
    begin, would = ("begin", "they") if len(below) > 1 else ("begins", "it")
    return (
        f"{which} {begin} near the best mode that was found: the mode to which {would} would have gone "
        f"holds exp(-{min(below.values()):.0f}) of its mass"
    )
