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

from bayesrun.language._dct import Cosine
from bayesrun.language.random_walks import Whitened, fast_length, whitened_walk

SMOOTH, ROUGH, INFORMATION = 12, 13, 1.5


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    """The graphs are tiny: compiling C for them would be all the time they take."""
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


def _both(size: int, drift: float = 0.0) -> tuple[pm.Model, Whitened, pm.Model]:
    with pm.Model() as white:
        made = whitened_walk("s", pm.HalfNormal("sigma", 1.0), size, INFORMATION, drift=drift)
    with pm.Model() as plain:
        pm.GaussianRandomWalk("s", mu=drift, sigma=pm.HalfNormal("sigma", 1.0), shape=size)
    return white, made, plain


def _log_jacobian(size: int, sigma: float) -> float:
    eigenvalues = 2 - 2 * np.cos(np.pi * np.arange(size) / size)
    return float(-0.5 * np.log(eigenvalues / sigma**2 + INFORMATION).sum())


def _expected(
    white: pm.Model, made: Whitened, plain: pm.Model, seed: int, points: int
) -> Iterator[tuple[dict[str, np.ndarray], float]]:
    """Yield random points of the whitened model, and the plain walk's density there with the Jacobian."""
    walk = theano.function(white.free_RVs, made.walk, on_unused_input="ignore")
    logp, rng = plain.fastfn(plain.logpt), np.random.default_rng(seed)
    for _ in range(points):
        point = {v.name: rng.normal(size=v.tag.test_value.shape) for v in white.free_RVs}
        s = walk(*(point[v.name] for v in white.free_RVs))
        jacobian = _log_jacobian(SMOOTH, float(np.exp(point["sigma_log__"])))
        yield point, logp({"sigma_log__": point["sigma_log__"], "s": s}) + jacobian


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_density_is_the_walks_up_to_the_jacobian_and_a_known_constant(drift: float) -> None:
    white, made, plain = _both(SMOOTH, drift)
    white_logp = white.fastfn(white.logpt)
    for point, expected in _expected(white, made, plain, seed=1, points=20):
        # the eigenvalues but the first multiply to n, and a flat level has no scale: both are constants
        constant = 0.5 * np.log(SMOOTH * INFORMATION)
        np.testing.assert_allclose(white_logp(point), expected + constant, rtol=1e-10)


def test_an_offset_changes_no_prior() -> None:
    """The density at a walk is that of PyMC3's walk, also when the offset depends on another parameter."""
    with pm.Model() as white:
        sigma = pm.HalfNormal("sigma", 1.0)
        made = whitened_walk("s", sigma, SMOOTH, INFORMATION, offset=tt.log1p(1 / sigma))
    _, _, plain = _both(SMOOTH)
    logp = white.fastfn(white.logpt)
    for point, expected in _expected(white, made, plain, seed=2, points=10):
        np.testing.assert_allclose(logp(point), expected + 0.5 * np.log(SMOOTH * INFORMATION), rtol=1e-10)


def test_a_continued_walk_has_the_same_prior() -> None:
    """Steps of the first points are independent Normal(0, sigma) although the transform is longer than the walk."""
    sigma = 0.7
    with pm.Model():
        made = whitened_walk("s", sigma, ROUGH, INFORMATION)
        length = fast_length(ROUGH)
        assert length > ROUGH
        level, waves = (pm.modelcontext(None)[name] for name in made.helpers)
        jacobian = theano.function([level, waves], tt.jacobian(made.walk, waves), on_unused_input="ignore")(
            0.0, np.zeros(length - 1)
        )
    eigenvalues = (2 - 2 * np.cos(np.pi * np.arange(length) / length))[1:]
    variance = (eigenvalues + INFORMATION * sigma**2) / eigenvalues
    steps = np.diff(jacobian, axis=0)
    np.testing.assert_allclose((steps * variance) @ steps.T, sigma**2 * np.eye(ROUGH - 1), atol=1e-10)


def test_posterior_of_waves_is_spherical_when_the_information_is_right() -> None:
    """With Normal observations of the stated information, the posterior precision of all helpers is the identity."""
    with pm.Model() as model:
        made = whitened_walk("s", 0.5, SMOOTH, 4.0)
        pm.Normal("y", made.walk, 0.5, observed=np.zeros(SMOOTH))
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
    with pm.Model(coords={"date": range(ROUGH)}) as model:
        made = whitened_walk("s", 1.0, ROUGH, INFORMATION, dims=("date",))
    assert made.helpers == ("s_level", "s_waves")
    assert {v.name for v in model.free_RVs} == set(made.helpers)
    assert [v.name for v in model.deterministics] == ["s"]
    assert model.RV_dims["s"] == ("date",)


@pytest.mark.parametrize(("size", "information"), [(1, 1.0), (5, 0.0), (5, float("nan"))])
def test_bad_arguments_are_refused(size: int, information: float) -> None:
    with pm.Model(), pytest.raises(ValueError, match="must be"):
        whitened_walk("s", 1.0, size, information)
