"""Several responses: their density by hand, their names, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
import yaml

from bayesrun.language.declaration import Declaration
from bayesrun.models import declarative, regression
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS, RNG = 30, np.random.default_rng(2)
X = RNG.normal(size=ROWS)
GROUP = np.array(list("abc") * 10)
CODE = np.unique(GROUP, return_inverse=True)[1]
A, B = RNG.normal(size=ROWS), RNG.normal(size=ROWS)
SICK = (RNG.random(ROWS) < 0.4).astype(int)
PRIORS = {
    "default": {"dist": "Normal", "mu": 0, "sigma": 2},
    "Intercept": {"dist": "Normal", "mu": 0, "sigma": 5},
    "sigma": {"dist": "HalfNormal", "sigma": 3},
}
OF_GROUPS = {"sd": {"dist": "HalfNormal", "sigma": 1}}
BOTH = {"responses": {"a": "a ~ x", "b": "b ~ 1 + (1 | g)"}}


def data(**variables: Any) -> xr.Dataset:
    given = {"a": A, "b": B, "sick": SICK, "x": X, "g": GROUP, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, priors: Any = None, **keys: Any) -> RegressionSpec:
    options = {"form": "direct", **keys.pop("options", {})}
    own = {**PRIORS, **(OF_GROUPS if "|" in str(formula) else {}), **(priors or {})}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=own, options=options, **keys)


def built(formula: Any, rows: xr.Dataset | None = None, **keys: Any) -> Declaration:
    this, rows = spec(formula, **keys), data() if rows is None else rows
    assert not MODEL.static_check(this) and not MODEL.check(rows, this)
    return MODEL.build(rows, this)


def normal(x: Any, sigma: Any = 1.0) -> float:
    return float(np.sum(st.norm.logpdf(x, 0, sigma)))


POINT = {
    "a_coefficients": np.array([0.4, -0.3]),
    "b_coefficients": np.array([0.2]),
    "sd_b_g": np.array([0.7]),
    "r_b_g_offset": np.array([[0.5], [-1.0], [0.1]]),
}
FACTOR = np.array([[0.8, 0.0], [0.3, 1.1]])
MU = np.stack([0.4 - 0.3 * X, 0.2 + 0.7 * POINT["r_b_g_offset"][CODE, 0]], axis=1)
OF_PRIORS = normal([0.4, 0.2], 5) + normal(-0.3, 2) + st.halfnorm.logpdf(0.7) + normal(POINT["r_b_g_offset"])


def test_correlated_rows_are_one_multivariate_normal_each() -> None:
    declared = built(BOTH)
    got = log_densities(declared, {**POINT, "chol_rescor": FACTOR})
    rows = [st.multivariate_normal.logpdf(y, m, FACTOR @ FACTOR.T) for y, m in zip(np.c_[A, B], MU, strict=True)]
    assert got["responses_obs"] == pytest.approx(sum(rows), rel=1e-10)
    assert sum(v for name, v in got.items() if name not in ("responses_obs", "chol_rescor")) == pytest.approx(OF_PRIORS)
    assert list(declared.coords["response_pair"]) == ["a, b"] and list(declared.coords["response"]) == ["a", "b"]
    assert {"chol_rescor", "a_coefficients"} <= declared.helpers and "rescor" not in declared.helpers
    assert "a_sigma" not in declared.helpers


def test_without_correlation_each_response_has_its_likelihood() -> None:
    got = log_densities(built(BOTH, options={"rescor": False}), {**POINT, "a_sigma": 0.8, "b_sigma": 1.3})
    wanted = OF_PRIORS + st.halfnorm.logpdf([0.8, 1.3], scale=3).sum()
    wanted += normal(A - MU[:, 0], 0.8) + normal(B - MU[:, 1], 1.3)
    assert sum(got.values()) == pytest.approx(wanted, rel=1e-10) and {"a_obs", "b_obs"} <= set(got)


def test_student_residuals_have_one_nu() -> None:
    nu = {"nu": {"dist": "Gamma", "alpha": 2, "beta": 0.1}}
    got = log_densities(built(BOTH, family="student", priors=nu), {**POINT, "chol_rescor": FACTOR, "nu": 5.0})
    rows = [st.multivariate_t.logpdf(y, m, FACTOR @ FACTOR.T, 5) for y, m in zip(np.c_[A, B], MU, strict=True)]
    assert got["responses_obs"] == pytest.approx(sum(rows), rel=1e-10)
    assert got["nu"] == pytest.approx(st.gamma.logpdf(5, 2, scale=10))


def test_families_links_and_priors_by_response() -> None:
    formula = {
        "responses": {
            "a": {"mu": "a ~ x", "sigma": "~ x"},
            "sick": {"mu": "sick ~ x + a", "family": "bernoulli", "link": "probit"},
        }
    }
    declared = built(formula, priors={"sick_default": {"dist": "Normal", "mu": 0, "sigma": 0.5}})
    point = {"a_coefficients": [0.4, -0.3], "a_sigma_coefficients": [-0.2, 0.1], "sick_coefficients": [0.1, 0.2, -0.3]}
    got = log_densities(declared, {name: np.array(value) for name, value in point.items()})
    assert got["a_obs"] == pytest.approx(normal(A - 0.4 + 0.3 * X, np.exp(-0.2 + 0.1 * X)))
    share = st.norm.cdf(0.1 + 0.2 * X - 0.3 * A)
    assert got["sick_obs"] == pytest.approx(st.bernoulli.logpmf(SICK, share).sum(), rel=1e-6)
    assert got["sick_coefficients"] == pytest.approx(normal(0.1, 5) + normal([0.2, -0.3], 0.5))


def test_mvbind_is_one_right_side_for_all() -> None:
    point = {"a_coefficients": np.array([0.4, -0.3]), "b_coefficients": np.array([0.2, 0.1]), "chol_rescor": FACTOR}
    same = built({"responses": {"a": "a ~ x", "b": "b ~ x"}})
    assert log_densities(built("mvbind(a, b) ~ x"), point) == log_densities(same, point)


def test_what_is_sampled_and_what_is_expanded_have_the_same_density() -> None:
    for options in ({"rescor": True}, {"rescor": False}):
        this = spec(BOTH, options=options)
        expansion = expansion_of(data(), this)
        again = declarative.DeclarativeSpec.model_validate(yaml.safe_load(yaml.safe_dump(dict(expansion.model))))
        assert not declarative.static_check(again) and not declarative.check(expansion.columns, again)
        point = {**POINT, "chol_rescor": FACTOR} if options["rescor"] else {**POINT, "a_sigma": 0.8, "b_sigma": 1.3}
        direct = log_densities(declarative.build(expansion.columns, again), point)
        assert direct == pytest.approx(log_densities(MODEL.build(data(), this), point))


def test_responses_that_are_missing_are_refused_with_correlation_and_imputed_without() -> None:
    rows = data(b=np.where(np.arange(ROWS) == 3, np.nan, B))
    (problem,) = MODEL.check(rows, spec(BOTH))
    assert "'b' in 1 rows" in str(problem) and "model.options.rescor=false" in str(problem)
    declared = built(BOTH, rows, options={"rescor": False})
    (missing,) = [i.observed.missing for i in declared.items if i.name == "b_obs"]  # type: ignore[union-attr]
    assert missing is not None and missing.mask.sum() == 1


@pytest.mark.parametrize(
    ("formula", "keys", "told"),
    [
        (BOTH, {"family": "poisson", "options": {"rescor": True}}, "all must be normal, or all student"),
        (
            {"responses": {"a": {"mu": "a ~ x", "sigma": "~ x"}, "b": "b ~ 1"}},
            {"options": {"rescor": True}},
            "a formula predicts sigma of 'a'",
        ),
        ("a ~ x + (1 | g)", {"options": {"rescor": True}}, "the formula has a single response"),
        (BOTH, {"priors": {"c_sigma": PRIORS["sigma"]}}, "the model has no 'c_sigma'"),
        (BOTH, {"priors": {"rescor": {"dist": "LKJ", "eta": -1}}}, "must be a number above 0"),
        ({"responses": {"a": {"mu": "a ~ x", "family": "gaussian"}, "b": "b ~ 1"}}, {}, "here it is 'normal'"),
        (BOTH, {"priors": {"default": {"dist": "Normal", "mu": "x", "sigma": 1}}}, "model.priors.default.mu"),
    ],
)  # fmt: skip
def test_errors_say_what_is_allowed(formula: Any, keys: dict[str, Any], told: str) -> None:
    this = spec(formula, **keys)
    assert told in "\n".join(map(str, MODEL.static_check(this) or MODEL.check(data(), this)))


@pytest.mark.parametrize(
    "formula", [{"responses": {"a": "a ~ x"}}, {"responses": "a ~ x"}, {"responses": {}, "mu": "a ~ x"}]
)
def test_other_shapes_of_the_mapping_are_refused(formula: Any) -> None:
    with pytest.raises(ValueError, match="several responses are written"):
        spec(formula)
