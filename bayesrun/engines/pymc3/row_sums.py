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


class GroupedRowSum(Op):  # type: ignore[misc]
    """`sum_i w_i f(x_i' beta + sum_g z_gi' r_g[c_gi] + o_i)` of `beta` and matrices `r_g`, and its gradients.

    Parameters
    ----------
    function, matrix, offset, weights
        As of `RowSum`.
    groups
        Of each grouping: codes of the groups over the rows, and `z` over (row, effect); None for an intercept alone.
    """

    def __init__(
        self,
        function: Function,
        matrix: Array,
        offset: Array | None,
        weights: Array | None,
        groups: tuple[tuple[Array, Array | None], ...],
    ) -> None:
        self.function, self.matrix, self.offset, self.weights, self.groups = function, matrix, offset, weights, groups

    def __eq__(self, other: object) -> bool:
        """Say whether it is the same sum, whichever object holds the data."""
        if not isinstance(other, GroupedRowSum) or len(self.groups) != len(other.groups):
            return False
        return all(map(_same, self._held(), other._held()))

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((type(self), self.function, self.matrix.shape, len(self.groups)))

    def _held(self) -> tuple[Any, ...]:
        groups = [part for group in self.groups for part in group]
        return (self.function, self.matrix, self.offset, self.weights, *groups)

    def make_node(self, *given: Any) -> Apply:
        """Make the node: the sum, and its gradient by each input."""
        inputs = [tt.as_tensor_variable(one) for one in given]
        return Apply(self, inputs, [tt.dscalar(), tt.dvector(), *(tt.dmatrix() for _ in self.groups)])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute all, block by block."""
        coefficients, *effects = inputs
        total, gradient = 0.0, np.zeros(self.matrix.shape[1])
        slopes = np.empty(len(self.matrix))
        by_effect = [np.ascontiguousarray(effect.T) for effect in effects]
        for rows in blocks(len(self.matrix)):
            predictor = self.matrix[rows] @ coefficients
            if self.offset is not None:
                predictor += self.offset[rows]
            for effect, (codes, columns) in zip(by_effect, self.groups, strict=True):
                for k, numbers in enumerate(effect):
                    picked = numbers[codes[rows]]
                    predictor += picked if columns is None else picked * columns[rows, k]
            value, slope = self.function(predictor, None if self.weights is None else self.weights[rows])
            total += value
            gradient += self.matrix[rows].T @ slope
            slopes[rows] = slope
        outputs[0][0], outputs[1][0] = np.asarray(total), gradient
        for place, (effect, (codes, columns)) in enumerate(zip(effects, self.groups, strict=True), start=2):
            count = len(effect)
            parts = [slopes] if columns is None else [slopes * column for column in columns.T]
            outputs[place][0] = np.stack([np.bincount(codes, part, count) for part in parts], axis=1)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the sum and of its gradients."""
        return [(), *shapes]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradients, which are the further outputs."""
        return [output_gradients[0] * gradient for gradient in outputs[1:]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare that only the sum has gradients of its own."""
        return [[True, *([False] * len(node.inputs))] for _ in node.inputs]


def row_sum_of_groups(function: Function, coefficients: Any, *rest: Any) -> Any:
    """Return a sum over the rows of a linear predictor with effects of groups, as a tensor that has a gradient.

    Parameters
    ----------
    function
        `softplus`, `exponential` or `squares`.
    coefficients
        A tensor over (column).
    rest
        A tensor (group, effect) per grouping; then matrix, offset, weights and groups of `GroupedRowSum`.
    """
    *effects, matrix, offset, weights, groups = rest
    return GroupedRowSum(function, matrix, offset, weights, groups)(coefficients, *effects)[0]


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
