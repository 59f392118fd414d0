"""Weighted, censored and truncated likelihoods: their terms against SciPy's distribution functions, in both engines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pymc3 as pm  # noqa: F401  # Theano can only be imported after it
import pytest
import theano
import theano.tensor as tt
import xarray as xr
import yaml
from scipy import special, stats

from bayesrun.engines.pymc3.build import build
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.language.densities.tails import draw_within, tails
from bayesrun.language.distributions import distributions, known_family
from bayesrun.language.values import constant
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from bayesrun.models.declarative import build as declare
from tests.contract.numpy_engine.engine import log_densities

ROWS = 12


class WithZeros:
    """A distribution of which a share is replaced by zeros; in a hurdle it has none of its own."""

    def __init__(self, zero: float, form: Any, hurdle: bool = False) -> None:
        self.zero, self.form = zero, form
        self.whole = form.sf(0) if hurdle else 1.0
        self.own = 0.0 if hurdle else None
        self.density = form.pmf if hasattr(form.dist, "pmf") else form.pdf

    def rvs(self, size: int, random_state: int) -> Any:
        rng = np.random.default_rng(random_state)
        drawn = self.form.rvs(20 * size, random_state=rng)
        kept = drawn[drawn > 0][:size] if self.own is not None else drawn[:size]
        return np.where(rng.random(size) < self.zero, 0, kept)

    def pmf(self, x: Any) -> Any:
        at_zero = self.zero + (1 - self.zero) * (self.density(0) if self.own is None else 0.0)
        with np.errstate(all="ignore"):
            return np.where(x == 0, at_zero, (1 - self.zero) * self.density(x) / self.whole)

    pdf = pmf

    def sf(self, x: Any) -> Any:
        return np.where(x < 0, 1.0, (1 - self.zero) * self.form.sf(np.maximum(x, 0)) / self.whole)

    def cdf(self, x: Any) -> Any:
        return 1 - self.sf(x)


class Half:
    """The absolute value of a distribution that is symmetric about 0."""

    def __init__(self, form: Any) -> None:
        self.form = form

    def rvs(self, size: int, random_state: int) -> Any:
        return np.abs(self.form.rvs(size, random_state=random_state))

    def pdf(self, x: Any) -> Any:
        return 2 * self.form.pdf(x)

    def sf(self, x: Any) -> Any:
        return np.where(x < 0, 1.0, 2 * self.form.sf(x))

    def cdf(self, x: Any) -> Any:
        return 1 - self.sf(x)


class Kumaraswamy:
    """`P(X > x) = (1 - x^a)^b`, which SciPy lacks."""

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = a, b

    def rvs(self, size: int, random_state: int) -> Any:
        return (1 - np.random.default_rng(random_state).random(size) ** (1 / self.b)) ** (1 / self.a)

    def pdf(self, x: Any) -> Any:
        return self.a * self.b * x ** (self.a - 1) * (1 - x**self.a) ** (self.b - 1)

    def sf(self, x: Any) -> Any:
        return (1 - np.clip(x, 0, 1) ** self.a) ** self.b

    def cdf(self, x: Any) -> Any:
        return 1 - self.sf(x)


class DiscreteWeibull(Kumaraswamy):
    """`P(X > x) = q^((x + 1)^beta)`."""

    def rvs(self, size: int, random_state: int) -> Any:
        u = np.random.default_rng(random_state).random(size)
        return np.ceil((np.log(u) / np.log(self.a)) ** (1 / self.b)) - 1

    def pmf(self, x: Any) -> Any:
        return self.sf(x - 1) - self.sf(x)

    def sf(self, x: Any) -> Any:
        return self.a ** (np.maximum(np.floor(x) + 1, 0) ** self.b)


class LogitNormal:
    """The logistic function of a normal variable."""

    def __init__(self, mu: float, sigma: float) -> None:
        self.form = stats.norm(mu, sigma)

    def rvs(self, size: int, random_state: int) -> Any:
        return special.expit(self.form.rvs(size, random_state=random_state))

    def pdf(self, x: Any) -> Any:
        return self.form.pdf(special.logit(x)) / (x * (1 - x))

    def sf(self, x: Any) -> Any:
        return self.form.sf(special.logit(np.clip(x, 0, 1)))

    def cdf(self, x: Any) -> Any:
        return self.form.cdf(special.logit(np.clip(x, 0, 1)))


# parameters of each distribution of an engine whose distribution function is known, and SciPy's form of it
OF_SCIPY: Mapping[str, tuple[dict[str, float], Any]] = {
    "Beta": ({"alpha": 1.7, "beta": 2.4}, stats.beta(1.7, 2.4)),
    "BetaProportion": ({"mu": 0.4, "phi": 4.0}, stats.beta(1.6, 2.4)),
    "Binomial": ({"n": 9, "p": 0.4}, stats.binom(9, 0.4)),
    "Cauchy": ({"alpha": 0.3, "beta": 1.4}, stats.cauchy(0.3, 1.4)),
    "ChiSquared": ({"nu": 3.5}, stats.chi2(3.5)),
    "DiscreteWeibull": ({"q": 0.7, "beta": 0.8}, DiscreteWeibull(0.7, 0.8)),
    "ExGaussian": ({"mu": 0.3, "sigma": 0.6, "nu": 1.4}, stats.exponnorm(1.4 / 0.6, 0.3, 0.6)),
    "GammaMean": ({"mu": 2.0, "alpha": 1.7}, stats.gamma(1.7, scale=2 / 1.7)),
    "HalfCauchy": ({"beta": 1.4}, stats.halfcauchy(scale=1.4)),
    "HalfStudentT": ({"nu": 3.5, "sigma": 1.4}, Half(stats.t(3.5, 0, 1.4))),
    "HurdleGamma": ({"mu": 2.0, "alpha": 1.7, "zero": 0.3}, WithZeros(0.3, stats.gamma(1.7, scale=2 / 1.7), True)),
    "HurdleLogNormal": (
        {"mu": 0.3, "sigma": 0.7, "zero": 0.3},
        WithZeros(0.3, stats.lognorm(0.7, scale=np.exp(0.3)), True),
    ),
    "HurdleNegativeBinomial": (
        {"mu": 3.2, "alpha": 1.4, "zero": 0.3},
        WithZeros(0.3, stats.nbinom(1.4, 1.4 / 4.6), True),
    ),
    "HurdlePoisson": ({"mu": 3.2, "zero": 0.3}, WithZeros(0.3, stats.poisson(3.2), True)),
    "InverseGamma": ({"alpha": 2.7, "beta": 1.8}, stats.invgamma(2.7, scale=1.8)),
    "InverseGaussian": ({"mu": 1.4, "lam": 2.2}, stats.invgauss(1.4 / 2.2, scale=2.2)),
    "Kumaraswamy": ({"a": 1.7, "b": 2.4}, Kumaraswamy(1.7, 2.4)),
    "LogitNormal": ({"mu": 0.3, "sigma": 0.7}, LogitNormal(0.3, 0.7)),
    "Moyal": ({"mu": 0.3, "sigma": 1.4}, stats.moyal(0.3, 1.4)),
    "Uniform": ({"lower": -0.7, "upper": 4.2}, stats.uniform(-0.7, 4.9)),
    "Wald": ({"mu": 1.4, "lam": 2.2}, stats.invgauss(1.4 / 2.2, scale=2.2)),
    "WeibullMean": ({"mu": 2.0, "alpha": 1.6}, stats.weibull_min(1.6, scale=2.0 / special.gamma(1 + 1 / 1.6))),
    "ZeroInflatedBinomial": ({"psi": 0.7, "n": 9, "p": 0.4}, WithZeros(0.3, stats.binom(9, 0.4))),
    "ZeroInflatedNegativeBinomial": (
        {"psi": 0.7, "mu": 3.2, "alpha": 1.4},
        WithZeros(0.3, stats.nbinom(1.4, 1.4 / 4.6)),
    ),
    "ZeroInflatedPoisson": ({"psi": 0.7, "theta": 3.2}, WithZeros(0.3, stats.poisson(3.2))),
    "Exponential": ({"lam": 0.6}, stats.expon(scale=1 / 0.6)),
    "Gamma": ({"alpha": 1.7, "beta": 0.8}, stats.gamma(1.7, scale=1 / 0.8)),
    "Geometric": ({"p": 0.35}, stats.geom(0.35)),
    "Gumbel": ({"mu": 0.3, "beta": 1.4}, stats.gumbel_r(0.3, 1.4)),
    "HalfNormal": ({"sigma": 1.3}, stats.halfnorm(scale=1.3)),
    "Laplace": ({"mu": 0.3, "b": 1.4}, stats.laplace(0.3, 1.4)),
    "LogNormal": ({"mu": 0.3, "sigma": 0.7}, stats.lognorm(0.7, scale=np.exp(0.3))),
    "Logistic": ({"mu": 0.3, "s": 1.4}, stats.logistic(0.3, 1.4)),
    "NegativeBinomial": ({"mu": 3.2, "alpha": 1.4}, stats.nbinom(1.4, 1.4 / 4.6)),
    "Normal": ({"mu": 0.3, "sigma": 1.4}, stats.norm(0.3, 1.4)),
    "Pareto": ({"alpha": 1.5, "m": 0.2}, stats.pareto(1.5, scale=0.2)),
    "Poisson": ({"mu": 3.2}, stats.poisson(3.2)),
    "StudentT": ({"nu": 3.5, "mu": 0.3, "sigma": 1.4}, stats.t(3.5, 0.3, 1.4)),
    "Weibull": ({"alpha": 1.6, "beta": 2.2}, stats.weibull_min(1.6, scale=2.2)),
}
STATUS = np.array([0, 1, -1, 2] * 3)


def data(name: str) -> xr.Dataset:
    """Values of a distribution, each with a status, the end of an interval and a weight."""
    form = OF_SCIPY[name][1]
    y = np.asarray(form.rvs(ROWS, random_state=4))
    rng = np.random.default_rng(2)
    ends = np.where(STATUS == 2, y + rng.integers(1, 3, ROWS), np.nan)
    words = np.array([{0: "none", 1: "right", -1: "left", 2: "interval"}[s] for s in STATUS], dtype=object)
    return xr.Dataset(
        {
            "y": ("obs", y),
            "status": ("obs", STATUS),
            "words": ("obs", words),
            "end": ("obs", ends),
            "w": ("obs", rng.uniform(0.5, 2.0, ROWS)),
            "low": ("obs", y - rng.integers(0, 2, ROWS)),
            "high": ("obs", y + rng.integers(0, 2, ROWS) + 0.1),
        }
    )


def inferred(name: str) -> dict[str, Any]:
    """Parameters that are inferred: all but numbers of trials."""
    return {p: np.array(number) for p, number in OF_SCIPY[name][0].items() if not isinstance(number, int)}


def spec_of(name: str, modifiers: str) -> DeclarativeSpec:
    """A model whose likelihood has parameters to be inferred."""
    parameters = OF_SCIPY[name][0]
    priors = {p: {"dist": "Normal", "mu": 0, "sigma": 1} for p in inferred(name)}
    written = {p: p if p in priors else number for p, number in parameters.items()}
    likelihood = {"dist": name, **written, "observed": "y", **yaml.safe_load(modifiers)}
    raw = {"name": "m", "type": "declarative", "priors": priors, "likelihood": {"y_obs": likelihood}}
    return DeclarativeSpec.model_validate(raw)


def expected(name: str, frame: xr.Dataset, kind: str) -> Any:
    """The terms by SciPy."""
    form = OF_SCIPY[name][1]
    discrete = known_family(name).discrete
    y = frame["y"].values
    low, high = frame["low"].values - (1 if discrete else 0), frame["high"].values
    density = form.pmf(y) if discrete else form.pdf(y)
    ends = np.nan_to_num(frame["end"].values)
    truncated = form.cdf(high) - form.cdf(low)
    if kind == "censored":
        return np.log(_by_status(density, form.sf(y), form.cdf(y), form.cdf(ends) - form.cdf(y)))
    if kind == "truncated":
        return np.log(density / truncated)
    above, below = form.cdf(high) - form.cdf(y), form.cdf(y) - form.cdf(low)
    return frame["w"].values * np.log(_by_status(density, above, below, above) / truncated)


def _by_status(seen: Any, right: Any, left: Any, interval: Any) -> Any:
    return np.select([STATUS == 0, STATUS == 1, STATUS == -1], [seen, right, left], interval)


MODIFIERS = {
    "censored": "censored: {status: words, upper: end}",
    "truncated": "truncated: {lower: low, upper: high}",
    "both": "{weights: w, censored: {status: status, upper: high}, truncated: {lower: low, upper: high}}",
}


@pytest.mark.parametrize("kind", MODIFIERS)
@pytest.mark.parametrize("name", OF_SCIPY)
def test_terms_are_scipys_in_both_engines(name: str, kind: str) -> None:
    frame, spec = data(name), spec_of(name, MODIFIERS[kind])
    if kind == "both":
        frame = frame.assign(high=frame["y"] + 1.5 if not known_family(name).discrete else frame["y"] + 2)
    assert not [*static_check(spec), *check(frame, spec)]
    declared, point = declare(frame, spec), inferred(name)
    total = log_densities(declared, point)["y_obs"]
    with np.errstate(divide="ignore"):
        terms = expected(name, frame, kind)
    np.testing.assert_allclose(total, terms.sum(), rtol=1e-7)
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        model = build(declared)
        with building(), theano.config.change_flags(compute_test_value="off"):
            logs = model["y_obs"].logp_elemwiset
            names = list(point)
            outputs = [logs, *tt.grad(tt.sum(logs), [model[n] for n in names])]
            function = theano.function([model[n] for n in names], outputs)
        found, *slopes = function(*point.values())
    np.testing.assert_allclose(found, terms, rtol=1e-7, atol=1e-12)
    for number, slope in zip(names, slopes, strict=True):
        near = [log_densities(declared, {**point, number: point[number] + step})["y_obs"] for step in (-1e-6, 1e-6)]
        np.testing.assert_allclose(slope, (near[1] - near[0]) / 2e-6, rtol=2e-5, atol=1e-6)


def test_the_table_has_every_distribution_whose_distribution_function_is_known() -> None:
    """One that is added without an entry above fails here."""
    able = {name for name in distributions() if tails(known_family(name)) is not None} - {"Lognormal"}  # an alias
    assert able == set(OF_SCIPY)
    text = (Path(__file__).parents[3] / "docs" / "language.md").read_text()
    listed = text.partition("need a distribution function: ")[2].partition("Others are")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == able


@pytest.mark.parametrize("name", ["Normal", "Cauchy", "Gamma", "Logistic", "Weibull", "LogNormal", "StudentT"])
def test_tails_keep_their_digits(name: str) -> None:
    parameters, form = OF_SCIPY[name]
    known, lowest = tails(known_family(name)), 1e-4 if known_family(name).support == "positive" else -40.0
    x = np.array([lowest, 0.3, 60.0])
    assert known is not None
    values = {n: constant(v) for n, v in parameters.items()}
    np.testing.assert_allclose(known.log_survival(constant(x), values).known, form.logsf(x), rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(known.log_cdf(constant(x), values).known, form.logcdf(x), rtol=1e-7, atol=1e-15)


def test_an_interval_far_out_in_the_tail() -> None:
    """Between 20 and 21 standard deviations the difference of distribution functions is that of tails."""
    frame = xr.Dataset({"y": ("obs", [20.0]), "end": ("obs", [21.0])})
    spec = spec_of("Normal", "censored: {status: 2, upper: end}")
    found = log_densities(declare(frame, spec), {"mu": 0.0, "sigma": 1.0})["y_obs"]
    near, far = special.log_ndtr([-20.0, -21.0])
    assert found == pytest.approx(near + np.log1p(-np.exp(far - near)))


def test_limits_of_an_instrument() -> None:
    """Values at a limit are censored there; draws are set to it."""
    frame = xr.Dataset({"y": ("obs", [0.0, 0.7, 2.0, 2.0])})
    spec = spec_of("Normal", "censored: {lower: 0, upper: 2}")
    assert not check(frame, spec)
    found = log_densities(declare(frame, spec), {"mu": 1.0, "sigma": 1.0})["y_obs"]
    form = stats.norm(1, 1)
    assert found == pytest.approx(form.logcdf(0) + form.logpdf(0.7) + 2 * form.logsf(2))


def test_counts_at_the_limit_of_an_instrument_may_be_equal_to_it() -> None:
    frame = xr.Dataset({"y": ("obs", [1, 4, 4])})
    found = log_densities(declare(frame, spec_of("Geometric", "censored: {upper: 4}")), {"p": 0.3})["y_obs"]
    assert found == pytest.approx(stats.geom(0.3).logpmf(1) + 2 * stats.geom(0.3).logsf(3))


def test_a_weight_of_two_is_a_row_twice() -> None:
    frame = data("Normal")
    twice = xr.concat([frame, frame.isel(obs=[3])], "obs")
    weighted = frame.assign(w=("obs", np.where(np.arange(ROWS) == 3, 2.0, 1.0)))
    for mu in (0.0, 1.0):
        point = {"mu": mu, "sigma": 1.0}
        one = log_densities(declare(weighted, spec_of("Normal", "weights: w")), point)["y_obs"]
        assert one == pytest.approx(log_densities(declare(twice, spec_of("Normal", "{}")), point)["y_obs"])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Normal", 7.0, 8.5),
        ("Normal", -np.inf, -6.0),
        ("Normal", 9.0, np.inf),
        ("Weibull", 8.0, np.inf),
        ("Cauchy", 40.0, 90.0),
        ("Geometric", 12, 20),
        ("Laplace", -1.0, 2.0),
    ],
)
def test_draws_within_limits_follow_the_truncated_density(name: str, low: float, high: float) -> None:
    parameters, form = OF_SCIPY[name]
    rng, count = np.random.default_rng(5), 4000
    limits = {side: np.array([float(v)]) for side, v in (("lower", low), ("upper", high)) if np.isfinite(v)}
    arrays = {n: np.array([v]) for n, v in parameters.items()}
    source = np.random.default_rng(6)
    drawn = draw_within(known_family(name), arrays, limits, lambda: form.rvs((1, count), random_state=source), rng)[0]
    assert drawn.min() >= low
    assert drawn.max() <= high
    tail, start = (form.sf, low) if low > 0 else (form.cdf, high)  # the tail in which the limits are
    shares = (tail(drawn) - tail(start)) / (tail(high if low > 0 else low) - tail(start))
    if name == "Geometric":
        values = np.arange(low, high + 1)
        masses = form.pmf(values) / form.pmf(values).sum()
        observed = np.array([(drawn == v).sum() for v in values])
        assert stats.chisquare(observed, masses * count).pvalue > 1e-4
    else:
        assert stats.kstest(shares, "uniform").pvalue > 1e-4


FAULTS = [
    ("weights: -1", "weights", "must be 0 or above"),
    ("weights: mu", "weights", "must not depend on a random variable"),
    ("censored: 3", "censored", "must be a mapping of limits"),
    ("censored: {stauts: status}", "censored.stauts", "has no key"),
    ("censored: {status: y}", "censored.status", "must be 0 (none), 1 (right), -1 (left) or 2 (interval)"),
    ("censored: {status: bad}", "censored.status", "must be none, left, right or interval (got 'rihgt')"),
    ("censored: {status: status}", "censored.upper", "is required"),
    ("censored: {status: status, upper: low}", "censored.upper", "must be above the observed value in an interval"),
    ("censored: {lower: 100}", "censored.lower", "lies below the limit"),
    ("censored: {lower: 0, status: status}", "censored.lower", "can't be given together"),
    ("truncated: {lower: 3, upper: 2}", "truncated.upper", "must be above lower"),
    ("truncated: {upper: -9}", "truncated.upper", "lies above the limit"),
    ("truncated: {}", "truncated", "must be a mapping of limits"),
]


@pytest.mark.parametrize(("modifiers", "key", "message"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_faults_are_told_at_their_key(modifiers: str, key: str, message: str) -> None:
    frame = data("Normal").assign(bad=("obs", np.array(["rihgt"] * ROWS, dtype=object)))
    spec = spec_of("Normal", modifiers)
    problems = static_check(spec) or check(frame, spec)
    assert [(p.key, message in p.message) for p in problems] == [(f"model.likelihood.y_obs.{key}", True)], problems


def test_what_has_no_exact_distribution_function_is_refused() -> None:
    spec = DeclarativeSpec.model_validate(
        yaml.safe_load("""
        name: m
        type: declarative
        priors: {k: {dist: HalfNormal, sigma: 1}}
        likelihood: {y_obs: {dist: VonMises, mu: 0, kappa: k, observed: y, truncated: {lower: 0}}}
        """)
    )
    (problem,) = check(data("Normal"), spec)
    assert "VonMises can't be truncated" in problem.message


def test_what_has_ends_of_its_own_is_no_prior() -> None:
    raw = yaml.safe_load("""
        name: m
        type: declarative
        priors: {k: {dist: HurdleGamma, mu: 1, alpha: 2, zero: 0.5}}
        likelihood: {y_obs: {dist: Normal, mu: k, sigma: 1, observed: y}}
        """)
    (problem,) = static_check(DeclarativeSpec.model_validate(raw))
    assert problem.key == "model.priors.k.dist"
    assert "is for observed values" in problem.message


def test_missing_values_are_not_imputed_in_a_modified_likelihood() -> None:
    frame = data("Normal")
    frame["y"][2] = np.nan
    (problem,) = check(frame, spec_of("Normal", "weights: w"))
    assert "can't be imputed with weights" in problem.message


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


OBSERVED_IF = """
name: m
type: declarative
priors: {mu: {dist: Normal, mu: 0, sigma: 2}}
likelihood:
  y: {dist: Poisson, mu: exp(mu), observed: counts, observed_if: seen == 1, weights: 1 + seen}
