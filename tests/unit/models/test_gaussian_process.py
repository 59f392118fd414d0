"""Approximate Gaussian processes: their covariance, and the posterior of the curve, are those of the exact process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.linalg import block_diag

from bayesrun.language.declaration import Container, Deterministic
from bayesrun.language.gaussian_processes import boundary_for, functions_for
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import regression
from bayesrun.models.regression.expansion import Expansion, expand, expand_at
from bayesrun.models.regression.gaussian_process_term import FittedProcess
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.regression_plan import plan
from bayesrun.models.regression.regression_spec import RegressionSpec

MODEL = regression.MODEL
ROWS = 60
RNG = np.random.default_rng(10)
X, Z = RNG.uniform(100, 160, ROWS), RNG.uniform(-2, 3, ROWS)
GROUP = np.array(list("ab") * 30)
Y = np.sin(X / 8) + 0.2 * RNG.normal(size=ROWS)
CENTRED = np.eye(ROWS) - 1.0 / ROWS


def data(**variables: Any) -> xr.Dataset:
    given = {"x": X, "z": Z, "g": GROUP, "one": np.ones(ROWS), "y": Y, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, **keys: Any) -> RegressionSpec:
    return RegressionSpec(name="m", type="regression", formula=formula, options={"form": "direct"}, **keys)


def expanded(formula: Any, **keys: Any) -> Expansion:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this), MODEL.static_check(this)
    return expand(data(), this, plan(this))


def scales(formula: str, name: str, **values: Any) -> Any:
    """Return the sds of the weights at a lengthscale and an sd, as the model computes them."""
    items = MODEL.build(data(), spec(formula)).items
    known: dict[str, Any] = {item.name: item.numbers for item in items if isinstance(item, Container)}
    (weights,) = [item for item in items if isinstance(item, Deterministic) and item.name == f"weights_{name}"]
    shape = weights.value.shape
    known |= {**values, f"weights_{name}_offset": np.ones(shape)}
    return evaluate(node_of(weights.value), known.__getitem__)


def covariance(name: str, distance: Any) -> Any:
    """Return the correlation at a distance in lengthscales."""
    if name == "exp_quad":
        return np.exp(-0.5 * distance**2)
    if name == "matern32":
        return (1 + np.sqrt(3) * distance) * np.exp(-np.sqrt(3) * distance)
    return (1 + np.sqrt(5) * distance + 5 / 3 * distance**2) * np.exp(-np.sqrt(5) * distance)


@pytest.mark.parametrize(
    ("cov", "m", "error"), [("exp_quad", 60, 1e-8), ("matern52", 200, 1e-4), ("matern32", 300, 1e-3)]
)
def test_the_covariance_is_that_of_the_process(cov: str, m: int, error: float) -> None:
    formula = f"y ~ hsgp(x, m = {m}, c = 3, cov = '{cov}')"
    design = expanded(formula).columns["hsgp_x_design"].values
    sd = scales(formula, "hsgp_x", sdgp_hsgp_x=1.3, lscale_hsgp_x=9.0)
    wanted = 1.3**2 * CENTRED @ covariance(cov, np.abs(X[:, None] - X) / 9.0) @ CENTRED
    np.testing.assert_allclose((design * sd**2) @ design.T, wanted, atol=error)


def test_the_posterior_at_fixed_parameters_is_that_of_the_exact_process() -> None:
    formula = "y ~ hsgp(x)"
    made = expanded(formula)
    design = np.column_stack([np.ones(ROWS), made.columns["hsgp_x_design"].values])
    prior = np.r_[100.0, scales(formula, "hsgp_x", sdgp_hsgp_x=1.0, lscale_hsgp_x=10.0)]
    precision = design.T @ design / 0.2**2 + np.diag(prior**-2.0)
    mean = design @ np.linalg.solve(precision, design.T @ Y / 0.2**2)
    spread = np.sqrt(np.diag(design @ np.linalg.solve(precision, design.T)))
    kernel = covariance("exp_quad", np.abs(X[:, None] - X) / 10.0) + 100.0**2
    gain = kernel @ np.linalg.inv(kernel + 0.2**2 * np.eye(ROWS))
    np.testing.assert_allclose(mean, gain @ Y, atol=2e-3)
    np.testing.assert_allclose(spread, np.sqrt(np.diag(kernel - gain @ kernel)), rtol=0.02)


@pytest.mark.parametrize("arguments", ["", ", iso = TRUE, scale = TRUE", ", scale = TRUE", ", cov = 'matern52'"])
def test_several_inputs(arguments: str) -> None:
    formula = f"y ~ hsgp(x, z, m = c(44, 40), c = 3.5{arguments})"
    design = expanded(formula).columns["hsgp_x_z_design"].values
    half = np.array([np.ptp(X), np.ptp(Z)]) / 2
    lengths = np.array([0.5, 0.5]) * half if "iso" in arguments else np.array([0.5, 0.8]) * half
    told = lengths / half if "scale" in arguments else lengths
    told = told[0] if "iso" in arguments else told
    sd = scales(formula, "hsgp_x_z", sdgp_hsgp_x_z=1.3, lscale_hsgp_x_z=told)
    distance = np.sqrt(((X[:, None] - X) / lengths[0]) ** 2 + ((Z[:, None] - Z) / lengths[1]) ** 2)
    wanted = 1.3**2 * CENTRED @ covariance("matern52" if "matern" in arguments else "exp_quad", distance) @ CENTRED
    np.testing.assert_allclose((design * sd**2) @ design.T, wanted, atol=0.01 if "matern" in arguments else 1e-5)


def test_a_process_for_each_level_has_parameters_of_its_own() -> None:
    formula = "y ~ g + hsgp(x, by = g, m = 50, c = 3)"
    made = expanded(formula)
    sd = scales(formula, "hsgp_x_by_g", sdgp_hsgp_x_by_g=np.array([1.0, 2.0]), lscale_hsgp_x_by_g=np.array([9.0, 15.0]))
    design, code = made.columns["hsgp_x_by_g_design"].values, made.columns["hsgp_x_by_g_code"].values
    whole = np.concatenate([design * (code == k)[:, None] for k in (0, 1)], axis=1)
    got = (whole * sd.ravel() ** 2) @ whole.T
    distance = np.abs(X[:, None] - X)
    exact = [s**2 * CENTRED @ covariance("exp_quad", distance / n) @ CENTRED for s, n in ((1.0, 9.0), (2.0, 15.0))]
    order = np.argsort(code, kind="stable")
    wanted = block_diag(*(one[np.ix_(code == k, code == k)] for k, one in enumerate(exact)))
    np.testing.assert_allclose(got[np.ix_(order, order)], wanted, atol=1e-6)
    for more in ("by = g", "z, by = g"):
        assert MODEL.build(data(), spec(f"y ~ g + hsgp(x, {more}, m = 5, cov = 'matern32')")).items


def test_a_process_that_multiplies_numbers_is_not_centred() -> None:
    formula = "y ~ hsgp(x, by = z, m = 60, c = 3)"
    design = expanded(formula).columns["hsgp_x_by_z_design"].values
    sd = scales(formula, "hsgp_x_by_z", sdgp_hsgp_x_by_z=1.0, lscale_hsgp_x_by_z=9.0)
    wanted = np.outer(Z, Z) * covariance("exp_quad", np.abs(X[:, None] - X) / 9.0)
    np.testing.assert_allclose((design * sd**2) @ design.T, wanted, atol=1e-7)


def test_the_default_basis_follows_the_rules_of_the_paper() -> None:
    assert boundary_for("exp_quad", 0.8) == pytest.approx(2.56) and boundary_for("matern32", 0.1) == 1.2
    assert functions_for("matern52", 0.2, 3.28) == 44  # 2.65 * 3.28 / 0.2 = 43.46
    assert expanded("y ~ hsgp(x)").columns.sizes["hsgp_x_basis"] == 23
    assert expanded("y ~ hsgp(x, z)").columns.sizes["hsgp_x_z_basis"] == 12**2


def test_priors_are_in_the_units_of_the_data() -> None:
    priors = expanded("y ~ hsgp(x)").model["priors"]
    assert priors["lscale_hsgp_x"]["mu"] == pytest.approx(np.log(0.25 * np.ptp(X)))
    assert priors["sdgp_hsgp_x"]["sigma"] == pytest.approx(2.5 * Y.std())
    given = {"lscale": {"hsgp(x, z)": {"dist": "InverseGamma", "alpha": 3, "beta": "term_scale"}}}
    both = expanded("y ~ hsgp(x, z, m = 4)", priors=given).model["priors"]["lscale_hsgp_x_z"]
    assert both["beta"] == pytest.approx([np.ptp(X) / 2, np.ptp(Z) / 2]) and both["dims"] == ["hsgp_x_z_input"]
    scaled = expanded("y ~ hsgp(x, scale = TRUE)").model["priors"]["lscale_hsgp_x"]
    assert scaled["mu"] == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("formula", ["y ~ hsgp(x)", "y ~ g + hsgp(x, z, by = g, m = 5)", "y ~ hsgp(x, by = z)"])
def test_one_new_row_has_the_columns_of_the_fit(formula: str) -> None:
    this = spec(formula)
    fitted = expand(data(), this, plan(this))
    new = expand_at(data().isel(obs=[7]), this, plan(this), fitted.state(), "obs", False)
    (name,) = [str(n) for n in fitted.columns.data_vars if str(n).startswith("hsgp") and str(n).endswith("_design")]
    np.testing.assert_allclose(new.columns[name].values, fitted.columns[name].values[[7]], rtol=1e-10)
    (process,) = [term for term in new.terms["mu"] if isinstance(term, FittedProcess)]
    assert not process.outside(Rows(data(), "obs", "key"))
    assert "'x' is outside the range of the fit" in process.outside(Rows(data(x=X + 100), "obs", "key"))[0]


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("hsgp(x, k = 10)", "the number of basis functions is m"),
        ("hsgp(x, cov = 'matern12')", "there is no covariance 'matern12'"),
        ("hsgp(x, c = 0.9)", "c must be a number above 1"),
        ("hsgp(x, m = 1)", "m must be a whole number from 2"),
        ("hsgp(x, z, m = 100)", "10,000 basis functions are too many"),
        ("hsgp(x, z, g, y)", "one to three columns"),
        ("hsgp(x):z", "hsgp(x, by = z) multiplies it"),
    ],
)
def test_misuse_is_told_without_data(right: str, told: str) -> None:
    found = "\n".join(map(str, MODEL.static_check(spec(f"y ~ {right}"))))
    assert told in found, found


def test_an_input_that_does_not_vary_is_told() -> None:
    assert "'one' is the same in all rows" in "\n".join(map(str, MODEL.check(data(), spec("y ~ hsgp(one)"))))
