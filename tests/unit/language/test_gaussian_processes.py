"""Gaussian processes in YAML: kernels against their formulas, densities, gradients, predictions, and errors by key."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy import stats

from bayesrun.data.design import FittedDesign
from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.errors import UserError
from bayesrun.language.declaration import Declaration
from bayesrun.language.expressions import evaluate
from bayesrun.language.kernel_checks import KERNELS
from bayesrun.language.kernels import matrix_of, read_process
from bayesrun.language.prior_checks import check_prior
from bayesrun.language.scope import Scope
from bayesrun.models import declarative
from bayesrun.models.base import NewRows
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from bayesrun.predict.fitted_model import fitted_model
from bayesrun.predict.forward import Forward
from tests.contract.numpy_engine.engine import log_densities

X = np.array([0.0, 0.4, 1.1, 1.5, 2.7, 3.0, 4.2])
Z = np.array([1.0, -0.5, 0.3, 2.0, 0.1, -1.0, 0.7])
Y = np.sin(X) + 0.1 * Z
COUNTS = np.array([1, 2, 3, 2, 1, 1, 0])


def data(x: Any = X, z: Any = Z) -> xr.Dataset:
    count = len(x)
    return xr.Dataset(
        {
            "x": ("row", np.asarray(x, float)),
            "z": ("row", np.asarray(z, float)),
            "XZ": (("row", "input"), np.column_stack([x, z])),
            "y": ("row", Y if count == len(Y) else np.zeros(count)),
            "k": ("row", COUNTS if count == len(Y) else np.zeros(count, int)),
        },
        coords={"row": np.arange(count)},
    )


def spec_of(text: str) -> DeclarativeSpec:
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    assert static_check(spec) == []
    return spec


def declared(text: str) -> Declaration:
    spec = spec_of(text)
    assert check(data(), spec) == []
    return declarative.build(data(), spec)


def problems_of(text: str) -> str:
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    priors = [p for name, prior in spec.priors.items() for p in check_prior(name, prior)]
    return "\n".join(f"{p.key}: {p.message} ({p.hint})" for p in priors or static_check(spec) or check(data(), spec))


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------- kernels


def _d(a: Any, b: Any) -> Any:
    return np.abs(a[:, None] - b[None, :])


R = np.sqrt((_d(X, X) / 0.7) ** 2 + (_d(Z, Z) / 1.3) ** 2)
FORMULAS: dict[str, tuple[str, Any]] = {
    "exp_quad": ("x: [x, z], sd: 1.5, lengthscale: [0.7, 1.3]", 2.25 * np.exp(-0.5 * R**2)),
    "matern12": ("x: XZ, sd: 1.5, lengthscale: [0.7, 1.3]", 2.25 * np.exp(-R)),
    "matern32": ("lengthscale: 0.7", (1 + np.sqrt(3) * _d(X, X) / 0.7) * np.exp(-np.sqrt(3) * _d(X, X) / 0.7)),
    "matern52": (
        "x: [x, z], lengthscale: [0.7, 1.3]",
        (1 + np.sqrt(5) * R + 5 * R**2 / 3) * np.exp(-np.sqrt(5) * R),
    ),
    "rational_quadratic": ("lengthscale: 0.7, alpha: 2", (1 + (_d(X, X) / 0.7) ** 2 / 4) ** -2),
    "periodic": ("lengthscale: 0.7, period: 1.9", np.exp(-2 * (np.sin(np.pi * _d(X, X) / 1.9) / 0.7) ** 2)),
    "linear": ("sd: 2, center: 0.5", 4 * np.outer(X - 0.5, X - 0.5)),
    "constant": ("sd: 2", np.full((7, 7), 4.0)),
    "white_noise": ("sd: 2", 4 * np.eye(7)),
}


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_is_its_formula_whether_its_parameters_are_known_or_random(name: str) -> None:
    text, expected = FORMULAS[name]
    body = yaml.safe_load(f"{{x: x, kernel: {{{name}: {{{text}}}}}}}")
    process = read_process(body, Scope(data()), "f")
    np.testing.assert_allclose(matrix_of(process.kernel, process.points, process.points).known, expected, rtol=1e-12)
    both = declared(
        f"""
        priors:
          one: {{dist: Normal, mu: 1, sigma: 1}}
          f:
            dist: GaussianProcess
            x: x
            kernel: {{product: [{{constant: {{sd: one}}}}, {{{name}: {{{text}}}}}]}}
            parameterization: noncentered
        likelihood: {{y: {{dist: Normal, mu: f, sigma: 1, observed: y}}}}
        """
    )
    offset = np.linspace(-1, 1, 7)
    terms = log_densities(both, {"one": 3.0, "f_offset": offset})
    root = np.linalg.cholesky(9 * expected + 1e-8 * np.eye(7))
    assert terms["y"] == pytest.approx(stats.norm.logpdf(Y, root @ offset).sum(), rel=1e-9)


def test_sums_and_products_nest() -> None:
    body = yaml.safe_load(
        "{x: x, kernel: {sum: [{product: [{exp_quad: {lengthscale: 1}}, {linear: {x: z}}]}, {constant: {sd: 2}}]}}"
    )
    process = read_process(body, Scope(data()), "f")
    found = matrix_of(process.kernel, process.points, process.points).known
    np.testing.assert_allclose(found, np.exp(-0.5 * _d(X, X) ** 2) * np.outer(Z, Z) + 4.0, rtol=1e-12)


# ---------------------------------------------------------------- models

ARD = "{x: [x, z], kernel: {matern52: {sd: alpha, lengthscale: rho}}"
MODELS = {
    "latent": """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  rho: {dist: InverseGamma, alpha: 5, beta: 5, shape: 2}
  b: {dist: Normal, mu: 0, sigma: 1}
  f: {dist: GaussianProcess, x: [x, z], mu: b * z, kernel: {matern12: {sd: alpha, lengthscale: rho}}}
