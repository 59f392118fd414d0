"""Mean, spread and convergence of the draws of many scalars at once.

Effective sample size (ESS), rank-normalised split R-hat and Monte Carlo standard errors (MCSE) follow Vehtari, Gelman,
Simpson, Carpenter and Bürkner (2021, doi:10.1214/20-BA1221); the sum over autocorrelations is truncated as in Geyer
(1992, doi:10.1214/ss/1177011137). The numbers agree with `az.summary`, vectorised over scalars, except for `mcse_sd`:
ArviZ takes the draws for normal there, and its error is several times too small where tails are heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

from bayesrun.diagnostics.numerics.densities import hdi_of_sorted

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_TAILS = (0.05, 0.95)
_MIN_DRAWS = 4


def statistics(draws: Floats, interval: float) -> Floats:
    """Compute the row of `summary.csv` of each scalar.

    Parameters
    ----------
    draws
        Over scalar, chain, draw.
    interval
        Probability inside the highest-density interval.

    Returns
    -------
    array
        Over scalar, statistic: mean, sd, both ends of the interval, mcse_mean, mcse_sd, ess_bulk, ess_tail, r_hat.
        The last five are NaN with fewer than 4 draws or where a draw is NaN, and R-hat with one chain.
    """
    flat = draws.reshape(len(draws), -1)
    ordered = in_order(flat)
    sd = flat.std(axis=1, ddof=1)
    diagnosed = _convergence(draws, ordered, sd) if draws.shape[2] >= _MIN_DRAWS else np.full((5, len(draws)), np.nan)
    diagnosed[:, np.isnan(flat.sum(axis=1)) & np.isnan(flat).any(axis=1)] = np.nan
    return np.stack([flat.mean(axis=1), sd, *hdi_of_sorted(ordered.values, interval), *diagnosed], axis=1)


def _convergence(draws: Floats, ordered: Ordered, sd: Floats) -> Floats:
    """Return mcse_mean, mcse_sd, ess_bulk, ess_tail and r_hat, over statistic, scalar."""
    chains = draws.shape[1]
    halves = _in_halves(draws)
    split = without_middle(ordered, chains)
    scores = normal_scores(split).reshape(halves.shape)
    of_mean = effective_size(halves)
    tails = [effective_size((halves <= ordered.quantile(p)[:, None, None]).astype(float)) for p in _TAILS]
    tail = np.where(tails[1] < tails[0], tails[1], tails[0])
    r_hat = np.full(len(draws), np.nan)
    if chains > 1:
        far = normal_scores(folded(split, ordered.median())).reshape(halves.shape)
        r_hat = _larger(_r_hat(scores), _r_hat(far))
    return np.stack([sd / np.sqrt(of_mean), _error_of_sd(halves, sd), effective_size(scores), tail, r_hat])


def _error_of_sd(halves: Floats, sd: Floats) -> Floats:
    """Return the MCSE of the sd of each scalar, for draws of any distribution.

    By the delta method, sd(s) = sd(s^2) / (2 s), where s^2 is the mean of the squared distances `c` from the mean:

        mcse_sd = sqrt((mean(c^2) - mean(c)^2) / ESS(c)) / (2 s)

    (Kenney and Keeping 1951, Mathematics of Statistics, part 2). With normal draws that is s / sqrt(2 ESS).
    """
    squares = (halves - halves.mean(axis=(1, 2), keepdims=True)) ** 2
    error: Floats = squares.std(axis=(1, 2)) / np.sqrt(effective_size(squares)) / (2.0 * sd)
    return np.where(sd > 0, error, 0.0)


def _larger(first: Floats, second: Floats) -> Floats:
    """Return the larger of two numbers, or the first if either is NaN."""
    return np.where(second > first, second, first)


def _in_halves(draws: Floats) -> Floats:
    """Split each chain in two, over scalar, half chain, draw; the middle draw of an odd number is dropped."""
    scalars, chains, number = draws.shape
    half = number // 2
    if number % 2:
        draws = np.delete(draws, half, axis=2)
    return draws.reshape(scalars, 2 * chains, half)


def _r_hat(draws: Floats) -> Floats:
    """Return R-hat = sqrt((B / W + N - 1) / N) over scalar: variance between chains (B) and within chains (W)."""
    number = draws.shape[2]
    between = number * draws.mean(axis=2).var(axis=1, ddof=1)
    within = draws.var(axis=2, ddof=1).mean(axis=1)
    ratio: Floats = np.sqrt((between / within + number - 1.0) / number)
    return ratio


def effective_size(draws: Floats) -> Floats:
    """Estimate the effective sample size: how many independent draws would estimate the mean as precisely.

    With the autocorrelations rho_t of all chains combined, M chains and N draws,

        ESS = M N / tau,   tau = -1 + 2 (P_0 + P_1 + ...),   P_k = rho_2k + rho_(2k+1),

    summed over Geyer's initial monotone sequence: up to the first P_k <= 0, each no larger than the one before it.

    Parameters
    ----------
    draws
        Over scalar, chain (split in halves), draw.

    Returns
    -------
    array
        Over scalar; the number of draws for a constant scalar, NaN for one with NaN.
    """
    _, chains, length = draws.shape
    number = chains * length
    means = draws.mean(axis=2)
    covariances = _mean_autocovariance(draws - means[:, :, None])
    within = covariances[:, :1] * (length / (length - 1.0))
    total = within * ((length - 1.0) / length)
    if chains > 1:
        total = total + means.var(axis=1, ddof=1)[:, None]
    rho = 1.0 - (within - covariances) / total
    size: Floats = number / np.maximum(_autocorrelation_time(rho), 1.0 / np.log10(number))
    constant = np.ptp(draws.reshape(len(draws), -1), axis=1) < np.finfo(float).resolution
    return np.where(constant, float(number), np.where(np.isnan(rho[:, 1]), np.nan, size))


def _mean_autocovariance(centred: Floats) -> Floats:
    """Return the autocovariance by lag, averaged over the chains; it needs one inverse transform, which is linear."""
    _, chains, length = centred.shape
    padded = fft.next_fast_len(2 * length, real=True)
    spectrum = fft.rfft(centred, n=padded, axis=2)
    power = np.einsum("scf,scf->sf", spectrum.real, spectrum.real)
    power += np.einsum("scf,scf->sf", spectrum.imag, spectrum.imag)
    covariances: Floats = fft.irfft(power, n=padded, axis=1)[:, :length] / (chains * length)
    return covariances


def _autocorrelation_time(rho: Floats) -> Floats:
    """Return the autocorrelation time tau of autocorrelations over scalar, lag."""
    rho[:, 0] = 1.0
    most = max((rho.shape[1] - 3) // 2, 0)
    pairs = rho[:, 0 : 2 * most + 2 : 2] + rho[:, 1 : 2 * most + 2 : 2]
    ended = ~(pairs > 0)
    ended[:, most] = True
    last = ended.argmax(axis=1)
    before = np.arange(most + 1) < last[:, None]
    total = np.minimum.accumulate(pairs, axis=1).sum(axis=1, where=before)
    rows = np.arange(len(rho))
    even = rho[rows, 2 * last]
    # the last pair contributes its first term, if that or the whole pair is positive
    rest = np.where((even > 0) | (pairs[rows, last] >= 0), even, 0.0)
    time: Floats = -1.0 + 2.0 * total + rest
    return time


@dataclass(frozen=True)
class Ordered:
    """Values in ascending order and their positions before sorting, both over scalar, rank."""

    values: Floats
    places: Places

    def median(self) -> Floats:
        """Return the median of each scalar."""
        n = self.values.shape[1]
        middle: Floats = (self.values[:, (n - 1) // 2] + self.values[:, n // 2]) / 2.0
        return middle

    def quantile(self, prob: float) -> Floats:
        """Return a quantile of each scalar, interpolated between order statistics (type 7)."""
        n = self.values.shape[1]
        position = n * prob + (1.0 - prob)
        lower = int(np.clip(position, 1, n - 1))
        share = min(max(position - lower, 0.0), 1.0)
        # same operations as SciPy's mquantiles: tied draws are compared with the result, so its last bit matters
        result: Floats = (1.0 - share) * self.values[:, lower - 1] + share * self.values[:, lower]
        return result


def in_order(draws: Floats) -> Ordered:
    """Sort draws (over scalar, draw of all chains).

    A radix sort of the draws rounded to 16 bits brings them nearly into order; a merge sort, which is fast on nearly
    sorted values, finishes. This takes half the time of a single sort, and the result is exact.
    """
    least = draws.min(axis=1, keepdims=True)
    rounded = ((draws - least) * (65535.0 / (draws.max(axis=1, keepdims=True) - least))).astype(np.uint16)
    places = np.argsort(rounded, axis=1, kind="stable")
    return _merged(_taken(draws, places), places)


def folded(ordered: Ordered, centre: Floats) -> Ordered:
    """Sort distances from a centre: sorted values fold into two sorted runs, which only need to be merged."""
    distances = np.abs(ordered.values - centre[:, None])
    return _merged(distances, ordered.places)


def _merged(values: Floats, places: Places) -> Ordered:
    order = np.argsort(values, axis=1, kind="stable")
    return Ordered(_taken(values, order), _taken(places, order))


def _taken(values: NDArray[Any], places: Places) -> NDArray[Any]:
    """Return `np.take_along_axis(values, places, 1)` in less than half the time."""
    result = np.empty_like(values)
    for row, (source, place) in enumerate(zip(values, places, strict=True)):
        result[row] = source[place]
    return result


def without_middle(ordered: Ordered, chains: int) -> Ordered:
    """Leave out the middle draw of each chain with an odd number of draws, which belongs to neither half.

    Parameters
    ----------
    ordered
        All draws of all chains; places index (chain, draw), flattened.
    chains
        Number of chains.

    Returns
    -------
    Ordered
        The other draws; places index (chain, draw) without the middle draws, flattened.
    """
    scalars, number = ordered.values.shape
    draws = number // chains
    if draws % 2 == 0:
        return ordered
    kept = np.arange(number) % draws != draws // 2
    moved = np.cumsum(kept) - 1
    inside = kept[ordered.places]
    shape = (scalars, number - chains)
    return Ordered(ordered.values[inside].reshape(shape), moved[ordered.places[inside]].reshape(shape))


def normal_scores(ordered: Ordered) -> Floats:
    """Return the normal score of each draw's average rank r among n: the quantile (r - 3/8) / (n + 1/4).

    Parameters
    ----------
    ordered
        The draws in order.

    Returns
    -------
    array
        Over scalar, draw: each score at the position of its draw.
    """
    values, places = ordered.values, ordered.places
    by_rank = _scores(values.shape[1])
    untied = by_rank[::2]
    tied = (values[:, 1:] == values[:, :-1]).any(axis=1)
    scores = np.empty(values.shape)
    for row, place in enumerate(places):
        scores[row, place] = by_rank[_doubled_ranks(values[row])] if tied[row] else untied
    return scores


def _doubled_ranks(values: Floats) -> Places:
    """Return twice the average rank (from 0) of each value: the first plus the last index of its run of ties."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    ends = np.append(starts[1:], len(values))
    doubled: Places = np.repeat(starts + ends - 1, ends - starts)
    return doubled


@lru_cache(maxsize=8)
def _scores(number: int) -> Floats:
    """Return the scores of the ranks 1, 1.5, ..., `number`: average ranks are integers or half-integers."""
    ranks = np.arange(2, 2 * number + 1) / 2.0
    scores: Floats = ndtri((ranks - 0.375) / (number + 0.25))
    scores.flags.writeable = False
    return scores


def bfmi(energy: Floats) -> Floats:
    """Return the Bayesian fraction of missing information of each chain.

    BFMI = mean((E_i - E_(i-1))^2) / var(E); small values mean that the sampler explores the energy distribution slowly.

    Parameters
    ----------
    energy
        Energy of NUTS, over chain, draw.

    Returns
    -------
    array
        Over chain; NaN for a chain of constant energy.

    References
    ----------
    Betancourt (2016), arXiv:1604.00695.
    """
    spread = np.var(energy, axis=1)
    change = np.mean(np.diff(energy, axis=1) ** 2, axis=1)
    return np.divide(change, spread, out=np.full(len(spread), np.nan), where=spread > 0)
