"""Functions of log probabilities in NumPy that are accurate near 0 and 1, and far out in the tails.

An engine implements each of them with an exact derivative (`bayesrun.engines.pymc3.scalar_functions`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import special

Array = NDArray[Any]

_EPSILON, _TINY = 4e-15, 1e-300
_MAX_TERMS = 20_000
"""Maximum number of terms of a series or continued fraction; a few times the square root of the larger parameter
are needed."""


def softplus(x: Any) -> Array:
    """Return `log(1 + exp(x))` without overflow."""
    return np.asarray(np.logaddexp(0.0, x))


def log1mexp(x: Any) -> Array:
    """Return `log(1 - exp(x))` for `x <= 0` (Mächler 2012, Accurately computing log(1 - exp(-|a|)))."""
    x = np.asarray(x, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > -np.log(2.0), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))


def log_normal_cdf(x: Any) -> Array:
    """Return the logarithm of the standard normal distribution function."""
    return np.asarray(special.log_ndtr(x))


def inverse_mills_ratio(x: Any) -> Array:
    """Return the standard normal density divided by its distribution function, the derivative of `log_normal_cdf`."""
    x = np.asarray(x, dtype=float)
    below, above = np.minimum(x, 0.0), np.maximum(x, 0.0)
    tail = np.sqrt(2.0 / np.pi) / special.erfcx(-below / np.sqrt(2.0))
    return np.where(x < 0.0, tail, np.exp(-0.5 * above**2) / np.sqrt(2.0 * np.pi) / special.ndtr(above))


def log_gamma_tails(a: Any, x: Any) -> tuple[Array, ...]:
    """Return the logarithms of the regularized incomplete gamma functions, and their derivatives by the shape.

    Parameters
    ----------
    a
        Shape, above 0.
    x
        Upper limit of the integral of the lower one, 0 or above.

    Returns
    -------
    log_lower, log_upper, slope_lower, slope_upper : ndarray
        `log P(a, x)`, `log Q(a, x)` and their derivatives by `a`. Below `x = a + 1` by the series of `P`, above it by
        the continued fraction of `Q` (Abramowitz and Stegun 6.5.29 and 6.5.31), with the derivative of each step.
    """
    a, x = (np.asarray(v, dtype=float) for v in np.broadcast_arrays(a, x))
    by_series = x < a + 1.0
    with np.errstate(all="ignore"):
        power = a * np.log(x) - x
        series, series_slope = _gamma_series(a, np.where(by_series, x, 0.5 * a))
        low = power - special.gammaln(a + 1.0) + np.log(series)
        low_slope = np.log(x) - special.digamma(a + 1.0) + series_slope / series
        fraction, fraction_slope = _gamma_fraction(a, np.where(by_series, a + 2.0, x))
        high = power - special.gammaln(a) + np.log(fraction)
        high_slope = np.log(x) - special.digamma(a) + fraction_slope / fraction
        return _both_tails(by_series, low, high, (low_slope,), (high_slope,))


def _both_tails(
    is_low: Array, low: Array, high: Array, low_slopes: tuple[Array, ...], high_slopes: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Return both tails and their derivatives, where one tail is computed and the other is its complement.

    A complement of 0 or 1 has derivative 0.
    """
    log_low, log_high = np.where(is_low, low, log1mexp(high)), np.where(is_low, log1mexp(low), high)
    found = [log_low, log_high]
    pairs = list(zip(low_slopes, high_slopes, strict=True))
    found += [np.where(is_low, of_low, -of_high / np.expm1(-high)) for of_low, of_high in pairs]
    found += [np.where(is_low, -of_low / np.expm1(-low), of_high) for of_low, of_high in pairs]
    return *found[:2], *(np.where(np.isfinite(slope), slope, 0.0) for slope in found[2:])


def _gamma_series(a: Array, x: Array) -> tuple[Array, Array]:
    """Return `sum_n x^n / ((a + 1) ... (a + n))` and its derivative by `a`."""
    term, slope = np.ones(np.shape(x)), np.zeros(np.shape(x))
    total, total_slope = term.copy(), slope.copy()
    for n in range(1, _MAX_TERMS):
        slope = (slope - term / (a + n)) * x / (a + n)
        term = term * x / (a + n)
        total, total_slope = total + term, total_slope + slope
        # NaN counts as converged
        if not np.any((term > _EPSILON * total) | (np.abs(slope) > _EPSILON * np.abs(total_slope))):
            break
    return total, total_slope


