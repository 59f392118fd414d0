"""Smooths in a regression: the density is that written by hand, new rows use the fit's basis, and misuse is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr

from bayesrun.errors import UserError
from bayesrun.language.declaration import Likelihood
from bayesrun.models import regression
from bayesrun.models.base import NewRows
from bayesrun.models.regression.expansion import Expansion, expand
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.regression_plan import plan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.smooth_term import FittedSmooth
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS = 60
RNG = np.random.default_rng(9)
X, Z = RNG.uniform(0, 30, ROWS), RNG.normal(size=ROWS)
GROUP = np.array(list("abc") * 20)
CODE = np.unique(GROUP, return_inverse=True)[1]
Y = np.sin(X / 5) + 0.3 * RNG.normal(size=ROWS)
NORMAL, HALF = {"dist": "Normal", "mu": 0, "sigma": 2}, {"dist": "HalfNormal", "sigma": 3}


def data(**variables: Any) -> xr.Dataset:
    given = {"x": X, "z": Z, "g": GROUP, "n": np.arange(ROWS) % 4, "y": Y, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, **keys: Any) -> RegressionSpec:
    priors = {"default": NORMAL, "Intercept": NORMAL, "sigma": HALF, **keys.pop("priors", {})}
    options = {"form": "direct", **keys.pop("options", {})}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=priors, options=options, **keys)


def expanded(formula: Any, rows: xr.Dataset | None = None, **keys: Any) -> Expansion:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this), MODEL.static_check(this)
    return expand(data() if rows is None else rows, this, plan(this))


def density(formula: Any, point: dict[str, Any], **keys: Any) -> float:
    """Log density of the whole model at a point on the variables' own scale."""
    this = spec(formula, **keys)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this)
    return sum(log_densities(MODEL.build(data(), this), point).values())


def normal(x: Any, sigma: Any = 1.0) -> float:
    return float(np.sum(st.norm.logpdf(x, 0, sigma)))


def half_t(x: Any, scale: Any) -> float:
    return float(np.sum(np.log(2) + st.t.logpdf(x, 3, scale=scale)))


def test_a_smooth_is_its_straight_line_and_weights_with_an_sd() -> None:
    b, line, sd, u, sigma = np.array([0.4]), np.array([0.1]), 0.8, RNG.normal(size=8), 0.6
    point = {"coefficients": b, "s_x": line, "sds_s_x": sd, "weights_s_x_offset": u, "sigma": sigma}
    made = expanded("y ~ s(x)")
    mu = 0.4 + 0.1 * (X - X.mean()) + made.columns["s_x_design"].values @ (sd * u)
    wanted = normal(b, 2) + normal(line, 2) + half_t(sd, 2.5 * Y.std()) + normal(u)
    wanted += st.halfnorm.logpdf(sigma, scale=3) + st.norm.logpdf(Y, mu, sigma).sum()
    assert density("y ~ s(x)", point) == pytest.approx(wanted, rel=1e-10)


def test_a_smooth_for_each_level_and_one_that_is_multiplied() -> None:
    made = expanded("y ~ g + s(x, by = g, k = 6) + s(x, by = z, k = 5)")
    weights, sds = RNG.normal(size=(3, 4)), np.array([0.5, 0.7, 0.9])
    lines, other, u = np.array([[0.1], [0.2], [-0.1]]), np.array([0.3, -0.2]), RNG.normal(size=3)
    b, sigma = np.array([0.4, 0.1, -0.3]), 0.6
    point = {"coefficients": b, "s_x_by_g": lines, "sds_s_x_by_g": sds, "weights_s_x_by_g_offset": weights}
    point |= {"s_x_by_z": other, "sds_s_x_by_z": 0.4, "weights_s_x_by_z_offset": u, "sigma": sigma}
    design, times_z = made.columns["s_x_by_g_design"].values, made.columns["s_x_by_z_design"].values
    assert list(made.columns["s_x_by_g_level"].values) == ["a", "b", "c"]
    assert list(made.columns["s_x_by_z_column"].values) == ["z", "z:x"]
    mu = np.r_[0.4, 0.5, 0.1][CODE] + lines[CODE, 0] * (X - X.mean())
    mu += (design * (sds[:, None] * weights)[CODE]).sum(axis=1)
    mu += 0.3 * Z - 0.2 * Z * (X - X.mean()) + times_z @ (0.4 * u)
    wanted = normal(b, 2) + normal(lines, 2) + normal(other, 2) + half_t(sds, 2.5 * Y.std())
    wanted += half_t(0.4, 2.5 * Y.std()) + normal(weights) + normal(u)
    wanted += st.halfnorm.logpdf(sigma, scale=3) + st.norm.logpdf(Y, mu, sigma).sum()
    assert density("y ~ g + s(x, by = g, k = 6) + s(x, by = z, k = 5)", point) == pytest.approx(wanted, rel=1e-10)