"""


def _seen(missing: int = 2) -> xr.Dataset:
    counts = np.array([3.0, 1.0, np.nan, 4.0, -7.0, 2.0])
    seen = np.array([1, 1, 0, 1, 0, 1])
    seen[missing] = 1 if missing != 2 else 0
    return xr.Dataset({"counts": ("obs", counts), "seen": ("obs", seen)})


def test_rows_that_are_not_observed_have_no_term_in_both_engines() -> None:
    spec = DeclarativeSpec.model_validate(yaml.safe_load(OBSERVED_IF))
    assert [*static_check(spec), *check(_seen(), spec)] == []
    declared = declare(_seen(), spec)
    expected = 2 * stats.poisson.logpmf([3, 1, 4, 2], np.exp(0.4)).sum()
    assert log_densities(declared, {"mu": 0.4})["y"] == pytest.approx(expected, rel=1e-12)
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        model = build(declared)
        terms = model["y"].logp_elemwiset.eval({model["mu"]: 0.4})
    assert terms.sum() == pytest.approx(expected, rel=1e-12)
    assert terms[[2, 4]] == pytest.approx([0.0, 0.0])
    assert not [item for item in declared.items if getattr(getattr(item, "observed", None), "missing", None)]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("seen > 5", "is true for no row"),
        ("seen >= 0", "holds for 1 rows whose value is missing"),
        ("mu > 0", "must not depend on a random variable"),
    ],
)
def test_a_condition_that_does_not_fit_is_told(condition: str, message: str) -> None:
    spec = DeclarativeSpec.model_validate(yaml.safe_load(OBSERVED_IF.replace("seen == 1", condition)))
    (problem,) = check(_seen(), spec)
    assert problem.key == "model.likelihood.y.observed_if"
    assert message in problem.message
