"""Predictors with missing values: models of their own, interactions, and predictions from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
import yaml

from bayesrun.data.design import FittedDesign
from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import declarative, regression
from bayesrun.models.base import NewRows
from bayesrun.models.regression.missing_predictor import without_missing
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.predict.fitted_model import fitted_model
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS, RNG = 24, np.random.default_rng(4)
Z, Y = RNG.normal(size=ROWS), RNG.normal(size=ROWS)
X = 0.5 * Z + RNG.normal(size=ROWS)
GROUP = np.array(list("abc") * 8)
CODE = np.unique(GROUP, return_inverse=True)[1]
GAPS = [2, 9]
NORMAL = {"dist": "Normal", "mu": 0, "sigma": 2}
PRIORS = {"default": NORMAL, "Intercept": NORMAL, "sigma": {"dist": "HalfNormal", "sigma": 3}}
OF_X = {"x_default": {**NORMAL, "sigma": 1}, "x_Intercept": NORMAL, "x_sigma": {"dist": "HalfNormal", "sigma": 1}}
BOTH = {"mu": "y ~ mi(x) * z", "x": "x | mi() ~ z + (1 | g)"}
IMPUTED = np.where(np.isin(np.arange(ROWS), GAPS), [0.3, -0.8] * 12, X)
IMPUTED[GAPS] = [0.5, -1.0]


def data() -> xr.Dataset:
    x = X.copy()
    x[GAPS] = np.nan
    given = {"y": Y, "x": x, "z": Z, "g": GROUP}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, **priors: Any) -> RegressionSpec:
    own = {**PRIORS, **priors}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=own, options={"form": "direct"})


def built(formula: Any, **priors: Any) -> Declaration:
    this = spec(formula, **priors)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this)
    return MODEL.build(data(), this)


def normal(x: Any, sigma: Any = 1.0) -> float:
    return float(np.sum(st.norm.logpdf(x, 0, sigma)))


POINT = {
    "coefficients": np.array([0.4, 0.2]),
    "slope_of_x": -0.3,
    "slope_of_x_z": 0.7,
    "sigma": 0.6,
    "x_coefficients": np.array([0.1, 0.5]),
    "sd_x_g": np.array([0.8]),
    "r_x_g_offset": np.array([[0.3], [-0.2], [1.0]]),
    "x_sigma": 1.2,
    "x_missing": IMPUTED[GAPS],
}


def test_a_predictor_has_a_model_of_its_own() -> None:
    declared = built(BOTH, **OF_X, sd={"x_g": {"dist": "HalfNormal", "sigma": 2}})
    got = log_densities(declared, POINT)
    of_x = 0.1 + 0.5 * Z + 0.8 * POINT["r_x_g_offset"][CODE, 0]
    assert got["x"] == pytest.approx(normal(IMPUTED - of_x, 1.2), rel=1e-10)
    mu = 0.4 + 0.2 * Z - 0.3 * IMPUTED + 0.7 * IMPUTED * Z
    assert got["y_obs"] == pytest.approx(normal(Y - mu, 0.6), rel=1e-10)
    of_priors = normal([0.4, 0.2, -0.3, 0.7], 2) + st.halfnorm.logpdf(0.6, scale=3)
    of_priors += normal(0.1, 2) + normal(0.5, 1) + st.halfnorm.logpdf(1.2) + st.halfnorm.logpdf(0.8, scale=2)
    rest = sum(got.values()) - got["x"] - got["y_obs"]
    assert rest == pytest.approx(of_priors + normal(POINT["r_x_g_offset"]), rel=1e-10)
    names = {item.name for item in declared.items}
    assert {"mi(x)", "mi(x):z", "x_Intercept", "x_z", "x_missing"} <= names | {"x_missing"}


def test_priors_without_a_name_are_those_of_the_main_response() -> None:
    got = expansion_of(data(), spec(BOTH)).model["priors"]
    assert got["sigma"]["sigma"] == 3 and got["x_sigma"]["sigma"] != 3


def test_the_responses_of_a_mapping_use_each_other_too() -> None:
    both = {"responses": {"y": "y ~ mi(x) + z", "x": {"mu": "x | mi() ~ z", "family": "student"}}}
    got = log_densities(
        built(both, nu={"dist": "Gamma", "alpha": 2, "beta": 0.1}),
        {
            "y_coefficients": np.array([0.4, 0.2]),
            "y_slope_of_x": -0.3,
            "y_sigma": 0.6,
            "x_coefficients": np.array([0.1, 0.5]),
            "x_sigma": 1.2,
            "x_nu": 4.0,
            "x_missing": IMPUTED[GAPS],
        },
    )
    assert got["x"] == pytest.approx(st.t.logpdf(IMPUTED, 4, 0.1 + 0.5 * Z, 1.2).sum(), rel=1e-10)
    assert got["y_obs"] == pytest.approx(normal(Y - 0.4 - 0.2 * Z + 0.3 * IMPUTED, 0.6), rel=1e-10)


def test_a_factor_has_a_slope_for_each_level_but_the_first_beside_the_main_one() -> None:
    point = {"sigma": 0.6, "x_mean": 0.0, "x_sd": 1.0, "x_missing": IMPUTED[GAPS]}
    moments = {"x_mean": NORMAL, "x_sd": PRIORS["sigma"]}
    by_level = {"coefficients": np.array([0.4]), "slope_of_x_C_g": np.array([0.1, -0.2, 0.3])}
    got = log_densities(built("y ~ mi(x):C(g)", **moments), {**point, **by_level})
    assert got["y_obs"] == pytest.approx(normal(Y - 0.4 - np.array([0.1, -0.2, 0.3])[CODE] * IMPUTED, 0.6))
    crossed = {"coefficients": np.array([0.4, 1.0, 2.0]), "slope_of_x": 0.1, "slope_of_x_C_g": np.array([-0.3, 0.2])}
    declared = built("y ~ mi(x) * C(g)", **moments)
    mu = np.array([0.4, 1.4, 2.4])[CODE] + np.array([0.1, -0.2, 0.3])[CODE] * IMPUTED
    assert log_densities(declared, {**point, **crossed})["y_obs"] == pytest.approx(normal(Y - mu, 0.6))
    assert list(declared.coords["mi(x):C(g)_level"]) == ["b", "c"]


def test_what_is_expanded_has_the_same_density() -> None:
    expansion = expansion_of(data(), spec(BOTH))
    again = declarative.DeclarativeSpec.model_validate(yaml.safe_load(yaml.safe_dump(dict(expansion.model))))
    assert not declarative.static_check(again) and not declarative.check(expansion.columns, again)
    direct = log_densities(declarative.build(expansion.columns, again), POINT)
    assert direct == pytest.approx(log_densities(MODEL.build(data(), spec(BOTH)), POINT))


@pytest.mark.parametrize("given", [True, False])
def test_new_rows_take_the_predictor_or_draw_it_from_its_model(given: bool) -> None:
    this = spec(BOTH)
    kept = fitted_model(
        MODEL.build(data(), this), FittedDesign("obs", {}, {}, {}, {}, {}, {}, {}, xr.Dataset()), None, None
    )
    rows = xr.Dataset({"z": ("obs", [2.0]), "g": ("obs", ["b"])}, {"obs": [0]})
    rows = rows.assign(x=("obs", [3.0])) if given else rows
    assert MODEL.at_rows is not None and MODEL.needs is not None
    new = NewRows(rows, kept.model, kept.quantities, kept.likelihoods, {}, False)
    assert {role.variable for role in MODEL.needs(new, this) if role.kind == "predictor"} == {"z", "g"}
    over = MODEL.at_rows(new, this)
    values: dict[str, Any] = {"Intercept": 1.0, "z": 2.0, "mi(x)": 3.0, "mi(x):z": 4.0, "x_Intercept": 5.0, "x_z": 6.0}
    values |= {"x_missing": np.array([7.0]), "r_x_g": np.array([[0.0], [10.0], [0.0]]), "sigma": 1.0, "x_sigma": 1.0}
    values |= {item.name: item.numbers for item in over.items if isinstance(item, Container)}
    found = {item.name: item for item in over.items if isinstance(item, Likelihood)}
    for item in over.items:
        if isinstance(item, Deterministic):
            values[item.name] = evaluate(node_of(item.value), values.__getitem__)
    values["x"] = np.array([3.0 if given else 7.0])
    mu = evaluate(node_of(found["y_obs"].plan.values["mu"]), values.__getitem__)
    at = 3.0 if given else 7.0
    assert mu == pytest.approx([1 + 2 * 2 + 3 * at + 4 * at * 2])
    if not given:
        of_x = evaluate(node_of(found["x"].plan.values["mu"]), values.__getitem__)
        assert of_x == pytest.approx([5 + 6 * 2 + 10]) and found["x"].observed.missing is not None


def test_products_are_taken_out_of_the_formula() -> None:
    rest, terms = without_missing("a*mi(x) + b + mi(x):a:b", "key", ())
    assert rest == "a + b" and [term.label for term in terms] == ["mi(x)", "mi(x):a", "mi(x):a:b"]


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("y ~ log(mi(x))", "write mi(x), mi(x):z or mi(x) * z"),
        ("y ~ mi(x):mi(z)", "write mi(x), mi(x):z or mi(x) * z"),
        ("y ~ z - mi(x)", "leave the term out"),
        ({"mu": "y ~ mi(x)", "w": "x | mi() ~ z"}, "write x: 'x | mi() ~ ...'"),
        ({"responses": {"y": "y ~ mi(x)", "x": {"mu": "x | mi() ~ z", "family": "poisson"}}}, "is normal, student"),
    ],
)
def test_what_can_not_be_read_is_answered_with_what_can(formula: Any, told: str) -> None:
    assert told in "\n".join(map(str, MODEL.static_check(spec(formula))))
