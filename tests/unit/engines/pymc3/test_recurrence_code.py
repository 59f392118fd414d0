"""Recurrences in C: values and gradients against NumPy and finite differences, for every operation of a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3  # noqa: F401  # Theano alone can't be imported
import pytest
import theano
import theano.tensor as tt

from bayesrun.engines.pymc3.recurrence_code import Forwards, gradients
from bayesrun.language.declaration import Declaration
from bayesrun.language.operations import Call, in_order
from bayesrun.language.recurrences import STEP_OPERATIONS, Program
from bayesrun.language.values import node_of
from tests.unit.language.test_recurrences import NORMAL, TWO, declared

EVERY = """
over: trial
state: {x1: a, x2: [0.3, 0.1 * a, 0.2], shock: 0.5}
first: {x3: [a * a, 2]}
step:
  x1: "tanh(x1[t-1] * 0.5 + sin(b[0] * x1[t-1]) * shock[t-1] + where(x2[t-1] > 0, log1p(x2[t-1] ** 2), cos(x2[t-3])))"
  x2: "sigmoid(x1) - 0.4 * abs(x2[t-2]) + sqrt(exp(x1)) / (2 + x1 ** 2) + erf(b[1] * x3) * expm1(0.1 * x1)"
  x3: "clip(x3[t-1], -b[0], 2) + minimum(x1, 0.3 * a) - maximum(x3[t-2], weight * a) + tan(0.2 * x1) * atan(x1[t-1])"
  p: "exp(x1) ** b[0] * logit(0.2 + 0.5 * sigmoid(x2)) - (-x2) * (x1 < x2[t-1] and not x3 == 1 or x1 >= 2) * +x3"
  q: "log(1 + p ** 2) + sign(p) * (p <= 1) + (p != 2 and p > 0) * shock"
"""


@pytest.fixture(autouse=True)
def _no_test_values() -> Iterator[None]:
    """Build graphs as the engine does: PyMC3 leaves test values on once a model was built in this process."""
    with theano.config.change_flags(compute_test_value="off"):
        yield


def program_of(declaration: Declaration) -> tuple[Program, Call]:
    node = node_of(declaration.items[-1].plan.values["mu"])  # type: ignore[union-attr]
    found = [part for part in in_order(node) if isinstance(part, Call) and part.operation == "recurrence"]
    return found[0].settings[0], found[0]


def test_the_gradient_of_every_operation_is_exact_in_c_and_in_numpy() -> None:
    likelihood = "{o: {dist: Normal, mu: q + p, sigma: 1, observed: outcome}}"
    program, _ = program_of(declared(EVERY, likelihood, TWO))
    called = {one.operation for v in program.variables for one in v.block if one.kind == "call"}
    assert called == STEP_OPERATIONS
    rng = np.random.default_rng(3)
    sizes = [
        (program.width if by_series else 1, program.rows if by_row else 1) for by_series, by_row, _ in program.inputs
    ]
    given = [rng.uniform(0.2, 0.8, size=size) for size in sizes]
    weights = rng.normal(size=program.shape)
    inputs = [tt.dmatrix() for _ in given]
    total = tt.sum(Forwards(program)(*inputs) * weights)
    active = [i for i, (_, _, of) in enumerate(program.inputs) if of]
    function = theano.function(
        inputs, [total, *theano.grad(total, [inputs[i] for i in active])], on_unused_input="ignore"
    )
    value, *in_c = function(*given)
    plain = Forwards(program)
    storage: list[list[Any]] = [[None]]
    plain.perform(None, given, storage)
    assert value == pytest.approx(float(np.sum(storage[0][0] * weights)), rel=1e-12)
    in_numpy = gradients(program, given, storage[0][0], weights)
    for number, found in zip(active, in_c, strict=True):
        assert found == pytest.approx(in_numpy[number], rel=1e-10, abs=1e-12)
        for place in np.ndindex(*sizes[number]):
            moved = [np.array(one) for one in given]
            ends = []
            for step in (1e-6, -1e-6):
                moved[number][place] = given[number][place] + step
                ends.append(function(*moved)[0])
            assert found[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-4, abs=1e-6)


def test_a_branch_that_is_not_taken_leaves_the_gradient_finite() -> None:
    step = "{over: obs, state: {fit: 0}, step: {fit: 'where(fit[t-1] > 0, log(fit[t-1]), a) + x'}}"
    program, _ = program_of(declared(step, NORMAL))
    given = [np.zeros((1, program.rows if by_row else 1)) for _, by_row, _ in program.inputs]
    inputs = [tt.dmatrix() for _ in given]
    slope = theano.grad(tt.sum(Forwards(program)(*inputs)), inputs[[of for _, _, of in program.inputs].index(True)])
    assert np.isfinite(theano.function(inputs, slope, on_unused_input="ignore")(*given)).all()
