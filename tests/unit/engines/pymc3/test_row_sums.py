"""The sums over rows and their gradients, also where exponentials overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm  # noqa: F401  # Theano can only be imported after it
import pytest
import theano
import theano.tensor as tt

from bayesrun.engines.pymc3 import ENGINE
from bayesrun.engines.pymc3.compiled_functions import compile_function
from bayesrun.engines.pymc3.grouped_row_sums import row_sum_of_groups
from bayesrun.engines.pymc3.patches.base import applied
from bayesrun.engines.pymc3.row_sums import exponential, row_sum, softplus, squares
from bayesrun.models.regression.blocked_algebra import BLOCK

RNG = np.random.default_rng(7)
MATRIX = RNG.normal(size=(1_500, 4))
OFFSET, WEIGHTS = RNG.normal(size=1_500), RNG.integers(1, 6, size=1_500).astype(float)


@pytest.mark.parametrize("rows", [1, 30, 1_000, 1_001, 1_500])  # in C up to a thousand, by NumPy beyond
@pytest.mark.parametrize("function", [softplus, exponential])
@pytest.mark.parametrize(("offset", "weights"), [(None, None), (OFFSET, None), (OFFSET, WEIGHTS)])
def test_sum_and_gradient_are_those_of_the_formula(rows: int, function: Any, offset: Any, weights: Any) -> None:
    matrix = MATRIX[:rows]
    offset, weights = (given if given is None else given[:rows] for given in (offset, weights))
    with theano.config.change_flags(compute_test_value="off", cxx="", mode="FAST_COMPILE"):
        beta = tt.dvector("beta")
        total = row_sum(function, matrix, beta, offset, weights)
        compute = theano.function([beta], [total, 3.0 * theano.grad(total, beta)])
    at = RNG.normal(size=4)
    eta = matrix @ at + (0 if offset is None else offset)
    w = np.ones(rows) if weights is None else weights
    value, slope = (np.logaddexp(0, eta), 1 / (1 + np.exp(-eta))) if function is softplus else (np.exp(eta),) * 2
    got = compute(at)
    assert got[0] == pytest.approx(float(w @ value), rel=1e-12)
    np.testing.assert_allclose(got[1], 3.0 * matrix.T @ (w * slope), rtol=1e-10)


@pytest.mark.parametrize("weights", [None, np.full(7, 1.0)])
def test_softplus_is_right_far_out(weights: Any) -> None:
    x = np.array([-800.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 800.0])
    total, slope = softplus(x, weights)
    assert total == pytest.approx(np.logaddexp(0, x).sum(), rel=1e-14)
    np.testing.assert_allclose(slope, np.exp(-np.logaddexp(0, -x)), rtol=1e-14, atol=1e-16)


def test_many_rows_are_summed_by_blocks() -> None:
    matrix = np.asfortranarray(RNG.normal(size=(2 * BLOCK + 37, 3)))
    at = np.array([0.5, -1.0, 2.0])
    with theano.config.change_flags(compute_test_value="off", cxx="", mode="FAST_COMPILE"):
        beta = tt.dvector("beta")
        total = row_sum(softplus, matrix, beta, None)
        compute = theano.function([beta], [total, theano.grad(total, beta)])
    got = compute(at)
    assert got[0] == pytest.approx(float(np.logaddexp(0, matrix @ at).sum()), rel=1e-12)
    np.testing.assert_allclose(got[1], matrix.T @ (1 / (1 + np.exp(-matrix @ at))), rtol=1e-10)


@pytest.mark.parametrize("compiled", [True, False])  # the loop in C, and NumPy
@pytest.mark.parametrize("function", [softplus, exponential, squares])
@pytest.mark.parametrize(("offset", "weights"), [(None, None), (OFFSET, WEIGHTS)])
def test_effects_of_groups_are_gathered_and_their_gradients_collected(
    function: Any, offset: Any, weights: Any, compiled: bool
) -> None:
    rows = len(MATRIX)
    codes = [RNG.integers(0, size, rows) for size in (6, 3)]
    groups = ((codes[0], MATRIX[:, :2]), (codes[1], None))
    at = [RNG.normal(size=4), RNG.normal(size=(6, 2)), RNG.normal(size=(3, 1))]
    flags = {} if compiled else {"cxx": "", "mode": "FAST_COMPILE"}
    with theano.config.change_flags(compute_test_value="off", **flags):
        inputs = [tt.dvector(), tt.dmatrix(), tt.dmatrix()]
        total = row_sum_of_groups(function, *inputs, np.asfortranarray(MATRIX), offset, weights, groups)
        outputs = [total, *(2.0 * g for g in theano.grad(total, inputs))]
        compute = compile_function(inputs, outputs, [at]) if compiled else theano.function(inputs, outputs)
    if compiled:
        assert "GroupedRowSum" in str(compute.maker.fgraph)
        assert "CalledFromC" not in str(compute.maker.fgraph)
    got = compute(*at)
    eta = MATRIX @ at[0] + (at[1][codes[0]] * MATRIX[:, :2]).sum(axis=1) + at[2][codes[1], 0]
    eta = eta + (0 if offset is None else offset)
    w = np.ones(rows) if weights is None else weights
    by_function = {
        softplus: (np.logaddexp(0, eta), 1 / (1 + np.exp(-eta))),
        exponential: (np.exp(eta),) * 2,
        squares: (eta**2, 2 * eta),
    }
    value, slope = by_function[function]
    slope = 2.0 * w * slope
    assert got[0] == pytest.approx(float(w @ value), rel=1e-12)
    np.testing.assert_allclose(got[1], MATRIX.T @ slope, rtol=1e-10)
    wanted = [np.bincount(codes[0], slope * MATRIX[:, k], 6) for k in range(2)]
    np.testing.assert_allclose(got[2], np.stack(wanted, axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got[3][:, 0], np.bincount(codes[1], slope, 3), rtol=1e-10)


@pytest.mark.parametrize("wrong", ["column", "effect", "group"])
def test_parts_that_do_not_fit_together_are_refused_in_c(wrong: str) -> None:
    codes = np.array([0, 1, 2, 1, 0])
    groups = ((codes, MATRIX[:5, :2]),)
    with theano.config.change_flags(compute_test_value="off"):
        inputs = [tt.dvector(), tt.dmatrix()]
        total = row_sum_of_groups(squares, *inputs, MATRIX[:5], None, None, groups)
        compute = compile_function(inputs, [total], [[np.ones(4), np.ones((3, 2))]])
    assert compute(np.ones(4), np.ones((3, 2)))[0] > 0
    beta = np.ones(3 if wrong == "column" else 4)
    effects = np.ones((2 if wrong == "group" else 3, 1 if wrong == "effect" else 2))
    with pytest.raises(ValueError, match="do not fit together"):
        compute(beta, effects)


def test_many_rows_are_summed_by_numpy_within_one_module() -> None:
    ENGINE.set_up()  # modules are kept by their code
    rows, at = 40_000, [np.array([0.5, -1.0, 2.0]), RNG.normal(size=(6, 1))]
    matrix, codes = RNG.normal(size=(rows, 3)), RNG.integers(6, size=rows)
    with theano.config.change_flags(compute_test_value="off"), applied("content_cache"):
        inputs = [tt.dvector(), tt.dmatrix()]
        total = row_sum_of_groups(softplus, *inputs, matrix, None, None, ((codes, None),))
        compute = compile_function(inputs, [total, *theano.grad(total, inputs)], [at])
    assert "CalledFromC{GroupedRowSum" in str(compute.maker.fgraph)
    eta = matrix @ at[0] + at[1][codes, 0]
    got, slope = compute(*at), 1 / (1 + np.exp(-eta))
    assert got[0] == pytest.approx(np.logaddexp(0, eta).sum(), rel=1e-12)
    np.testing.assert_allclose(got[1], matrix.T @ slope, rtol=1e-9)
    np.testing.assert_allclose(got[2][:, 0], np.bincount(codes, slope), rtol=1e-9)
