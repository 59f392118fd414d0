"""Interval, density and frequencies of the draws of a quantity: the only definitions in bayesrun."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import az

_LEAST_SCALE = 0.05
"""Smallest distance of a quantile from the median that counts, in units of the largest."""


def hdi(draws: NDArray[Any], prob: float) -> NDArray[Any]:
    """Return the narrowest interval that contains a share of the draws, for many quantities at once.

    Parameters
    ----------
    draws
        Over draw (first axis) and any further axes.
    prob
        Probability inside the interval, between 0 and 1.

    Returns
    -------
    array
        Over end (lower, upper) and the further axes.

    References
    ----------
    Chen and Shao (1999), doi:10.1080/10618600.1999.10474802.
    """
    ordered = np.moveaxis(np.sort(draws, axis=0), 0, -1)
    return np.stack(hdi_of_sorted(ordered, prob))


def draws_inside(count: int, prob: float) -> int:
    """Return how many places lie between both ends of the highest-density interval of so many sorted draws."""
    return min(max(int(np.floor(prob * count)), 1), count - 1) if count > 1 else 0


def hdi_of_sorted(ordered: NDArray[Any], prob: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both ends of the highest-density interval of draws that are already sorted.

    Parameters
    ----------
    ordered
        Any axes, then the draws in ascending order (last axis). Of `n` draws, those from place
        `draws_inside` on are read, and as many of the first.
    prob
        Probability inside the interval, between 0 and 1.

    Returns
    -------
    lower, upper : array
        Over all axes but the last.
    """
    count = ordered.shape[-1]
    inside = draws_inside(count, prob)
    start = np.argmin(ordered[..., inside:] - ordered[..., : count - inside], axis=-1)[..., None]
    lower = np.take_along_axis(ordered, start, -1)[..., 0]
    upper = np.take_along_axis(ordered, start + inside, -1)[..., 0]
    return lower, upper


def envelope(curves: NDArray[Any], own: NDArray[Any], prob: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a simultaneous band of curves, which holds a further one at all points with at least this probability.

    The deviation of a curve is its largest distance from the median curve, in units of the distances of the 2.5% and
    the 97.5% quantile from it at the same point. If the further curve can be exchanged with the others, so can its
    deviation, whatever the correlation between points.

    Parameters
    ----------
    curves
        Over curve, point.
    own
        The further curve, over point; all curves together decide the medians and quantiles.
    prob
        Probability of being inside at all points.

    Returns
    -------
    lower, upper : array
        Over point.

    References
    ----------
    The directional quantile envelope of Myllymäki et al. (2017), doi:10.1111/rssb.12172.
    """
    every = np.concatenate([curves, own[None]])
    quantiles: NDArray[Any] = np.asarray(np.quantile(every, [0.025, 0.5, 0.975], axis=0))
    low, middle, high = quantiles[0], quantiles[1], quantiles[2]
    least = max(
        _LEAST_SCALE * float((high - low).max()), float(np.finfo(float).tiny)
    )  # where nearly all curves are equal
    below, above = np.maximum(middle - low, least), np.maximum(high - middle, least)
    deviations = np.where(every < middle, (middle - every) / below, (every - middle) / above).max(axis=1)
    size = np.sort(deviations)[int(np.ceil(prob * len(every))) - 1] * (1 + 1e-12)
    return middle - size * below, middle + size * above


def is_discrete(draws: NDArray[Any]) -> bool:
    """Return whether all draws are integers, even if stored as floats."""
    return draws.dtype.kind in "iub" or (draws.size > 0 and bool(np.all(draws == np.round(draws))))


def frequencies(draws: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the integers between the smallest and the largest draw, and the share of the draws at each."""
    whole = np.round(draws).astype(np.int64)
    low = int(whole.min())
    return low + np.arange(int(whole.max()) - low + 1), np.bincount(whole - low) / len(whole)


def density(draws: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 512 points and the kernel density there, for finite non-constant draws (0 outside their bounds).

    Several figures show the same draws, so that the last ones are kept. The arrays are not to be written to.
    """
    values = np.ascontiguousarray(draws, float)
    key = hashlib.sha256(values.data).digest()
    if key not in _densities:
        if len(_densities) == _MOST_DENSITIES:
            _densities.clear()
        grid, height = az.kde(values.ravel())
        grid.flags.writeable = height.flags.writeable = False
        _densities[key] = grid, height
    return _densities[key]


_densities: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
"""By the digest of the draws."""
_MOST_DENSITIES = 128
