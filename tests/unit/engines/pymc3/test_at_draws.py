"""Expressions at every draw: the same numbers as one call of Theano's for each, and errors that name the operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from theano.tensor.opt import Assert

from bayesrun.engines.pymc3.evaluate import at_draws, compile_constrain
from bayesrun.engines.pymc3.theano_setup import building


@pytest.fixture
def model() -> pm.Model:
    with building(), pm.Model() as made:
        a = pm.Normal("a")
        scale = pm.HalfNormal("scale")
        b = pm.Normal("b", shape=3)
        pm.Deterministic("total", a * scale + b.sum())
        pm.Deterministic("shifted", b + a)
    return made


@pytest.fixture
def draws() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    whole = rng.normal(size=(7, 2, 4))  # draw, chain, parameter, as samplers keep them
    return {"a": whole.transpose(1, 0, 2)[..., 0], "b": whole.transpose(1, 0, 2)[..., 1:], "scale": rng.random((2, 7))}


def test_every_draw_has_the_numbers_of_a_call(model: pm.Model, draws: dict[str, Any]) -> None:
    with building():
        outputs = [model["total"], model["shifted"], tt.exp(model["a"]), model["a"]]
    found = at_draws(model, outputs, draws)
    function = theano.function([model["a"], model["scale"], model["b"]], outputs, on_unused_input="ignore")
    assert [values.shape for values in found] == [(2, 7), (2, 7, 3), (2, 7), (2, 7)]
    for chain, draw in np.ndindex(2, 7):
        expected = function(*(draws[name][chain, draw] for name in ("a", "scale", "b")))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[chain, draw], theirs, rtol=1e-12)


def test_points_become_draws_on_their_own_scale(model: pm.Model) -> None:
    points = np.random.default_rng(5).normal(size=(5, 2, 3)).transpose(1, 0, 2)
    points = np.concatenate([points, points[..., :2]], axis=2)
    found = compile_constrain(model)(points)
    np.testing.assert_allclose(found["scale"], np.exp(points[..., 1]), rtol=1e-12)
    np.testing.assert_allclose(found["total"], found["a"] * found["scale"] + found["b"].sum(-1), rtol=1e-12)


def test_a_failing_operation_is_named(model: pm.Model, draws: dict[str, Any]) -> None:
    with building():
        wrong = Assert("a is large")(model["a"], model["a"] < 5)
    draws["a"][1, 3] = 6
    with pytest.raises(AssertionError, match=r"a is large\s+Apply node that caused the error: Assert"):
        at_draws(model, [wrong], draws)


def test_a_kept_function_keeps_no_draws(model: pm.Model, draws: dict[str, Any]) -> None:
    first = at_draws(model, [model["total"]], draws)
    again = at_draws(model, [model["total"]], {name: values + 1 for name, values in draws.items()})
    assert not np.array_equal(first[0], again[0])
    np.testing.assert_array_equal(at_draws(model, [model["total"]], draws)[0], first[0])
