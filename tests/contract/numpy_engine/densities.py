"""Log densities of distributions, written down from their formulas; parameters are numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special, stats
from scipy.special import gammaln, logsumexp

from bayesrun.language.densities.named_densities import known_log_density, unnamed
from bayesrun.language.modifiers import NONE, Modifiers, log_terms
from bayesrun.language.plan import Plan
from bayesrun.language.probability_masses import log_probability
from bayesrun.language.values import constant

Array = Any
Parameters = Mapping[str, Array]


def log_density(plan: Plan, x: Array) -> Array:
    """Return the log density, or probability, of each draw in `x`; all parameters of the plan are known."""
    if plan.modifiers is not None:
        return _modified(plan, plan.modifiers, x)
    if plan.discrete:
        return log_probability(plan, x)
    p = {name: np.asarray(value.known, dtype=float) for name, value in plan.values.items()}
    if plan.family.declared:
        return known_log_density(plan.family, x, p)
    if plan.family.name in _OF_SERIES:
        return _OF_SERIES[plan.family.name](plan, p, x)
    lower, upper = p.pop("lower", -np.inf), p.pop("upper", np.inf)
    if plan.family.name == "Uniform":
        return stats.uniform.logpdf(x, lower, upper - lower)
    logs = _OF_NUMBERS[plan.family.name](p, x)
    if plan.family.name in ("Normal", "TruncatedNormal") and (np.any(np.isfinite(lower)) or np.any(np.isfinite(upper))):
        at = stats.norm(p.get("mu", 0.0), _sigma(p))
        logs = logs - np.log(at.cdf(upper) - at.cdf(lower))
    return np.where((x >= lower) & (x <= upper), logs, -np.inf)


def _modified(plan: Plan, made: Modifiers, x: Array) -> Array:
    """Return the terms of a likelihood that is weighted, censored or truncated."""
    seen = x if made.status is None else np.where(made.status == NONE, x, made.inside)
    logs = constant(log_density(replace(plan, modifiers=None), seen))
    parameters = unnamed({name: value.known for name, value in plan.values.items()})
    others = unnamed({name: value.known for name, value in made.values().items()})
    return log_terms(plan.family, logs, constant(x), parameters, made.of(others)).known


def _sigma(p: Parameters, precision: str = "tau") -> Array:
    return p["sigma"] if "sigma" in p else p[precision] ** -0.5 if precision in p else 1.0


def _normal(p: Parameters, x: Array) -> Array:
    return stats.norm.logpdf(x, p.get("mu", 0.0), _sigma(p))


def _normal_mixture(p: Parameters, x: Array) -> Array:
    return logsumexp(np.log(p["w"]) + stats.norm.logpdf(x[..., None], p["mu"], _sigma(p)), axis=-1)


_OF_NUMBERS: Mapping[str, Callable[[Parameters, Array], Array]] = {
    "Beta": lambda p, x: stats.beta.logpdf(x, p["alpha"], p["beta"]),
    "Cauchy": lambda p, x: stats.cauchy.logpdf(x, p["alpha"], p["beta"]),
    "ChiSquared": lambda p, x: stats.chi2.logpdf(x, p["nu"]),
    "Exponential": lambda p, x: stats.expon.logpdf(x, scale=1 / p["lam"]),
    "ExGaussian": lambda p, x: stats.exponnorm.logpdf(x, p["nu"] / p["sigma"], p["mu"], p["sigma"]),
    "Flat": lambda p, x: np.zeros(np.shape(x)),
    "Gamma": lambda p, x: stats.gamma.logpdf(x, p["alpha"], scale=1 / p["beta"]),
    "Gumbel": lambda p, x: stats.gumbel_r.logpdf(x, p.get("mu", 0.0), p.get("beta", 1.0)),
    "HalfCauchy": lambda p, x: stats.halfcauchy.logpdf(x, scale=p["beta"]),
    "HalfNormal": lambda p, x: stats.halfnorm.logpdf(x, scale=_sigma(p)),
    "HalfStudentT": lambda p, x: np.log(2.0) + stats.t.logpdf(x, p["nu"], 0.0, _sigma(p, "lam")),
    "Kumaraswamy": lambda p, x: np.log(p["a"] * p["b"] * x ** (p["a"] - 1) * (1 - x ** p["a"]) ** (p["b"] - 1)),
    "Moyal": lambda p, x: stats.moyal.logpdf(x, p["mu"], p["sigma"]),
    "Wald": lambda p, x: stats.invgauss.logpdf(x, p["mu"] / p["lam"], scale=p["lam"]),
    "InverseGamma": lambda p, x: stats.invgamma.logpdf(x, p["alpha"], scale=p["beta"]),
    "Laplace": lambda p, x: stats.laplace.logpdf(x, p["mu"], p["b"]),
    "LogitNormal": lambda p, x: stats.norm.logpdf(special.logit(x), p["mu"], _sigma(p)) - np.log(x * (1 - x)),
    "LogNormal": lambda p, x: stats.lognorm.logpdf(x, _sigma(p), scale=np.exp(p.get("mu", 0.0))),
    "Logistic": lambda p, x: stats.logistic.logpdf(x, p.get("mu", 0.0), p.get("s", 1.0)),
    "Normal": _normal,
    "NormalMixture": _normal_mixture,
    "SkewNormal": lambda p, x: stats.skewnorm.logpdf(x, p.get("alpha", 0.0), p.get("mu", 0.0), _sigma(p)),
    "VonMises": lambda p, x: stats.vonmises.logpdf(x, p["kappa"], p.get("mu", 0.0)),
    "Pareto": lambda p, x: stats.pareto.logpdf(x, p["alpha"], scale=p["m"]),
    "StudentT": lambda p, x: stats.t.logpdf(x, p["nu"], p.get("mu", 0.0), _sigma(p, "lam")),
    "TruncatedNormal": _normal,
    "Weibull": lambda p, x: stats.weibull_min.logpdf(x, p["alpha"], scale=p["beta"]),
}


def _dirichlet(plan: Plan, p: Parameters, x: Array) -> Array:
    return gammaln(p["a"].sum()) - gammaln(p["a"]).sum() + ((p["a"] - 1) * np.log(x)).sum(axis=-1)


def _random_walk(plan: Plan, p: Parameters, x: Array) -> Array:
    """Steps are normal; what parameters along the walk say of its first point has no meaning."""
    mean, sd = (v[..., 1:] if np.shape(v)[-1:] > (1,) else v for v in (np.asarray(p.get("mu", 0.0)), _sigma(p)))
    inner = plan.inner.get("init")
    start = log_density(inner, x[..., 0]).sum() if isinstance(inner, Plan) else 0.0
    return start + stats.norm.logpdf(np.diff(x), mean, sd).sum()


def _autoregression(plan: Plan, p: Parameters, x: Array) -> Array:
    """The first values are taken as given."""
    level, rho = (p["rho"][0], p["rho"][1:]) if plan.flags.get("constant") else (0.0, p["rho"])
    lags = len(rho)
    expected = [level + rho @ x[t - lags : t][::-1] for t in range(lags, len(x))]
    return stats.norm.logpdf(x[lags:], expected, _sigma(p)).sum()


def _garch(plan: Plan, p: Parameters, x: Array) -> Array:
    variance, logs = p["initial_vol"] ** 2, 0.0
    for value in x:
        logs += stats.norm.logpdf(value, 0.0, np.sqrt(variance))
        variance = p["omega"] + p["alpha_1"] * value**2 + p["beta_1"] * variance
    return logs


def _cholesky(plan: Plan, p: Parameters, x: Array) -> Array:
    """LKJ (2009) for the correlations, `sd_dist` for the scales, and the Jacobian from both to the factor `x`."""
    n, eta = len(x), p["eta"]
    scales = np.sqrt((x**2).sum(axis=1))
    diagonal, k = np.diag(x) / scales, np.arange(1, n)
    norm = -(n - 1) * gammaln(eta + 0.5 * (n - 1)) + (0.5 * k * np.log(np.pi) + gammaln(eta + 0.5 * (n - 1 - k))).sum()
    correlations = ((2 * eta - 3 + n - np.arange(n)) * np.log(diagonal)).sum()
    jacobian = (np.log(diagonal) - np.arange(n) * np.log(scales)).sum()
    inner = plan.inner["sd_dist"]
    assert isinstance(inner, Plan)
    return norm + correlations + jacobian + log_density(inner, scales).sum()


def _vectors(plan: Plan, p: Parameters, x: Array) -> Array:
    covariance = p["chol"] @ p["chol"].T if "chol" in p else p["cov"] if "cov" in p else np.linalg.inv(p["tau"])
    zeros = np.zeros(len(covariance))
    of = stats.multivariate_t(zeros, covariance, p["nu"]) if "nu" in p else stats.multivariate_normal(zeros, covariance)
    return of.logpdf(x - p["mu"])


_OF_SERIES: Mapping[str, Callable[[Plan, Parameters, Array], Array]] = {
    "AR": _autoregression,
    "Dirichlet": _dirichlet,
    "GARCH11": _garch,
    "GaussianRandomWalk": _random_walk,
    "LKJCholeskyCov": _cholesky,
    "MvNormal": _vectors,
    "MvStudentT": _vectors,
}
