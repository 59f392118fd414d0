"""Every family: the expanded YAML has the density that SciPy gives, and static checks pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
import yaml
from scipy.special import expit, log_softmax, ndtr

from bayesrun.errors import UserError, check
from bayesrun.language.declaration import Random
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import declarative, regression
from bayesrun.models.regression.families import ELSEWHERE, FAMILY_TABLE
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS = 24
RNG = np.random.default_rng(8)
X = RNG.normal(size=ROWS)
GROUP = np.array(list("abc") * 8)
CODE = np.unique(GROUP, return_inverse=True)[1]
N = RNG.integers(4, 9, size=ROWS)
B, SD, OFFSETS = np.array([0.4, -0.3]), np.array([0.7]), RNG.normal(size=(3, 1))
EFFECT = (SD * OFFSETS)[CODE, 0]
ETA = B[0] + B[1] * X + EFFECT

REAL = RNG.normal(size=ROWS)
POSITIVE = RNG.gamma(2.0, 1.0, size=ROWS)
WITH_ZEROS = np.where(RNG.random(ROWS) < 0.3, 0.0, POSITIVE)
SHARES = RNG.beta(2.0, 3.0, size=ROWS)
ENDS = np.where(RNG.random(ROWS) < 0.3, 0.0, SHARES)
BOTH_ENDS = np.where(RNG.random(ROWS) < 0.2, 1.0, ENDS)
COUNTS = RNG.poisson(1.5, size=ROWS)
SUCCESSES = RNG.binomial(N, 0.4)
LEVELS = np.array(["low", "mid", "high"])[RNG.integers(0, 3, size=ROWS)]
LEVEL_CODES = np.searchsorted(["high", "low", "mid"], LEVELS)
CUTPOINTS = np.array([-0.6, 0.9])


@dataclass(frozen=True)
class Case:
    """A family with responses, values of its further parameters, and the log density of each row."""

    y: Any
    density: Callable[[Any], Any]
    others: dict[str, float] = field(default_factory=dict)
    left: str = "y"


def _with_zero(share: float, y: Any, logs: Any, hurdle: bool = False, at_zero: Any = 0.0) -> Any:
    """Inflate zeros, or let them be a process of their own; `at_zero` is the family's probability of 0."""
    if hurdle:
        return np.where(y == 0, np.log(share), np.log1p(-share) + logs - np.log1p(-at_zero))
    return np.where(y == 0, np.log(share + (1 - share) * at_zero), np.log1p(-share) + logs)


def _nb(y: Any, mu: Any, alpha: float) -> Any:
    return st.nbinom.logpmf(y, alpha, alpha / (alpha + mu))


def _beta(y: Any, mu: Any, phi: float) -> Any:
    return st.beta.logpdf(np.clip(y, 1e-12, 1 - 1e-12), mu * phi, (1 - mu) * phi)


def _gamma(y: Any, mu: Any, alpha: float) -> Any:
    return st.gamma.logpdf(np.maximum(y, 1e-300), alpha, scale=mu / alpha)


def _skew(y: Any, mu: Any, sigma: float, alpha: float) -> Any:
    at = st.skewnorm(alpha)
    return st.skewnorm.logpdf(y, alpha, mu - sigma * at.mean() / at.std(), sigma / at.std())


