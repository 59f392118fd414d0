"""Generators of the shipped examples: regressions, counts, a mixture and time series, from known true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bayesrun.data.base import Generator, NonNegative, Positive, Share, Size
from bayesrun.schema import Section


class LinearRegression(Section):
    """True values of the simulated regression.

    Parameters
    ----------
    size
        Number of observations.
    alpha
        Intercept.
    sigma
        Standard deviation of the noise.
    beta
        Slopes of `X1` and `X2`.
    """

    size: Size = 100
    alpha: float = 1.0
    sigma: NonNegative = 1.0
    beta: tuple[float, float] = (1.0, 2.5)


def linear_regression(parameters: LinearRegression, seed: int) -> Mapping[str, Any]:
    """Draw `X1 ~ N(0, 1)`, `X2 ~ N(0, 0.2)`, `Y ~ N(alpha + beta_1 X1 + beta_2 X2, sigma)`.

    The legacy generator and the order of calls follow the tutorial, so that seed 8927 reproduces its numbers.

    Returns `X1`, `X2`, `Y`, each of length `size`.
    """
    random = np.random.RandomState(seed)
    x1 = random.randn(parameters.size)
    x2 = random.randn(parameters.size) * 0.2
    noise = random.randn(parameters.size) * parameters.sigma
    y = parameters.alpha + parameters.beta[0] * x1 + parameters.beta[1] * x2 + noise
    return {"X1": x1, "X2": x2, "Y": y}


class RobustRegression(Section):
    """True values of the simulated line.

    Parameters
    ----------
    size
        Number of points.
    alpha
        Level at `x` = 0.
    beta
        Slope.
    sigma
        Scale of the noise.
    nu
        Degrees of freedom of the noise; lower values give heavier tails.
    """

    size: Size = 100
    alpha: float = 1.0
    beta: float = 2.0
    sigma: NonNegative = 0.5
    nu: Positive = 2.0


def robust_regression(parameters: RobustRegression, seed: int) -> Mapping[str, Any]:
    """Draw `x ~ N(0, 1)` and `y = alpha + beta x + sigma t`, with `t` of Student's t with `nu` degrees of freedom.

    Returns `x`, `y`, each of length `size`.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=parameters.size)
    y = parameters.alpha + parameters.beta * x + parameters.sigma * rng.standard_t(parameters.nu, parameters.size)
    return {"x": x, "y": y}


class VaryingIntercepts(Section):
    """True values of the simulated hierarchy.

    Parameters
    ----------
    size
        Number of measurements.
    counties
        Number of counties; the share of measurements of each county is also drawn.
    level
        Mean level of a county, on the log scale.
    spread
        Standard deviation of the counties' levels.
    slope
        Effect of `floor`.
    noise
        Standard deviation of a measurement.
    """

    size: Size = 240
    counties: Annotated[int, Field(ge=2, le=99)] = 12
    level: float = 1.5
    spread: NonNegative = 0.4
    slope: float = -0.7
    noise: NonNegative = 0.6


def varying_intercepts(parameters: VaryingIntercepts, seed: int) -> Mapping[str, Any]:
    """Draw `alpha_c ~ N(level, spread)` and `log_radon ~ N(alpha_c + slope floor, noise)`.

    Returns `county_name` (labels `c01`, ...), `floor` (0 or 1), `log_radon`, each of length `size`.
    """
    rng = np.random.default_rng(seed)
    levels = rng.normal(parameters.level, parameters.spread, parameters.counties)
    shares = rng.dirichlet(np.full(parameters.counties, 3.0))
    county = rng.choice(parameters.counties, parameters.size, p=shares)
    floor = rng.binomial(1, 0.3, parameters.size)
    log_radon = rng.normal(levels[county] + parameters.slope * floor, parameters.noise)
    return {"county_name": [f"c{c + 1:02d}" for c in county], "floor": floor, "log_radon": log_radon}


class ZeroInflatedCounts(Section):
    """True values of the simulated counts.

    Parameters
    ----------
    size
        Number of counts.
    alpha
        Logarithm of the mean count at `x` = 0.
    beta
        Effect of `x` on it.
    psi
        Share of counts that are not structural zeros.
    """

    size: Size = 250
    alpha: float = 0.8
    beta: float = 0.5
    psi: Share = 0.65


