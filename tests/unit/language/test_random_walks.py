"""A whitened walk is the same prior as PyMC3's, in other coordinates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pymc3 as pm
import pytest
import scipy.fft
import scipy.linalg
import scipy.stats
import theano
import theano.tensor as tt

from bayesrun.engines.pymc3.build import build
from bayesrun.engines.pymc3.python_operations import Cosine
from bayesrun.language.declaration import Draft, Observed
from bayesrun.language.functions import log
from bayesrun.language.plan import of_values
from bayesrun.language.priors import declare
from bayesrun.language.random_walks import fast_length, whitened_walk
from bayesrun.language.values import Value, constant, fixed

SMOOTH, ROUGH, INFORMATION = 12, 13, 1.5
HELPERS = ("s_level", "s_waves")


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    """The graphs are tiny: compiling C for them would be all the time they take."""
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


def _sigma(draft: Draft) -> Value:
    return draft.random(of_values("sigma", "HalfNormal", {"sigma": fixed(1.0)}))["sigma"]


def _both(size: int, drift: float = 0.0) -> tuple[pm.Model, pm.Model]:
    draft = Draft()
    whitened_walk(draft, "s", _sigma(draft), (), size, INFORMATION, drift=constant(drift) if drift else None)
    with pm.Model() as plain:
        pm.GaussianRandomWalk("s", mu=drift, sigma=pm.HalfNormal("sigma", 1.0), shape=size)
    return build(draft.declaration()), plain


def _log_jacobian(size: int, sigma: float) -> float:
    eigenvalues = 2 - 2 * np.cos(np.pi * np.arange(size) / size)
    return float(-0.5 * np.log(eigenvalues / sigma**2 + INFORMATION).sum())


def _expected(
    white: pm.Model, plain: pm.Model, seed: int, points: int
) -> Iterator[tuple[dict[str, np.ndarray], float]]:
    """Yield random points of the whitened model, and the plain walk's density there with the Jacobian."""
    walk = theano.function(white.free_RVs, white["s"], on_unused_input="ignore")
    logp, rng = plain.fastfn(plain.logpt), np.random.default_rng(seed)
    for _ in range(points):
        point = {v.name: rng.normal(size=v.tag.test_value.shape) for v in white.free_RVs}
        s = walk(*(point[v.name] for v in white.free_RVs))
        jacobian = _log_jacobian(SMOOTH, float(np.exp(point["sigma_log__"])))
        yield point, logp({"sigma_log__": point["sigma_log__"], "s": s}) + jacobian


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_density_is_the_walks_up_to_the_jacobian_and_a_known_constant(drift: float) -> None:
    white, plain = _both(SMOOTH, drift)
    white_logp = white.fastfn(white.logpt)
    for point, expected in _expected(white, plain, seed=1, points=20):
        # the eigenvalues but the first multiply to n, and a flat level has no scale: both are constants
        constant = 0.5 * np.log(SMOOTH * INFORMATION)
        np.testing.assert_allclose(white_logp(point), expected + constant, rtol=1e-10)


def test_an_offset_changes_no_prior() -> None:
    """The density at a walk is that of PyMC3's walk, also when the offset depends on another parameter."""
    draft = Draft()
    sigma = _sigma(draft)
    whitened_walk(draft, "s", sigma, (), SMOOTH, INFORMATION, offset=log(1 + 1 / sigma))
    white, (_, plain) = build(draft.declaration()), _both(SMOOTH)
    logp = white.fastfn(white.logpt)
    for point, expected in _expected(white, plain, seed=2, points=10):
        np.testing.assert_allclose(logp(point), expected + 0.5 * np.log(SMOOTH * INFORMATION), rtol=1e-10)


