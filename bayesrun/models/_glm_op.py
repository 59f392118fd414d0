"""Sums over all rows of a function of a linear predictor, with their gradient, in one pass.

Theano would go over the rows once for the sum and once for its gradient, in products that are several times slower
than NumPy's for a tall matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import theano.tensor as tt
from numpy.typing import NDArray
from theano.graph.basic import Apply
from theano.graph.op import Op

Array = NDArray[Any]
Pointwise = Callable[[Array], "tuple[Array, Array]"]


def softplus(predictor: Array) -> tuple[Array, Array]:
    """Return `log(1 + exp(x))` and its derivative, the logistic function; both without overflow."""
    small = np.exp(-np.abs(predictor))
    more = 1.0 + small
    # the absolute error of log(1 + e) is that of the sum it goes into
    value = np.log(more)
    value += np.maximum(predictor, 0.0)
    slope = np.where(predictor >= 0.0, 1.0, small)
    slope /= more
    return value, slope


def exponential(predictor: Array) -> tuple[Array, Array]:
    """Return `exp(x)` and its derivative."""
    value = np.exp(predictor)
    return value, value


class RowSum(Op):  # type: ignore[misc]  # Theano has no type hints
    """`sum_i w_i f(x_i' beta + o_i)` of a vector `beta`, and its gradient.

    Parameters
    ----------
    function
        `f` and its derivative.
    matrix
        Rows `x_i`, over (row, column).
    offset, weights
        `o` and `w` over the rows; None = 0 and 1.
    """

    def __init__(self, function: Pointwise, matrix: Array, offset: Array | None, weights: Array | None) -> None:
        self.function, self.matrix, self.offset, self.weights = function, matrix, offset, weights

    def make_node(self, coefficients: Any) -> Apply:
        """Make the node: the sum and its gradient over (column)."""
        given = tt.as_tensor_variable(coefficients)
        return Apply(self, [given], [tt.dscalar(), tt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute both."""
        predictor = self.matrix @ inputs[0]
        if self.offset is not None:
            predictor += self.offset
        with np.errstate(over="ignore"):
            value, slope = self.function(predictor)
        if self.weights is None:
            total = value.sum()
        else:
            total, slope = self.weights @ value, self.weights * slope
        outputs[0][0], outputs[1][0] = np.asarray(total), self.matrix.T @ slope

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the sum and of its gradient."""
        return [(), shapes[0]]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradient, which is the second output."""
        return [output_gradients[0] * outputs[1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Say that only the sum has a gradient of its own."""
        return [[True, False]]


def row_sum(
    function: Pointwise, matrix: Array, coefficients: Any, offset: Array | None, weights: Array | None = None
) -> Any:
    """Return the sum as a tensor that has a gradient."""
    return RowSum(function, matrix, offset, weights)(coefficients)[0]
