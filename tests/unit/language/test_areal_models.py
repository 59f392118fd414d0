"""Effects of areas: the covariances of their definitions, by SciPy, and errors by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import linalg
from scipy.optimize import approx_fprime

from bayesrun.engines.pymc3 import ENGINE
from bayesrun.language.areal_models import adjacency_of, intrinsic_factor
from bayesrun.language.plan import plan
from bayesrun.language.prior_checks import check_prior
from bayesrun.language.scope import Scope
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from bayesrun.predict.forward import Forward

# two islands: a ring of four areas, and a pair
W = linalg.block_diag(np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]), [[0, 1], [1, 0]]).astype(
    float
)
D = np.diag(W.sum(axis=1))


def data(matrix: Any = W) -> xr.Dataset:
    return xr.Dataset(
        {"W": (("area", "neighbour"), matrix), "y": ("obs", np.arange(6.0)), "code": ("obs", np.arange(6))},
        coords={"area": list("abcdef")},
    )


def spec_of(prior: str) -> DeclarativeSpec:
    text = f"""
    name: m
    type: declarative
    priors: {{a: {{dist: HalfNormal, sigma: 1}}, x: {{{prior}, dims: [area]}}}}
    likelihood: {{y: {{dist: Normal, mu: "x[code]", sigma: 1, observed: y}}}}
    """
    return DeclarativeSpec.model_validate(yaml.safe_load(text))


def effects(prior: str, **known: float) -> Any:
    """Return the matrix from standard normal numbers to effects, (area, number)."""
    spec = spec_of(prior)
    assert [*static_check(spec), *check(data(), spec)] == []
    made = build(data(), spec)
    size = next(item.plan.shape[0] for item in made.items if getattr(item, "name", "") == "x_offset")  # type: ignore[union-attr]
    draws = {"x_offset": np.eye(size), **{name: np.full(size, value) for name, value in known.items()}}
    forward = Forward(draws, np.random.default_rng(1), _no_engine, (), "new")
    forward.run(made)
    return forward.variable("x").T


def _no_engine(*_: Any) -> Any:
    raise AssertionError("an engine is asked for draws")


def test_a_proper_autoregression_has_its_precision_matrix() -> None:
    found = effects("dist: CAR, W: W, alpha: 0.1 + a, tau: 2 * a", a=0.7)
    np.testing.assert_allclose(found @ found.T, np.linalg.inv(1.4 * (D - 0.8 * W)), atol=1e-12)


def test_an_intrinsic_autoregression_is_the_inverse_without_the_levels_of_connected_areas() -> None:
    found = effects("dist: ICAR, W: W, sigma: a, scaled: false", a=0.7)
    np.testing.assert_allclose(found @ found.T, 0.49 * np.linalg.pinv(D - W), atol=1e-12)
    np.testing.assert_allclose([found[:4].sum(axis=0), found[4:].sum(axis=0)], 0.0, atol=1e-12)


def test_a_scaled_one_has_variances_whose_geometric_mean_is_that_of_sigma() -> None:
    found = effects("dist: ICAR, W: W", a=0.7)
    assert np.exp(np.mean(np.log((found**2).sum(axis=1)))) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(found, intrinsic_factor(W, scaled=True))


BROKEN = W.copy()
BROKEN[0, 1] = 0.0
ALONE = linalg.block_diag(W[:5, :5])
ALONE = np.pad(ALONE, (0, 1))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (BROKEN, "must be symmetric: element (0, 1) is not element (1, 0)"),
        (W + np.eye(6), "must be 0 or above, with 0 on its diagonal"),
        (ALONE, "area 4 has no neighbour"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_told(matrix: Any, message: str) -> None:
    (problem,) = check(data(matrix), spec_of("dist: ICAR, W: W"))
    assert problem.key == "model.priors.x.W"
    assert message in problem.message


def test_options_that_do_not_apply_are_told() -> None:
    prior = {"dist": "CAR", "W": "W", "alpha": 0.5, "tau": 1, "initval": 0, "parameterization": "centered"}
    assert [p.key for p in check_prior("p", prior)] == ["p.initval", "p.parameterization"]
    assert [p.message for p in check_prior("p", {"dist": "ICAR"})] == ["ICAR needs W"]


PAIRS = np.array([[0, 1], [2, 1], [2, 3], [0, 3], [4, 5]])


def test_pairs_of_neighbours_are_the_matrix_of_them() -> None:
    frame = data().assign(
        edges=(("edge", "end"), PAIRS), node1=("edge", PAIRS[:, 0] + 1), node2=("edge", PAIRS[:, 1] + 1)
    )
    for text in ("edges", "stack(node1 - 1, node2 - 1)"):
        spec = spec_of(f'dist: ICAR, W: "{text}"')
        assert [*static_check(spec), *check(frame, spec)] == []
        assert np.array_equal(adjacency_of(plan("x", spec.priors["x"], Scope(frame), "x")), W)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [(PAIRS + 1, "count from 0 to 5 (got 6)"), (PAIRS * [1, 0], "area 0 is a neighbour of itself")],
)
def test_what_is_wrong_with_pairs_is_told(pairs: Any, message: str) -> None:
    frame = data().assign(edges=(("edge", "end"), pairs))
    (problem,) = check(frame, spec_of("dist: ICAR, W: edges"))
    assert problem.key == "model.priors.x.W"
    assert message in problem.message


@pytest.mark.parametrize(
    "prior", ["dist: CAR, W: W, alpha: exp(-a), tau: 2 * a", "dist: ICAR, W: W, sigma: a"], ids=["CAR", "ICAR"]
)
@pytest.mark.parametrize("kept", ["", ", observed_if: code != 2"], ids=["all", "observed_if"])
def test_the_gradient_is_that_of_finite_differences(prior: str, kept: str) -> None:
    spec = spec_of(prior)
    body = yaml.safe_load(f"{{dist: Normal, mu: 'x[code]', sigma: 1, observed: y{kept}}}")
    spec = spec.model_copy(update={"likelihood": {"y": body}})
    ENGINE.set_up()
    density = ENGINE.compile(build(data(), spec)).log_density()
    point = np.random.default_rng(3).normal(size=density.size) * 0.7
    _, gradient = density.evaluate(point)
    np.testing.assert_allclose(
        gradient, approx_fprime(point, lambda p: density.evaluate(p)[0], 1e-7), rtol=1e-4, atol=1e-5
    )
