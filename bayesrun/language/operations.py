"""Expressions as data: the nodes of a computational graph, and the meaning of each operation in NumPy.

Nodes are independent of engines. An engine lowers them into its own graph, operation by operation; `OPERATIONS` is the
reference implementation, which is also used to compute shapes and initial values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language import kalman_filter, recurrences, special_functions
from bayesrun.lazy import fft, linalg, special

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Constant:
    """Known numbers.

    Parameters
    ----------
    numbers
        The array.
    replaceable
        True for a number of a prior or of the data: compiled code should also be valid for other values, so
        that the jobs of a sweep share it. An engine may fold all other constants.
    """

    numbers: Array
    replaceable: bool = False


@dataclass(frozen=True, eq=False)
class Data:
    """The data container of this name."""

    name: str


@dataclass(frozen=True, eq=False)
class Variable:
    """The random variable or deterministic of this name."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """An operation applied to nodes. Nodes are compared by identity: one node is one computation.

    Parameters
    ----------
    operation
        Its name in `OPERATIONS`.
    inputs
        Its operands.
    settings
        Fixed arguments, such as the axis of a sum, passed after the inputs.
    """

    operation: str
    inputs: tuple[Node, ...]
    settings: tuple[Any, ...] = ()


Node = Constant | Data | Variable | Call


def evaluate(node: Node, values: Callable[[str], Any]) -> Array:
    """Evaluate a node in NumPy.

    Parameters
    ----------
    node
        The node.
    values
        The numbers of a data container or variable by name.

    Returns
    -------
    ndarray
        The result.
    """
    known: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for part in in_order(node):
            if isinstance(part, Constant):
                known[id(part)] = part.numbers
            elif isinstance(part, Call):
                arguments = [known[id(given)] for given in part.inputs]
                known[id(part)] = OPERATIONS[part.operation](*arguments, *part.settings)
            else:
                known[id(part)] = np.asarray(values(part.name))
    return np.asarray(known[id(node)])


def in_order(node: Node) -> Iterator[Node]:
    """Yield a node and its descendants once, each after its inputs; iterative, so depth is not limited."""
    done: set[int] = set()
    todo: list[tuple[Node, bool]] = [(node, False)]
    while todo:
        part, ready = todo.pop()
        if id(part) in done:
            continue
        if ready or not isinstance(part, Call):
            done.add(id(part))
            yield part
        else:
            todo.append((part, True))
            todo.extend((given, False) for given in reversed(part.inputs))


def names_in(node: Node) -> list[str]:
    """Return the names of the variables that a node depends on, in order of appearance."""
    return list(dict.fromkeys(part.name for part in in_order(node) if isinstance(part, Variable)))


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a comparison return the numbers 0 and 1."""
    return lambda *arguments: np.asarray(function(*arguments)).astype(np.int64)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Suppress NumPy's warning about all-NaN input; the result is NaN."""

    def call(x: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(x, **options)

    return call


def _zscore(x: Any, axis: int | None) -> Any:
    deviation = _quiet(np.nanstd)(x, axis=axis, ddof=1, keepdims=True)
    return (x - _quiet(np.nanmean)(x, axis=axis, keepdims=True)) / deviation


def _lag(x: Any, steps: int, shape: tuple[int, ...]) -> Any:
    """Shift an array of this shape along its first axis; vacated elements are NaN."""
    if steps == 0:
        return x
    missing = np.full((abs(steps), *shape[1:]), np.nan)
    kept = np.asarray(x, dtype=float)[: len(x) - steps] if steps > 0 else np.asarray(x, dtype=float)[-steps:]
    return np.concatenate([missing, kept] if steps > 0 else [kept, missing], axis=0)


def place_picks(parts: tuple[Any, ...], picks: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill in the arrays of an index where `parts` has None."""
    left = iter(picks)
    return tuple(next(left) if part is None else part for part in parts)


def _index(x: Any, *rest: Any) -> Any:
    *picks, parts = rest
    return x[place_picks(parts, tuple(picks))]


def _rearrange(x: Any, positions: tuple[int | None, ...], stretched: tuple[int, ...]) -> Any:
    """Transpose, and insert axes of size 1 where `positions` has None."""
    moved = np.transpose(x, [p for p in positions if p is not None])
    shape = iter(moved.shape)
    return moved.reshape([1 if p is None else next(shape) for p in positions])


def _stack_last(*rest: Any) -> Any:
    *parts, shape = rest
    return np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1)


def _bounded(x: Any, *conditions: Any) -> Any:
    """Return a log density, minus infinity where any condition does not hold."""
    held = np.prod(np.broadcast_arrays(*conditions), axis=0)
    return np.where(held != 0, x, -np.inf)


def _increasing(centre: Any, scale: Any, shape: tuple[int, ...]) -> Any:
    """Return increasing numbers along the last axis: the centre if it is increasing, else values spread around it."""
    wide = np.broadcast_to(centre, shape)
    if np.ndim(centre) and np.all(np.diff(wide, axis=-1) > 0):
        return wide
    return np.broadcast_to(np.mean(centre) + np.max(scale) * np.linspace(-1.0, 1.0, shape[-1]), shape)


def _correlations(below: Any, size: int) -> Any:
    """Return a correlation matrix of the numbers below its diagonal, row by row."""
    matrix = np.eye(size)
    matrix[np.tril_indices(size, -1)] = below
    return matrix + np.tril(matrix, -1).T


def _scaled_cholesky(matrix: Any, scale: Any) -> Any:
    """Return the lower Cholesky factor of a correlation matrix, its rows times the scales.

    A matrix that rounding has made indefinite is replaced by the nearest positive definite one.
    """
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < 1e-12:
        kept = (vectors * np.maximum(values, 1e-10)) @ vectors.T
        lengths = np.sqrt(np.diag(kept))
        matrix = kept / np.outer(lengths, lengths)
    return np.asarray(scale)[:, None] * np.linalg.cholesky(matrix)


def _cholesky(x: Any) -> Any:
    """Return the lower Cholesky factor; NaN where the matrix is not positive definite."""
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        return np.full(np.shape(x), np.nan)


def _solve_lower(factor: Any, right: Any, transposed: bool) -> Any:
    """Solve a triangular system of a lower triangular matrix, or of its transpose, with one right side."""
    if not np.isfinite(factor).all():
        return np.full(np.shape(right), np.nan)
    return linalg.solve_triangular(factor, right, lower=True, trans="T" if transposed else "N")


def _conditional_draw(covariance: Any, cross: Any, own: Any, given: Any, standard: Any) -> Any:
    """Draw a zero-mean normal vector given another one.

    Parameters
    ----------
    covariance
        Of what is given (n, n).
    cross
        Covariances of what is drawn with what is given (m, n).
    own
        Covariance of what is drawn (m, m).
    given
        What is given (..., n).
    standard
        Standard normal numbers (..., m), which decide the draw.
    """
    factor = _cholesky(covariance)
    if not np.isfinite(factor).all():
        return np.full(np.shape(standard), np.nan)
    solved = linalg.solve_triangular(factor, cross.T, lower=True)
    mean = np.moveaxis(solved.T @ linalg.solve_triangular(factor, np.moveaxis(given, -1, 0), lower=True), 0, -1)
    left = own - solved.T @ solved
    root = _cholesky(left + 1e-9 * np.mean(np.diag(own)) * np.eye(len(left)))
    if not np.isfinite(root).all():
        values, vectors = np.linalg.eigh(left)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
    return mean + np.moveaxis(root @ np.moveaxis(standard, -1, 0), 0, -1)


def _ode(*rest: Any) -> Any:
    """Return the solution of a system of differential equations (..., time, state) of its inputs."""
    *inputs, system = rest
    return system.solution(inputs)


def _black_box(x: Any, function: Any, name: str) -> Any:
    """Call a Python function of one number for each element."""
    convert = int if function.takes == "integer" else float
    values = [function.call(convert(value)) for value in np.ravel(x)]
    return np.asarray(values, dtype=np.int64 if function.gives == "integer" else float).reshape(np.shape(x))


def _softplus_sum(coefficients: Any, matrix: Any, offset: Any, weights: Any) -> Any:
    terms = np.logaddexp(0.0, _linear(coefficients, matrix, offset))
    return np.sum(terms if weights is None else weights * terms)


def _exponential_sum(coefficients: Any, matrix: Any, offset: Any, weights: Any) -> Any:
    terms = np.exp(_linear(coefficients, matrix, offset))
    return np.sum(terms if weights is None else weights * terms)


def _sum_of_groups(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the sum over the rows of a function of a linear predictor with effects of groups."""

    def call(coefficients: Any, *rest: Any) -> Any:
        *effects, matrix, offset, weights, groups = rest
        predictor = _linear(coefficients, matrix, offset)
        for effect, (codes, columns) in zip(effects, groups, strict=True):
            picked = effect[codes]
            predictor = predictor + (picked[:, 0] if columns is None else (picked * columns).sum(axis=1))
        terms = function(predictor)
        return np.sum(terms if weights is None else weights * terms)

    return call


def _linear(coefficients: Any, matrix: Any, offset: Any) -> Any:
    predictor = matrix @ coefficients
    return predictor if offset is None else predictor + offset


def _state_path(last: Any, uniform: Any, *rest: Any) -> NDArray[np.int64]:
    """Return hidden states at rows after the last one of a fit.

    Parameters
    ----------
    last
        The state at the row before the first (*series).
    uniform
        Numbers from 0 to 1 (*series, row), which decide the draw.
    rest
        The probabilities from each state to each state, row by row of the matrix, each of which broadcasts to the shape
        of `uniform`; then the number of states, and the length of the step into each row.

    Returns
    -------
    ndarray
        Over (*series, row).
    """
    *cells, size, lengths = rest
    shape = np.shape(uniform)
    whole = np.stack([np.broadcast_to(cell, shape) for cell in cells], axis=-1).reshape(*shape, size, size)
    found = np.empty(shape, dtype=np.int64)
    state = np.asarray(np.round(last), dtype=np.int64)
    for row, length in enumerate(lengths):
        of_row = whole[..., row, :, :]
        if length > 1:
            of_row = np.linalg.matrix_power(of_row, int(length))
        to = np.take_along_axis(of_row, state[..., None, None], axis=-2)[..., 0, :]
        below = np.cumsum(to, axis=-1) <= np.asarray(uniform)[..., row, None]
        state = np.minimum(below.sum(axis=-1), size - 1)
        found[..., row] = state
    return found


OPERATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        # elementwise
        "exp": np.exp,
        "log": np.log,
        "log1p": np.log1p,
        "expm1": np.expm1,
        "sqrt": np.sqrt,
        "square": np.square,
        "abs": np.abs,
        "sign": np.sign,
        "sin": np.sin,
        "cos": np.cos,
        "tan": np.tan,
        "atan": np.arctan,
        "tanh": np.tanh,
        "sigmoid": lambda x: special.expit(x),
        "logit": lambda x: special.logit(x),
        "probit": lambda x: special.ndtri(x),
        "normal_cdf": lambda x: special.ndtr(x),
        "erf": lambda x: special.erf(x),
        "gammaln": lambda x: special.gammaln(x),
        "softplus": special_functions.softplus,
        "log1mexp": special_functions.log1mexp,
        "log_normal_cdf": special_functions.log_normal_cdf,
        "logaddexp": np.logaddexp,
        "log_gamma_p": lambda a, x: special_functions.log_gamma_tails(a, x)[0],
        "log_gamma_q": lambda a, x: special_functions.log_gamma_tails(a, x)[1],
        "log_beta_i": lambda a, b, z: special_functions.log_beta_tails(a, b, z)[0],
        "log_beta_rest": lambda a, b, z: special_functions.log_beta_tails(a, b, z)[1],
        "where": lambda condition, a, b: np.where(condition != 0, a, b),
        "clip": np.clip,
        "minimum": np.minimum,
        "maximum": np.maximum,
        "add": np.add,
        "subtract": np.subtract,
        "multiply": np.multiply,
        "divide": np.true_divide,
        "floor_divide": np.floor_divide,
        "mod": np.mod,
        "power": lambda a, b: np.power(np.asarray(a, dtype=float), b),
        "negative": np.negative,
        "positive": np.positive,
        "less": _whole(np.less),
        "less_equal": _whole(np.less_equal),
        "greater": _whole(np.greater),
        "greater_equal": _whole(np.greater_equal),
        "equal": _whole(np.equal),
        "not_equal": _whole(np.not_equal),
        "not": _whole(np.logical_not),
        "and": _whole(np.logical_and),
        "or": _whole(np.logical_or),
        # along an axis (None = all); missing values (NaN) in known numbers are left out
        "sum": lambda x, axis: np.nansum(x, axis=axis),
        "prod": lambda x, axis: np.nanprod(x, axis=axis),
        "mean": lambda x, axis: _quiet(np.nanmean)(x, axis=axis),
        "std": lambda x, axis: _quiet(np.nanstd)(x, axis=axis, ddof=1),
        "var": lambda x, axis: _quiet(np.nanvar)(x, axis=axis, ddof=1),
        "min": lambda x, axis: _quiet(np.nanmin)(x, axis=axis),
        "max": lambda x, axis: _quiet(np.nanmax)(x, axis=axis),
        "median": lambda x, axis: _quiet(np.nanmedian)(x, axis=axis),
        "logsumexp": lambda x, axis: special.logsumexp(x, axis=axis),
        "cumsum": lambda x, axis: np.cumsum(x, axis=axis),
        "cumprod": lambda x, axis: np.cumprod(x, axis=axis),
        "cummax": lambda x, axis: np.maximum.accumulate(x, axis=axis),
        "quantile": lambda x, q, axis: _quiet(np.nanquantile)(x, q=q, axis=axis),
        "softmax": lambda x, axis: special.softmax(x, axis=axis),
        "zscore": _zscore,
        # axes of arrays
        "contract": lambda x, y, of_x, of_y: np.tensordot(x, y, axes=(of_x, of_y)),
        "outer": np.outer,
        "transpose": np.transpose,
        "rearrange": _rearrange,
        "stack_first": lambda *parts: np.stack(parts, axis=0),
        "stack_last": _stack_last,
        "concatenate": lambda *parts: np.concatenate(parts, axis=0),
        "as_row": lambda x: np.reshape(x, (1,)),
        "diff": lambda x: np.diff(x, axis=-1),
        "lag": _lag,
        "index": _index,
        "as_integer": lambda x: np.asarray(x).astype(np.int64),
        # of models
        "cosine": lambda x: fft.dct(x, type=2, norm="ortho"),
        "inverse_cosine": lambda x: fft.idct(x, type=2, norm="ortho"),
        "bounded": _bounded,
        "increasing": _increasing,
        "correlations": _correlations,
        "scaled_cholesky": _scaled_cholesky,
        "ode": _ode,
        "cholesky": _cholesky,
        "solve_lower": _solve_lower,
        "conditional_draw": _conditional_draw,
        "black_box": _black_box,
        "recurrence": lambda *rest: recurrences.run(OPERATIONS, *rest),
        "kalman_filter": kalman_filter.log_terms,
        "state_path": _state_path,
        "states_after": kalman_filter.states_after,
        "softplus_sum": _softplus_sum,
        "exponential_sum": _exponential_sum,
        "softplus_sum_of_groups": _sum_of_groups(lambda eta: np.logaddexp(0.0, eta)),
        "exponential_sum_of_groups": _sum_of_groups(np.exp),
        "square_sum_of_groups": _sum_of_groups(np.square),
    }
)
