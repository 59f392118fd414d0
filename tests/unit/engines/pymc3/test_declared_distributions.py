"""The class of declared distributions: PyMC3's graph gives what NumPy gives, with the right gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pymc3 as pm  # noqa: F401  # Theano can only be imported after it
import pytest
import theano
import theano.tensor as tt
from scipy import special

from bayesrun.engines.pymc3.lowering import Lowering
from bayesrun.engines.pymc3.random_variables import make_distribution
from bayesrun.engines.pymc3.scalar_functions import (
    log1mexp,
    log_beta_i,
    log_beta_rest,
    log_gamma_p,
    log_gamma_q,
    log_normal_cdf,
    logaddexp,
)
from bayesrun.language import special_functions
from bayesrun.language.distributions import known_family
from bayesrun.language.plan import Plan
from bayesrun.language.values import variable
from tests.unit.language.test_densities import NAMES, PARAMETERS, density_of, points


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE", compute_test_value="off"):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_gives_numpys_density_and_its_slope(name: str) -> None:
    given, x, known = PARAMETERS[name], points(name), known_family(name)
    free = {n: tt.as_tensor_variable(np.asarray(v, dtype=float)) for n, v in given.items()}
    values = {n: variable(n, (None,) * np.ndim(v), np.shape(v)) for n, v in given.items()}
    made = make_distribution(Plan("y", "model", known, (None,) * x.ndim, x.shape, values), Lowering(free))
    logs = made.logp(tt.as_tensor_variable(x))
    slopes = [n for n in given if known.parameters[n].domain != "count"]
    results = theano.function([], [logs, *tt.grad(tt.sum(logs), [free[n] for n in slopes])])()
    np.testing.assert_allclose(results[0], density_of(name, x), rtol=1e-10)
    for parameter, slope in zip(slopes, results[1:], strict=True):
        np.testing.assert_allclose(slope, _slope(name, x, parameter), rtol=2e-6, atol=1e-7)


def _slope(name: str, x: np.ndarray, parameter: str) -> np.ndarray:
    at, step = np.asarray(PARAMETERS[name][parameter], dtype=float), 1e-5
    found = np.empty(at.size)
    for i in range(at.size):
        moved = [at.ravel() + sign * step * (np.arange(at.size) == i) for sign in (-1, 1)]
        low, high = (np.sum(density_of(name, x, {**PARAMETERS[name], parameter: m.reshape(at.shape)})) for m in moved)
        found[i] = (high - low) / (2 * step)
    return found.reshape(at.shape)


@pytest.mark.parametrize("linker", ["py", "c"])
def test_special_functions_keep_their_digits_in_the_tails(linker: str) -> None:
    below, anywhere = -np.geomspace(1e-18, 1e3, 15), np.array([-1e4, -50.0, -21.0, -19.0, -3.0, 0.0, 2.0, 9.0, 40.0])
    a, b = np.array([0.0, -1e3, 1e3, -np.inf, 3.0]), np.array([0.0, 1e3, 999.0, 2.0, -np.inf])
    vectors = [tt.dvector() for _ in range(4)]
    results = [log1mexp(vectors[0]), log_normal_cdf(vectors[1]), logaddexp(*vectors[2:])]
    inputs = vectors[:1], vectors[1:2], vectors[2:]
    slopes = [slope for r, v in zip(results, inputs, strict=True) for slope in tt.grad(r.sum(), v)]
    compiler = "g++" if linker == "c" else ""
    with theano.config.change_flags(cxx=compiler):
        function = theano.function(vectors, results + slopes, mode=theano.compile.mode.Mode(linker, "fast_run"))
        with np.errstate(over="ignore"):
            found, hazard = function(below, anywhere, a, b), np.expm1(-below)
    expected = [
        special_functions.log1mexp(below),
        special_functions.log_normal_cdf(anywhere),
        np.logaddexp(a, b),
        -1 / hazard,
        special_functions.inverse_mills_ratio(anywhere),
        np.exp(a - np.logaddexp(a, b)),
        np.exp(b - np.logaddexp(a, b)),
    ]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("linker", ["py", "c"])
def test_tails_of_gamma_and_beta_and_all_their_slopes(linker: str) -> None:
    rng = np.random.default_rng(2)
    a, b = np.exp(rng.uniform(-4, 6, size=(2, 40)))
    x = np.append(a[:-1] * np.exp(rng.normal(size=39)), 900.0)
    z = np.append(np.log(a[:-1] / b[:-1]) + rng.normal(size=39), 30.0)
    inputs = [tt.dvector() for _ in range(4)]
    results = [log_gamma_p(inputs[0], inputs[2]), log_gamma_q(inputs[0], inputs[2])]
    results += [log_beta_i(inputs[0], inputs[1], inputs[3]), log_beta_rest(inputs[0], inputs[1], inputs[3])]
    parts = [[0, 2], [0, 2], [0, 1, 3], [0, 1, 3]]
    slopes = [s for r, p in zip(results, parts, strict=True) for s in tt.grad(r.sum(), [inputs[i] for i in p])]
    with theano.config.change_flags(cxx="g++" if linker == "c" else ""):
        function = theano.function(inputs, results + slopes, mode=theano.compile.mode.Mode(linker, "fast_run"))
        found = function(a, b, x, z)
    at, beyond = special.expit(z), special.expit(-z)
    forms = [special.gammainc(a, x), special.gammaincc(a, x), special.betainc(a, b, at), special.betainc(b, a, beyond)]
    for ours, form in zip(found, forms, strict=False):
        inside = form > 1e-250
        np.testing.assert_allclose(ours[inside], np.log(form[inside]), rtol=1e-9, atol=1e-13)
        assert np.all(np.isfinite(ours[form < 1]))
    functions = [special_functions.log_gamma_tails, special_functions.log_beta_tails]
    given = [a, b, x, z]
    expected = []
    for number, part in enumerate(parts):
        for moved in part:
            step = 1e-5 * np.maximum(np.abs(given[moved]), 1e-2)
            moves = [[given[i] + sign * step * (i == moved) for i in part] for sign in (-1, 1)]
            low, high = (functions[number // 2](*move)[number % 2] for move in moves)
            expected.append((high - low) / (2 * step))
    for ours, slope in zip(found[4:], expected, strict=True):
        np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-7)