def test_a_tensor_product_has_an_sd_for_each_penalty() -> None:
    made = expanded("y ~ t2(x, z, k = c(4, 5))")
    assert list(made.columns["t2_x_z_penalty"].values) == ["x", "z", "x:z"]
    assert list(made.columns["t2_x_z_column"].values) == ["z", "x", "x:z"]
    of = made.columns["t2_x_z_penalty_code"].values
    assert np.bincount(of).tolist() == [2 * 2, 2 * 3, 2 * 3]
    sds, u, b = np.array([0.5, 1.0, 0.2]), RNG.normal(size=16), np.array([0.1, -0.2, 0.3])
    point = {"coefficients": np.array([0.4]), "t2_x_z": b, "sds_t2_x_z": sds, "weights_t2_x_z_offset": u, "sigma": 0.6}
    mu = 0.4 + made.columns["t2_x_z_fixed"].values @ b + made.columns["t2_x_z_design"].values @ (sds[of] * u)
    declared = MODEL.build(data(), spec("y ~ t2(x, z, k = c(4, 5))"))
    assert log_densities(declared, point)["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, 0.6).sum(), rel=1e-10)
    each = expanded("y ~ g + t2(x, z, k = 4, by = g)")
    assert each.model["priors"]["sds_t2_x_z_by_g"]["dims"] == ["t2_x_z_by_g_level", "t2_x_z_by_g_penalty"]


def test_smooths_stand_beside_groups_and_in_any_parameter() -> None:
    both = {"mu": "y ~ z + s(x) + (1 | g)", "sigma": "~ s(x, k = 5) + (1 | g)"}
    made = expanded(both, priors={"sds": {"sigma_s_x": HALF, "s(x)": {"dist": "Exponential", "lam": 2}}})
    assert made.model["priors"]["sds_sigma_s_x"] == HALF
    assert made.model["priors"]["sds_s_x"] == {"dist": "Exponential", "lam": 2}
    assert MODEL.build(data(), spec(both)).items


def test_curves_of_levels_without_an_effect_of_the_levels_are_told() -> None:
    (note,) = expanded("y ~ s(x, by = g)").notes
    assert "put g into the formula as well" in note
    assert not expanded("y ~ g + hsgp(x, by = g)").notes and not expanded("y ~ s(x, by = z)").notes
    assert len(expanded("y ~ s(x, by = g) + (1 | g)").notes) == 1  # that of the group effects


def test_without_a_penalty_a_smooth_is_a_spline() -> None:
    made = expanded("y ~ s(x, k = 6, fx = TRUE)")
    assert "sds_s_x" not in made.model["priors"] and made.columns["s_x_fixed"].shape == (ROWS, 5)
    with_levels = expanded("y ~ g + s(x, k = 6, fx = TRUE, by = g)")
    assert with_levels.model["priors"]["s_x_by_g"]["dims"] == ["s_x_by_g_level", "s_x_by_g_column"]


def test_priors_of_the_straight_line_follow_its_units() -> None:
    line = expanded("y ~ s(x)", priors={"s_x": {"dist": "Normal", "mu": 0, "sigma": "3 * term_scale"}})
    assert line.model["priors"]["s_x"]["sigma"] == pytest.approx(3 * Y.std() / X.std())
    assert expanded("y ~ s(x)", priors={"s(x)": HALF}).model["priors"]["s_x"] == {**HALF, "dims": ["s_x_column"]}


def _at(rows: xr.Dataset, formula: str) -> tuple[Expansion, Expansion]:
    from bayesrun.models.regression.expansion import expand_at

    this = spec(formula)
    fitted = expand(data(), this, plan(this))
    return fitted, expand_at(rows, this, plan(this), fitted.state(), "obs", False)


@pytest.mark.parametrize(
    "formula", ["y ~ s(x)", "y ~ s(x, bs='cr')", "y ~ g + s(x, by=g)", "y ~ t2(x, z)", "y ~ s(x, z)"]
)
def test_one_new_row_has_the_columns_of_the_fit(formula: str) -> None:
    fitted, new = _at(data().isel(obs=[7]), formula)
    for name in (n for n in fitted.columns.data_vars if str(n).endswith(("_design", "_fixed", "_code"))):
        of = fitted.columns[name]
        wanted = of.isel(obs=[7]).values if "obs" in of.dims else of.values
        np.testing.assert_allclose(new.columns[name].values, wanted, rtol=1e-8, atol=1e-10)


def test_what_is_beyond_the_fit_is_told() -> None:
    smooth = _at(data().isel(obs=[1]), "y ~ s(x)")[1].terms["mu"][-1]
    assert isinstance(smooth, FittedSmooth) and not smooth.outside(Rows(data(), "obs", "key"))
    (told,) = smooth.outside(Rows(data(x=X + 40).isel(obs=[1, 2]), "obs", "key"))
    assert "'x' is outside the range of the fit" in told and "(obs 1, 2)" in told and "straight line" in told
    with pytest.raises(UserError, match="not fitted to 'q' of 'g'"):
        _at(data(g=np.full(ROWS, "q")), "y ~ g + s(x, by = g)")


def test_the_basis_splines_of_formulaic_use_the_knots_of_the_fit() -> None:
    for spline in ("bs(x, df=5)", "cr(x, df=5)"):
        fitted, new = _at(data().isel(obs=[11]), f"y ~ {spline} + (1 | g)")
        assert fitted.columns["design"].shape == (ROWS, 6)
        np.testing.assert_allclose(new.columns["design"].values, fitted.columns["design"].values[[11]], rtol=1e-10)


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("s(x, df = 4)", "s(x, k = 10); a spline without a penalty is cr(x, df = 10)"),
        ("s(x, kk = 4)", "s has no argument 'kk'"),
        ("s(x, m = 1)", "the penalty is that of the second derivative"),
        ("s(x, bs = 'ps')", "there is no basis bs = 'ps'"),
        ("s(x, k = 2)", "k must be a whole number from 3 to 200"),
        ("s(x, k = 4.5)", "k must be a whole number"),
        ("s(x, fx = 2)", "fx must be TRUE or FALSE"),
        ("s(x, z, g)", "write t2(x, z)"),
        ("s(x, z, bs = 'cr')", "has no basis cr"),
        ("t2(x)", "t2 takes two or three columns"),
        ("t2(x, z, k = c(4, 5, 6))", "or 2 of them"),
        ("s(log(x))", "'log(x)' is not a column"),
        ("s(x, x)", "the same column twice"),
        ("s()", "has no column"),
        ("s(x):z", "s(x, by = z) multiplies it by z"),
        ("z * s(x)", "can't appear inside another term"),
        ("log(s(x))", "can't appear inside another term"),
        ("- s(x)", "leave the term out"),
        ("s(x) + s(x, k = 5)", "the same smooth appears twice"),
        ("s(`a b`) + s(`a-b`)", "it would have the same name as s(a b)"),
        ("te(x, z)", "t2(x, z) is the tensor product smooth"),
        ("gp(x)", "write hsgp(x)"),
        ("s(x, by = g + z)", "'by' is not a column"),
        ("s(x, k = __import__('os'))", "k must be a number"),
    ],
)
def test_misuse_is_told_without_data(right: str, told: str) -> None:
    found = "\n".join(map(str, MODEL.static_check(spec(f"y ~ {right}"))))
    assert told in found, found


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("s(n)", "'n' has 4 distinct values, fewer than the 10 columns of the basis"),
        ("x + s(x)", "columns are collinear: Intercept, x, s(x)"),
        ("z + s(x, by = z)", "columns are collinear: z, s(x, by = z)"),
        ("s(g)", "'g' must be numbers"),
        ("s(x, by = one)", "'one' has a single level"),
    ],
)
def test_misuse_is_told_from_the_data(right: str, told: str) -> None:
    found = "\n".join(map(str, MODEL.check(data(one=np.full(ROWS, "k")), spec(f"y ~ {right}"))))
    assert told in found, found


def test_likelihoods_of_many_rows_are_not_summed_without_the_smooth() -> None:
    rows = xr.Dataset({"x": ("obs", np.tile(X, 30)), "g": ("obs", np.tile(GROUP, 30)), "y": ("obs", np.tile(Y, 30))})
    rows = rows.assign_coords(obs=np.arange(30 * ROWS)).assign_attrs(dim="obs")
    declared = MODEL.build(rows, spec("y ~ s(x) + (1 | g)", options={"form": "whitened"}))
    assert any(isinstance(item, Likelihood) for item in declared.items)


def test_new_rows_need_the_columns_of_smooths() -> None:
    rows = NewRows(data(), None, {}, {}, {}, False)  # type: ignore[arg-type]
    assert MODEL.needs is not None
    needed = {role.variable for role in MODEL.needs(rows, spec("y ~ z + s(x, by = g)"))}
    assert needed == {"x", "z", "g"}
