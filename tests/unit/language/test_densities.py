"""Declared distributions: their log densities against closed forms, their draws and means against the densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

from bayesrun.language.densities.named_densities import declared, log_density, unnamed
from bayesrun.language.distributions import FAMILIES, known_family
from bayesrun.language.values import constant

Parameters = Mapping[str, Any]
CUTPOINTS = np.array([-1.0, 0.2, 1.5])
SCORES = np.array([-0.5, 0.3, 1.2])
PARAMETERS: dict[str, Parameters] = {
    "AdjacentLogistic": {"eta": 0.4, "cutpoints": CUTPOINTS},
    "BetaProportion": {"mu": 0.3, "phi": 4.2},
    "CategoricalLogit": {"eta": SCORES},
    "GammaMean": {"mu": 2.3, "alpha": 1.7},
    "HurdleGamma": {"mu": 2.3, "alpha": 1.7, "zero": 0.3},
    "HurdleLogNormal": {"mu": 0.4, "sigma": 0.8, "zero": 0.3},
    "HurdleNegativeBinomial": {"mu": 2.3, "alpha": 1.7, "zero": 0.3},
    "HurdlePoisson": {"mu": 2.3, "zero": 0.3},
    "InverseGaussian": {"mu": 1.4, "lam": 2.2},
    "MultinomialLogit": {"n": 5, "eta": SCORES},
    "OrderedCloglog": {"eta": 0.4, "cutpoints": CUTPOINTS},
    "SequentialLogistic": {"eta": 0.4, "cutpoints": CUTPOINTS},
    "WeibullMean": {"mu": 2.3, "alpha": 1.7},
    "ZeroInflatedBeta": {"mu": 0.3, "phi": 4.2, "zero": 0.3},
    "ZeroInflatedBetaBinomial": {"n": 9, "mu": 0.3, "phi": 4.2, "zero": 0.3},
    "ZeroInflatedGeometric": {"mu": 2.3, "zero": 0.3},
    "ZeroOneInflatedBeta": {"mu": 0.3, "phi": 4.2, "zero_one": 0.3, "one": 0.6},
}
ENDS = {
    "HurdleGamma": (0.0,),
    "HurdleLogNormal": (0.0,),
    "ZeroInflatedBeta": (0.0,),
    "ZeroOneInflatedBeta": (0.0, 1.0),
}
NAMES = sorted(PARAMETERS)
OF_NUMBERS = [name for name in NAMES if not FAMILIES[name].event]


def _beta(p: Parameters) -> Any:
    return stats.beta(p["mu"] * p["phi"], (1 - p["mu"]) * p["phi"])


def _negative_binomial(p: Parameters) -> Any:
    return stats.nbinom(p["alpha"], p["alpha"] / (p["alpha"] + p["mu"]))


def _hurdle(zero: float, x: Any, density: Any, above: float = 1.0) -> Any:
    return np.where(x == 0, zero, (1 - zero) * density / above)


def _mixed(zero: float, x: Any, mass: Any) -> Any:
    return zero * (x == 0) + (1 - zero) * mass


def _weibull(p: Parameters) -> Any:
    return stats.weibull_min(p["alpha"], scale=p["mu"] / special.gamma(1 + 1 / p["alpha"]))


def _cloglog(p: Parameters, x: Any) -> Any:
    below = np.concatenate([[0], 1 - np.exp(-np.exp(p["cutpoints"] - p["eta"])), [1]])
    return np.diff(below)[x]


def _sequential(p: Parameters, x: Any) -> Any:
    stop = np.append(special.expit(p["cutpoints"] - p["eta"]), 1.0)
    return np.array([stop[k] * np.prod(1 - stop[:k]) for k in x])


def _adjacent(p: Parameters, x: Any) -> Any:
    return special.softmax([k * p["eta"] - p["cutpoints"][:k].sum() for k in range(4)])[x]


# the density, or the probability, at an array of values
CLOSED_FORMS: dict[str, Callable[[Parameters, Any], Any]] = {
    "AdjacentLogistic": _adjacent,
    "BetaProportion": lambda p, x: _beta(p).pdf(x),
    "CategoricalLogit": lambda p, x: special.softmax([0, *p["eta"]])[x],
    "GammaMean": lambda p, x: stats.gamma.pdf(x, p["alpha"], scale=p["mu"] / p["alpha"]),
    "HurdleGamma": lambda p, x: _hurdle(p["zero"], x, stats.gamma.pdf(x, p["alpha"], scale=p["mu"] / p["alpha"])),
    "HurdleLogNormal": lambda p, x: _hurdle(p["zero"], x, stats.lognorm.pdf(x, p["sigma"], scale=np.exp(p["mu"]))),
    "HurdleNegativeBinomial": lambda p, x: _hurdle(
        p["zero"], x, _negative_binomial(p).pmf(x), _negative_binomial(p).sf(0)
    ),
    "HurdlePoisson": lambda p, x: _hurdle(p["zero"], x, stats.poisson.pmf(x, p["mu"]), -np.expm1(-p["mu"])),
    "InverseGaussian": lambda p, x: stats.invgauss.pdf(x, p["mu"] / p["lam"], scale=p["lam"]),
    "MultinomialLogit": lambda p, x: stats.multinomial.pmf(x, p["n"], special.softmax([0, *p["eta"]])),
    "OrderedCloglog": _cloglog,
    "SequentialLogistic": _sequential,
    "WeibullMean": lambda p, x: _weibull(p).pdf(x),
    "ZeroInflatedBeta": lambda p, x: _hurdle(p["zero"], x, _beta(p).pdf(np.where(x == 0, 0.5, x))),
    "ZeroInflatedBetaBinomial": lambda p, x: _mixed(
        p["zero"], x, stats.betabinom.pmf(x, p["n"], p["mu"] * p["phi"], (1 - p["mu"]) * p["phi"])
    ),
    "ZeroInflatedGeometric": lambda p, x: _mixed(p["zero"], x, stats.geom.pmf(x + 1, 1 / (1 + p["mu"]))),
    "ZeroOneInflatedBeta": lambda p, x: np.select(
        [x == 0, x == 1],
        [p["zero_one"] * (1 - p["one"]), p["zero_one"] * p["one"]],
        (1 - p["zero_one"]) * _beta(p).pdf(np.where((x == 0) | (x == 1), 0.5, x)),
    ),
}


def points(name: str) -> Any:
    """Values inside of the support, its ends among them."""
    known = known_family(name)
    if known.event:
        return np.array([[1, 2, 0, 2], [5, 0, 0, 0], [0, 1, 1, 3]])
    if known.discrete:
        return np.arange(4 if "ordered" in name.lower() or "Logi" in name else 10)
    inside = np.array([1e-3, 0.2, 0.5, 0.97]) if "Beta" in name else np.array([0.05, 0.4, 1.0, 2.5, 30.0])
    return np.concatenate([ENDS.get(name, ()), inside])


def density_of(name: str, x: Any, parameters: Parameters | None = None) -> Any:
    """The log density, in NumPy."""
    return log_density(known_family(name), constant(x), unnamed(parameters or PARAMETERS[name])).known


def test_every_declared_distribution_is_tried_here() -> None:
    assert {name for name, known in FAMILIES.items() if known.declared} == set(PARAMETERS) == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", NAMES)
def test_the_log_density_is_the_closed_form(name: str) -> None:
    x = points(name)
    np.testing.assert_allclose(density_of(name, x), np.log(CLOSED_FORMS[name](PARAMETERS[name], x)), rtol=1e-10)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_there_is_nothing_outside_of_the_support(name: str) -> None:
    known = known_family(name)
    outside = {"count": [-1], "positive": [0.0, -1.0], "nonnegative": [-0.5], "unit": [0.0, 1.0, 1.5]}
    beyond = [4] if {"cutpoints", "eta"} & known.parameters.keys() else [10] if "n" in known.parameters else []
    at = np.array([*outside.get(known.support, [-0.1, 1.1]), *beyond])
    assert np.all(np.isneginf(density_of(name, at)))
    for parameter, value in PARAMETERS[name].items():
        if known.parameters[parameter].domain in ("positive", "unit") and np.ndim(value) == 0:
            assert np.all(np.isneginf(density_of(name, points(name), {**PARAMETERS[name], parameter: -0.1})))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_every_value_are_those_of_each(name: str) -> None:
    """A row of parameters per value gives what one value after another gives."""
    rng, x, known = np.random.default_rng(1), points(name), known_family(name)
    rows: dict[str, Any] = {}
    for parameter, value in PARAMETERS[name].items():
        whole = known.parameters[parameter].domain == "count"
        wide = np.repeat(np.asarray(value)[None], len(x), axis=0)
        rows[parameter] = wide if whole else np.sort(wide * rng.uniform(0.8, 1.2, wide.shape), axis=-1)
    one_by_one = [density_of(name, x[i], {p: v[i] for p, v in rows.items()}) for i in range(len(x))]
    np.testing.assert_allclose(density_of(name, x, rows), one_by_one, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_density(name: str) -> None:
    known, count = known_family(name), 20_000
    arrays = {n: np.asarray(v, dtype=float)[None] for n, v in PARAMETERS[name].items()}
    drawn = declared(name).draw(arrays, (count, 4) if known.event else (count,), np.random.default_rng(3))[0]
    assert np.all(np.isfinite(density_of(name, drawn[:200])))
    if known.event:
        chances = special.softmax([0, *SCORES])
        expected = drawn.shape[0] * 5 * chances
        assert np.all(np.abs(drawn.sum(axis=0) - expected) < 4 * np.sqrt(expected * (1 - chances)))
    elif known.discrete:
        _follows_masses(drawn, np.exp(density_of(name, np.arange(40))))
    else:
        _follows_density(name, drawn)


def _follows_masses(drawn: Any, masses: Any) -> None:
    keep = masses * len(drawn) > 5
    observed = np.bincount(drawn.astype(int), minlength=len(masses))[: len(masses)]
    expected = np.append(masses[keep], max(1 - masses[keep].sum(), 1e-12)) * len(drawn)
    observed = np.append(observed[keep], len(drawn) - observed[keep].sum())
    big = expected > 1
    statistic = ((observed - expected) ** 2 / expected)[big].sum()
    assert stats.chi2.sf(statistic, big.sum() - 1) > 1e-4
    assert observed[~big].sum() < 20


def _follows_density(name: str, drawn: Any) -> None:
    """At ends with a probability of their own by counts, between them by the integral of the density."""
    inside = np.ones(len(drawn), dtype=bool)
    for end in points(name)[:2]:
        share = np.exp(density_of(name, end)) if end in ENDS.get(name, ()) else 0.0
        at = drawn == end
        assert abs(at.mean() - share) < 4 * np.sqrt(max(share, 1e-9) / len(drawn))
        inside &= ~at
    grid = np.linspace(*np.quantile(drawn[inside], [0.001, 0.999]), 401)
    below = integrate.cumulative_trapezoid(np.exp(density_of(name, grid)), grid, initial=0.0)
    found = np.array([((drawn > grid[0]) & (drawn <= g) & inside).mean() for g in grid[::20]])
    assert np.max(np.abs(found - below[::20])) < 2.0 / np.sqrt(len(drawn))


@pytest.mark.parametrize("name", [n for n in OF_NUMBERS if declared(n).mean])
def test_the_mean_is_that_of_the_draws(name: str) -> None:
    mean = declared(name).mean
    assert mean is not None
    arrays = {n: np.asarray(v, dtype=float)[None] for n, v in PARAMETERS[name].items()}
    drawn = declared(name).draw(arrays, (50_000,), np.random.default_rng(4))[0]
    expected = float(mean(unnamed(PARAMETERS[name])).known)
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_small_rates_of_hurdles_are_drawn_and_counted_right() -> None:
    """Where the positive part is nearly always 1, nothing is lost in a difference of numbers near 1."""
    tiny = {"mu": 1e-12, "zero": 0.5}
    np.testing.assert_allclose(density_of("HurdlePoisson", np.array([1, 2]), tiny), np.log([0.5, 0.25e-12]))
    drawn = declared("HurdlePoisson").draw({n: np.array([v]) for n, v in tiny.items()}, (99,), np.random.default_rng(0))
    assert set(np.unique(drawn)) == {0, 1}


def _gamma(p: Parameters) -> Any:
    return stats.gamma(p["alpha"], scale=p["mu"] / p["alpha"])


class _Hurdle:
    """SciPy's distribution above 0, and a probability of 0."""

    def __init__(self, zero: float, above: Any) -> None:
        self._zero, self._above = zero, above

    def logcdf(self, x: Any) -> Any:
        inside = (self._above.cdf(x) - self._above.cdf(0)) / self._above.sf(0)
        return np.log(self._zero + (1 - self._zero) * inside)

    def logsf(self, x: Any) -> Any:
        return np.log1p(-self._zero) + self._above.logsf(x) - self._above.logsf(0)


SCIPYS = {
    "BetaProportion": _beta,
    "GammaMean": _gamma,
    "HurdleGamma": lambda p: _Hurdle(p["zero"], _gamma(p)),
    "HurdleLogNormal": lambda p: _Hurdle(p["zero"], stats.lognorm(p["sigma"], scale=np.exp(p["mu"]))),
    "HurdleNegativeBinomial": lambda p: _Hurdle(p["zero"], _negative_binomial(p)),
    "HurdlePoisson": lambda p: _Hurdle(p["zero"], stats.poisson(p["mu"])),
    "InverseGaussian": lambda p: stats.invgauss(p["mu"] / p["lam"], scale=p["lam"]),
    "WeibullMean": _weibull,
}


@pytest.mark.parametrize("name", [n for n in NAMES if declared(n).log_cdf])
def test_distribution_functions(name: str) -> None:
    p, x = PARAMETERS[name], points(name)
    form, this = SCIPYS[name](p), declared(name)
    assert this.log_cdf is not None
    assert this.log_survival is not None
    np.testing.assert_allclose(this.log_cdf(constant(x), unnamed(p)).known, form.logcdf(x), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(this.log_survival(constant(x), unnamed(p)).known, form.logsf(x), rtol=1e-9)
