"""Models whose posterior is known: in closed form, by enumeration, or by an integral over one parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import special, xr

Floats = NDArray[np.float64]
Moments = Mapping[str, tuple[Any, Any]]
"""Variable to its exact mean and sd, arrays over its dims."""

_NODES = 20_000
_TREND_SD, _NOISE_SD, _START_SD = 0.5, 1.0, 3.0


@dataclass(frozen=True)
class KnownPosterior:
    """A model and what is known of its posterior.

    Parameters
    ----------
    how
        How the exact moments are computed.
    exact
        `(data) -> moments`.
    model, data
        Sections of the config; None for a shipped model, which is chosen by its name.
    """

    how: str
    exact: Callable[[Any], Moments]
    model: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None


def _weighted(values: Floats, weights: Floats, spread: Any = 0.0) -> tuple[Floats, Floats]:
    """Return mean and sd of a mixture: conditional means (node, ...), variances, and weights (node)."""
    share = weights / weights.sum()
    mean = np.tensordot(share, values, 1)
    variance = np.tensordot(share, np.broadcast_to(spread, values.shape) + (values - mean) ** 2, 1)
    return np.asarray(mean), np.sqrt(variance)


def _middles(number: int) -> Floats:
    return (np.arange(number) + 0.5) / number


# ---------------------------------------------------------------- shipped models


def _eight_schools(data: xr.Dataset) -> Moments:
    """Integrate over `tau` at quantiles of its prior; given it, all else is normal."""
    y, error = data["effect"].values.astype(float), data["stderr"].values.astype(float)
    tau = 5.0 * np.tan(0.5 * np.pi * _middles(_NODES))[:, None]
    weight = 1.0 / (error**2 + tau**2)
    variance = 1.0 / (1.0 / 25.0 + weight.sum(axis=1))
    mu = variance * (weight * y).sum(axis=1)
    log_evidence = 0.5 * (
        np.log(weight).sum(axis=1) - (weight * y**2).sum(axis=1) + mu**2 / variance + np.log(variance)
    )
    chance = np.exp(log_evidence - log_evidence.max())
    pooled = error**2 / (error**2 + tau**2)
    theta = (1.0 - pooled) * y + pooled * mu[:, None]
    spread = (1.0 - pooled) * error**2 + pooled**2 * variance[:, None]
    return {
        "mu": _weighted(mu, chance, variance),
        "tau": _weighted(tau[:, 0], chance),
        "theta": _weighted(theta, chance, spread),
        "shrinkage": _weighted(pooled, chance),
    }


def _switchpoint(data: xr.Dataset) -> Moments:
    """Enumerate the years; given one, both rates have gamma distributions: priors are exponential with rate 1."""
    counts, years = data["disasters"].values.astype(float), data["year"].values
    seen = ~np.isnan(counts)
    switch = np.arange(years.min(), years.max() + 1)
    early = switch[:, None] >= years
    before, after = early & seen, ~early & seen
    sums = [(np.where(part, np.nan_to_num(counts), 0.0).sum(axis=1), part.sum(axis=1)) for part in (before, after)]
    log_weight = sum(special.gammaln(total + 1.0) - (total + 1.0) * np.log1p(number) for total, number in sums)
    chance = np.exp(log_weight - log_weight.max())
    rates = [((total + 1.0) / (number + 1.0), (total + 1.0) / (number + 1.0) ** 2) for total, number in sums]
    missing = early[:, ~seen]
    means, variances = (np.where(missing, rates[0][i][:, None], rates[1][i][:, None]) for i in (0, 1))
    return {
        "switchpoint": _weighted(switch.astype(float), chance),
        "early_rate": _weighted(rates[0][0], chance, rates[0][1]),
        "late_rate": _weighted(rates[1][0], chance, rates[1][1]),
        "disasters_missing": _weighted(means, chance, means + variances),
    }


def _linear_regression(data: xr.Dataset) -> Moments:
    """Integrate over `sigma`; given it, the coefficients are normal."""
    y = data["Y"].values
    x = np.column_stack([np.ones(len(y)), data["X1"].values, data["X2"].values])
    sigma = np.linspace(0.0, 6.0, 4001)[1:]
    precision = x.T @ x / sigma[:, None, None] ** 2 + np.eye(3) / 100.0
    covariance = np.linalg.inv(precision)
    mean = np.einsum("nij,j->ni", covariance, x.T @ y) / sigma[:, None] ** 2
    log_evidence = -len(y) * np.log(sigma) - 0.5 * (y @ y) / sigma**2 - 0.5 * np.linalg.slogdet(precision)[1]
    log_evidence += 0.5 * np.einsum("ni,nij,nj->n", mean, precision, mean) - 0.5 * sigma**2
    chance = np.exp(log_evidence - log_evidence.max())
    means, sds = _weighted(mean, chance, np.diagonal(covariance, axis1=1, axis2=2))
    return {
        "alpha": (means[0], sds[0]),
        "beta": (means[1:], sds[1:]),
        "sigma": _weighted(sigma, chance),
    }


# ---------------------------------------------------------------- models of this check


def _beta_binomial(data: xr.Dataset) -> Moments:
    a = 2.0 + data["y"].values.sum()
    b = 3.0 + (data["n"].values - data["y"].values).sum()
    return {"p": (a / (a + b), np.sqrt(a * b / (a + b + 1.0)) / (a + b))}


def _gamma_poisson(data: xr.Dataset) -> Moments:
    shape, rate = 3.0 + data["y"].values.sum(), 0.5 + data.sizes["obs"]
    return {"rate": (shape / rate, np.sqrt(shape) / rate)}


def _normal_gamma(data: xr.Dataset) -> Moments:
    """Use the conjugate prior of mean and precision: `mu` has Student's t distribution."""
    y = data["y"].values
    n, weight, shape = len(y), 2.0 + len(y), 3.0 + 0.5 * len(y)
    mean = (2.0 * 1.0 + y.sum()) / weight
    rate = 2.0 + 0.5 * ((y - y.mean()) ** 2).sum() + 0.5 * 2.0 * n / weight * (y.mean() - 1.0) ** 2
    sd = np.sqrt(rate / (shape * weight) * shape / (shape - 1.0))
    return {"mu": (mean, sd), "precision": (shape / rate, np.sqrt(shape) / rate)}


