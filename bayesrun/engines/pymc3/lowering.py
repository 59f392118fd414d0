"""Each operation of the language as a Theano graph; the meaning to agree with is `bayesrun.language.operations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from pymc3.distributions.dist_math import bound

from bayesrun.engines.pymc3.compiled_functions import replaceable_number
from bayesrun.engines.pymc3.grouped_row_sums import row_sum_of_groups
from bayesrun.engines.pymc3.kalman_code import kalman_filter
from bayesrun.engines.pymc3.ode_solver import solution
from bayesrun.engines.pymc3.python_operations import BlackBox, Cholesky, Cosine, CumulativeMaximum, SolveLower
from bayesrun.engines.pymc3.recurrence_code import recurrence
from bayesrun.engines.pymc3.row_sums import exponential, row_sum, softplus, squares
from bayesrun.engines.pymc3.scalar_functions import (
    log1mexp,
    log_beta_i,
    log_beta_rest,
    log_gamma_p,
    log_gamma_q,
    log_normal_cdf,
    logaddexp,
)
from bayesrun.language.operations import Call, Constant, Node, in_order, place_picks

# Arrays up to this size become constants of the graph; Theano hashes constants, which is slow for long ones.
_MAX_CONSTANT_LENGTH = 256


class Lowering:
    """From nodes to Theano variables; each node is translated once.

    Parameters
    ----------
    variables
        Theano variables of data containers, random variables and deterministics by name; may grow.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._done: dict[int, tuple[Node, Any]] = {}

    def __call__(self, node: Node) -> Any:
        """Return the Theano variable of a node."""
        for part in in_order(node):
            if id(part) not in self._done:
                self._done[id(part)] = part, self._translated(part)
        return self._done[id(node)][1]

    def _translated(self, node: Node) -> Any:
        if isinstance(node, Constant):
            return _constant(node)
        if not isinstance(node, Call):
            return self._variables[node.name]
        inputs = [self._done[id(given)][1] for given in node.inputs]
        if node.operation == "index":
            # an index that is a plain number is one for Theano, too
            inputs = [
                int(given.numbers) if isinstance(given, Constant) and given.numbers.ndim == 0 else variable
                for given, variable in zip(node.inputs, inputs, strict=True)
            ]
        return OPERATIONS[node.operation](*inputs, *node.settings)


def _constant(node: Constant) -> Any:
    if node.replaceable:
        return replaceable_number(node.numbers)
    if node.numbers.size <= _MAX_CONSTANT_LENGTH:
        return tt.as_tensor_variable(node.numbers)
    return shared(node.numbers)


def shared(numbers: Any) -> Any:
    """Put an array into a shared variable without a copy; its memory layout (rows or columns) stays."""
    contiguous = numbers.flags.c_contiguous or numbers.flags.f_contiguous
    return theano.shared(numbers if contiguous else np.ascontiguousarray(numbers), borrow=True)


def _counted(name: str) -> Callable[..., Any]:
    """Return a comparison whose result is a number, 0 or 1."""
    return lambda *arguments: tt.cast(getattr(tt, name)(*arguments), "int64")


def _size(x: Any, axis: int | None) -> Any:
    # PyMC3's variables have a `size` of their own, which is None
    return tt.cast(tt.prod(x.shape) if axis is None else x.shape[axis], "float64")


def _var(x: Any, axis: int | None) -> Any:
    return tt.sum(tt.sqr(x - tt.mean(x, axis=axis, keepdims=True)), axis=axis) / (_size(x, axis) - 1)