likelihood: {counts: {dist: Poisson, mu: exp(f), observed: k}}
""",
    "noncentered": """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  b: {dist: Normal, mu: 0, sigma: 1}
  f: {dist: GaussianProcess, x: x, kernel: {matern32: {sd: alpha, lengthscale: 1.2}}}
likelihood: {counts: {dist: Poisson, mu: exp(b + f), observed: k}}
""",
    "centered": """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  rho: {dist: InverseGamma, alpha: 5, beta: 5}
  f: {dist: GaussianProcess, x: x, kernel: {rational_quadratic: {sd: alpha, lengthscale: rho, alpha: alpha + 1}},
      parameterization: centered, jitter: 1.0e-4}
likelihood: {counts: {dist: Poisson, mu: exp(f), observed: k}}
""",
    "observed": """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  rho: {dist: InverseGamma, alpha: 5, beta: 5}
  b: {dist: Normal, mu: 0, sigma: 1}
  sigma: {dist: HalfNormal, sigma: 1}
likelihood:
  y: {dist: GaussianProcess, x: x, mu: b * z, sigma: sigma, observed: y,
      kernel: {sum: [{periodic: {sd: alpha, lengthscale: rho, period: rho + 1}}, {linear: {sd: alpha, center: b}}]}}
""",
    "hsgp": """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  rho: {dist: InverseGamma, alpha: 5, beta: 5, shape: 2}
  f: {dist: GaussianProcess, x: [x, z], hsgp: {m: [4, 5], c: 1.4},
      kernel: {sum: [{exp_quad: {sd: alpha, lengthscale: rho}}, {matern32: {lengthscale: 2}}]}}
