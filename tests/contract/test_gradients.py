"""The gradient of every construct of the language against finite differences.

Each construct is named once: distributions, functions, covariance functions, modifiers, transforms, parametrizations,
and the keys that make a model more than distributions. One that is added without a line here fails the first test; one
that has no gradient says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.language.distributions import FAMILIES
from bayesrun.language.grammar import SIGNATURES
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.kernel_checks import COMPOSED, KERNELS
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.prior_checks import MARGINAL, MODIFIERS, PARAMETERIZATIONS, TRANSFORMS
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check

import_pymc3()
theano: Any = import_module("theano")

RNG = np.random.default_rng(4)
DATA = xr.Dataset(
    {
        "real": ("row", [0.3, -1.2, 2.1, 0.4, 1.1, -0.6]),
        "more": ("row", RNG.normal(size=6)),
        "pos": ("row", [0.3, 1.2, 2.1, 0.4, 1.1, 0.6]),
        "share": ("row", [0.3, 0.12, 0.21, 0.94, 0.11, 0.6]),
        "ends": ("row", [0.0, 0.12, 0.21, 1.0, 0.11, 0.6]),
        "zeros": ("row", [0.0, 1.2, 0.0, 0.4, 1.1, 0.6]),
        "some": ("row", [0.0, 0.12, 0.0, 0.4, 0.11, 0.6]),
        "count": ("row", [0, 3, 1, 5, 2, 4]),
        "above": ("row", [1, 3, 1, 5, 2, 4]),
        "bin": ("row", [0, 1, 1, 0, 1, 1]),
        "code": ("row", [0, 2, 1, 1, 2, 0]),
        "kept": ("row", [1, 1, 0, 1, 1, 1]),
        "three": (("row", "part"), [[2, 3, 4], [9, 0, 0], [1, 1, 7], [4, 4, 1], [0, 5, 4], [3, 3, 3]]),
        "two": (("row", "pair"), RNG.normal(size=(6, 2))),
        "four": ("cell", [0.3, -0.2, 1.1, 0.4]),
        "W": (("area", "near"), [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]),
    },
    coords={"row": np.arange(6.0)},
)
CUTS = "eta: a, cutpoints: 'stack(-1, exp(b))'"
VECTOR = "mu: 'stack(a, b)', cov: [[1, 0.3], [0.3, 2]]"


@dataclass(frozen=True)
class NoGradient:
    """Why a construct has none."""

    because: str


def prior(body: str, name: str = "") -> str:
    return f"priors: {{v: {{{body}}}}}" if not name else f"priors: {{v: {{dist: {name}, {body}}}}}"


def seen(variable: str, body: str, name: str) -> str:
    return f"likelihood: {{y: {{dist: {name}, {body}, observed: {variable}}}}}"


_PRIORS = {
    "AR": "rho: 'stack(0.3 * tanh(a), 0.2)', sigma: exp(b), shape: 6",
    "AR1": "k: tanh(a), tau_e: exp(b), shape: 6",
    "AsymmetricLaplace": "b: exp(b), kappa: exp(a), mu: a",
    "Beta": "alpha: exp(a), beta: exp(b)",
    "Cauchy": "alpha: a, beta: exp(b)",
    "ChiSquared": "nu: exp(a)",
    "Dirichlet": "a: 'exp(stack(a, b, 0.1))'",
    "ExGaussian": "mu: a, sigma: exp(b), nu: exp(a)",
    "Exponential": "lam: exp(a)",
    "GARCH11": "omega: exp(a), alpha_1: sigmoid(a) / 2, beta_1: sigmoid(b) / 2, initial_vol: 1, shape: 6",
    "Gamma": "alpha: exp(a), beta: exp(b)",
    "GaussianRandomWalk": "mu: a, sigma: exp(b), shape: 6",
    "Gumbel": "mu: a, beta: exp(b)",
    "HalfCauchy": "beta: exp(b)",
    "HalfNormal": "sigma: exp(b)",
    "HalfStudentT": "nu: exp(a), sigma: exp(b)",
    "Interpolated": "x_points: [0, 1, 2, 3], pdf_points: [0.1, 1, 0.5, 0.1]",
    "InverseGamma": "alpha: exp(a), beta: exp(b)",
    "Kumaraswamy": "a: exp(a), b: exp(b)",
    "LKJCholeskyCov": "eta: 2, n: 3, sd_dist: {dist: HalfNormal, sigma: 2}",
    "LKJCorr": "eta: 2, n: 3",
    "Laplace": "mu: a, b: exp(b)",
    "LogNormal": "mu: a, sigma: exp(b)",
    "Logistic": "mu: a, s: exp(b)",
    "LogitNormal": "mu: a, sigma: exp(b)",
    "Lognormal": "mu: a, sigma: exp(b)",
    "Mixture": "w: 'softmax(stack(a, b))', comp_dists: [{dist: Normal, mu: a, sigma: 1}, {dist: Laplace, mu: b, b: 2}]",
    "MixtureSameFamily": "w: 'softmax(stack(a, b))', comp_dists: {dist: Normal, mu: 'stack(a, b)', sigma: 1}",
    "Moyal": "mu: a, sigma: exp(b)",
    "MvNormal": VECTOR,
    "MvStudentT": f"nu: exp(a), {VECTOR}",
    "Normal": "mu: a, sigma: exp(b)",
    "NormalMixture": "w: 'softmax(stack(a, b))', mu: 'stack(a, b)', sigma: 'exp(stack(b, 0.3))'",
    "Pareto": "alpha: exp(a), m: exp(b)",
    "Rice": "nu: exp(a), sigma: exp(b)",
    "SkewNormal": "mu: a, sigma: exp(b), alpha: a",
    "StudentT": "nu: exp(a), mu: a, sigma: exp(b)",
    "Triangular": "lower: -exp(a), upper: exp(b), c: 0",
    "TruncatedNormal": "mu: a, sigma: exp(b), lower: -1, upper: 3",
    "Uniform": "lower: -exp(a), upper: exp(b)",
    "VonMises": "mu: a, kappa: exp(b)",
    "Wald": "mu: exp(a), lam: exp(b)",
    "Weibull": "alpha: exp(a), beta: exp(b)",
    "CAR": "mu: 'stack(a, b, a, b)', W: W, alpha: sigmoid(a), tau: exp(b), dims: [area]",
    "ICAR": "W: W, sigma: exp(b), dims: [area]",
    "GaussianProcess": "x: row, kernel: {exp_quad: {sd: exp(a), lengthscale: exp(b)}}, dims: [row]",
    "BetaProportion": "mu: sigmoid(a), phi: exp(b)",
    "GammaMean": "mu: exp(a), alpha: exp(b)",
    "InverseGaussian": "mu: exp(a), lam: exp(b)",
    "WeibullMean": "mu: exp(a), alpha: exp(b)",
}
_SEEN = {
    "Bernoulli": ("bin", "p: sigmoid(a)"),
    "BetaBinomial": ("count", "alpha: exp(a), beta: exp(b), n: 9"),
    "Binomial": ("count", "n: 9, p: sigmoid(a)"),
    "Categorical": ("code", "p: 'softmax(stack(a, b, 0.1))'"),
    "DirichletMultinomial": ("three", "n: 9, a: 'exp(stack(a, b, 0.1))'"),
    "DiscreteWeibull": ("count", "q: sigmoid(a), beta: exp(b)"),
    "Geometric": ("above", "p: sigmoid(a)"),
    "KroneckerNormal": (
        "four",
        "mu: 'stack(a, b, a, b)', covs: [[[1, 0.2], [0.2, 2]], [[1, 0.1], [0.1, 1]]], sigma: exp(b)",
    ),
    "MatrixNormal": ("two", "mu: a, rowchol: 'identity(6)', colchol: [[1, 0], [0.2, 2]]"),
    "Multinomial": ("three", "n: 9, p: 'softmax(stack(a, b, 0.1))'"),
    "MvGaussianRandomWalk": ("two", "mu: 'stack(a, b)', cov: [[1, 0.3], [0.3, 2]]"),
    "MvStudentTRandomWalk": ("two", "nu: exp(a), mu: 'stack(a, b)', cov: [[1, 0.3], [0.3, 2]]"),
    "NegativeBinomial": ("count", "mu: exp(a), alpha: exp(b)"),
    "OrderedLogistic": ("code", CUTS),
    "OrderedProbit": ("code", CUTS),
    "Poisson": ("count", "mu: exp(a)"),
    "ZeroInflatedBinomial": ("count", "psi: sigmoid(a), n: 9, p: sigmoid(b)"),
    "ZeroInflatedNegativeBinomial": ("count", "psi: sigmoid(a), mu: exp(b), alpha: exp(a)"),
    "ZeroInflatedPoisson": ("count", "psi: sigmoid(a), theta: exp(b)"),
    "AdjacentLogistic": ("code", CUTS),
    "CategoricalLogit": ("code", "eta: 'stack(a, b)'"),
    "HurdleGamma": ("zeros", "mu: exp(a), alpha: exp(b), zero: sigmoid(a)"),
    "HurdleLogNormal": ("zeros", "mu: a, sigma: exp(b), zero: sigmoid(a)"),
    "HurdleNegativeBinomial": ("count", "mu: exp(a), alpha: exp(b), zero: sigmoid(a)"),
    "HurdlePoisson": ("count", "mu: exp(a), zero: sigmoid(b)"),
    "MultinomialLogit": ("three", "n: 9, eta: 'stack(a, b)'"),
    "OrderedCloglog": ("code", CUTS),
    "SequentialLogistic": ("code", CUTS),
    "ZeroInflatedBeta": ("some", "mu: sigmoid(a), phi: exp(b), zero: sigmoid(b)"),
    "ZeroInflatedBetaBinomial": ("count", "n: 9, mu: sigmoid(a), phi: exp(b), zero: sigmoid(b)"),
    "ZeroInflatedGeometric": ("count", "mu: exp(a), zero: sigmoid(b)"),
    "ZeroOneInflatedBeta": ("ends", "mu: sigmoid(a), phi: exp(b), zero_one: sigmoid(b), one: sigmoid(a)"),
}
DISTRIBUTIONS: dict[str, str | NoGradient] = {
    **{name: prior(body, name) for name, body in _PRIORS.items()},
    **{name: seen(variable, body, name) for name, (variable, body) in _SEEN.items()},
    "BART": NoGradient("trees are sampled by a step of their own"),
    "Constant": NoGradient("a single whole number"),
    "ConstantDist": NoGradient("a single whole number"),
    "DiscreteUniform": NoGradient("its limits are whole numbers"),
    "Flat": "priors: {v: {dist: Flat}}\npotentials: {p: '-v**2 * exp(a)'}",
    "HalfFlat": "priors: {v: {dist: HalfFlat}}\npotentials: {p: '-v**2 * exp(a)'}",
    "HyperGeometric": NoGradient("its parameters are whole numbers"),
    "Wishart": NoGradient("PyMC3 can't sample it; LKJCholeskyCov is for covariances"),
    "WishartBartlett": "priors: {v: {dist: WishartBartlett, S: [[1, 0.2], [0.2, 2]], nu: 5}}",
}
_NUMBER_BY_NUMBER = ("exp", "abs", "sin", "cos", "tan", "atan", "tanh", "sigmoid", "erf")
_REDUCED = ("sum", "prod", "mean", "std", "var", "min", "max", "median", "logsumexp")
_OF_POSITIVE = ("log", "log1p", "expm1", "sqrt", "gammaln", "log10")
# each is a term of the log density, of a matrix `m` (row, pair), a vector `u` (row), and the numbers `a` and `b`
FUNCTIONS: dict[str, str | NoGradient] = {
    **{name: f"sum(more * {name}(u))" for name in (*_NUMBER_BY_NUMBER, "softmax", "cumsum")},
    **{name: f"{name}(u)" for name in _REDUCED},
    **{name: f"sum(more * {name}(exp(u)))" for name in _OF_POSITIVE},
    **{name: f"sum(more * {name}(sigmoid(u)))" for name in ("logit", "probit")},
    **{name: f"sum(more * {name}(u))" for name in ("cumprod", "zscore", "cummax")},
    "sign": "sum(sign(u) * u)",
    "dot": "sum(dot(u, two) * stack(a, b))",
    "where": "sum(where(u > 0, u**2, exp(a) * u))",
    "switch": "sum(switch(u > 0, u**2, exp(a) * u))",
    "clip": "sum(more * clip(u, -0.5, 0.5))",
    "minimum": "sum(more * minimum(u, a, real))",
    "maximum": "sum(more * maximum(u, b))",
    "stack": "sum(stack(a, b, a * b)**2)",
    "concatenate": "sum(concatenate(u, m[:, 0])**3)",
    "diff": "sum(diff(u)**2)",
    "lag": "sum(u[1:] * lag(u)[1:])",
    "outer": "sum(outer(u, stack(a, b))**2)",
    "transpose": "sum(transpose(m)[0] * exp(transpose(m)[1]))",
    "cholesky": "sum(cholesky(stack(stack(exp(a), 0.2 * b), stack(0.2 * b, 2)))**3)",
    "identity": "sum(dot(m, identity(2) * a))",
    "distance": "sum(distance(m, two))",
    "cov": "cov(u, real) * a",
    "quantile": "quantile(u, 0.3)",
    "one_hot": "sum(one_hot(code, 3) * stack(a, b, a * b))",
    "arange": "sum(arange(6) * u)",
    "zeros": "sum((zeros(2) + a) * b)",
    "ones": "sum((ones(2) * a) * b)",
    **{
        name: NoGradient("of dates, which are data")
        for name in ("days", "year", "month", "weekday", "day_of_year", "trend")
    },
}


def _process(kernel: str, of: Mapping[str, str]) -> str:
    """Return a latent process with a kernel whose parameters are all random."""
    given = {name: "a" if name == "center" else "exp(b)" if name == "sd" else "exp(a)" for name in of}
    body = {"dist": "GaussianProcess", "x": "row", "dims": ["row"], "kernel": {kernel: given}}
    return yaml.safe_dump({"priors": {"f": body}})


def _marginal(composed: str) -> str:
    """Return an observed process with a sum or product of kernels."""
    kernels = [{"exp_quad": {"sd": "exp(a)", "lengthscale": 1.5}}, {"linear": {"sd": "exp(b)"}}]
    body = {"dist": "GaussianProcess", "x": "row", "sigma": "exp(b)", "observed": "real", "kernel": {composed: kernels}}
    return yaml.safe_dump({"likelihood": {"y": body}})


_ODE = "{state: {x: exp(a), z: 1}, rhs: {x: '-exp(b) * x * z', z: '0.3 * x - 0.2 * z'}, times: [0.5, 1, 2]}"
CONSTRUCTS: dict[str, str | NoGradient] = {
    "recurrence": "recurrence: {over: row, first: {h: exp(a)}, step: {h: '0.2 + sigmoid(b) * h[t-1] + real[t-1]**2'}}\n"
    "likelihood: {y: {dist: Normal, mu: 0, sigma: sqrt(h), observed: real}}",
    "ode": f"deterministics: {{s: {{ode: {_ODE}}}}}\npotentials: {{p: '-sum((x - 0.3)**2) - sum(z**3)'}}",
    HIDDEN_MARKOV: "likelihood: {y: {dist: HiddenMarkov, transition: 'softmax(stack(stack(a, 0.3), stack(b, -0.2)))',"
    " emission: {dist: Normal, mu: 'stack(a, b)', sigma: exp(b)}, observed: real}}",
    LINEAR_GAUSSIAN: "likelihood: {y: {dist: LinearGaussian, level: {sd: exp(b), init: {dist: Normal, sigma: 2}},"
    " sigma: exp(a), observed: real}}",
    MARGINAL: "priors: {k: {dist: Marginal, of: {dist: Bernoulli, p: sigmoid(a), dims: [row]}}}\n"
    "likelihood: {y: {dist: Normal, mu: 'where(k == 1, b, 0)', sigma: 1, observed: real}}",
    **{f"kernel {name}": _process(name, of) for name, of in KERNELS.items()},
    **{f"kernel {name}": _marginal(name) for name in COMPOSED},
    "hsgp": "priors: {f: {dist: GaussianProcess, x: row, dims: [row], hsgp: {m: 6, c: 1.5},"
    " kernel: {exp_quad: {sd: exp(a), lengthscale: exp(b)}}}}",
    "modifier weights": seen("real", "mu: a, sigma: exp(b), weights: pos", "Normal"),
    "modifier censored": seen("real", "mu: a, sigma: exp(b), censored: {status: kept}", "Normal"),
    "modifier truncated": seen("real", "mu: a, sigma: exp(b), truncated: {lower: -3, upper: 4}", "Normal"),
    "modifier observed_if": seen("real", "mu: a, sigma: exp(b), observed_if: kept == 1", "Normal"),
    "transform ordered": prior("mu: a, sigma: exp(b), shape: 3, transform: ordered", "Normal"),
    "transform ordered, above": prior("mu: [0, 3], sigma: exp(b), lower: 0, transform: ordered", "Normal"),
    "transform ordered, between": prior("mu: a, sigma: 1, shape: 3, lower: -2, upper: 4, transform: ordered", "Normal"),
    "transform log": prior("lam: exp(b), transform: log", "Exponential"),
    "transform softplus": prior("sigma: 2, transform: softplus", "HalfNormal"),
    "transform log_exp_m1": prior("sigma: 1, transform: log_exp_m1", "HalfNormal"),
    "transform logodds": prior("alpha: exp(a), beta: exp(b), transform: logodds", "Beta"),
    "transform circular": prior("mu: a, kappa: exp(b), transform: circular", "VonMises"),
    "transform sum_to_1": prior("a: [1, 2, 3], transform: sum_to_1", "Dirichlet"),
    "transform stick_breaking": prior("a: [1, 2, 3], transform: stick_breaking", "Dirichlet"),
    "transform none": prior("mu: a, sigma: exp(b), transform: none", "Normal"),
    "parameterization centered": prior("mu: a, sigma: exp(b), shape: 3, parameterization: centered", "Normal"),
    "parameterization noncentered": prior("mu: a, sigma: exp(b), shape: 3, parameterization: noncentered", "Normal")
    + "\npotentials: {p: -sum(v**4)}",
    "parameterization whitened": "priors: {v: {dist: GaussianRandomWalk, sigma: exp(b), dims: [row],"
    " parameterization: whitened}}\nlikelihood: {y: {dist: Normal, mu: v + a, sigma: 1, observed: real}}",
}


def cases() -> Iterator[tuple[str, str]]:
    for name, text in (*DISTRIBUTIONS.items(), *CONSTRUCTS.items()):
        if isinstance(text, str):
            yield name, text
    for name, text in FUNCTIONS.items():
        if isinstance(text, str):
            own = (
                "u: {dist: Normal, mu: 0, sigma: 1, dims: [row]}, m: {dist: Normal, mu: 0, sigma: 1, dims: [row, pair]}"
            )
            yield f"{name}()", f"priors: {{{own}}}\npotentials: {{p: '{text}'}}"


CASES = dict(cases())
_WIDTH = {"transform sum_to_1": 0.05}
"""How far points are from the initial one where not all points are allowed."""


def test_every_construct_of_the_language_has_a_case() -> None:
    assert set(DISTRIBUTIONS) == set(FAMILIES)
    assert set(FUNCTIONS) == set(SIGNATURES)
    named = {
        *(f"kernel {name}" for name in (*KERNELS, *COMPOSED)),
        *(f"modifier {name}" for name in MODIFIERS),
        *(f"transform {name}" for name in TRANSFORMS),
        *(f"transform ordered, {where}" for where in ("above", "between")),
        *(f"parameterization {name}" for name in PARAMETERIZATIONS),
    }
    assert named | {"recurrence", "ode", "hsgp", HIDDEN_MARKOV, LINEAR_GAUSSIAN, MARGINAL} == set(CONSTRUCTS)


def model_of(text: str) -> Any:
    raw = yaml.safe_load(text)
    used = {"a": {"dist": "Normal", "mu": 0, "sigma": 1}, "b": {"dist": "Normal", "mu": 0, "sigma": 1}}
    raw = {"name": "m", "type": "declarative", **raw, "priors": {**used, **raw.get("priors", {})}}
    spec = DeclarativeSpec.model_validate(raw)
    assert static_check(spec) == []
    assert check(DATA, spec) == []
    return pymc3_model(build(DATA, spec))


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    model = model_of(CASES[name])
    with building():
        total = model.logpt
        free = model.free_RVs
        slopes = theano.grad(total, free, disconnected_inputs="ignore")
        function = theano.function(free, [total, *slopes], on_unused_input="ignore")
    rng = np.random.default_rng(8)
    start = [np.asarray(v.tag.test_value, dtype=float) for v in free]
    for _ in range(2):
        point = [np.array(value + _WIDTH.get(name, 0.5) * rng.normal(size=value.shape)) for value in start]
        found = function(*point)
        assert np.isfinite(found[0])
        assert any(np.any(slope != 0) for slope in found[1:])
        for place, slope in enumerate(found[1:]):
            assert np.shape(slope) == np.shape(point[place])
            for at in np.ndindex(np.shape(slope)):
                ends = []
                for step in (1e-5, -1e-5):
                    moved = [value.copy() for value in point]
                    moved[place][at] += step
                    ends.append(float(function(*moved)[0]))
                rise = (ends[0] - ends[1]) / 2e-5
                assert slope[at] == pytest.approx(rise, rel=2e-4, abs=2e-5), (free[place].name, at)


def test_a_wrong_gradient_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail."""
    grad = theano.grad

    def wrong(*of: Any, **options: Mapping[str, Any]) -> Any:
        return [1.01 * slope for slope in grad(*of, **options)]

    monkeypatch.setattr(theano, "grad", wrong)
    with pytest.raises(AssertionError):
        test_the_gradient_is_that_of_finite_differences("Normal")