def _median(x: Any, axis: int | None) -> Any:
    flat, axis = (x.flatten(), 0) if axis is None else (x, axis)
    ordered = tt.sort(flat, axis=axis)
    size = flat.shape[axis]
    low, high = tt.take(ordered, (size - 1) // 2, axis=axis), tt.take(ordered, size // 2, axis=axis)
    return (low + high) / 2.0


def _quantile(x: Any, q: float, axis: int | None) -> Any:
    flat, axis = (x.flatten(), 0) if axis is None else (x, axis)
    ordered = tt.sort(flat, axis=axis)
    place = q * (tt.cast(flat.shape[axis], "float64") - 1.0)
    low = tt.cast(tt.floor(place), "int64")
    high = tt.minimum(low + 1, flat.shape[axis] - 1)
    share = place - low
    return (1.0 - share) * tt.take(ordered, low, axis=axis) + share * tt.take(ordered, high, axis=axis)


def _logsumexp(x: Any, axis: int | None) -> Any:
    return pm.math.logsumexp(x, axis=axis, keepdims=False) if axis is None else _logsumexp_along(x, axis)


def _logsumexp_along(x: Any, axis: int) -> Any:
    top = tt.max(x, axis=axis, keepdims=True)
    return tt.log(tt.sum(tt.exp(x - top), axis=axis)) + tt.sum(top, axis=axis)


def _softmax(x: Any, axis: int) -> Any:
    shifted = tt.exp(x - tt.max(x, axis=axis, keepdims=True))
    return shifted / tt.sum(shifted, axis=axis, keepdims=True)


def _zscore(x: Any, axis: int | None) -> Any:
    deviation = tt.sqrt(_var(x, axis))
    wide = deviation if axis is None else tt.shape_padaxis(deviation, axis)
    return (x - tt.mean(x, axis=axis, keepdims=True)) / wide


def _contract(x: Any, y: Any, of_x: int, of_y: int) -> Any:
    if x.ndim <= 2 and y.ndim <= 2:
        x = x.T if x.ndim == 2 and of_x == 0 else x
        y = y.T if y.ndim == 2 and of_y == 1 else y
        return tt.dot(x, y)
    return tt.tensordot(x, y, axes=[[of_x], [of_y]])


def _rearrange(x: Any, positions: tuple[int | None, ...], stretched: tuple[int, ...]) -> Any:
    wide = tt.addbroadcast(x, *stretched) if stretched else x
    return wide.dimshuffle(*["x" if p is None else p for p in positions])


def _stack_last(*rest: Any) -> Any:
    *parts, shape = rest
    wide = tt.zeros(shape)
    return tt.stack([part + wide for part in parts], axis=-1)


def _lag(x: Any, steps: int, shape: tuple[int, ...]) -> Any:
    if steps == 0:
        return x
    missing = np.full((abs(steps), *shape[1:]), np.nan)
    return tt.concatenate([missing, x[: shape[0] - steps]] if steps > 0 else [x[-steps:], missing], axis=0)


def _correlations(below: Any, size: int) -> Any:
    places = np.tril_indices(size, -1)
    matrix = tt.set_subtensor(tt.eye(size)[places], below)
    return tt.set_subtensor(matrix[places[::-1]], below)


def _conditional_draw(covariance: Any, cross: Any, own: Any, given: Any, standard: Any) -> Any:
    factor = Cholesky()(covariance)
    solved = tt.slinalg.solve_lower_triangular(factor, cross.T)
    mean = tt.dot(solved.T, tt.slinalg.solve_lower_triangular(factor, given.T)).T
    left = own - tt.dot(solved.T, solved)
    root = Cholesky()(left + 1e-9 * tt.mean(tt.diag(own)) * tt.eye(left.shape[0]))
    return mean + tt.dot(root, standard.T).T


def _index(x: Any, *rest: Any) -> Any:
    *picks, parts = rest
    return x[place_picks(parts, tuple(picks))]


OPERATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "exp": tt.exp,
        "log": tt.log,
        "log1p": tt.log1p,
        "expm1": tt.expm1,
        "sqrt": tt.sqrt,
        "square": tt.sqr,
        "abs": tt.abs_,
        "sign": tt.sgn,
        "sin": tt.sin,
        "cos": tt.cos,
        "tan": tt.tan,
        "atan": tt.arctan,
        "tanh": tt.tanh,
        "sigmoid": tt.nnet.sigmoid,
        "logit": lambda p: tt.log(p) - tt.log1p(-p),
        "probit": lambda p: -np.sqrt(2.0) * tt.erfcinv(2.0 * p),
        "normal_cdf": lambda x: 0.5 * tt.erfc(-x / 2**0.5),
        "erf": tt.erf,
        "gammaln": tt.gammaln,
        "softplus": tt.nnet.softplus,
        "log1mexp": log1mexp,
        "log_normal_cdf": log_normal_cdf,
        "logaddexp": logaddexp,
        "log_gamma_p": log_gamma_p,
        "log_gamma_q": log_gamma_q,
        "log_beta_i": log_beta_i,
        "log_beta_rest": log_beta_rest,
        "where": lambda condition, a, b: tt.switch(tt.neq(condition, 0), a, b),
        "clip": tt.clip,
        "minimum": tt.minimum,
        "maximum": tt.maximum,
        "add": tt.add,
        "subtract": tt.sub,
        "multiply": tt.mul,
        "divide": tt.true_div,
        "floor_divide": tt.int_div,
        "mod": tt.mod,
        "power": tt.pow,
        "negative": tt.neg,
        "positive": lambda x: x,
        "less": _counted("lt"),
        "less_equal": _counted("le"),
        "greater": _counted("gt"),
        "greater_equal": _counted("ge"),
        "equal": _counted("eq"),
        "not_equal": _counted("neq"),
        "not": lambda x: _counted("eq")(x, 0),
        "and": lambda a, b: _counted("and_")(tt.neq(a, 0), tt.neq(b, 0)),
        "or": lambda a, b: _counted("or_")(tt.neq(a, 0), tt.neq(b, 0)),
        "sum": lambda x, axis: tt.sum(x, axis=axis),
        "prod": lambda x, axis: tt.prod(x, axis=axis),
        "mean": lambda x, axis: tt.mean(x, axis=axis),
        "std": lambda x, axis: tt.sqrt(_var(x, axis)),
        "var": _var,
        "min": lambda x, axis: tt.min(x, axis=axis),
        "max": lambda x, axis: tt.max(x, axis=axis),
        "median": _median,
        "logsumexp": _logsumexp,
        "cumsum": lambda x, axis: tt.cumsum(x, axis=axis),
        "cumprod": lambda x, axis: tt.cumprod(x, axis=axis),
        "cummax": lambda x, axis: CumulativeMaximum(axis % x.ndim)(x),
        "quantile": _quantile,
        "softmax": _softmax,
        "zscore": _zscore,
        "contract": _contract,
        "outer": tt.outer,
        "transpose": lambda x: x.T,
        "rearrange": _rearrange,
        "stack_first": lambda *parts: tt.stack(list(parts), axis=0),
        "stack_last": _stack_last,
        "concatenate": lambda *parts: tt.concatenate(parts, axis=0),
        "as_row": tt.shape_padleft,
        "diff": lambda x: x[..., 1:] - x[..., :-1],
        "lag": _lag,
        "index": _index,
        "as_integer": lambda x: tt.cast(x, "int64"),
        "cosine": Cosine(inverse=False),
        "inverse_cosine": Cosine(inverse=True),
        "bounded": bound,
        "correlations": _correlations,
        "scaled_cholesky": lambda matrix, scale: scale.dimshuffle(0, "x") * tt.slinalg.cholesky(matrix),
        "ode": solution,
        "cholesky": Cholesky(),
        "solve_lower": lambda factor, right, transposed: SolveLower(transposed)(factor, right),
        "conditional_draw": _conditional_draw,
        "black_box": lambda x, function, name: BlackBox(name, function)(x),
        "recurrence": recurrence,
        "kalman_filter": kalman_filter,
        "softplus_sum": lambda x, matrix, offset, weights: row_sum(softplus, matrix, x, offset, weights),
        "softplus_sum_of_groups": partial(row_sum_of_groups, softplus),
        "exponential_sum_of_groups": partial(row_sum_of_groups, exponential),
        "square_sum_of_groups": partial(row_sum_of_groups, squares),
        "exponential_sum": lambda x, matrix, offset, weights: row_sum(exponential, matrix, x, offset, weights),
    }
)
