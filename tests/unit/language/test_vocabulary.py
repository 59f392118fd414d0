"""Functions that arrays and other languages have: their values, gradients and dims, and other names told in errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
import xarray as xr

from bayesrun.engines.pymc3.lowering import Lowering
from bayesrun.errors import UserError
from bayesrun.language.expressions import evaluate, value_of
from bayesrun.language.grammar import SIGNATURES, parse
from bayesrun.language.prior_checks import check_prior
from bayesrun.language.scope import Scope
from bayesrun.language.spellings import OTHER_NAMES
from bayesrun.language.values import node_of, variable

RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
DATA = xr.Dataset({"x": (("row", "week"), X), "y": (("row", "week"), Y), "g": ("row", [0, 2, 1, 1, 0])})
VALUES: list[tuple[str, Any]] = [
    ("log10(exp(x))", np.log10(np.exp(X))),
    ("cov(x, y)", np.cov(X.ravel(), Y.ravel())[0, 1]),
    ("cov(x, y, row)", [np.cov(X[:, i], Y[:, i])[0, 1] for i in range(3)]),
    ("cov(x, x, week)", np.var(X, axis=1, ddof=1)),
    ("quantile(x, 0.3)", np.quantile(X, 0.3)),
    ("quantile(x, 0.9, row)", np.quantile(X, 0.9, axis=0)),
    ("quantile(x, 1, week)", X.max(axis=1)),
    ("cummax(x)", np.maximum.accumulate(X, axis=1)),
    ("cummax(x, row)", np.maximum.accumulate(X, axis=0)),
    ("one_hot(g, 3)", np.eye(3)[[0, 2, 1, 1, 0]]),
]


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE", compute_test_value="off"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("text", "expected"), VALUES, ids=[text for text, _ in VALUES])
def test_a_function_of_data_is_numpys(text: str, expected: Any) -> None:
    np.testing.assert_allclose(evaluate(text, DATA, "k").values, expected, rtol=1e-12)


@pytest.mark.parametrize(("text", "expected"), VALUES[:-1], ids=[text for text, _ in VALUES[:-1]])
def test_a_function_of_what_is_random_has_the_same_value_and_the_slope_of_finite_differences(
    text: str, expected: Any
) -> None:
    scope = Scope().extended({n: variable(n, ("row", "week"), (5, 3)) for n in "xy"})
    value = value_of(parse(text, "k"), scope)
    assert value.shape == np.shape(expected)
    given = {"x": tt.dmatrix("x"), "y": tt.dmatrix("y")}
    made = Lowering(given)(node_of(value))
    weights = RNG.normal(size=np.shape(expected))
    total = tt.sum(made * weights)
    function = theano.function(
        list(given.values()), [made, total, tt.grad(total, given["x"])], on_unused_input="ignore"
    )
    found, _, slope = function(X, Y)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    for place in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[place] = 1e-6
        rise = (function(X + step, Y)[1] - function(X - step, Y)[1]) / 2e-6
        assert slope[place] == pytest.approx(rise, rel=1e-5, abs=1e-7)
    assert issubclass(pm.Normal, pm.Continuous)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one_hot(g, 2)", "the code 2 is not among 0 to 1"),
        ("quantile(x, 1.5)", "'q' must be one number between 0 and 1"),
        ("cov(x, g)", "cov needs two arrays over the same dims"),
        ("quantile(x, 0.5, month)", "there is no dim 'month' here"),
    ],
)
def test_what_does_not_fit_is_told(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(text, DATA, "k")


@pytest.mark.parametrize("name", sorted(OTHER_NAMES))
def test_another_name_of_a_function_is_told_with_an_expression_that_is_valid(name: str) -> None:
    assert name not in SIGNATURES
    with pytest.raises(UserError) as caught:
        parse(f"{name}(x)", "model.deterministics.a")
    (problem,) = caught.value.problems
    assert problem.hint == f"{name}: here {OTHER_NAMES[name]}"
    parse(OTHER_NAMES[name].split(", with")[0].split(" of ")[0], "k")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("neg_binomial_2", "neg_binomial_2: here NegativeBinomial with mu and alpha"),
        ("bernoulli_logit_lpmf", "bernoulli_logit_lpmf: here Bernoulli with logit_p"),
        ("student_t", "did you mean 'StudentT'?"),
        ("normal", "did you mean 'Normal'?"),
    ],
)
def test_another_name_of_a_distribution_is_told(name: str, hint: str) -> None:
    (problem,) = check_prior("model.priors.a", {"dist": name})
    assert problem.hint == hint
