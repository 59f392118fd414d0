"""Sums over all rows of a function of a linear predictor, with their gradient, in one pass.

Theano would go over the rows once for the sum and once for its gradient, in products that are several times slower
than NumPy's for a tall matrix. For a few rows it makes C code without a call of Python, which is several times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import theano.tensor as tt
from numpy.typing import NDArray
from theano.graph.basic import Apply
from theano.graph.op import Op

from bayesrun.models.regression.blocked_algebra import blocks

Array = NDArray[Any]
Function = Callable[[Array, "Array | None"], "tuple[float, Array]"]

_TOGETHER = 512
"""Numbers from 1 to 2 whose product is still a number."""
_FEW_ROWS = 1_000
"""Up to here a pass in C is quicker (4 to 37 µs against 24 to 44); beyond, NumPy's logarithms and exponentials are."""


def softplus(predictor: Array, weights: Array | None) -> tuple[float, Array]:
    """Return the sum of `w log(1 + exp(x))` and its derivatives, without overflow.

    With `m = 1 + exp(-|x|)`, `log(1 + exp(x)) = max(x, 0) + log(m)`; a sum of many `log(m)` is taken as the logarithm
    of their product. The derivative is `1 / m` where `x >= 0` and `1 - 1 / m` elsewhere.
    """
    m = np.abs(predictor)
    np.negative(m, out=m)
    np.exp(m, out=m)
    m += 1.0
    above = np.maximum(predictor, 0.0)
    if weights is None:
        total = above.sum() + np.log(np.multiply.reduceat(m, np.arange(0, len(m), _TOGETHER))).sum()
    else:
        total = weights @ (above + np.log(m))
    np.reciprocal(m, out=m)
    m -= 0.5
    np.copysign(m, predictor, out=m)
    m += 0.5
    return float(total), m if weights is None else m * weights


def exponential(predictor: Array, weights: Array | None) -> tuple[float, Array]:
    """Return the sum of `w exp(x)` and its derivatives."""
    with np.errstate(over="ignore"):
        value = np.exp(predictor) if weights is None else weights * np.exp(predictor)
    return float(value.sum()), value


def squares(predictor: Array, weights: Array | None) -> tuple[float, Array]:
    """Return the sum of `w x^2` and its derivatives."""
    weighted = predictor if weights is None else weights * predictor
    return float(weighted @ predictor), 2.0 * weighted


class RowSum(Op):  # type: ignore[misc]  # Theano has no type hints
    """`sum_i w_i f(x_i' beta + o_i)` of a vector `beta`, and its gradient.

    Parameters
    ----------
    function
        Sum of `w f` over some rows, and its derivatives.
    matrix
        Rows `x_i`, over (row, column).
    offset, weights
        `o` and `w` over the rows; None = 0 and 1.
    """

    def __init__(self, function: Function, matrix: Array, offset: Array | None, weights: Array | None) -> None:
        self.function, self.matrix, self.offset, self.weights = function, matrix, offset, weights

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same sum, whichever object holds the data."""
        return isinstance(other, RowSum) and all(map(_same, self._held(), other._held()))

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((type(self), self.function, self.matrix.shape))

    def _held(self) -> tuple[Any, ...]:
        return self.function, self.matrix, self.offset, self.weights

    def make_node(self, coefficients: Any) -> Apply:
        """Make the node: the sum and its gradient over (column)."""
        given = tt.as_tensor_variable(coefficients)
        return Apply(self, [given], [tt.dscalar(), tt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute both, block by block."""
        total, gradient = 0.0, np.zeros(self.matrix.shape[1])
        for rows in blocks(len(self.matrix)):
            predictor = self.matrix[rows] @ inputs[0]
            if self.offset is not None:
                predictor += self.offset[rows]
            value, slope = self.function(predictor, None if self.weights is None else self.weights[rows])
            total += value
            gradient += self.matrix[rows].T @ slope
        outputs[0][0], outputs[1][0] = np.asarray(total), gradient

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the sum and of its gradient."""
        return [(), shapes[0]]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradient, which is the second output."""
        return [output_gradients[0] * outputs[1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare that only the sum has a gradient of its own."""
        return [[True, False]]


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        return np.array_equal(ours, theirs)
    return ours is theirs


def row_sum(
    function: Function, matrix: Array, coefficients: Any, offset: Array | None, weights: Array | None = None
) -> Any:
    """Return the sum of `softplus` or `exponential` over the rows as a tensor that has a gradient.

    Parameters
    ----------
    function
        One of the two.
    matrix
        Rows `x_i`, over (row, column).
    coefficients
        A tensor `beta` over (column).
    offset, weights
        `o` and `w` over the rows; None = 0 and 1.
    """
    if len(matrix) > _FEW_ROWS:
        return RowSum(function, matrix, offset, weights)(coefficients)[0]
    predictor = tt.dot(matrix, coefficients)
    values = _IN_THEANO[function](predictor if offset is None else predictor + offset)
    return tt.sum(values if weights is None else weights * values)


_IN_THEANO: dict[Function, Any] = {softplus: tt.nnet.softplus, exponential: tt.exp}
