"""Group effects with an id are correlated across parameters and responses: density by hand, names, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
import yaml

from bayesrun.language.declaration import Declaration, Random
from bayesrun.models import declarative, regression
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS, RNG = 30, np.random.default_rng(3)
X, Z = RNG.normal(size=(2, ROWS))
GROUP, OTHER = np.array(list("abc") * 10), np.array(list("uuvvw") * 6)
CODE, OTHER_CODE = (np.unique(labels, return_inverse=True)[1] for labels in (GROUP, OTHER))
Y, B = RNG.normal(size=(2, ROWS))
LEVEL_CODE = RNG.integers(3, size=ROWS)
LEVEL = np.array(["low", "mid", "top"])[LEVEL_CODE]
PRIORS = {
    "default": {"dist": "Normal", "mu": 0, "sigma": 2},
    "Intercept": {"dist": "Normal", "mu": 0, "sigma": 5},
    "sd": {"dist": "HalfNormal", "sigma": 1},
}
SCALE = {"mu": "y ~ x + (x | p | g)", "sigma": "~ (1 | p | g)"}
FACTOR = np.array([[0.8, 0, 0], [0.3, 0.6, 0], [-0.1, 0.2, 0.5]])
OFFSETS = RNG.normal(size=(3, 3))
POINT = {
    "coefficients": np.array([0.4, -0.3]),
    "sigma_coefficients": np.array([-0.2]),
    "chol_g": FACTOR,
    "r_g_offset": OFFSETS,
}


def data(**variables: Any) -> xr.Dataset:
    given = {"y": Y, "b": B, "level": LEVEL, "x": X, "z": Z, "g": GROUP, "h": OTHER, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, priors: Any = None, **keys: Any) -> RegressionSpec:
    options = {"form": "direct", **keys.pop("options", {})}
    own = {**PRIORS, **(priors or {})}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=own, options=options, **keys)


def built(formula: Any, **keys: Any) -> Declaration:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this)
    return MODEL.build(data(), this)


def point_of(declared: Declaration) -> dict[str, Any]:
    """Return arbitrary values of all free variables."""
    found = {}
    for item in declared.items:
        if not isinstance(item, Random):
            continue
        size = len(declared.coords.get(item.name.replace("chol_", "") + "_effect", "yb"))
        values = np.eye(size) - 0.1 * np.tri(size, k=-1) if "chol" in item.name else RNG.normal(size=item.plan.shape)
        found[item.name] = np.abs(values) if item.name.startswith("sd_") or item.name.endswith("sigma") else values
    return found


def priors_of(expansion: Any, name: str) -> Any:
    return expansion.model["priors"][name]


def test_effects_on_mean_and_scale_are_one_multivariate_normal() -> None:
    got = log_densities(built(SCALE), POINT)
    r = OFFSETS @ FACTOR.T
    mu = 0.4 - 0.3 * X + r[CODE, 0] + r[CODE, 1] * X
    assert got["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, np.exp(-0.2 + r[CODE, 2])).sum(), rel=1e-10)
    assert got["r_g_offset"] == pytest.approx(st.norm.logpdf(OFFSETS).sum())


def test_they_have_the_names_of_their_parameters() -> None:
    declared = built(SCALE)
    assert list(declared.coords["g_effect"]) == ["Intercept", "x", "sigma_Intercept"]
    assert list(declared.coords["g_pair"]) == ["Intercept, x", "Intercept, sigma_Intercept", "x, sigma_Intercept"]
    names = {item.name for item in declared.items}
    assert {"r_g", "sd_g", "cor_g"} <= names - declared.helpers and not any("unplaced" in name for name in names)


@pytest.mark.parametrize("rescor", [True, False])
def test_effects_on_several_responses(rescor: bool) -> None:
    formula = "mvbind(y, b) ~ x + (1 | p | g) + (1 | q | h)"
    declared = built(formula, options={"rescor": rescor})
    assert list(declared.coords["g_effect"]) == ["y_Intercept", "b_Intercept"]
    assert list(declared.coords["h_pair"]) == ["y_Intercept, b_Intercept"]
    factor, offsets = FACTOR[:2, :2], RNG.normal(size=(2, 3, 2))
    point = {"y_coefficients": np.array([0.4, -0.3]), "b_coefficients": np.array([0.1, 0.2])}
    point |= {f"chol_{name}": factor for name in "gh"} | {"r_g_offset": offsets[0], "r_h_offset": offsets[1]}
    point |= {"chol_rescor": factor} if rescor else {"y_sigma": 0.7, "b_sigma": 1.2}
    got = log_densities(declared, point)
    effects = (offsets[0] @ factor.T)[CODE] + (offsets[1] @ factor.T)[OTHER_CODE]
    residuals = np.c_[Y, B] - np.c_[0.4 - 0.3 * X, 0.1 + 0.2 * X] - effects
    if rescor:
        wanted = st.multivariate_normal.logpdf(residuals, cov=factor @ factor.T).sum()
        assert got["responses_obs"] == pytest.approx(wanted, rel=1e-10)
    else:
        assert got["y_obs"] == pytest.approx(st.norm.logpdf(residuals[:, 0], 0, 0.7).sum(), rel=1e-10)
        assert got["b_obs"] == pytest.approx(st.norm.logpdf(residuals[:, 1], 0, 1.2).sum(), rel=1e-10)


def test_effects_on_the_levels_of_a_response() -> None:
    declared = built("level ~ x + (1 | p | g)", family="categorical")
    assert list(declared.coords["g_effect"]) == ["mid_Intercept", "top_Intercept"]
    factor, offsets = FACTOR[:2, :2], RNG.normal(size=(3, 2))
    point = {"mid_coefficients": np.array([0.4, -0.3]), "top_coefficients": np.array([0.1, 0.2])}
    got = log_densities(declared, {**point, "chol_g": factor, "r_g_offset": offsets})
    r = (offsets @ factor.T)[CODE]
    eta = np.c_[np.zeros(ROWS), 0.4 - 0.3 * X + r[:, 0], 0.1 + 0.2 * X + r[:, 1]]
    wanted = eta[np.arange(ROWS), LEVEL_CODE] - np.log(np.exp(eta).sum(axis=1))
    assert got["level_obs"] == pytest.approx(wanted.sum(), rel=1e-10)


@pytest.mark.parametrize(
    "formula",
    [
        SCALE,
        "mvbind(y, b) ~ x + (x | p | g)",
        {"mu": "y ~ x + (1 | p | g) + (0 + x | g)", "sigma": "~ x + (h | p | g)"},
        {"mu": "y ~ h + (1 | p | h)", "sigma": "~ (0 + x | gr(h, id = 'p'))"},
        {"responses": {"y": "y ~ x + (1 | p | g)", "b": {"mu": "b ~ y + (z | p | g)", "sigma": "~ (1 | p | g)"}}},
    ],
)
def test_what_is_expanded_has_the_same_density(formula: Any) -> None:
    this = spec(formula)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this)
    expansion = expansion_of(data(), this)
    again = declarative.DeclarativeSpec.model_validate(yaml.safe_load(yaml.safe_dump(dict(expansion.model))))
    assert not declarative.static_check(again) and not declarative.check(expansion.columns, again)
    declared = MODEL.build(data(), this)
    point = point_of(declared)
    direct = log_densities(declarative.build(expansion.columns, again), point)
    assert direct == pytest.approx(log_densities(declared, point)) and np.isfinite(list(direct.values())).all()
    assert "unplaced" not in str(expansion.model)


def test_an_id_of_a_single_term_changes_nothing() -> None:
    assert (
        expansion_of(data(), spec("y ~ x + (x | p | g)")).model == expansion_of(data(), spec("y ~ x + (x | g)")).model
    )
    parts = expansion_of(data(), spec("y ~ x + (1 | p | g) + (0 + x | p | g)")).model
    assert parts == expansion_of(data(), spec("y ~ x + (1 + x | p | g)")).model


def test_effects_without_the_id_stay_by_themselves() -> None:
    formula = {"mu": "y ~ x + (1 | p | g) + (0 + x | g)", "sigma": "~ (1 | p | g) + (1 | h)"}
    names = {item.name for item in built(formula).items}
    assert {"r_p_g", "cor_p_g", "r_g", "sd_g", "r_sigma_h"} <= names and "cor_g" not in names


def test_priors_of_one_effect_and_of_correlations() -> None:
    priors = {
        "sd": {"g": {"sigma_Intercept": {"dist": "HalfNormal", "sigma": 0.3}}, "default": PRIORS["sd"]},
        "cor": {"g": {"dist": "LKJ", "eta": 3}},
    }
    factor = priors_of(expansion_of(data(), spec(SCALE, priors)), "chol_g")
    assert factor["sd_dist"] == {"dist": "HalfNormal", "sigma": [1, 1, 0.3]} and factor["eta"] == 3


@pytest.mark.parametrize(
    ("formula", "priors", "told"),
    [
        ({"mu": "y ~ (1 | p | g)", "sigma": "~ (1 | p | h)"}, {}, "the id 'p' is that of several groupings (g, h)"),
        ("y ~ (1 | p | g/h)", {}, "the id 'p' is that of several groupings (g, g:h)"),
        ("y ~ (1 | a b | g)", {}, "the id between two bars is a word"),
        ("y ~ (1 | p | q | g)", {}, "has 3 bars"),
        ("y ~ (1 || p | g)", {}, "has 3 bars"),
        (SCALE, {"sd": {"sigma_g": PRIORS["sd"]}}, "no effects vary with 'sigma_g'"),
        (SCALE, {"sd": {"g": {"sigma_x": PRIORS["sd"]}}}, "effects of g: Intercept, x, sigma_Intercept"),
    ],
)  # fmt: skip
def test_errors_say_what_is_allowed(formula: Any, priors: Any, told: str) -> None:
    this = spec(formula, priors)
    assert told in "\n".join(map(str, MODEL.static_check(this) or MODEL.check(data(), this)))