def zero_inflated_counts(parameters: ZeroInflatedCounts, seed: int) -> Mapping[str, Any]:
    """Draw `x ~ N(0, 1)` and `y ~ Poisson(exp(alpha + beta x))` with probability `psi`, else `y = 0`.

    Returns `x`, `y`, each of length `size`.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=parameters.size)
    counts = rng.poisson(np.exp(parameters.alpha + parameters.beta * x))
    y = np.where(rng.random(parameters.size) < parameters.psi, counts, 0)
    return {"x": x, "y": y}


class GaussianMixture(Section):
    """True values of the simulated mixture.

    Parameters
    ----------
    size
        Number of draws.
    weights
        Shares of the components; they sum to 1.
    means
        Means of the components.
    scales
        Standard deviations of the components.
    """

    size: Size = 500
    weights: list[float] = Field(default=[0.35, 0.65])
    means: list[float] = Field(default=[-1.5, 2.0])
    scales: list[float] = Field(default=[0.8, 1.2])


def gaussian_mixture(parameters: GaussianMixture, seed: int) -> Mapping[str, Any]:
    """Draw a component by `weights`, then `y ~ N(mean, scale)` of that component.

    Returns `y` of length `size`.
    """
    rng = np.random.default_rng(seed)
    component = rng.choice(len(parameters.weights), parameters.size, p=parameters.weights)
    y = rng.normal(np.asarray(parameters.means)[component], np.asarray(parameters.scales)[component])
    return {"y": y}


class AR(Section):
    """True values of the simulated series.

    Parameters
    ----------
    size
        Number of times.
    constant
        Constant term.
    rho
        Coefficients of the values at lags 1, 2, ...
    sigma
        Standard deviation of an innovation.
    """

    size: Size = 200
    constant: float = 0.5
    rho: list[float] = Field(default=[0.6, -0.3])
    sigma: NonNegative = 0.5


def ar(parameters: AR, seed: int) -> Mapping[str, Any]:
    """Draw `y_t = constant + sum_i rho_i y_{t-i} + N(0, sigma)`, after a burn-in of 100 times.

    Returns `y` of length `size`.
    """
    rng = np.random.default_rng(seed)
    lags, burn_in = len(parameters.rho), 100
    y = np.zeros(lags + burn_in + parameters.size)
    innovations = rng.normal(0.0, parameters.sigma, y.size)
    for t in range(lags, y.size):
        y[t] = parameters.constant + np.dot(parameters.rho, y[t - lags : t][::-1]) + innovations[t]
    return {"y": y[-parameters.size :]}


class GARCH(Section):
    """True values of the simulated returns.

    Parameters
    ----------
    size
        Number of times.
    omega
        Constant term of the variance.
    alpha_1
        Effect of the last squared return.
    beta_1
        Effect of the last variance.
    initial_vol
        Standard deviation at the first time.
    """

    size: Size = 400
    omega: Positive = 0.2
    alpha_1: NonNegative = 0.3
    beta_1: NonNegative = 0.5
    initial_vol: Positive = 1.0


def garch(parameters: GARCH, seed: int) -> Mapping[str, Any]:
    """Draw `y_t ~ N(0, s_t)` with `s_t^2 = omega + alpha_1 y_{t-1}^2 + beta_1 s_{t-1}^2`.

    Returns `y` of length `size`.
    """
    rng = np.random.default_rng(seed)
    y = np.empty(parameters.size)
    variance = parameters.initial_vol**2
    for t in range(parameters.size):
        y[t] = rng.normal(0.0, np.sqrt(variance))
        variance = parameters.omega + parameters.alpha_1 * y[t] ** 2 + parameters.beta_1 * variance
    return {"y": y}


class SmoothCurve(Section):
    """True values of the simulated curve.

    Parameters
    ----------
    size
        Number of points.
    height
        Height of its first wave.
    sigma
        Standard deviation of the noise.
    """

    size: Size = 60
    height: float = 2.0
    sigma: NonNegative = 0.4


def smooth_curve(parameters: SmoothCurve, seed: int) -> Mapping[str, Any]:
    """Draw `y ~ N(height exp(-x / 6) sin(1.4 x), sigma)`, with `x` sorted and uniform on [0, 10].

    Returns `x` and `y`, each of length `size`.
    """
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 10.0, parameters.size))
    curve = parameters.height * np.exp(-x / 6.0) * np.sin(1.4 * x)
    return {"x": x, "y": rng.normal(curve, parameters.sigma)}


GENERATORS = {
    "ar": Generator(parameters=AR, draw=ar),
    "garch": Generator(parameters=GARCH, draw=garch),
    "gaussian_mixture": Generator(parameters=GaussianMixture, draw=gaussian_mixture),
    "linear_regression": Generator(parameters=LinearRegression, draw=linear_regression),
    "robust_regression": Generator(parameters=RobustRegression, draw=robust_regression),
    "smooth_curve": Generator(parameters=SmoothCurve, draw=smooth_curve),
    "varying_intercepts": Generator(parameters=VaryingIntercepts, draw=varying_intercepts),
    "zero_inflated_counts": Generator(parameters=ZeroInflatedCounts, draw=zero_inflated_counts),
}