def _ordinal(chances: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def density(eta: Any) -> Any:
        return np.log(np.array([chances(e)[c] for e, c in zip(eta, LEVEL_CODES, strict=True)]))

    return density


def _cumulative(eta: float) -> Any:
    return np.diff([0, *expit(CUTPOINTS - eta), 1])


def _sequential(eta: float) -> Any:
    stop = expit(CUTPOINTS - eta)
    return np.array([stop[0], (1 - stop[0]) * stop[1], (1 - stop[0]) * (1 - stop[1])])


def _adjacent(eta: float) -> Any:
    return np.exp(log_softmax([0, *np.cumsum(eta - CUTPOINTS)]))


EXP = np.exp
CASES: dict[str, Case] = {
    "normal": Case(REAL, lambda e: st.norm.logpdf(REAL, e, 0.8), {"sigma": 0.8}),
    "student": Case(REAL, lambda e: st.t.logpdf(REAL, 4.0, e, 0.8), {"sigma": 0.8, "nu": 4.0}),
    "skew_normal": Case(REAL, lambda e: _skew(REAL, e, 0.8, 1.5), {"sigma": 0.8, "alpha": 1.5}),
    "von_mises": Case(REAL, lambda e: st.vonmises.logpdf(REAL, 2.0, 2 * np.arctan(e)), {"kappa": 2.0}),
    "lognormal": Case(POSITIVE, lambda e: st.lognorm.logpdf(POSITIVE, 0.8, scale=EXP(e)), {"sigma": 0.8}),
    "gamma": Case(POSITIVE, lambda e: _gamma(POSITIVE, EXP(e), 2.5), {"alpha": 2.5}),
    "inverse_gaussian": Case(POSITIVE, lambda e: st.invgauss.logpdf(POSITIVE, EXP(e) / 1.7, scale=1.7), {"lam": 1.7}),
    "weibull": Case(
        POSITIVE,
        lambda e: st.weibull_min.logpdf(POSITIVE, 1.6, scale=EXP(e) / st.weibull_min(1.6).mean()),
        {"alpha": 1.6},
    ),
    "exponential": Case(POSITIVE, lambda e: st.expon.logpdf(POSITIVE, scale=EXP(e))),
    "hurdle_gamma": Case(
        WITH_ZEROS,
        lambda e: _with_zero(0.3, WITH_ZEROS, _gamma(WITH_ZEROS, EXP(e), 2.5)),
        {"alpha": 2.5, "hu": 0.3},
    ),
    "hurdle_lognormal": Case(
        WITH_ZEROS,
        lambda e: _with_zero(0.3, WITH_ZEROS, st.lognorm.logpdf(np.maximum(WITH_ZEROS, 1e-300), 0.8, scale=EXP(e))),
        {"sigma": 0.8, "hu": 0.3},
    ),
    "beta": Case(SHARES, lambda e: _beta(SHARES, expit(e), 5.0), {"phi": 5.0}),
    "zero_inflated_beta": Case(
        ENDS, lambda e: _with_zero(0.3, ENDS, _beta(ENDS, expit(e), 5.0)), {"phi": 5.0, "zi": 0.3}
    ),
    "zero_one_inflated_beta": Case(
        BOTH_ENDS,
        lambda e: np.select(
            [BOTH_ENDS == 0, BOTH_ENDS == 1],
            [np.log(0.3 * 0.6), np.log(0.3 * 0.4)],
            np.log(0.7) + _beta(BOTH_ENDS, expit(e), 5.0),
        ),
        {"phi": 5.0, "zoi": 0.3, "coi": 0.4},
    ),
    "bernoulli": Case((REAL > 0).astype(int), lambda e: st.bernoulli.logpmf(REAL > 0, expit(e))),
    "binomial": Case(SUCCESSES, lambda e: st.binom.logpmf(SUCCESSES, N, expit(e)), left="y | trials(n)"),
    "beta_binomial": Case(
        SUCCESSES,
        lambda e: st.betabinom.logpmf(SUCCESSES, N, expit(e) * 5.0, (1 - expit(e)) * 5.0),
        {"phi": 5.0},
        "y | trials(n)",
    ),
    "zero_inflated_binomial": Case(
        SUCCESSES,
        lambda e: _with_zero(
            0.3, SUCCESSES, st.binom.logpmf(SUCCESSES, N, expit(e)), at_zero=st.binom.pmf(0, N, expit(e))
        ),
        {"zi": 0.3},
        "y | trials(n)",
    ),
    "zero_inflated_beta_binomial": Case(
        SUCCESSES,
        lambda e: _with_zero(
            0.3,
            SUCCESSES,
            st.betabinom.logpmf(SUCCESSES, N, expit(e) * 5.0, (1 - expit(e)) * 5.0),
            at_zero=st.betabinom.pmf(0, N, expit(e) * 5.0, (1 - expit(e)) * 5.0),
        ),
        {"phi": 5.0, "zi": 0.3},
        "y | trials(n)",
    ),
    "poisson": Case(COUNTS, lambda e: st.poisson.logpmf(COUNTS, EXP(e))),
    "negative_binomial": Case(COUNTS, lambda e: _nb(COUNTS, EXP(e), 2.0), {"alpha": 2.0}),
    "geometric": Case(COUNTS, lambda e: st.geom.logpmf(COUNTS + 1, 1 / (1 + EXP(e)))),
    "zero_inflated_poisson": Case(
        COUNTS,
        lambda e: _with_zero(0.3, COUNTS, st.poisson.logpmf(COUNTS, EXP(e)), at_zero=EXP(-EXP(e))),
        {"zi": 0.3},
    ),
    "zero_inflated_negative_binomial": Case(
        COUNTS,
        lambda e: _with_zero(0.3, COUNTS, _nb(COUNTS, EXP(e), 2.0), at_zero=EXP(_nb(0, EXP(e), 2.0))),
        {"alpha": 2.0, "zi": 0.3},
    ),
    "zero_inflated_geometric": Case(
        COUNTS,
        lambda e: _with_zero(0.3, COUNTS, _nb(COUNTS, EXP(e), 1.0), at_zero=EXP(_nb(0, EXP(e), 1.0))),
        {"zi": 0.3},
    ),
    "hurdle_poisson": Case(
        COUNTS,
        lambda e: _with_zero(0.3, COUNTS, st.poisson.logpmf(COUNTS, EXP(e)), True, EXP(-EXP(e))),
        {"hu": 0.3},
    ),
    "hurdle_negative_binomial": Case(
        COUNTS,
        lambda e: _with_zero(0.3, COUNTS, _nb(COUNTS, EXP(e), 2.0), True, EXP(_nb(0, EXP(e), 2.0))),
        {"alpha": 2.0, "hu": 0.3},
    ),
    "cumulative": Case(LEVELS, _ordinal(_cumulative)),
    "sequential": Case(LEVELS, _ordinal(_sequential)),
    "adjacent": Case(LEVELS, _ordinal(_adjacent)),
}


def data(y: Any) -> xr.Dataset:
    given = {"x": X, "g": GROUP, "n": N, "y": y, "k": COUNTS, "s": SUCCESSES}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    if y is LEVELS:
        made["y"].attrs["levels"] = ["high", "low", "mid"]
    return made.assign_attrs(dim="obs")


def read_back(rows: xr.Dataset, spec: RegressionSpec) -> Any:
    """Expand, print as YAML, read it and declare that."""
    assert not MODEL.static_check(spec) and not MODEL.check(rows, spec)
    expansion = expansion_of(rows, spec)
    text = yaml.safe_dump(dict(expansion.model), sort_keys=False)
    again = declarative.DeclarativeSpec.model_validate(yaml.safe_load(text))
    assert not declarative.static_check(again) and not declarative.check(expansion.columns, again)
    return declarative.build(expansion.columns, again)


def _many(name: str, size: int = 1_100) -> xr.Dataset:
    rng = np.random.default_rng(3)
    x, n = rng.normal(size=size), rng.integers(4, 9, size=size)
    y = {"normal": rng.normal(size=size), "poisson": rng.poisson(2, size), "bernoulli": rng.integers(0, 2, size)}
    columns = {"x": x, "n": n, "g": rng.integers(0, 7, size), "h": rng.integers(0, 5, size)}
    columns["y"] = y.get(name, rng.binomial(n, 0.3))
    made = xr.Dataset({k: ("obs", v) for k, v in columns.items()}, coords={"obs": np.arange(size)})
    return made.assign_attrs(dim="obs")


@pytest.mark.parametrize("name", ["normal", "poisson", "bernoulli", "binomial"])
def test_many_rows_are_summed_to_the_same_log_likelihood(name: str) -> None:
    left = "y | trials(n)" if name == "binomial" else "y"
    formula = f"{left} ~ x + (x | g) + (1 | h) + offset(log(n) / 10)"
    spec = RegressionSpec(name="m", type="regression", formula=formula, family=name)
    declared = MODEL.build(_many(name), spec)
    direct = declared.reported
    assert direct is not None and any(item.name == "likelihood" for item in declared.items)
    rng = np.random.default_rng(4)
    (coefficients,) = [item.value for item in declared.items if item.name == "coefficients"]
    forms = {item.name: item.plan for item in direct.items if isinstance(item, Random)}
    differences = []
    for _ in range(3):
        z = 0.1 * rng.normal(size=2)
        rest = {item: 0.1 * rng.normal(size=of.shape) for item, of in forms.items() if item.startswith("r_")}
        rest |= {"chol_g": np.array([[0.5, 0], [0.1, 0.4]]), "sd_h": np.array([0.6]), "sigma": 0.9}
        there = evaluate(node_of(coefficients), {"coefficients_whitened": z}.__getitem__)
        ours = log_densities(declared, {"coefficients_whitened": z, **rest})
        theirs = log_densities(direct, {"coefficients": there, **rest})
        assert ours["likelihood"] == pytest.approx(theirs["y_obs"], rel=1e-10)
        differences.append(sum(ours.values()) - sum(theirs.values()))
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def test_every_family_has_a_case() -> None:
    assert {*CASES, "categorical", "multinomial"} == set(FAMILY_TABLE)


def test_names_of_families_elsewhere_lead_to_one_that_is_here() -> None:
    assert set(ELSEWHERE.values()) <= set(FAMILY_TABLE) and not set(ELSEWHERE) & set(FAMILY_TABLE)


@pytest.mark.parametrize("name", CASES)
def test_an_expanded_family_has_the_density_that_scipy_gives(name: str) -> None:
    case = CASES[name]
    spec = RegressionSpec(name="m", type="regression", formula=f"{case.left} ~ x + (1 | g)", family=name)
    declared = read_back(data(case.y), spec)
    ordinal = "cutpoints" in FAMILY_TABLE[name].parameters
    own = {"coefficients": B[1:], "cutpoints": CUTPOINTS} if ordinal else {"coefficients": B}
    found = log_densities(declared, {**own, "sd_g": SD, "r_g_offset": OFFSETS, **case.others})
    eta = ETA - B[0] if ordinal else ETA
    assert found["y_obs"] == pytest.approx(float(np.sum(case.density(eta))), rel=1e-9)


@pytest.mark.parametrize(
    ("link", "inverse"),
    [("probit", ndtr), ("cloglog", lambda e: -np.expm1(-np.exp(e))), ("identity", lambda e: e), ("log", np.exp)],
)
def test_links_of_a_chance(link: str, inverse: Callable[[Any], Any]) -> None:
    options = {"link": link}
    spec = RegressionSpec(
        name="m", type="regression", formula="y | trials(n) ~ x + (1 | g)", family="binomial", options=options
    )
    declared = read_back(data(SUCCESSES), spec)
    own = {"coefficients": np.array([0.4, -0.01]), "sd_g": np.array([0.01]), "r_g_offset": OFFSETS}
    eta = 0.4 - 0.01 * X + 0.01 * OFFSETS[CODE, 0]
    eta, own = (eta - 1.2, {**own, "coefficients": np.array([-0.8, -0.01])}) if link == "log" else (eta, own)
    wanted = st.binom.logpmf(SUCCESSES, N, inverse(eta)).sum()
    assert log_densities(declared, own)["y_obs"] == pytest.approx(wanted, rel=1e-9)


def test_categories_have_a_linear_predictor_each_but_the_first() -> None:
    spec = RegressionSpec(name="m", type="regression", formula="y ~ x + (1 | g)", family="categorical")
    declared = read_back(data(LEVELS), spec)
    point, etas = {}, [np.zeros(ROWS)]
    for level, b in (("low", np.array([0.2, -0.5])), ("mid", np.array([-0.3, 0.1]))):
        own = RNG.normal(size=(3, 1))
        point |= {f"{level}_coefficients": b, f"sd_{level}_g": SD, f"r_{level}_g_offset": own}
        etas.append(b[0] + b[1] * X + (SD * own)[CODE, 0])
    wanted = log_softmax(np.stack(etas, axis=1), axis=1)[np.arange(ROWS), LEVEL_CODES].sum()
    assert log_densities(declared, point)["y_obs"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "shares"),
    [
        ("mm(g, h)", np.full((ROWS, 2), 0.5)),
        ("mm(g, h, scale = FALSE)", np.ones((ROWS, 2))),
        ("mm(g, h, weights = cbind(n, k))", np.stack([N, COUNTS], axis=1) / (N + COUNTS)[:, None]),
        ("mm(g, h, weights = cbind(n, k), scale = FALSE)", np.stack([N, COUNTS], axis=1)),
    ],
)
def test_levels_of_several_memberships_are_added_with_their_weights(call: str, shares: Any) -> None:
    other = np.array(list("bcd") * 8)[::-1]
    spec = RegressionSpec(name="m", type="regression", formula=f"y ~ x + (1 | {call})", family="poisson")
    declared = read_back(data(COUNTS).assign(h=("obs", other)), spec)
    offsets = np.array([0.3, -0.8, 0.5, 0.1])  # of a, b, c, d
    codes = np.stack([CODE, np.searchsorted(list("abcd"), other)], axis=1)
    eta = B[0] + B[1] * X + (0.3 * offsets[codes] * shares).sum(axis=1)
    own = {"coefficients": B, "sd_mm_g_h": np.array([0.3]), "r_mm_g_h_offset": offsets[:, None]}
    wanted = st.poisson.logpmf(COUNTS, np.exp(eta)).sum()
    assert log_densities(declared, own)["y_obs"] == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize("bars", ["|", "||"])
