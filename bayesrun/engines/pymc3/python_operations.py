"""Operations of Theano that Python computes: a registered function, and linear algebra and transforms by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import theano.tensor as tt
from numpy.typing import NDArray
from theano.graph.basic import Apply
from theano.graph.op import Op

from bayesrun.models.functions.base import Function


class BlackBox(Op):  # type: ignore[misc]  # Theano has no type hints
    """`function` of each element of a tensor. It has no gradient, so NUTS can't move what it depends on.

    Parameters
    ----------
    name
        Registered name, for graphs and messages.
    function
        The registered function.
    """

    __props__ = ("name", "function")

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self.function = function

    def __str__(self) -> str:
        return self.name

    def make_node(self, value: Any) -> Apply:
        """Make the node; the result has the shape of `value`."""
        given = tt.as_tensor_variable(value)
        whole = self.function.takes == "integer"
        if whole and given.dtype not in tt.discrete_dtypes:
            raise TypeError(f"'{self.name}' takes whole numbers (got {given.dtype})")
        dtype = "int64" if self.function.gives == "integer" else "float64"
        return Apply(self, [given], [tt.TensorType(dtype, given.broadcastable)()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Call the function once for each element."""
        convert = int if self.function.takes == "integer" else float
        values = [self.function.call(convert(v)) for v in np.ravel(inputs[0])]
        outputs[0][0] = np.asarray(values, dtype=node.outputs[0].dtype).reshape(np.shape(inputs[0]))

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shape of the result: that of the argument."""
        return [shapes[0]]

    def grad(self, inputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Refuse: there is no gradient."""
        raise NotImplementedError(f"'{self.name}' is a Python function without a gradient")