def _dirichlet(data: xr.Dataset) -> Moments:
    a = np.array([1.0, 2.0, 3.0]) + np.bincount(data["y"].values.astype(int), minlength=3)
    total = a.sum()
    return {"shares": (a / total, np.sqrt(a * (total - a) / (total + 1.0)) / total)}


def _local_level(data: xr.Dataset) -> Moments:
    """Filter forwards (Kalman), then smooth backwards (Rauch, Tung and Striebel)."""
    y = data["y"].values
    means, variances = np.empty(len(y)), np.empty(len(y))
    mean, variance = 0.0, _START_SD**2
    for t, value in enumerate(y):
        gain = variance / (variance + _NOISE_SD**2)
        means[t], variances[t] = mean + gain * (value - mean), (1.0 - gain) * variance
        mean, variance = means[t], variances[t] + _TREND_SD**2
    for t in range(len(y) - 2, -1, -1):
        ahead = variances[t] + _TREND_SD**2
        gain = variances[t] / ahead
        means[t] += gain * (means[t + 1] - means[t])
        variances[t] += gain**2 * (variances[t + 1] - ahead)
    return {"level": (means, np.sqrt(variances))}


def _model(name: str, priors: Mapping[str, Any], likelihood: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "type": "declarative", "priors": dict(priors), "likelihood": {"y_obs": dict(likelihood)}}


def _data(**values: list[float]) -> dict[str, Any]:
    return {"name": "known", "source": "inline", "values": values}


_SERIES = [0.3, 1.1, 0.2, 0.9, 1.8, 1.2, 2.9, 2.2, 1.6, 2.4, 1.1, 0.4, 1.3, -0.6, 0.1, -0.9, -1.4, -0.2, -1.1, -2.0]
_WALK = {
    "dist": "GaussianRandomWalk",
    "sigma": _TREND_SD,
    "init": {"dist": "Normal", "mu": 0, "sigma": _START_SD},
    "dims": ["obs"],
}

KNOWN: Mapping[str, KnownPosterior] = {
    "linear_regression": KnownPosterior("integral over sigma", _linear_regression),
    "eight_schools": KnownPosterior("integral over tau", _eight_schools),
    "switchpoint": KnownPosterior("enumeration", _switchpoint),
    "beta_binomial": KnownPosterior(
        "closed form",
        _beta_binomial,
        _model(
            "beta_binomial",
            {"p": {"dist": "Beta", "alpha": 2, "beta": 3}},
            {"dist": "Binomial", "n": "n", "p": "p", "observed": "y"},
        ),
        _data(y=[7, 2, 4], n=[20, 9, 12]),
    ),
    "gamma_poisson": KnownPosterior(
        "closed form",
        _gamma_poisson,
        _model(
            "gamma_poisson",
            {"rate": {"dist": "Gamma", "alpha": 3, "beta": 0.5}},
            {"dist": "Poisson", "mu": "rate", "observed": "y"},
        ),
        _data(y=[4, 2, 7, 5, 3, 0]),
    ),
    "normal_gamma": KnownPosterior(
        "closed form",
        _normal_gamma,
        _model(
            "normal_gamma",
            {
                "precision": {"dist": "Gamma", "alpha": 3, "beta": 2},
                "mu": {"dist": "Normal", "mu": 1, "tau": "2 * precision"},
            },
            {"dist": "Normal", "mu": "mu", "tau": "precision", "observed": "y"},
        ),
        _data(y=[1.3, 0.2, 2.1, 1.7, 0.4, -0.3, 1.0]),
    ),
    "dirichlet_categorical": KnownPosterior(
        "closed form",
        _dirichlet,
        _model(
            "dirichlet_categorical",
            {"shares": {"dist": "Dirichlet", "a": [1, 2, 3]}},
            {"dist": "Categorical", "p": "shares", "observed": "y"},
        ),
        _data(y=[0, 2, 2, 1, 0, 2, 2, 1, 2]),
    ),
    "local_level": KnownPosterior(
        "Kalman filter",
        _local_level,
        _model("local_level", {"level": _WALK}, {"dist": "Normal", "mu": "level", "sigma": _NOISE_SD, "observed": "y"}),
        _data(y=_SERIES),
    ),
}
"""Models by name."""