def test_a_continued_walk_has_the_same_prior() -> None:
    """Steps of the first points are independent Normal(0, sigma) although the transform is longer than the walk."""
    sigma = 0.7
    draft = Draft()
    whitened_walk(draft, "s", constant(sigma), (), ROUGH, INFORMATION)
    length, model = fast_length(ROUGH), build(draft.declaration())
    assert length > ROUGH
    level, waves = (model[name] for name in HELPERS)
    jacobian = theano.function([level, waves], tt.jacobian(model["s"], waves), on_unused_input="ignore")(
        0.0, np.zeros(length - 1)
    )
    eigenvalues = (2 - 2 * np.cos(np.pi * np.arange(length) / length))[1:]
    variance = (eigenvalues + INFORMATION * sigma**2) / eigenvalues
    steps = np.diff(jacobian, axis=0)
    np.testing.assert_allclose((steps * variance) @ steps.T, sigma**2 * np.eye(ROUGH - 1), atol=1e-10)


def test_posterior_of_waves_is_spherical_when_the_information_is_right() -> None:
    """With Normal observations of the stated information, the posterior precision of all helpers is the identity."""
    draft = Draft()
    walk = whitened_walk(draft, "s", constant(0.5), (), SMOOTH, 4.0)
    draft.observe(
        "y", "Normal", {"mu": walk, "sigma": fixed(0.5)}, Observed(np.zeros(SMOOTH), ("time",), {"time": range(SMOOTH)})
    )
    with build(draft.declaration()) as model:
        hessian = pm.find_hessian(model.test_point, model.free_RVs)
    np.testing.assert_allclose(hessian, np.eye(SMOOTH), atol=1e-8)


def test_cosine_gradient_is_right() -> None:
    vector = np.random.default_rng(2).normal(size=7)
    with theano.config.change_flags(compute_test_value="off"):
        for inverse in (False, True):
            theano.gradient.verify_grad(Cosine(inverse), [vector], rng=np.random.RandomState(3))


def test_cosine_diagonalises_first_differences() -> None:
    difference = np.diff(np.eye(SMOOTH), axis=0)
    transform = scipy.fft.dct(np.eye(SMOOTH), norm="ortho", axis=0)
    diagonal = transform @ difference.T @ difference @ transform.T
    np.testing.assert_allclose(diagonal, np.diag(2 - 2 * np.cos(np.pi * np.arange(SMOOTH) / SMOOTH)), atol=1e-12)


@pytest.mark.parametrize(("size", "length"), [(2, 2), (7, 8), (2906, 2916), (1000, 1000)])
def test_fast_length(size: int, length: int) -> None:
    assert fast_length(size) == length


def test_names_and_dims() -> None:
    draft = Draft(coords={"date": range(ROUGH)})
    whitened_walk(draft, "s", constant(1.0), ("date",), ROUGH, INFORMATION)
    declared = draft.declaration()
    model = build(declared)
    assert declared.helpers == set(HELPERS)
    assert {v.name for v in model.free_RVs} == set(HELPERS)
    assert [v.name for v in model.deterministics] == ["s"]
    assert model.RV_dims["s"] == ("date",)