likelihood: {y: {dist: Normal, mu: f, sigma: 1, observed: y}}
""",
}


@pytest.mark.parametrize("text", MODELS.values(), ids=MODELS)
def test_gradients_are_those_of_finite_differences(text: str) -> None:
    model: pm.Model = pymc3_model(declared(text))
    function = model.logp_dlogp_function()
    function.set_extra_values({})
    point = function.dict_to_array(model.test_point) + np.random.default_rng(3).normal(0, 0.2, function.size)
    _, gradient = function(point)
    for i, own in enumerate(gradient):
        step = np.zeros(function.size)
        step[i] = 1e-5
        slope = (function(point + step)[0] - function(point - step)[0]) / 2e-5
        assert own == pytest.approx(slope, rel=1e-4, abs=1e-5), i


def test_an_observed_process_has_the_density_of_its_definition() -> None:
    made = declared(MODELS["observed"])
    point = {"alpha": 0.8, "rho": 1.4, "b": 0.6, "sigma": 0.3}
    kernel = 0.64 * np.exp(-2 * (np.sin(np.pi * _d(X, X) / 2.4) / 1.4) ** 2) + 0.64 * np.outer(X - 0.6, X - 0.6)
    expected = stats.multivariate_normal(0.6 * Z, kernel + (0.09 + 1e-8) * np.eye(7)).logpdf(Y)
    assert log_densities(made, point)["y"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["exp_quad", "matern32", "matern52"])
def test_the_approximation_has_the_covariance_of_the_kernel_well_inside_its_boundary(name: str) -> None:
    text = f"""
    priors:
      f: {{dist: GaussianProcess, x: x, kernel: {{{name}: {{sd: 1.5, lengthscale: 1.2}}}}, hsgp: {{m: 80, c: 6}}}}
    likelihood: {{y: {{dist: Normal, mu: f, sigma: 1, observed: y}}}}
    """
    made = declared(text)
    weights = next(item for item in made.items if getattr(item, "name", "") == "f_weights")
    forward = Forward({"f_offset": np.eye(80)}, np.random.default_rng(1), _no_engine, (), "new")
    forward.run(made)
    columns = forward.variable("f")
    body = yaml.safe_load(f"{{x: x, kernel: {{{name}: {{sd: 1.5, lengthscale: 1.2}}}}}}")
    process = read_process(body, Scope(data()), "f")
    exact = matrix_of(process.kernel, process.points, process.points).known
    assert weights.dims == ("f_weights_dim_0",)
    np.testing.assert_allclose(columns.T @ columns, exact, atol=0.01)


# ---------------------------------------------------------------- new rows

NEW = np.array([0.7, 1.1, 3.6, 6.0])
DRAWS = 4_000


def _forecast(text: str, draws: dict[str, Any], x: Any = NEW) -> tuple[Forward, Any]:
    spec, here = spec_of(text), data(x, np.linspace(0, 1, len(x)))
    made = declarative.build(data(), spec)
    fitted = fitted_model(made, FittedDesign("row", {}, {}, {}, {}, {}, {}, {}, xr.Dataset()), None, None)
    rows = NewRows(here, fitted.model, fitted.quantities, fitted.likelihoods)
    there = declarative.MODEL.at_rows(rows, spec)
    fresh = frozenset(item.name for item in there.items if item.__class__.__name__ == "Random")
    forward = Forward(draws, np.random.default_rng(8), _no_engine, fresh, "row")
    return forward, forward.run(there)


def _no_engine(*_: Any) -> Any:
    raise AssertionError("an engine is asked for draws")


def _conditional(given: Any, noise: float, kernel: Any) -> tuple[Any, Any]:
    """Mean and covariance at NEW (Rasmussen and Williams 2006, equations 2.25 and 2.26)."""
    inverse = np.linalg.inv(kernel(X, X) + noise * np.eye(7))
    cross = kernel(NEW, X)
    return cross @ inverse @ given, kernel(NEW, NEW) - cross @ inverse @ cross.T


def test_a_latent_process_at_new_rows_is_drawn_given_the_fitted_ones() -> None:
    text = MODELS["latent"].replace("x: [x, z], mu: b * z", "x: x").replace(", shape: 2", "")
    fitted = np.tile(Y, (DRAWS, 1))
    forward, _ = _forecast(text, {"alpha": np.full(DRAWS, 1.3), "rho": np.full(DRAWS, 0.9), "f": fitted})
    drawn = forward.variable("f")
    mean, cov = _conditional(Y, 1e-8, lambda a, b: 1.69 * np.exp(-_d(a, b) / 0.9))
    assert np.abs(drawn[:, 1] - Y[2]).max() < 0.01  # x = 1.1 was fitted
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(np.diag(cov).max() / DRAWS))
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.1)


def test_the_mean_of_a_latent_process_is_that_of_each_row() -> None:
    text = MODELS["latent"].replace("x: [x, z]", "x: x").replace(", shape: 2", "")
    draws = {"alpha": np.full(DRAWS, 1.3), "rho": np.full(DRAWS, 0.9), "b": np.full(DRAWS, 2.0)}
    forward, _ = _forecast(text, {**draws, "f": np.tile(Y, (DRAWS, 1))})
    mean, _ = _conditional(Y - 2 * Z, 1e-8, lambda a, b: 1.69 * np.exp(-_d(a, b) / 0.9))
    np.testing.assert_allclose(forward.variable("f").mean(axis=0), mean + 2 * np.linspace(0, 1, 4), atol=0.1)


def test_new_rows_of_an_observed_process_are_drawn_given_the_observations() -> None:
    text = """
    priors:
      alpha: {dist: HalfNormal, sigma: 2}
      m: {dist: Normal, mu: 0, sigma: 1}
      sigma: {dist: HalfNormal, sigma: 1}
    likelihood:
      y: {dist: GaussianProcess, x: x, mu: m, sigma: sigma, observed: y,
          kernel: {exp_quad: {sd: alpha, lengthscale: 1}}}
    """
    draws = {"alpha": np.full(DRAWS, 1.3), "m": np.full(DRAWS, 0.4), "sigma": np.full(DRAWS, 0.5)}
    _, found = _forecast(text, draws)
    mean, cov = _conditional(Y - 0.4, 0.25, lambda a, b: 1.69 * np.exp(-0.5 * _d(a, b) ** 2))
    np.testing.assert_allclose(found["y"].drawn.mean(axis=0), mean + 0.4, atol=0.12)
    np.testing.assert_allclose(np.cov(found["y"].drawn.T), cov + 0.25 * np.eye(4), atol=0.15)
    assert found["y"].expected is not None
    np.testing.assert_allclose(np.cov(found["y"].expected.T), cov, atol=0.15)


def test_the_approximation_at_fitted_rows_is_that_of_the_fit_and_beyond_its_boundary_an_error() -> None:
    text = MODELS["hsgp"].replace("x: [x, z]", "x: x").replace("m: [4, 5]", "m: 6").replace(", shape: 2", "")
    made = declared(text)
    weights = np.random.default_rng(1).normal(size=(3, 6))
    known = {"alpha": np.ones(3), "rho": np.ones(3)}
    fit = Forward({**known, "f_offset": weights}, np.random.default_rng(1), _no_engine, (), "new")
    fit.run(made)
    forward, _ = _forecast(text, {**known, "f_weights": fit.variable("f_weights")}, x=X[:4])
    np.testing.assert_allclose(forward.variable("f"), fit.variable("f")[:, :4], rtol=1e-10)
    with pytest.raises(UserError, match="beyond the boundary of the approximation of 'f'"):
        _forecast(text, {**known, "f_weights": fit.variable("f_weights")}, x=np.array([20.0]))


# ---------------------------------------------------------------- errors

PRIOR = "priors: {{a: {{dist: Normal, mu: 0, sigma: 1}}, f: {{dist: GaussianProcess, {0}}}}}"
OBSERVED = "\nlikelihood: {y: {dist: Normal, mu: f, sigma: 1, observed: y}}"
WRONG = [
    ("x: x, kernel: {rbf: {lengthscale: 1}}", "kernel.rbf: there is no kernel 'rbf' (rbf: here exp_quad)"),
    ("x: x, kernel: {exp_quad: {rho: 1}}", "kernel.exp_quad.rho: exp_quad has no parameter 'rho' (use 'lengthscale')"),
    ("x: x, kernel: {exp_quad: {}}", "kernel.exp_quad.lengthscale: is required but missing"),
    ("x: x, kernel: {exp_quad: {lengthscale: -1}}", "kernel.exp_quad.lengthscale: must be above 0"),
    ("x: x, kernel: {sum: [{constant: {sd: 1}}]}", "kernel.sum: must be a list of two or more kernels"),
    ("x: x, kernel: {exp_quad: {lengthscale: 1}, linear: {}}", "kernel: must be a mapping with one kernel (got 2 keys"),
    ("kernel: {exp_quad: {lengthscale: 1}}", "f: GaussianProcess needs x"),
    ("x: 3, kernel: {linear: {}}", "f.x: must be a column or a list of columns"),
    ("x: nosuch, kernel: {linear: {}}", "f.x: unknown name 'nosuch'"),
    ("x: x * a, kernel: {linear: {}}", "f.x: 'x * a' depends on a random variable"),
    ("x: x, sigma: 1, kernel: {linear: {}}", "f.sigma: belongs to an observed process"),
    ("x: x, hsgp: {}, kernel: {periodic: {lengthscale: 1, period: 2}}", "f.hsgp: hsgp can't approximate periodic"),
    ("x: x, hsgp: {n: 3}, kernel: {exp_quad: {lengthscale: 1}}", "f.hsgp.n: hsgp has no key 'n'"),
    ("x: x, hsgp: {c: 0.5}, kernel: {exp_quad: {lengthscale: 1}}", "f.hsgp.c: must be numbers above 1"),
    ("x: x, initval: 0, kernel: {linear: {}}", "f.initval: 'initval' does not apply to a GaussianProcess"),
    ("x: [x, z], kernel: {exp_quad: {lengthscale: [1, 2, 3]}}", "must be one number, or 2 of them"),
    (
        "x: x, dims: [input], kernel: {linear: {}}",
        "f.x: the inputs are over 'row' (7), which must be the last dim of 'f'",
    ),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_is_wrong_is_told_by_its_key(body: str, message: str) -> None:
    assert message in problems_of(PRIOR.format(body) + OBSERVED)


def test_an_observed_process_needs_its_noise_and_no_approximation() -> None:
    text = """
    priors: {a: {dist: HalfNormal, sigma: 1}}
    likelihood: {y: {dist: GaussianProcess, x: x, kernel: {exp_quad: {lengthscale: a}}, hsgp: {}, observed: y}}
    """
    found = problems_of(text)
    assert "model.likelihood.y.sigma: is required but missing" in found
    assert "model.likelihood.y.hsgp: hsgp approximates a latent process" in found


# ---------------------------------------------------------------- functions


def test_distances_factors_and_identities() -> None:
    here = data()
    np.testing.assert_allclose(evaluate("distance(x, x)", here, "d").values, _d(X, X))
    expected = np.sqrt(_d(X, X) ** 2 + _d(Z, Z) ** 2)
    np.testing.assert_allclose(evaluate("distance(XZ, XZ)", here, "d").values, expected)
    found = evaluate("cholesky(exp(-distance(x, x)) + 0.1 * identity(7))", here, "d")
    np.testing.assert_allclose(found.values, np.linalg.cholesky(np.exp(-_d(X, X)) + 0.1 * np.eye(7)))
    with pytest.raises(UserError, match="not positive definite"):
        evaluate("cholesky(-identity(3))", here, "d")
    with pytest.raises(UserError, match="needs a square matrix"):
        evaluate("cholesky(XZ)", here, "d")
