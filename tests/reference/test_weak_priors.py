"""The default priors of a regression are weak: mode and curvature of the posterior are those of the likelihood.

In units of the standard errors of maximum likelihood, estimates move by less than 5% and intervals change by less than
5%, whatever the units of response and predictors, with correlated columns, and without an intercept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize
from scipy.special import gamma as gamma_function

from bayesrun.language.declaration import Container, Declaration, Random
from bayesrun.models.regression import MODEL
from bayesrun.models.regression.families import FAMILY_TABLE
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

Array = np.ndarray[Any, Any]
ROWS = 150
OTHERS = ("sigma", "nu", "alpha", "phi", "kappa", "lam", "hu")
RNG = np.random.default_rng(18)
Z = RNG.normal(size=ROWS)
G = np.array(list("abc") * (ROWS // 3))
YEAR = 1950.0 + np.arange(ROWS) / 2
CURVE = 0.8 * Z + 0.5 * (G == "b")


def _linear(scale: float, level: float, noise: Array, unit: float = 1.0, origin: float = 0.0) -> dict[str, Array]:
    return {"y": level + scale * (CURVE + noise), "x": origin + unit * Z, "g": G, "year": YEAR}


def _counts(level: float, extra: float, unit: float = 1.0, slope: float = 0.1) -> dict[str, Array]:
    mean = level * np.exp(slope * CURVE)
    rate = mean * RNG.gamma(extra**-2, extra**2, size=ROWS) if extra else mean
    return {"y": RNG.poisson(rate).astype(float), "x": unit * Z, "g": G, "year": YEAR}


def _successes(level: float, trials: int, unit: float = 1.0, origin: float = 0.0) -> dict[str, Array]:
    n = np.full(ROWS, trials)
    y = RNG.binomial(n, 1 / (1 + np.exp(-level - CURVE)))
    return {"y": y.astype(float), "n": n, "x": origin + unit * Z, "g": G}


def _positive(draw: Callable[[Array], Array], level: float, unit: float = 1.0, slope: float = 0.3) -> dict[str, Array]:
    return {"y": level * draw(np.exp(slope * CURVE)), "x": unit * Z, "g": G, "year": YEAR}


def _gamma(shape: float) -> Callable[[Array], Array]:
    return lambda mean: np.asarray(RNG.gamma(shape, mean / shape))


def _weibull(shape: float) -> Callable[[Array], Array]:
    return lambda mean: np.asarray(mean / gamma_function(1 + 1 / shape) * RNG.weibull(shape, size=ROWS))


def _wald(shape: float) -> Callable[[Array], Array]:
    return lambda mean: np.asarray(RNG.wald(mean, shape))


def _shares(level: float, precision: float, unit: float = 1.0, origin: float = 0.0) -> dict[str, Array]:
    mean = 1 / (1 + np.exp(-level - 0.3 * CURVE))
    return {"y": RNG.beta(mean * precision, (1 - mean) * precision), "x": origin + unit * Z, "g": G}


def _angles(level: float, slope: float, concentration: float, unit: float = 1.0) -> dict[str, Array]:
    return {"y": RNG.vonmises(level + slope * CURVE, concentration), "x": unit * Z, "g": G}


GAUSS, HEAVY = RNG.normal(size=ROWS), RNG.standard_t(5, size=ROWS)
SETS: list[tuple[str, str, dict[str, Any], dict[str, Array]]] = [
    ("normal", "y ~ x", {}, _linear(1, 0, GAUSS)),
    ("normal", "y ~ x + g", {}, _linear(3e5, 1e6, GAUSS, 12, 40)),
    ("normal", "y ~ x * g", {}, _linear(1e-6, 5e-6, GAUSS, 1e-3)),
    ("normal", "y ~ 0 + g + x", {}, _linear(1, 1e5, GAUSS, 8, 1990)),
    ("normal", "y ~ year + I(year**2)", {}, _linear(2, 10, GAUSS)),
    ("normal", "y ~ x", {"link": "log"}, _linear(1e5, 2e6, GAUSS)),
    ("student", "y ~ x", {}, _linear(1, 0, HEAVY)),
    ("student", "y ~ x + g", {}, _linear(2e3, 1e4, HEAVY, 1e6)),
    ("student", "y ~ 0 + g", {}, _linear(1e-5, 1, HEAVY)),
    ("student", "y ~ x + year", {}, _linear(30, -1e4, HEAVY, 1e-4)),
    ("binomial", "y ~ x", {}, _successes(0, 1)),
    ("binomial", "y ~ x + g", {"trials": "n"}, _successes(-3, 40, 2e4, 5e4)),
    ("binomial", "y ~ 0 + g", {"trials": "n"}, _successes(0.4, 20, 1e-6)),
    ("binomial", "y ~ x", {"trials": "n", "link": "probit"}, _successes(2, 1000, 1e3)),
    ("poisson", "y ~ x", {}, _counts(0.7, 0, slope=0.5)),
    ("poisson", "y ~ x + g", {}, _counts(5e4, 0, 1e-4)),
    ("poisson", "y ~ 0 + g", {}, _counts(2e9, 0)),
    ("poisson", "y ~ x + year", {}, _counts(20, 0, 1e5)),
    ("negative_binomial", "y ~ x", {}, _counts(1e4, 0.03)),
    ("negative_binomial", "y ~ x + g", {}, _counts(3e6, 0.01, 1e-3)),
    ("negative_binomial", "y ~ x", {}, _counts(50, 1.3, 3e3)),
    ("negative_binomial", "y ~ 0 + g", {}, _counts(8, 0.6)),
    ("gamma", "y ~ x", {}, _positive(_gamma(2.0), 1.0)),
    ("gamma", "y ~ x + g", {}, _positive(_gamma(400.0), 3e7, 1e4)),
    ("gamma", "y ~ 0 + g", {}, _positive(_gamma(0.3), 2e-6)),
    ("gamma", "y ~ x", {"link": "identity"}, _positive(_gamma(20.0), 5e5, 1e-3, 0.1)),
    ("gamma", "y ~ x", {"link": "inverse"}, _positive(_gamma(20.0), 4e-5, 1e2, 0.1)),
    ("gamma", "y ~ x", {"link": "softplus"}, _positive(_gamma(20.0), 7e3, 1.0, 0.1)),
    ("weibull", "y ~ x", {}, _positive(_weibull(1.5), 1.0)),
    ("weibull", "y ~ x + g", {}, _positive(_weibull(40.0), 2e6, 1e-4)),
    ("weibull", "y ~ 0 + g", {}, _positive(_weibull(0.6), 3e-5)),
    ("weibull", "y ~ x + year", {}, _positive(_weibull(4.0), 80.0, 1e6)),
    ("inverse_gaussian", "y ~ x", {}, _positive(_wald(3.0), 1.0)),
    ("inverse_gaussian", "y ~ x + g", {}, _positive(_wald(500.0), 1e6, 1e3)),
    ("inverse_gaussian", "y ~ 0 + g", {}, _positive(_wald(0.5), 1e-5)),
    ("inverse_gaussian", "y ~ x", {}, _positive(_wald(20.0), 3e-8, 1e-2)),
    ("beta", "y ~ x", {}, _shares(0.0, 5.0)),
    ("beta", "y ~ x + g", {}, _shares(-5.0, 4e4, 1e5, 3e5)),
    ("beta", "y ~ 0 + g", {}, _shares(0.7, 1.2, 1e-3)),
    ("beta", "y ~ x", {"link": "probit"}, _shares(1.5, 900.0, 1e-4)),
    ("von_mises", "y ~ x", {}, _angles(0.0, 0.3, 2.0)),
    ("von_mises", "y ~ x", {}, _angles(2.2, 0.1, 300.0, 1e4)),
    ("von_mises", "y ~ x + g", {}, _angles(-1.0, 1e-4, 1e7, 1e-5)),
    ("von_mises", "y ~ x", {"link": "identity"}, _angles(1.0, 0.01, 5e3, 50.0)),
    ("geometric", "y ~ x", {"link": "sqrt"}, _counts(4e5, 1.0)),
    ("lognormal", "y ~ x", {}, _positive(_gamma(9.0), 1e-9, 1e4)),
    ("hurdle_lognormal", "y ~ x", {}, _positive(lambda m: _gamma(9.0)(m) * (np.arange(ROWS) % 5 > 0), 1e-9, 1e4)),
    ("exponential", "y ~ x", {"link": "inverse"}, _positive(_gamma(1.0), 1e-4, 1e2, 0.1)),
]


@pytest.mark.parametrize(("family", "formula", "options", "data"), SETS, ids=[f"{s[0]}: {s[1]}" for s in SETS])
def test_default_priors_are_weak(family: str, formula: str, options: dict[str, Any], data: dict[str, Array]) -> None:
    rows = xr.Dataset({n: ("obs", v) for n, v in data.items()}, coords={"obs": np.arange(ROWS)}).assign_attrs(dim="obs")
    spec = RegressionSpec.model_validate(
        {**{"name": "m", "type": "glm", "family": family, "formula": formula}, "options": {"form": "direct", **options}}
    )
    assert not MODEL.static_check(spec) and not MODEL.check(rows, spec)
    declared = MODEL.build(rows, spec)
    design = next(item.numbers for item in declared.items if isinstance(item, Container) and item.name == "design")
    point_at, size = _coordinates(declared, design, data["y"] / data.get("n", np.ones(ROWS)), spec)
    likelihoods = {"y_obs"}

    def loss(at: Array, with_priors: bool) -> float:
        logs = log_densities(declared, point_at(at))
        found = sum(value for name, value in logs.items() if with_priors or name in likelihoods)
        return -float(found)

    start = np.zeros(size)
    most_likely = minimize(loss, start, (False,), method="BFGS", options={"gtol": 1e-5}).x
    covariance = np.linalg.inv(_curvature(lambda at: loss(at, False), most_likely))
    mode = minimize(loss, most_likely, (True,), method="BFGS", options={"gtol": 1e-5}).x
    posterior = np.linalg.inv(_curvature(lambda at: loss(at, True), mode))
    coefficients = slice(0, design.shape[1])
    # back from coordinates in which the columns are orthogonal
    back = np.linalg.inv(np.linalg.qr(design, mode="r"))
    errors, sds = (np.sqrt(np.diag(back @ c[coefficients, coefficients] @ back.T)) for c in (covariance, posterior))
    np.testing.assert_allclose(sds, errors, rtol=0.05)
    np.testing.assert_array_less(np.abs(back @ (mode - most_likely)[coefficients]), 0.05 * errors)


def _coordinates(
    declared: Declaration, design: Array, mean: Array, spec: RegressionSpec
) -> tuple[Callable[[Array], dict[str, Any]], int]:
    """Return a map from numbers of size 1 to the model's variables: coefficients, and logs of what is positive."""
    orthogonal, triangle = np.linalg.qr(design)
    link = spec.options.link or FAMILY_TABLE[spec.family].parameters["mu"].links[0]
    mean = np.log(np.maximum(mean, 0.1 * np.mean(mean))) if spec.family.endswith("lognormal") else mean
    level, sd = float(np.mean(mean)), float(np.std(mean))
    target, spread = {
        "log": lambda m: (np.log(np.maximum(m, 0.1 * level)), 1.0),
        "logit": lambda m: (np.log((m + 0.05) / (1.05 - m)), 1.0),
        "probit": lambda m: (2 * (m - 0.5), 1.0),
        "inverse": lambda m: (np.full_like(m, 1 / level), sd / level**2),
        "sqrt": lambda m: (np.full_like(m, np.sqrt(level)), sd / np.sqrt(level)),
        "tan_half": lambda m: (np.tan(m / 2), sd / np.cos(level / 2) ** 2),
    }.get(str(link), lambda m: (m, sd))(mean)
    centre = orthogonal.T @ target
    variables = [item for item in declared.items if isinstance(item, Random)]
    terms = [v for v in variables if v.name not in OTHERS]
    others = [v.name for v in variables if v not in terms]
    middle = {"sigma": sd, "nu": 5.0, "alpha": (level / sd) ** 2, "kappa": sd**-2, "lam": level**3 / sd**2}
    middle["hu"], middle["phi"] = 0.2, level * (1 - level) / sd**2

    def point_at(at: Array) -> dict[str, Any]:
        coefficients = np.linalg.solve(triangle, centre + spread * at[: design.shape[1]])
        point: dict[str, Any] = {}
        begin = 0
        for term in terms:
            size = int(np.prod(term.plan.shape))
            point[term.name] = coefficients[begin : begin + size].reshape(term.plan.shape)
            begin += size
        return point | {n: middle[n] * np.exp(v) for n, v in zip(others, at[design.shape[1] :], strict=True)}

    return point_at, design.shape[1] + len(others)


def _curvature(loss: Callable[[Array], float], at: Array) -> Array:
    """Return the matrix of second derivatives, by differences of a size that suits each direction."""
    size, base = len(at), loss(at)
    unit = np.eye(size)
    steps = np.array([_step(loss, at, direction, base) for direction in unit])
    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    matrix = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            values = [a * b * loss(at + a * steps[i] * unit[i] + b * steps[j] * unit[j]) for a, b in corners]
            matrix[i, j] = sum(values) / (4 * steps[i] * steps[j])
    return matrix


def _step(loss: Callable[[Array], float], at: Array, direction: Array, base: float) -> float:
    """Return a step over which the loss grows by about 0.02."""
    step = 1e-3
    for _ in range(60):
        grown = loss(at + step * direction) - base
        if 0.005 < grown < 0.08:
            break
        step *= 2.0 if grown < 0.005 else 0.5
    return step