def _gamma_fraction(a: Array, x: Array) -> tuple[Array, Array]:
    """Return the continued fraction of `Q` by Lentz's method, and its derivative by `a`."""
    b = x + 1.0 - a
    c, c_slope = np.full(np.shape(b), 1.0 / _TINY), np.zeros(np.shape(b))
    d, d_slope = 1.0 / b, 1.0 / b**2
    value, slope = d, d_slope
    for n in range(1, _MAX_TERMS):
        factor, b = -n * (n - a), b + 2.0
        c, c_slope = b + factor / c, -1.0 + n / c - factor * c_slope / c**2
        below, below_slope = b + factor * d, -1.0 + n * d + factor * d_slope
        d, d_slope = 1.0 / below, -below_slope / below**2
        step, step_slope = c * d, c_slope * d + c * d_slope
        value, slope = value * step, slope * step + value * step_slope
        if not np.any(_unsettled(step, step_slope, slope / value)):
            break
    return value, slope


def _unsettled(step: Array, step_slope: Array, relative_slope: Array) -> Array:
    """Return where a step of a continued fraction has not converged in value or derivative."""
    return (np.abs(step - 1.0) > _EPSILON) | (np.abs(step_slope) > _EPSILON * (1.0 + np.abs(relative_slope)))


def log_beta_tails(a: Any, b: Any, z: Any) -> tuple[Array, ...]:
    """Return the logs of the regularized incomplete beta function at `sigmoid(z)`, of its complement, and derivatives.

    Parameters
    ----------
    a, b
        Shapes, above 0.
    z
        Log odds of the point, to keep precision near 1.

    Returns
    -------
    log_lower, log_upper, lower_by_a, lower_by_b, upper_by_a, upper_by_b : ndarray
        `log I_x(a, b)`, `log(1 - I_x(a, b))` and derivatives, by the continued fraction of Abramowitz and Stegun 26.5.8
        with the derivative of each step (Boik and Robison-Cox 1998, doi:10.18637/jss.v003.i01).
    """
    a, b, z = (np.asarray(v, dtype=float) for v in np.broadcast_arrays(a, b, z))
    with np.errstate(all="ignore"):
        is_low = special.expit(z) < (a + 1.0) / (a + b + 2.0)
        p, q, at = np.where(is_low, a, b), np.where(is_low, b, a), np.where(is_low, z, -z)
        value, by_p, by_q = _beta_fraction(p, q, special.expit(at))
        log_x, log_y = -softplus(-at), -softplus(at)
        both = special.digamma(p + q)
        logs = p * log_x + q * log_y - special.betaln(p, q) - np.log(p) + np.log(value)
        by_p = log_x - special.digamma(p) + both - 1.0 / p + by_p / value
        by_q = log_y - special.digamma(q) + both + by_q / value
        by_a, by_b = np.where(is_low, by_p, by_q), np.where(is_low, by_q, by_p)
        return _both_tails(is_low, logs, logs, (by_a, by_b), (by_a, by_b))


def _beta_fraction(a: Array, b: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return the continued fraction of the incomplete beta function by Lentz's method, and its derivatives."""
    c, c_slopes = np.ones(np.shape(x)), [np.zeros(np.shape(x))] * 2
    below = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / below
    d_slopes = [x * (1.0 - b) / (a + 1.0) ** 2 / below**2, x / (a + 1.0) / below**2]
    value, slopes = d, d_slopes
    for m in range(1, _MAX_TERMS):
        at, odd = a + 2.0 * m, a + m
        factors = (
            (m * (b - m) * x / ((at - 1.0) * at), m * x / ((at - 1.0) * at), -1.0 / (at - 1.0) - 1.0 / at),
            (
                -odd * (odd + b) * x / (at * (at + 1.0)),
                -odd * x / (at * (at + 1.0)),
                1.0 / odd + 1.0 / (odd + b) - 1.0 / at - 1.0 / (at + 1.0),
            ),
        )
        for factor, by_b, relative_by_a in factors:
            factor_slopes = (factor * relative_by_a, by_b)
            old_c, old_d = c, d
            c, below = 1.0 + factor / old_c, 1.0 + factor * old_d
            d = 1.0 / below
            pairs = list(zip(factor_slopes, c_slopes, d_slopes, strict=True))
            c_slopes = [f / old_c - factor * s / old_c**2 for f, s, _ in pairs]
            d_slopes = [-(f * old_d + factor * s) / below**2 for f, _, s in pairs]
            step = c * d
            step_slopes = [cs * d + c * ds for cs, ds in zip(c_slopes, d_slopes, strict=True)]
            value, slopes = value * step, [s * step + value * t for s, t in zip(slopes, step_slopes, strict=True)]
        if not any(np.any(_unsettled(step, t, s / value)) for s, t in zip(slopes, step_slopes, strict=True)):
            break
    return value, slopes[0], slopes[1]