def test_slopes_of_several_memberships_are_added_with_their_weights(bars: str) -> None:
    other = np.array(list("bcd") * 8)[::-1]
    formula = f"y ~ x + (x {bars} mm(g, h, weights = cbind(n, k)))"
    spec = RegressionSpec(name="m", type="regression", formula=formula, family="poisson")
    declared = read_back(data(COUNTS).assign(h=("obs", other)), spec)
    offsets = np.array([[0.3, -0.8, 0.5, 0.1], [0.2, 0.7, -0.4, -0.9]]).T  # of a, b, c, d: levels and slopes
    codes = np.stack([CODE, np.searchsorted(list("abcd"), other)], axis=1)
    shares = np.stack([N, COUNTS], axis=1) / (N + COUNTS)[:, None]
    own = {"coefficients": B, "r_mm_g_h_offset": offsets}
    if bars == "|":
        chol = np.array([[0.3, 0.0], [0.1, 0.2]])
        own["chol_mm_g_h"] = chol
    else:
        chol = np.diag([0.3, 0.2])
        own["sd_mm_g_h"] = np.array([0.3, 0.2])
    effects = offsets @ chol.T
    eta = B[0] + B[1] * X + ((effects[codes] * shares[:, :, None]).sum(axis=1) * np.column_stack([X**0, X])).sum(axis=1)
    wanted = st.poisson.logpmf(COUNTS, np.exp(eta)).sum()
    assert log_densities(declared, own)["y_obs"] == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("(mmc(x, z) | mm(g, h))", "one column for all members"),
        ("(log(x, 3) | mm(g, h))", "log has no base"),
        ("(1 | mm(g))", "names 1 column"),
        ("(1 | mm(g, g))", "names a column twice"),
        ("(1 | mm(g, h, weights = cbind(n)))", "2 columns and 1 weights"),
        ("(1 | mm(g, h, weights = n))", "can't be read in mm"),
        ("(1 | mm(g, h, weights = cbind(n, 2)))", "must be columns"),
        ("(1 | mm(g, h)) + (1 | mm(g, h))", "stands twice"),
        ("x - (1 | mm(g, h))", "removes a group term"),
    ],
)
def test_memberships_that_can_not_be_read_are_refused(term: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check(MODEL.static_check(RegressionSpec(name="m", type="regression", formula=f"y ~ {term}", family="normal")))


@pytest.mark.parametrize(("name", "chances"), [("sequential", _sequential), ("adjacent", _adjacent)])
def test_effects_that_differ_between_thresholds(name: str, chances: Callable[[float], Any]) -> None:
    spec = RegressionSpec(name="m", type="regression", formula="y ~ n + cs(x + g)", family=name)
    declared = read_back(data(LEVELS), spec)
    b, cs_x, cs_g = -0.1, np.array([0.8, -0.4]), np.array([[0.3, -0.6], [0.1, 0.9]])
    steps = np.outer(X, cs_x) + np.concatenate([np.zeros((1, 2)), cs_g])[CODE]
    # what moves a threshold down moves the score at it up
    each = [_at(chances, b * n + step)[c] for n, step, c in zip(N, steps, LEVEL_CODES, strict=True)]
    own = {"coefficients": np.array([b]), "cutpoints": CUTPOINTS, "cs_x": cs_x, "cs_g": cs_g}
    assert log_densities(declared, own)["y_obs"] == pytest.approx(float(np.log(each).sum()), rel=1e-9)


def _at(chances: Callable[[Any], Any], etas: Any) -> Any:
    """Return the chances of levels with a score at each threshold."""
    return np.asarray(chances(etas))


@pytest.mark.parametrize(
    ("formula", "family", "words"),
    [
        ("y ~ cs(x)", "cumulative", "sequential or adjacent"),
        ("y ~ cs(x)", "normal", "sequential or adjacent"),
        ("y ~ x + cs(x)", "sequential", "an effect of its own"),
        ("y ~ n - cs(x)", "sequential", "removes category-specific effects"),
        ("y ~ cs(1)", "adjacent", "the thresholds are its intercepts"),
        ("y ~ n:cs(x)", "adjacent", "cs(x)"),
    ],
)
def test_category_specific_effects_that_have_no_meaning_are_refused(formula: str, family: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check(MODEL.static_check(RegressionSpec(name="m", type="regression", formula=formula, family=family)))


def test_the_scale_of_thresholds_is_that_of_what_moves_them() -> None:
    """Offsets and columns that are far from 0 move the thresholds, which the default prior must reach."""
    rows = data(LEVELS).assign(far=("obs", X + 40.0), exposure=("obs", np.full(ROWS, 9.0)))
    scales = {}
    for right in ("x", "far", "cs(far)", "x + offset(exposure)"):
        spec = RegressionSpec(name="m", type="regression", formula=f"y ~ {right}", family="sequential")
        scales[right] = expansion_of(rows, spec).model["priors"]["cutpoints"]["sigma"]
    assert scales["x"] < 4.0
    assert scales["cs(far)"] == pytest.approx(scales["far"]) and scales["far"] > 50.0
    assert scales["x + offset(exposure)"] == pytest.approx(np.hypot(scales["x"], 2.5 * 9.0))


def test_counts_of_several_levels() -> None:
    spec = RegressionSpec(name="m", type="regression", formula="cbind(k, s, n) ~ x", family="multinomial")
    declared = read_back(data(REAL), spec)
    s, n = np.array([0.2, -0.5]), np.array([-0.3, 0.1])
    etas = np.stack([np.zeros(ROWS), s[0] + s[1] * X, n[0] + n[1] * X], axis=1)
    counts = np.stack([COUNTS, SUCCESSES, N], axis=1)
    wanted = sum(
        st.multinomial.logpmf(c, c.sum(), p) for c, p in zip(counts, np.exp(log_softmax(etas, axis=1)), strict=True)
    )
    found = log_densities(declared, {"s_coefficients": s, "n_coefficients": n})
    assert found["counts_obs"] == pytest.approx(float(wanted), rel=1e-9)


def test_a_known_standard_error_takes_the_place_of_sigma_or_joins_it() -> None:
    rows = data(REAL).assign(e=("obs", np.full(ROWS, 0.5) + 0.1 * N))
    error = rows["e"].values
    for left, sigma, own in (
        ("y | se(e)", error, {}),
        ("y | se(e, sigma = TRUE)", np.hypot(0.8, error), {"sigma": 0.8}),
    ):
        spec = RegressionSpec(name="m", type="regression", formula=f"{left} ~ x + (1 | g)")
        found = log_densities(read_back(rows, spec), {"coefficients": B, "sd_g": SD, "r_g_offset": OFFSETS, **own})
        assert found["y_obs"] == pytest.approx(st.norm.logpdf(REAL, ETA, sigma).sum(), rel=1e-9)


@pytest.mark.parametrize("name", ["normal", "student", "poisson", "negative_binomial", "bernoulli"])
@pytest.mark.parametrize("right", ["x", "x + C(g)", "poly(x, 2) + x:n + offset(log(n))"])
def test_a_generalised_linear_model_expands_into_the_density_that_it_is_built_with(name: str, right: str) -> None:
    """What is built from a design matrix alone takes another way, and comes to the same."""
    case, plain_right = CASES[name], right.partition(" + offset")[0]
    options = {"form": "direct", "offset": "log(n)" if plain_right != right else None}
    common = {"name": "m", "type": "regression", "family": name}
    built = MODEL.build(data(case.y), RegressionSpec(formula=f"y ~ {plain_right}", options=options, **common))
    expanded = read_back(data(case.y), RegressionSpec(formula=f"y ~ {right}", **common))
    terms = [item for item in built.items if isinstance(item, Random) and item.name not in case.others]
    point = {item.name: 0.1 * RNG.normal(size=item.plan.shape) for item in terms}
    coefficients = np.concatenate([np.atleast_1d(values) for values in point.values()])
    ours = sum(log_densities(built, {**point, **case.others}).values())
    theirs = sum(log_densities(expanded, {"coefficients": coefficients, **case.others}).values())
    assert ours == pytest.approx(theirs, rel=1e-9)