class Cosine(Op):  # type: ignore[misc]
    """DCT-II (`inverse=False`) or its inverse, DCT-III, of a vector.

    The transform is orthonormal, so its transpose, which is what a gradient needs, is its inverse.

    Parameters
    ----------
    inverse
        Whether this is the inverse.
    """

    __props__ = ("inverse",)

    def __init__(self, inverse: bool) -> None:
        self.inverse = inverse
        self._transform = scipy.fft.idct if inverse else scipy.fft.dct

    def make_node(self, vector: Any) -> Apply:
        """Take any float vector, make a float64 vector."""
        vector = tt.cast(tt.as_tensor_variable(vector), "float64")
        return Apply(self, [vector], [tt.dvector()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Transform."""
        outputs[0][0] = self._transform(inputs[0], type=2, norm="ortho")

    def grad(self, inputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the transposed transform of the gradient."""
        return [Cosine(not self.inverse)(gradients[0])]

    def R_op(self, inputs: list[Any], directions: list[Any]) -> list[Any]:
        """Return the transform of the direction: the operation is linear."""
        return [self(directions[0])]

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The transform is as long as its input."""
        return shapes


class Cholesky(Op):  # type: ignore[misc]
    """Lower Cholesky factor of a symmetric matrix, with its gradient in one step.

    With `L` the factor and `G` the gradient by it, that by the matrix is `L^-T P L^-1`, made symmetric, where `P` is
    the lower triangle of `L'G` with half its diagonal (Murray 2016, arXiv:1602.07527, equation 9).
    """

    __props__ = ()

    def make_node(self, matrix: Any) -> Apply:
        """Take any float matrix, make a float64 matrix."""
        return Apply(self, [tt.cast(tt.as_tensor_variable(matrix), "float64")], [tt.dmatrix()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Decompose; a matrix that is not positive definite raises `LinAlgError`."""
        outputs[0][0] = scipy.linalg.cholesky(inputs[0], lower=True, check_finite=False)

    def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient by the matrix."""
        return [CholeskyGradient()(outputs[0], gradients[0])]

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The factor has the shape of the matrix."""
        return shapes


class CholeskyGradient(Op):  # type: ignore[misc]
    """The gradient of `Cholesky` by its matrix, of the factor and the gradient by it."""

    __props__ = ()

    def make_node(self, factor: Any, gradient: Any) -> Apply:
        """Take two matrices, make one."""
        given = [tt.cast(tt.as_tensor_variable(x), "float64") for x in (factor, gradient)]
        return Apply(self, given, [tt.dmatrix()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Compute it."""
        factor, gradient = inputs
        product = np.tril(factor.T @ np.tril(gradient))
        np.fill_diagonal(product, 0.5 * np.diag(product))
        options = {"lower": True, "trans": "T", "check_finite": False}
        half = scipy.linalg.solve_triangular(factor, product, **options)
        whole = scipy.linalg.solve_triangular(factor, half.T, **options)
        outputs[0][0] = 0.5 * (whole + whole.T)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The gradient has the shape of the matrix."""
        return [shapes[0]]


class SolveLower(Op):  # type: ignore[misc]
    """The solution `x` of `L x = b`, or of `L' x = b`, for a lower triangular matrix and a vector.

    With `g` the gradient by `x`, that by `b` is `h = L^-T g` (or `L^-1 g`), and that by `L` the lower triangle of
    `-h x'` (or `-x h'`).

    Parameters
    ----------
    transposed
        Whether the matrix is transposed.
    """

    __props__ = ("transposed",)

    def __init__(self, transposed: bool) -> None:
        self.transposed = transposed

    def make_node(self, factor: Any, right: Any) -> Apply:
        """Take a matrix and a vector, make a vector."""
        given = [tt.cast(tt.as_tensor_variable(x), "float64") for x in (factor, right)]
        return Apply(self, given, [tt.dvector()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Solve; a matrix that is singular raises `LinAlgError`."""
        options = {"lower": True, "trans": "T" if self.transposed else "N", "check_finite": False}
        outputs[0][0] = scipy.linalg.solve_triangular(*inputs, **options)

    def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradients by the matrix and by the vector."""
        by_right = SolveLower(not self.transposed)(inputs[0], gradients[0])
        pair = (outputs[0], by_right) if self.transposed else (by_right, outputs[0])
        return [-tt.tril(tt.outer(*pair)), by_right]

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The solution has the shape of the right side."""
        return [shapes[1]]


class CumulativeMaximum(Op):  # type: ignore[misc]
    """The largest element so far along an axis; its gradient goes to the element that it is.

    Parameters
    ----------
    axis
        The axis.
    """

    __props__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def make_node(self, array: Any) -> Apply:
        """Take any float array, make one of the same type."""
        array = tt.cast(tt.as_tensor_variable(array), "float64")
        return Apply(self, [array], [array.type()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Accumulate."""
        outputs[0][0] = np.maximum.accumulate(inputs[0], axis=self.axis)

    def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient."""
        return [CumulativeMaximumGradient(self.axis)(inputs[0], outputs[0], gradients[0])]

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The result has the shape of the array."""
        return shapes


class CumulativeMaximumGradient(CumulativeMaximum):
    """The gradient of `CumulativeMaximum`, of its array, its result and the gradient by it."""

    def make_node(self, *given: Any) -> Apply:
        """Take three arrays of one type, make another."""
        arrays = [tt.cast(tt.as_tensor_variable(one), "float64") for one in given]
        return Apply(self, arrays, [arrays[0].type()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Add the gradient of each place to the last new maximum at or before it."""
        x, largest, gradient = (np.moveaxis(one, self.axis, -1) for one in inputs)
        places = np.where(x == largest, np.arange(x.shape[-1]), 0)
        source = np.maximum.accumulate(places, axis=-1)
        found = np.zeros_like(gradient)
        rest = tuple(np.indices(source.shape)[:-1])
        np.add.at(found, (*rest, source), gradient)
        outputs[0][0] = np.moveaxis(found, -1, self.axis)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The gradient has the shape of the array."""
        return [shapes[0]]
