"""Monotonic effects: the density is that written by hand, with interactions, levels in order, and new rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr

from bayesrun.errors import UserError
from bayesrun.language.declaration import Deterministic
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import regression
from bayesrun.models.regression.expansion import Expansion, expand, expand_at
from bayesrun.models.regression.regression_plan import plan
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS = 48
RNG = np.random.default_rng(4)
LEVELS = ["low", "mid", "high", "top"]
CODE = np.arange(ROWS) % 4
X = np.array(LEVELS)[CODE]
K, Z = RNG.integers(2, 5, ROWS), RNG.normal(size=ROWS)
GROUP = np.array(list("aabbcc") * 8)
Y = CODE + RNG.normal(size=ROWS)
NORMAL, HALF = {"dist": "Normal", "mu": 0, "sigma": 2}, {"dist": "HalfNormal", "sigma": 3}
ZETA = np.array([0.2, 0.5, 0.3])
CURVE = np.r_[0.0, np.cumsum(ZETA)]


def data(**variables: Any) -> xr.Dataset:
    given = {"x": X, "k": K, "z": Z, "g": GROUP, "two": (Z > 0).astype(int), "y": Y, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(len(given["y"]))})
    made["x"].attrs["levels"] = LEVELS
    return made.assign_attrs(dim="obs")


def spec(formula: Any, **keys: Any) -> RegressionSpec:
    priors = {"default": NORMAL, "Intercept": NORMAL, "sigma": HALF, **keys.pop("priors", {})}
    options = {"form": "direct"}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=priors, options=options, **keys)


def expanded(formula: Any, **keys: Any) -> Expansion:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this), MODEL.static_check(this)
    return expand(data(), this, plan(this))


def densities(formula: Any, point: dict[str, Any], **keys: Any) -> dict[str, float]:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this), MODEL.check(data(), this)
    return dict(log_densities(MODEL.build(data(), this), point))


def normal(x: Any, sigma: Any = 1.0) -> float:
    return float(np.sum(st.norm.logpdf(x, 0, sigma)))


def test_a_monotonic_effect_rises_by_the_shares_of_a_simplex() -> None:
    point = {"coefficients": np.array([0.4]), "mo_x": -0.7, "simo_mo_x": ZETA, "sigma": 0.6}
    found = densities("y ~ mo(x)", point)
    mu = 0.4 - 0.7 * 3 * CURVE[CODE]
    assert found["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, 0.6).sum(), rel=1e-10)
    assert found["mo_x"] == pytest.approx(normal(-0.7, 2), rel=1e-10)
    assert found["simo_mo_x"] == pytest.approx(st.dirichlet.logpdf(ZETA, np.ones(3)), rel=1e-10)
    made = expanded("y ~ mo(x)")
    assert list(made.columns["mo_x_step"].values) == ["low|mid", "mid|high", "high|top"]
    assert made.model["deterministics"]["mo(x)"] == "mo_x"
    assert any("low < mid < high < top" in note for note in made.notes)


def test_whole_numbers_count_from_the_least() -> None:
    point = {"coefficients": np.array([0.4]), "mo_k": 0.5, "simo_mo_k": np.array([0.1, 0.9]), "sigma": 0.6}
    mu = 0.4 + 0.5 * 2 * np.array([0.0, 0.1, 1.0])[K - 2]
    assert densities("y ~ mo(k)", point)["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, 0.6).sum(), rel=1e-10)
    assert "simo_mo_two" not in expanded("y ~ mo(two)").model["priors"]  # a single step has no share


def test_interactions_with_numbers_and_factors_have_simplexes_of_their_own() -> None:
    made = expanded("y ~ mo(x) * g + mo(x):z")
    assert made.columns["column"].values.tolist() == ["Intercept", "g[b]", "g[c]"]
    of_g = np.array([[0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    point = {"coefficients": np.array([0.4, 0.1, -0.2]), "mo_x": 0.5, "simo_mo_x": ZETA, "sigma": 0.6}
    point |= {"mo_x_g": np.array([0.3, -0.4]), "simo_mo_x_g": of_g, "mo_x_z": 0.2, "simo_mo_x_z": ZETA[::-1]}
    found = densities("y ~ mo(x) * g + mo(x):z", point)
    curves = np.c_[np.zeros(2), np.cumsum(of_g, axis=1)]
    mu = np.choose(np.searchsorted(["a", "b", "c"], GROUP), [0.4, 0.5, 0.2]) + 1.5 * CURVE[CODE]
    for number, level in enumerate("bc"):
        mu += (level == GROUP) * (0.3, -0.4)[number] * 3 * curves[number, CODE]
    mu += 0.2 * Z * 3 * np.r_[0.0, np.cumsum(ZETA[::-1])][CODE]
    assert found["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, 0.6).sum(), rel=1e-10)
    assert made.model["deterministics"]["mo(x):g"]["dims"] == ["mo_x_g_level"]
    alone = expanded("y ~ mo(x):g")
    assert alone.columns["mo_x_g_level"].values.tolist() == ["a", "b", "c"]


def test_priors_of_coefficients_and_simplexes() -> None:
    priors = {
        "mo(x)": {"dist": "Normal", "mu": 0, "sigma": "term_scale"},
        "simo": {"mo(x)": {"dist": "Dirichlet", "a": [1, 2, 3]}},
    }
    made = expanded({"mu": "y ~ mo(x) + mo(x):z", "sigma": "~ mo(k) + (1 | g)"}, priors=priors).model["priors"]
    assert made["mo_x"]["sigma"] == pytest.approx(Y.std() / CODE.std())
    assert made["simo_mo_x"] == {"dist": "Dirichlet", "a": [1, 2, 3], "dims": ["mo_x_step"]}
    assert made["simo_mo_x_z"]["a"] == [1, 1, 1] and made["simo_sigma_mo_k"]["a"] == [1, 1]
    with pytest.raises(UserError, match="has 3 steps"):
        expanded("y ~ mo(x)", priors={"simo": {"default": {"dist": "Dirichlet", "a": [1, 2]}}})


def test_new_rows_have_the_levels_of_the_fit() -> None:
    this = spec("y ~ mo(x) * g + mo(k)")
    fitted = expand(data(), this, plan(this))
    new = expand_at(data().isel(obs=[5]), this, plan(this), fitted.state(), "obs", False)
    for name in ("mo_x_reached", "mo_k_reached", "mo_x_g_design"):
        np.testing.assert_array_equal(new.columns[name].values, fitted.columns[name].values[[5]])
    recalled = [item for term in fitted.terms["mu"] for item in term.recalled(fitted.settings["mu"])]
    values = {"mo(x)": 0.3, "mo(x):g": np.array([0.1, 0.2])}
    found = {i.name: evaluate(node_of(i.value), values.__getitem__) for i in recalled if i.name in ("mo_x", "mo_x_g")}
    assert found["mo_x"] == 0.3 and found["mo_x_g"].tolist() == [0.1, 0.2]
    with pytest.raises(UserError, match="'mo\\(k\\)' has no level 9"):
        expand_at(data(k=np.full(ROWS, 9)), this, plan(this), fitted.state(), "obs", False)


def test_coefficients_are_named_as_the_terms() -> None:
    items = MODEL.build(data(), spec("y ~ mo(x) * g")).items
    names = {item.name for item in items if isinstance(item, Deterministic)}
    assert {"mo(x)", "mo(x):g", "g", "Intercept"} <= names


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("mo(x, id = 'a')", "mo has no argument 'id'"),
        ("mo(x, z)", "mo takes one column"),
        ("mo(x):mo(k)", "an interaction of two monotonic effects is not supported"),
        ("mo(x) / z", "write mo(x), mo(x):z or mo(x) * z"),
        ("mo(x) * z:g", "write mo(x), mo(x):z or mo(x) * z"),
        ("(mo(x) | g)", "write mo(x), mo(x):z or mo(x) * z"),
        ("log(mo(x))", "write mo(x), mo(x):z or mo(x) * z"),
        ("- mo(x)", "leave the term out"),
        ("mo(x):system(z)", "unknown function 'system'"),
    ],
)
def test_misuse_is_told_without_data(right: str, told: str) -> None:
    found = "\n".join(map(str, MODEL.static_check(spec(f"y ~ {right}"))))
    assert told in found, found


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("mo(g)", "the labels of 'g' have no order"),
        ("mo(z)", "must be whole numbers, or labels with an order"),
        ("mo(one)", "has 1 levels"),
        ("mo(far)", "s(x)"),
    ],
)
def test_misuse_is_told_from_the_data(right: str, told: str) -> None:
    rows = data(one=np.full(ROWS, 3), far=np.arange(ROWS) * 10)
    found = "\n".join(map(str, MODEL.check(rows, spec(f"y ~ {right}"))))
    assert told in found, found
