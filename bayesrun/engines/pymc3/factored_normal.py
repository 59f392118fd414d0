"""Normal vectors by a lower Cholesky factor, and their gradient, as operations of Theano: loops over the vectors in C.

Written with Theano's own operations, the density of effects that are correlated within groups is some forty of them, on
so few numbers that calling them costs more than what they compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from theano.graph.basic import Apply
from theano.graph.op import COp

Array = NDArray[Any]

LARGEST = 8
"""Length of the longest vectors: C keeps what it computes of one on the stack."""

_LOG_2_PI = 1.8378770664093453


def factored_normal(apart: Any, factor: Any) -> Any:
    """Return the log densities of normal vectors.

    `-(k log 2 pi + z'z) / 2 - sum_i log L_ii` with `L z = x - mu`, of vectors of `k` elements.

    Parameters
    ----------
    apart
        The vectors without their means (vector, element).
    factor
        Lower Cholesky factor of their covariance (element, element); what is above the diagonal is not read.

    Returns
    -------
    variable
        Log densities (vector,): minus infinity, with a gradient of zero, where the diagonal is not positive.
    """
    return _Density()(apart, factor)


class _Loop(COp):  # type: ignore[misc]
    """What the density and its gradient share."""

    __props__ = ()

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1,)

    def _opened(self, apart: str, factor: str, sub: dict[str, Any]) -> str:
        """Read the sizes and whether the factor has a density."""
        return f"""
        {{
            const npy_intp n = PyArray_DIM({apart}, 0), k = PyArray_DIM({apart}, 1);
            if (k > {LARGEST} || PyArray_DIM({factor}, 0) != k || PyArray_DIM({factor}, 1) != k) {{
                PyErr_SetString(PyExc_ValueError, "normal vectors and their factor have different sizes");
                {sub["fail"]}
            }}
            double l[{LARGEST}][{LARGEST}], z[{LARGEST}];
            bool inside = true;
            for (npy_intp i = 0; i < k; ++i) {{
                for (npy_intp j = 0; j <= i; ++j) l[i][j] = *(double*)PyArray_GETPTR2({factor}, i, j);
                inside = inside && l[i][i] > 0;
            }}
        """

    def _solved(self, apart: str) -> str:
        """Compute `z` of vector `r`."""
        return f"""
                for (npy_intp i = 0; i < k; ++i) {{
                    double rest = *(double*)PyArray_GETPTR2({apart}, r, i);
                    for (npy_intp j = 0; j < i; ++j) rest -= l[i][j] * z[j];
                    z[i] = rest / l[i][i];
                }}
        """

    def _made(self, output: str, like: str, dims: int, sub: dict[str, Any]) -> str:
        """Make an array of zeros."""
        return f"""
            Py_XDECREF({output});
            {output} = (PyArrayObject*)PyArray_ZEROS({dims}, PyArray_DIMS({like}), NPY_DOUBLE, 0);
            if (!{output}) {{ {sub["fail"]} }}
        """


class _Density(_Loop):
    def make_node(self, apart: Any, factor: Any) -> Apply:
        """Declare the types of inputs and output."""
        inputs = [tt.as_tensor_variable(one).astype("float64") for one in (apart, factor)]
        return Apply(self, inputs, [tt.TensorType("float64", inputs[0].broadcastable[:1])()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Compute the densities in NumPy."""
        apart, factor = inputs
        diagonal = np.diag(factor)
        if not np.all(diagonal > 0):
            outputs[0][0] = np.full(len(apart), -np.inf)
            return
        z = solve_triangular(factor, apart.T, lower=True, check_finite=False)
        constant = 0.5 * len(factor) * _LOG_2_PI + np.log(diagonal).sum()
        outputs[0][0] = -0.5 * (z**2).sum(axis=0) - constant

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return one number for each vector."""
        return [(shapes[0][0],)]

    def grad(self, inputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient by the vectors and by the factor."""
        made: list[Any] = _Gradient()(*inputs, gradients[0], return_list=True)
        return made

    def c_code(self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, Any]) -> str:
        """Write the loop over the vectors."""
        apart, factor = inputs
        return f"""
            {self._opened(apart, factor, sub)}
            {self._made(outputs[0], apart, 1, sub)}
            double* density = (double*)PyArray_DATA({outputs[0]});
            double constant = 0.5 * k * {_LOG_2_PI};
            for (npy_intp i = 0; i < k && inside; ++i) constant += log(l[i][i]);
            for (npy_intp r = 0; r < n; ++r) {{
                if (!inside) {{ density[r] = -INFINITY; continue; }}
                {self._solved(apart)}
                double squares = 0.0;
                for (npy_intp i = 0; i < k; ++i) squares += z[i] * z[i];
                density[r] = -0.5 * squares - constant;
            }}
        }}
        """


class _Gradient(_Loop):
    """`-g_r w_r` by vector `r` and `sum_r g_r (w_r z_r' - diag(1 / L_ii))` by the factor, with `L' w = z`."""

    def make_node(self, apart: Any, factor: Any, gradient: Any) -> Apply:
        """Declare the types of inputs and outputs."""
        inputs = [tt.as_tensor_variable(one).astype("float64") for one in (apart, factor, gradient)]
        return Apply(self, inputs, [one.type() for one in inputs[:2]])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Compute the gradient in NumPy."""
        apart, factor, gradient = inputs
        if not np.all(np.diag(factor) > 0):
            outputs[0][0], outputs[1][0] = np.zeros_like(apart), np.zeros_like(factor)
            return
        z = solve_triangular(factor, apart.T, lower=True, check_finite=False)
        w = solve_triangular(factor, z, lower=True, trans="T", check_finite=False) * gradient
        outputs[0][0] = np.ascontiguousarray(-w.T)
        outputs[1][0] = np.tril(w @ z.T) - np.diag(gradient.sum() / np.diag(factor))

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the vectors and of the factor."""
        return list(shapes[:2])

    def c_code(self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, Any]) -> str:
        """Write the loop over the vectors."""
        apart, factor, gradient = inputs
        return f"""
            {self._opened(apart, factor, sub)}
            {self._made(outputs[0], apart, 2, sub)}
            {self._made(outputs[1], factor, 2, sub)}
            double* by_vector = (double*)PyArray_DATA({outputs[0]});
            double* by_factor = (double*)PyArray_DATA({outputs[1]});
            double w[{LARGEST}];
            for (npy_intp r = 0; r < n && inside; ++r) {{
                const double g = *(double*)PyArray_GETPTR1({gradient}, r);
                {self._solved(apart)}
                for (npy_intp i = k - 1; i >= 0; --i) {{
                    double rest = z[i];
                    for (npy_intp j = i + 1; j < k; ++j) rest -= l[j][i] * w[j];
                    w[i] = rest / l[i][i];
                    by_vector[r * k + i] = -g * w[i];
                }}
                for (npy_intp i = 0; i < k; ++i) {{
                    for (npy_intp j = 0; j <= i; ++j) by_factor[i * k + j] += g * w[i] * z[j];
                    by_factor[i * k + i] -= g / l[i][i];
                }}
            }}
        }}
        """
