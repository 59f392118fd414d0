"""Sums over all rows of a function of a linear predictor with effects of groups, with their gradient, in one pass.

The pass is a loop in C, which gathers and collects effects without arrays over the rows; for many logarithms or
exponentials NumPy's are quicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from theano.gradient import DisconnectedType
from theano.graph.basic import Apply
from theano.graph.op import COp

from bayesrun.engines.pymc3.row_sums import Function, exponential, softplus, squares
from bayesrun.models.regression.blocked_algebra import blocks

Array = NDArray[Any]

_IN_C: dict[Function, int] = {softplus: 10_000, exponential: 10_000, squares: 10_000_000}
"""Number of rows up to which the loop in C is quicker than NumPy."""
_CODE: dict[Function, str] = {
    softplus: """
            const double m = exp(-fabs(eta));
            const double value = (eta > 0 ? eta : 0) + log1p(m);
            const double slope = eta >= 0 ? 1 / (1 + m) : m / (1 + m);
    """,
    exponential: """
            const double value = exp(eta), slope = value;
    """,
    squares: """
            const double value = eta * eta, slope = 2 * eta;
    """,
}
"""`value` and `slope` of one row's linear predictor `eta`."""


class GroupedRowSum(COp):  # type: ignore[misc]  # Theano has no type hints
    """`sum_i w_i f(x_i' beta + sum_g z_gi' r_g[c_gi] + o_i)` of `beta` and matrices `r_g`, and its gradients.

    Its inputs are `beta` over (column), the `r_g` over (group, effect), `x` over (row, column), `o` and `w` over the
    rows, and of each grouping `c` over the rows and `z` over (row, effect); what is left out is empty.

    Parameters
    ----------
    function
        Sum of `w f` over some rows, and its derivatives.
    groupings
        Number of groupings.
    rows
        Number of rows.
    """

    __props__ = ("function", "groupings", "in_c")
    reads_data = True
    """Whether its inputs that are data are only read: they make no temporary arrays of their length in C code."""

    def __init__(self, function: Function, groupings: int, rows: int) -> None:
        self.function, self.groupings, self.in_c = function, groupings, rows <= _IN_C[function]

    def make_node(self, *given: Any) -> Apply:
        """Make the node: the sum, and its gradient by `beta` and each `r_g`."""
        inputs = [tt.as_tensor_variable(one) for one in given]
        return Apply(self, inputs, [tt.dscalar(), tt.dvector(), *(tt.dmatrix() for _ in range(self.groupings))])

    def _parts(self, given: Sequence[Any]) -> tuple[Any, list[Any], Any, Any, Any, list[tuple[Any, Any]]]:
        """Return `beta`, all `r`, `x`, `o`, `w`, and `c` and `z` of each grouping."""
        end = 1 + self.groupings
        matrix, offset, weights, *rest = given[end:]
        return given[0], list(given[1:end]), matrix, offset, weights, list(zip(rest[::2], rest[1::2], strict=True))

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute all, block by block."""
        coefficients, effects, matrix, offset, weights, groups = self._parts(inputs)
        total, gradient = 0.0, np.zeros(matrix.shape[1])
        slopes = np.empty(len(matrix))
        by_effect = [np.ascontiguousarray(effect.T) for effect in effects]
        for rows in blocks(len(matrix)):
            predictor = matrix[rows] @ coefficients
            if offset.size:
                predictor += offset[rows]
            for effect, (codes, columns) in zip(by_effect, groups, strict=True):
                for k, numbers in enumerate(effect):
                    picked = numbers[codes[rows]]
                    predictor += picked * columns[rows, k] if columns.size else picked
            value, slope = self.function(predictor, weights[rows] if weights.size else None)
            total += value
            gradient += matrix[rows].T @ slope
            slopes[rows] = slope
        outputs[0][0], outputs[1][0] = np.asarray(total), gradient
        for place, (effect, (codes, columns)) in enumerate(zip(effects, groups, strict=True), start=2):
            count = len(effect)
            parts = [slopes * column for column in columns.T] if columns.size else [slopes]
            outputs[place][0] = np.stack([np.bincount(codes, part, count) for part in parts], axis=1)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the sum and of its gradients."""
        return [(), *shapes[: 1 + self.groupings]]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradients, which are the further outputs."""
        moving = [output_gradients[0] * gradient for gradient in outputs[1:]]
        return [*moving, *(DisconnectedType()() for _ in inputs[len(moving) :])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare that only the sum has gradients of its own, by coefficients and effects."""
        rest = [False] * (1 + self.groupings)
        return [[place <= self.groupings, *rest] for place, _ in enumerate(node.inputs)]

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1,)

    def c_headers(self, **unused: Any) -> list[str]:
        """Return the headers of the functions in the loop."""
        return ["<cmath>"]

    def c_code(self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, Any]) -> str:
        """Write the loop over the rows."""
        if not self.in_c:
            raise NotImplementedError("many rows")
        coefficients, effects, matrix, offset, weights, groups = self._parts(inputs)
        made = [f"{_made(out, like, sub)}" for out, like in zip(outputs[1:], [coefficients, *effects], strict=True)]
        opened, added, collected = [], [], []
        for g, (effect, (codes, columns)) in enumerate(zip(effects, groups, strict=True)):
            opened.append(f"""
            const npy_intp k{g} = PyArray_DIM({effect}, 1), n{g} = PyArray_DIM({effect}, 0);
            const npy_int64* c{g} = (const npy_int64*)PyArray_DATA({codes});
            const double* z{g} = PyArray_SIZE({columns}) ? (const double*)PyArray_DATA({columns}) : NULL;
            double* d{g} = (double*)PyArray_DATA({outputs[2 + g]});
            whole = whole && PyArray_IS_C_CONTIGUOUS({codes}) && PyArray_DIM({codes}, 0) == n;
            whole = whole && PyArray_IS_C_CONTIGUOUS({columns});
            whole = whole && (z{g} ? PyArray_SIZE({columns}) == n * k{g} : k{g} == 1);
            for (npy_intp i = 0; whole && i < n; ++i) whole = c{g}[i] >= 0 && c{g}[i] < n{g};
            """)
            added.append(f"""
                for (npy_intp k = 0; k < k{g}; ++k)
                    eta += *(double*)PyArray_GETPTR2({effect}, c{g}[i], k) * (z{g} ? z{g}[i * k{g} + k] : 1);
            """)
            collected.append(f"""
                for (npy_intp k = 0; k < k{g}; ++k)
                    d{g}[c{g}[i] * k{g} + k] += weighted * (z{g} ? z{g}[i * k{g} + k] : 1);
            """)
        return f"""
        {{
            const npy_intp n = PyArray_DIM({matrix}, 0), p = PyArray_DIM({matrix}, 1);
            const double* x = (const double*)PyArray_DATA({matrix});
            const double* o = PyArray_SIZE({offset}) ? (const double*)PyArray_DATA({offset}) : NULL;
            const double* w = PyArray_SIZE({weights}) ? (const double*)PyArray_DATA({weights}) : NULL;
            bool whole = PyArray_IS_C_CONTIGUOUS({matrix}) && PyArray_DIM({coefficients}, 0) == p;
            whole = whole && PyArray_IS_C_CONTIGUOUS({offset}) && (!o || PyArray_DIM({offset}, 0) == n);
            whole = whole && PyArray_IS_C_CONTIGUOUS({weights}) && (!w || PyArray_DIM({weights}, 0) == n);
            {"".join(made)}
            double* by_coefficient = (double*)PyArray_DATA({outputs[1]});
            {"".join(opened)}
            if (!whole) {{
                PyErr_SetString(PyExc_ValueError, "rows, coefficients and effects do not fit together");
                {sub["fail"]}
            }}
            double total = 0;
            for (npy_intp i = 0; i < n; ++i) {{
                double eta = o ? o[i] : 0;
                for (npy_intp j = 0; j < p; ++j) eta += x[i * p + j] * *(double*)PyArray_GETPTR1({coefficients}, j);
                {"".join(added)}
                {_CODE[self.function]}
                const double weighted = w ? w[i] * slope : slope;
                total += w ? w[i] * value : value;
                for (npy_intp j = 0; j < p; ++j) by_coefficient[j] += weighted * x[i * p + j];
                {"".join(collected)}
            }}
            Py_XDECREF({outputs[0]});
            {outputs[0]} = (PyArrayObject*)PyArray_EMPTY(0, NULL, NPY_DOUBLE, 0);
            if (!{outputs[0]}) {{ {sub["fail"]} }}
            *(double*)PyArray_DATA({outputs[0]}) = total;
        }}
        """


