"""Interval, density and frequencies of the draws of a quantity: the only definitions in bayesrun."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def hdi_of_sorted(ordered: NDArray[Any], prob: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both ends of the highest-density interval of draws that are already sorted.

    Parameters
    ----------
    ordered
        Any axes, then the draws in ascending order (last axis).
    prob
        Probability inside the interval, between 0 and 1.

    Returns
    -------
    lower, upper : array
        Over all axes but the last.
    """
    count = ordered.shape[-1]
    inside = min(max(int(np.floor(prob * count)), 1), count - 1) if count > 1 else 0
    start = np.argmin(ordered[..., inside:] - ordered[..., : count - inside], axis=-1)[..., None]
    lower = np.take_along_axis(ordered, start, -1)[..., 0]
    upper = np.take_along_axis(ordered, start + inside, -1)[..., 0]
    return lower, upper


def is_discrete(draws: NDArray[Any]) -> bool:
    """Return whether all draws are integers, even if stored as floats."""
    return draws.dtype.kind in "iub" or (draws.size > 0 and bool(np.all(draws == np.round(draws))))


def frequencies(draws: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the integers between the smallest and the largest draw, and the share of the draws at each."""
    whole = np.round(draws).astype(np.int64)
    low = int(whole.min())
    return low + np.arange(int(whole.max()) - low + 1), np.bincount(whole - low) / len(whole)


def density(draws: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 512 points and the kernel density there, for finite non-constant draws (0 outside their bounds)."""
    import arviz as az

    grid, height = az.kde(np.asarray(draws, float))
    return grid, height
