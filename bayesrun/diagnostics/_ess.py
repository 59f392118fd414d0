"""Effective sample size of many scalars at once (doi:10.1214/20-BA1221, section 3.2).

The sum over autocorrelations ends as Geyer (1992, doi:10.1214/ss/1177011137) says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]


def effective_size(draws: Floats) -> Floats:
    """Estimate how many independent draws would tell the mean as well.

    With the autocorrelations rho_t of all chains together, M chains and N draws,

        ESS = M N / tau,   tau = -1 + 2 (P_0 + P_1 + ...),   P_k = rho_2k + rho_(2k+1),

    summed over Geyer's initial monotone sequence: up to the first P_k <= 0, each no larger than the one before it.

    Parameters
    ----------
    draws
        Over scalar, chain (split in halves), draw.

    Returns
    -------
    array
        Over scalar; the number of draws for a scalar that never changes, NaN for one with NaN.
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
    size: Floats = number / np.maximum(_time(rho), 1.0 / np.log10(number))
    constant = np.ptp(draws.reshape(len(draws), -1), axis=1) < np.finfo(float).resolution
    return np.where(constant, float(number), np.where(np.isnan(rho[:, 1]), np.nan, size))


def _mean_autocovariance(centred: Floats) -> Floats:
    """Return the autocovariance by lag, mean over the chains; only one transform back, because that is linear."""
    _, chains, length = centred.shape
    padded = fft.next_fast_len(2 * length, real=True)
    spectrum = fft.rfft(centred, n=padded, axis=2)
    power = np.einsum("scf,scf->sf", spectrum.real, spectrum.real)
    power += np.einsum("scf,scf->sf", spectrum.imag, spectrum.imag)
    covariances: Floats = fft.irfft(power, n=padded, axis=1)[:, :length] / (chains * length)
    return covariances


def _time(rho: Floats) -> Floats:
    """Sum autocorrelations (over scalar, lag) to the autocorrelation time tau."""
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
    # the pair that ends the sequence gives its first half, if that or the whole pair is positive
    rest = np.where((even > 0) | (pairs[rows, last] >= 0), even, 0.0)
    time: Floats = -1.0 + 2.0 * total + rest
    return time