def _made(output: str, like: str, sub: dict[str, Any]) -> str:
    """Make an array of zeros."""
    return f"""
            Py_XDECREF({output});
            {output} = (PyArrayObject*)PyArray_ZEROS(PyArray_NDIM({like}), PyArray_DIMS({like}), NPY_DOUBLE, 0);
            if (!{output}) {{ {sub["fail"]} }}
    """


def row_sum_of_groups(function: Function, coefficients: Any, *rest: Any) -> Any:
    """Return a sum over the rows of a linear predictor with effects of groups, as a tensor that has a gradient.

    Parameters
    ----------
    function
        `softplus`, `exponential` or `squares`.
    coefficients
        A tensor over (column).
    rest
        A tensor (group, effect) per grouping; then `x`, `o` and `w` of `GroupedRowSum`, None for those left out; then
        a tuple of `c` and `z` of each grouping, whose `z` is None for an intercept alone.
    """
    *effects, matrix, offset, weights, groups = rest
    operation = GroupedRowSum(function, len(effects), len(matrix))
    vectors = [np.empty(0) if one is None else one for one in (offset, weights)]
    beside = [part for c, z in groups for part in (c.astype(np.int64), np.empty((0, 0)) if z is None else z)]
    # C reads rows; NumPy's products are quicker by columns, if they are laid out so
    keep = np.ascontiguousarray if operation.in_c else np.asarray
    data = [theano.shared(keep(one), borrow=True) for one in (matrix, *vectors, *beside)]
    return operation(coefficients, *effects, *data)[0]