@pytest.mark.parametrize(("size", "information"), [(1, 1.0), (5, 0.0), (5, float("nan"))])
def test_bad_arguments_are_refused(size: int, information: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        whitened_walk(Draft(), "s", constant(1.0), (), size, information)


UNEQUAL = np.array([1.0, 9.0, 1.0, 25.0, 0.25, 3.0, 3.0, 100.0, 1.0, 0.5, 2.0])


def _steps_by_helper(draft: Draft, helper: str) -> np.ndarray:
    """Return how the steps of the walk `s`, which is linear in the helper, change with it."""
    model = build(draft.declaration())
    inputs = model.free_RVs
    jacobian = theano.function(inputs, tt.jacobian(model["s"], model[helper]), on_unused_input="ignore")
    return np.diff(jacobian(*(np.zeros_like(v.tag.test_value) for v in inputs)), axis=0)


def test_steps_of_a_whitened_walk_have_variances_in_proportion_to_their_lengths() -> None:
    sigma, draft = 0.7, Draft()
    whitened_walk(draft, "s", constant(sigma), (), SMOOTH, INFORMATION, steps=UNEQUAL)
    steps = _steps_by_helper(draft, "s_waves")
    (waves,) = [item for item in draft.declaration().items if getattr(item, "name", "") == "s_waves"]
    covariance = (steps / waves.plan.values["tau"].known) @ steps.T
    np.testing.assert_allclose(covariance, sigma**2 * np.diag(UNEQUAL), atol=1e-10 * UNEQUAL.max())


def test_waves_of_unequal_steps_are_spherical_when_the_information_is_right() -> None:
    draft = Draft()
    walk = whitened_walk(draft, "s", constant(0.5), (), SMOOTH, 4.0, steps=UNEQUAL)
    rows = Observed(np.zeros(SMOOTH), ("time",), {"time": range(SMOOTH)})
    draft.observe("y", "Normal", {"mu": walk, "sigma": fixed(0.5)}, rows)
    with build(draft.declaration()) as model:
        hessian = pm.find_hessian(model.test_point, model.free_RVs)
    np.testing.assert_allclose(hessian, np.eye(SMOOTH), atol=1e-8)


@pytest.mark.parametrize("form", ["centered", "noncentered", "whitened"])
def test_forms_of_a_walk_with_drift_and_steps_have_one_density(form: str) -> None:
    """The density is Gaussian: its mode and curvature are those of a walk with these steps."""
    prior = {
        **{"dist": "GaussianRandomWalk", "mu": 0.3, "sigma": 0.7, "shape": SMOOTH, "steps": [0, *np.cumsum(UNEQUAL)]},
        **{"init": {"dist": "Normal", "mu": 2.0, "sigma": 0.4}, "parameterization": form},
    }
    draft = Draft()
    declare(draft, "s", prior, "model.priors.s")
    model = build(draft.declaration())
    density = model.logp_dlogp_function(model.free_RVs)
    density.set_extra_values({})
    slopes = [density(at)[1] for at in np.vstack([np.zeros(density.size), np.eye(density.size)])]
    covariance = np.linalg.inv(slopes[0] - np.array(slopes[1:]))
    walk_of = theano.function(model.free_RVs, model["s"], on_unused_input="ignore")
    walk = [walk_of(*(density.array_to_full_dict(at)[v.name] for v in model.free_RVs)) for at in np.eye(density.size)]
    zero = walk_of(*(density.array_to_full_dict(np.zeros(density.size))[v.name] for v in model.free_RVs))
    linear = (np.array(walk) - zero).T
    expected = 2.0 + 0.3 * np.array([0, *np.cumsum(UNEQUAL)])
    np.testing.assert_allclose(zero + linear @ covariance @ slopes[0], expected, rtol=1e-6)
    steps = np.vstack([linear[:1], np.diff(linear, axis=0)])
    variances = np.diag([0.4**2, *(0.7**2 * UNEQUAL)])
    np.testing.assert_allclose(steps @ covariance @ steps.T, variances, atol=1e-8)


def test_walks_of_several_groups_go_along_the_last_axis() -> None:
    """PyMC3's own go along the first, and count each step once per group."""
    prior = {"dist": "GaussianRandomWalk", "mu": [[0.0], [0.5]], "sigma": 0.7, "shape": [2, 4]}
    draft = Draft()
    declare(draft, "s", {**prior, "init": {"dist": "Normal", "mu": 1.0, "sigma": 2.0}}, "model.priors.s")
    model, walks = build(draft.declaration()), np.random.default_rng(4).normal(size=(2, 4))
    expected = scipy.stats.norm.logpdf(np.diff(walks), [[0.0], [0.5]], 0.7).sum()
    expected += scipy.stats.norm.logpdf(walks[:, 0], 1.0, 2.0).sum()
    np.testing.assert_allclose(model.logp({"s": walks}), expected, rtol=1e-10)
    with model:
        drawn = pm.sample_prior_predictive(4000, random_seed=5)["s"]
    assert drawn.shape == (4000, 2, 4)
    np.testing.assert_allclose(drawn[..., 0].std(axis=0), 2.0, rtol=0.06)
    np.testing.assert_allclose(np.diff(drawn).mean(axis=0), [[0.0] * 3, [0.5] * 3], atol=0.05)
    np.testing.assert_allclose(np.diff(drawn).std(axis=0), 0.7, rtol=0.06)
