"""A GARCH(1, 1) whose variance is filtered in one pass: `theano.scan`, as PyMC3 has it, is a hundred times slower.

    v_0 given,    v_t = u_t + b v_{t-1}

is linear, and so is its adjoint, run backwards: with `g` the gradient by `v`, `l_t = g_t + b l_{t+1}` gives
`dv_0 = l_0`, `du_t = l_t`, `db = sum_t l_t v_{t-1}`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from scipy.signal import lfilter
from theano.graph.basic import Apply
from theano.graph.op import Op


class Recurrence(Op):  # type: ignore[misc]
    """`(u, b, v_0) -> v`, of `n - 1`, one, one and `n` numbers; with `backwards` the adjoint `(g, b) -> l`."""

    __props__ = ("backwards",)

    def __init__(self, backwards: bool = False) -> None:
        self.backwards = backwards

    def make_node(self, *inputs: Any) -> Apply:
        """Declare the types of inputs and output."""
        variables = [tt.as_tensor_variable(x).astype("float64") for x in inputs]
        return Apply(self, variables, [tt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Filter forwards, or backwards."""
        coefficients = [1.0, -float(inputs[1])]
        if self.backwards:
            outputs[0][0] = lfilter([1.0], coefficients, inputs[0][::-1])[::-1].copy()
        else:
            outputs[0][0] = lfilter([1.0], coefficients, np.concatenate([[inputs[2]], inputs[0]]))

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the length of the output."""
        return [(shapes[0][0],) if self.backwards else (shapes[0][0] + 1,)]

    def grad(self, inputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient by `u`, `b` and `v_0`."""
        assert not self.backwards, "no second derivative"
        u, b, start = inputs
        adjoint = Recurrence(backwards=True)(gradients[0], b)
        values = self(u, b, start)
        return [adjoint[1:], tt.sum(adjoint[1:] * values[:-1]), adjoint[0]]


class GARCH11(pm.GARCH11):  # type: ignore[misc]
    """PyMC3's distribution with a fast volatility."""

    def get_volatility(self, x: Any) -> Any:
        """Return the standard deviation at each time.

        Parameters
        ----------
        x
            The series.
        """
        shocks = self.omega + self.alpha_1 * tt.sqr(tt.as_tensor_variable(x)[:-1])
        return tt.sqrt(Recurrence()(shocks, self.beta_1, tt.sqr(self.initial_vol)))
