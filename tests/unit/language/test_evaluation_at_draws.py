"""Expressions at many draws at once are those of each draw by itself."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayesrun.language import evaluation_at_draws
from bayesrun.language.declaration import Draft
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.expressions import read
from bayesrun.language.operations import evaluate
from bayesrun.language.values import Value, node_of, variable

RNG = np.random.default_rng(4)
COUNT, ROWS = 7, 5
DRAWS = {"a": RNG.normal(size=COUNT), "b": RNG.normal(size=(COUNT, 3)), "m": RNG.normal(size=(COUNT, 3, 2))}
X = RNG.uniform(0.5, 2.0, size=ROWS)
CODES = np.array([0, 2, 1, 2, 0])


def _value(text: str) -> Value:
    draft = Draft(xr.Dataset({"x": ("obs", X), "g": ("obs", CODES)}))
    for name, draws in DRAWS.items():
        draft.scope.add(name, variable(name, tuple(f"{name}_{i}" for i in range(draws.ndim - 1)), draws.shape[1:]))
    return read(text, draft.scope, "model")


@pytest.mark.parametrize(
    "text",
    [
        "a + x", "exp(a) * log(x)", "b[g] * x + a", "where(x > a, x, b[g])", "a > x", "x ** a", "sum(b)",
        "dot(m, b[:2])", "dot(m, x[:2])", "dot(x[:3], m)",
        "sigmoid(b[g] - a)", "m[g, 1] * x", "mean(b) * x", "softmax(b)[g]", "clip(a, 0, 1) + x", "concatenate(b, x)",
        "dot(x * b[g], x)", "cumsum(b)", "stack(a, 2 * a)",
    ],
)  # fmt: skip
def test_each_draw_is_computed_as_by_itself(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_of(_value(text))
    monkeypatch.setattr(evaluation_at_draws, "_AT_ONCE", 12)  # some draws at a time
    (found,) = evaluate_at_draws([node], DRAWS.__getitem__, {})
    for draw in range(COUNT):
        alone = evaluate(node, {name: values[draw] for name, values in DRAWS.items()}.__getitem__)
        np.testing.assert_allclose(found[draw], alone, rtol=1e-13)
