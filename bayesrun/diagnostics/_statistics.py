"""The numbers of `summary.csv` for a block of scalars: mean, sd, interval, standard errors, ESS and R-hat.

Definitions: Vehtari, Gelman, Simpson, Carpenter and Bürkner (doi:10.1214/20-BA1221); those of `az.summary`, to the
last digits but vectorised over scalars.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics._ess import effective_size
from bayesrun.diagnostics._ranks import Ordered, folded, in_order, normal_scores, without_middle

Floats = NDArray[np.float64]

_INTERVAL = 0.94
_TAILS = (0.05, 0.95)
_FEWEST_DRAWS = 4


def statistics(draws: Floats) -> Floats:
    """Compute all statistics of some scalars.

    Parameters
    ----------
    draws
        Over scalar, chain, draw.

    Returns
    -------
    array
        Over scalar, statistic: mean, sd, hdi_3%, hdi_97%, mcse_mean, mcse_sd, ess_bulk, ess_tail, r_hat. The last
        five are NaN with fewer than 4 draws or where a draw is NaN, and R-hat with one chain.
    """
    flat = draws.reshape(len(draws), -1)
    ordered = in_order(flat)
    sd = flat.std(axis=1, ddof=1)
    diagnosed = _diagnose(draws, ordered, sd) if draws.shape[2] >= _FEWEST_DRAWS else np.full((5, len(draws)), np.nan)
    diagnosed[:, np.isnan(flat.sum(axis=1)) & np.isnan(flat).any(axis=1)] = np.nan
    return np.stack([flat.mean(axis=1), sd, *narrowest(ordered.values), *diagnosed], axis=1)


def narrowest(ordered: Floats, prob: float = _INTERVAL) -> tuple[Floats, Floats]:
    """Return the ends of the narrowest interval that holds a share of the draws.

    Parameters
    ----------
    ordered
        Draws in ascending order, over scalar, rank.
    prob
        That share.

    Returns
    -------
    lower, higher : array
        Over scalar.
    """
    inside = int(np.floor(prob * ordered.shape[1]))
    start = np.argmin(ordered[:, inside:] - ordered[:, : ordered.shape[1] - inside], axis=1)
    rows = np.arange(len(ordered))
    return ordered[rows, start], ordered[rows, start + inside]


def _diagnose(draws: Floats, ordered: Ordered, sd: Floats) -> Floats:
    """Return mcse_mean, mcse_sd, ess_bulk, ess_tail and r_hat, over statistic, scalar."""
    chains = draws.shape[1]
    halves = _in_halves(draws)
    split = without_middle(ordered, chains)
    scores = normal_scores(split).reshape(halves.shape)
    of_mean = effective_size(halves)
    of_squares = effective_size(halves**2)
    of_sd = np.where(of_squares < of_mean, of_squares, of_mean)
    factor = np.sqrt(np.e * (1.0 - 1.0 / of_sd) ** (of_sd - 1.0) - 1.0)
    tails = [effective_size((halves <= ordered.quantile(p)[:, None, None]).astype(float)) for p in _TAILS]
    tail = np.where(tails[1] < tails[0], tails[1], tails[0])
    r_hat = np.full(len(draws), np.nan)
    if chains > 1:
        far = normal_scores(folded(split, ordered.median())).reshape(halves.shape)
        r_hat = _larger(_r_hat(scores), _r_hat(far))
    return np.stack([sd / np.sqrt(of_mean), sd * factor, effective_size(scores), tail, r_hat])


def _larger(first: Floats, second: Floats) -> Floats:
    """Take the larger of two, or the first where they can't be compared."""
    return np.where(second > first, second, first)


def _in_halves(draws: Floats) -> Floats:
    """Split each chain into two, over scalar, half chain, draw; the middle one of an odd number is left out."""
    scalars, chains, number = draws.shape
    half = number // 2
    if number % 2:
        draws = np.delete(draws, half, axis=2)
    return draws.reshape(scalars, 2 * chains, half)


def _r_hat(draws: Floats) -> Floats:
    """Compare the spread between chains with that within: sqrt((B / W + N - 1) / N); over scalar."""
    number = draws.shape[2]
    between = number * draws.mean(axis=2).var(axis=1, ddof=1)
    within = draws.var(axis=2, ddof=1).mean(axis=1)
    ratio: Floats = np.sqrt((between / within + number - 1.0) / number)
    return ratio
