"""Random draws from a truncated distribution: by rejection, or by inverting its distribution function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bayesrun.language.densities.draws import Array, spread
from bayesrun.language.densities.lookup import unnamed
from bayesrun.language.densities.tails import Tails, log_between, tails
from bayesrun.language.distributions import Family
from bayesrun.language.values import Value, constant

_AGAIN = 4
"""Rounds of rejection sampling before the remaining draws are made by inversion."""
_STEPS = 200
_LOWEST = {"positive": 0.0, "unit": 0.0, "count": -1.0, "binary": -1.0}


def draw_within(
    family: Family,
    parameters: Mapping[str, Array],
    limits: Mapping[str, Array],
    draw: Callable[[], Array],
    rng: np.random.Generator,
) -> Array:
    """Draw from a truncated distribution.

    Parameters
    ----------
    family
        The distribution; its tails are known.
    parameters
        Its parameters (draw, ...).
    limits
        `lower`, `upper` or both (draw, ...); values at a limit are within.
    draw
        Draws (draw, *shape) from the untruncated distribution, new ones at each call.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Draws (draw, *shape).
    """
    drawn = np.array(draw())
    low, high = (
        np.broadcast_to(spread(limits.get(side, np.array([end])), shape=drawn.shape[1:])[0], drawn.shape)
        for side, end in (("lower", -np.inf), ("upper", np.inf))
    )
    for _ in range(_AGAIN):
        beyond = (drawn < low) | (drawn > high)
        if not beyond.any():
            return drawn
        drawn = np.where(beyond, draw(), drawn)
    beyond = (drawn < low) | (drawn > high)
    if beyond.any():
        wide = spread(*parameters.values(), shape=drawn.shape[1:])
        at = {n: np.broadcast_to(v, drawn.shape)[beyond] for n, v in zip(parameters, wide, strict=True)}
        known = tails(family)
        assert known is not None
        drawn[beyond] = _inverted(family, known, at, low[beyond], high[beyond], rng)
    return drawn


def _inverted(
    family: Family, known: Tails, parameters: Mapping[str, Array], low: Array, high: Array, rng: np.random.Generator
) -> Array:
    """Draw by inverting the distribution function between the limits, by bisection."""
    values = unnamed(parameters)
    start = np.ceil(low) - 1.0 if family.discrete else low
    high = np.floor(high) if family.discrete else high
    lower = constant(start) if np.isfinite(start).all() else None

    def log_share(x: Array) -> Array:
        return np.asarray(log_between(known, lower, constant(x), values).known)

    upper = constant(high) if np.isfinite(high).all() else None
    whole = _log_all(known, lower, upper, values, low.shape)
    wanted = whole + np.log(rng.random(low.shape))
    with np.errstate(all="ignore"):
        left, right = _bracket(family, start, high, log_share, wanted)
        for _ in range(_STEPS):
            middle = left + 0.5 * (right - left)
            short = log_share(middle) < wanted
            left, right = np.where(short, middle, left), np.where(short, right, middle)
    return np.asarray(np.clip(np.ceil(right - 1e-9) if family.discrete else right, low, high))


def _log_all(known: Tails, lower: Value | None, upper: Value | None, values: Any, shape: tuple[int, ...]) -> Array:
    if lower is None and upper is None:
        return np.zeros(shape)
    return np.asarray(log_between(known, lower, upper, values).known)


def _bracket(
    family: Family, low: Array, high: Array, log_share: Callable[[Array], Array], wanted: Array
) -> tuple[Array, Array]:
    """Return finite points that bracket the solution."""
    right = np.where(np.isfinite(high), high, np.where(np.isfinite(low), low, 0.0) + 1.0)
    lowest = _LOWEST.get(family.support, -np.inf)
    left = np.where(np.isfinite(low), low, np.where(np.isfinite(lowest), lowest, right - 1.0))
    step = 1.0
    for _ in range(1000):
        short = ~np.isfinite(high) & (log_share(right) < wanted)
        over = ~np.isfinite(low) & ~np.isfinite(lowest) & (log_share(left) > wanted)
        if not (short.any() or over.any()):
            break
        step *= 2.0
        right, left = np.where(short, right + step, right), np.where(over, left - step, left)
    return left, right
