"""The functions and operators of expressions on arrays with named axes, and how they handle dims."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from bayesrun.language.operations import Call
from bayesrun.language.values import Dims, Fault, Operand, Value, align, apply, check_size, compute, constant, node_of

_NUMBER_BY_NUMBER = frozenset(
    [
        *("exp", "log", "log1p", "expm1", "sqrt", "abs", "sign", "sin", "cos", "tan", "atan", "tanh", "sigmoid"),
        *("logit", "probit", "erf", "gammaln", "where", "clip"),
    ]
)
_FOLDED = frozenset(["minimum", "maximum"])
ELEMENTWISE = _NUMBER_BY_NUMBER | _FOLDED | {"switch"}
_REDUCTIONS = frozenset(["sum", "prod", "mean", "std", "var", "min", "max", "median", "logsumexp"])
_ALONG = frozenset(["cumsum", "cumprod", "cummax", "softmax", "zscore"])
_FILLED = {"zeros": 0.0, "ones": 1.0}

_OPERATORS: Mapping[type[ast.AST], str] = MappingProxyType(
    {
        ast.Add: "add",
        ast.Sub: "subtract",
        ast.Mult: "multiply",
        ast.Div: "divide",
        ast.FloorDiv: "floor_divide",
        ast.Mod: "mod",
        ast.Pow: "power",
        ast.USub: "negative",
        ast.UAdd: "positive",
    }
)
_LOGICAL: Mapping[type[ast.AST], str] = MappingProxyType(
    {
        ast.Lt: "less",
        ast.LtE: "less_equal",
        ast.Gt: "greater",
        ast.GtE: "greater_equal",
        ast.Eq: "equal",
        ast.NotEq: "not_equal",
        ast.Not: "not",
        ast.And: "and",
        ast.Or: "or",
    }
)


def operation_of(operator: ast.AST) -> str:
    """Return the name of the operation of an operator of the syntax tree."""
    return _LOGICAL.get(type(operator)) or _OPERATORS[type(operator)]


def operate(operator: ast.AST, arguments: Sequence[Value]) -> Value:
    """Apply an operator of the syntax tree."""
    if type(operator) in _LOGICAL:
        return replace(apply(_LOGICAL[type(operator)], arguments), logical=True)
    return apply(_OPERATORS[type(operator)], arguments)


def call(name: str, arguments: Sequence[Value], dim: str | int | None = None) -> Value:
    """Call a function of the language.

    Parameters
    ----------
    name
        One of `grammar.SIGNATURES`.
    arguments
        Its arguments except `dim`; the sizes for `zeros` and `ones`.
    dim
        Name or number of an axis, for functions along one.

    Raises
    ------
    Fault
        When the arguments' dims are incompatible.
    """
    if name in ELEMENTWISE:
        operation = "where" if name == "switch" else name
        if name in _FOLDED:
            return reduce(lambda a, b: apply(operation, [a, b]), arguments)
        return apply(operation, arguments)
    if name in _REDUCTIONS:
        return reduce_axis(name, arguments[0], dim)
    if name in _ALONG:
        return along(name, arguments[0], dim)
    if name in _OF_TWO:
        return _OF_TWO[name](*arguments, dim)
    if name in _FILLED:
        return filled(_FILLED[name], arguments)
    return _ARRAYS[name](*arguments)


def exp(x: Value) -> Value:
    """Return the elementwise exponential."""
    return apply("exp", [x])


def log(x: Value) -> Value:
    """Return the elementwise natural logarithm."""
    return apply("log", [x])


def square(x: Value) -> Value:
    """Return the elementwise square."""
    return apply("square", [x])


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """Return `a` where the condition is true, `b` elsewhere."""
    return apply("where", [condition, a, b])


def along(name: str, value: Value, dim: str | int | None = None) -> Value:
    """Apply a cumulative function, `softmax` or `zscore`; by default along the last axis, `zscore` over all axes."""
    axis = axis_of(value, dim) if dim is not None else None if name == "zscore" else axis_of(value, -1)
    return compute(name, [value], None, axis)


def reduce_axis(name: str, value: Value, dim: str | int | None = None) -> Value:
    """Reduce an axis, or all axes if no dim is given; `std` and `var` divide by n - 1."""
    axis = None if dim is None else axis_of(value, dim)
    if name in ("min", "max", "median", "mean") and 0 in value.shape:
        raise Fault(f"{name} of an empty array")
    left = () if axis is None else tuple(d for i, d in enumerate(value.dims) if i != axis)
    return compute(name, [value], left, axis)


def log10(x: Value) -> Value:
    """Return the elementwise logarithm to the base 10."""
    if x.known is not None:
        with np.errstate(all="ignore"):
            return replace(constant(np.log10(x.known), x.dims), date=False)
    return log(x) / constant(np.log(10.0))


def cov(x: Value, y: Value, dim: str | int | None = None) -> Value:
    """Return the covariance of two arrays over a dim, or over all their elements; it divides by n - 1."""
    dims, (a, b) = align([x, y])
    if a.ndim != b.ndim or a.shape != b.shape:
        raise Fault(f"cov needs two arrays over the same dims (got {_all(x)} and {_all(y)})")
    a, b = a.named(dims), b.named(dims)
    centred = [v - along_axis(reduce_axis("mean", v, dim), v, dim) for v in (a, b)]
    total = reduce_axis("sum", centred[0] * centred[1], dim)
    count = a.shape[axis_of(a, dim)] if dim is not None else int(np.prod(a.shape))
    if count < 2:
        raise Fault("cov needs two numbers or more")
    return total / constant(float(count - 1))


def along_axis(reduced: Value, of: Value, dim: str | int | None) -> Value:
    """Give a reduced value an axis of length 1 in place of the one that it has lost."""
    if dim is None:
        return reduced
    axis = axis_of(of, dim)
    places = [i if i < axis else i - 1 for i in range(of.ndim)]
    positions = tuple(None if i == axis else places[i] for i in range(of.ndim))
    return compute("rearrange", [reduced], (None,) * of.ndim, positions, ())


def quantile(x: Value, q: Value, dim: str | int | None = None) -> Value:
    """Return a quantile along a dim, or of all elements, interpolated linearly as by NumPy."""
    if q.known is None or q.ndim or not 0 <= float(q.known) <= 1:
        raise Fault("'q' must be one number between 0 and 1")
    if 0 in x.shape:
        raise Fault("quantile of an empty array")
    axis = None if dim is None else axis_of(x, dim)
    left = () if axis is None else tuple(d for i, d in enumerate(x.dims) if i != axis)
    return compute("quantile", [x], left, float(q.known), axis)


def one_hot(code: Value, n: Value) -> Value:
    """Return 1 at the place of each code and 0 elsewhere, along a new last axis of `n` places."""
    size = whole_number(n, "n")
    if size < 1:
        raise Fault(f"one_hot needs a size above 0 (got {size})")
    if code.known is not None and not np.all(np.isin(code.known, np.arange(size))):
        wrong = np.asarray(code.known)[~np.isin(code.known, np.arange(size))].ravel()[0]
        raise Fault(f"the code {wrong:g} is not among 0 to {size - 1}", "codes are counted from 0")
    check_size((*code.shape, size))
    wide = compute("rearrange", [code], (*code.dims, None), (*range(code.ndim), None), ())
    return compute("equal", [wide, constant(np.arange(size))], (*code.dims, None))


def axis_of(value: Value, dim: str | int) -> int:
    """Return the position of an axis given by name or number.

    Raises
    ------
    Fault
        When the value has no such axis.
    """
    have = ", ".join(d or "unnamed" for d in value.dims) or "none: it is a single number"
    if isinstance(dim, str):
        if dim not in value.dims:
            raise Fault(f"there is no dim '{dim}' here", f"its dims are {have}")
        return value.dims.index(dim)
    if not -value.ndim <= dim < value.ndim:
        raise Fault(f"there is no axis {dim} here", f"its dims are {have}")
    return dim % value.ndim


def dot(a: Value, b: Value) -> Value:
    """Contract the axis with the same name in both, otherwise the last axis of `a` with the first of `b`."""
    if not a.ndim or not b.ndim:
        raise Fault("dot needs two arrays, but one of these is a single number", "use *")
    of_a, of_b = _contracted(a, b)
    if a.shape[of_a] != b.shape[of_b]:
        raise Fault(f"dot sums over axes of different sizes, {_axis(a, of_a)} and {_axis(b, of_b)}")
    rest_a = tuple(d for i, d in enumerate(a.dims) if i != of_a)
    rest_b = tuple(d for i, d in enumerate(b.dims) if i != of_b)
    shared = {d for d in rest_a if d is not None} & set(rest_b)
    if shared:
        name = a.dims[of_a] or "dim"
        raise Fault(f"both also have the dim '{sorted(shared)[0]}'", f"use sum(a * b, {name})")
    check_size([n for i, n in enumerate(a.shape) if i != of_a] + [n for i, n in enumerate(b.shape) if i != of_b])
    return compute("contract", [a, b], rest_a + rest_b, of_a, of_b)


def _contracted(a: Value, b: Value) -> tuple[int, int]:
    for i in reversed(range(a.ndim)):
        if a.dims[i] is not None and a.dims[i] in b.dims:
            return i, b.dims.index(a.dims[i])
    of_a, of_b = a.ndim - 1, 0
    if a.dims[of_a] is not None and b.dims[of_b] is not None:
        raise Fault(f"dot has no common dim: the dims are {_all(a)} and {_all(b)}", "give them a common dim")
    return of_a, of_b


def _axis(value: Value, axis: int) -> str:
    return f"'{value.dims[axis] or 'unnamed'}' ({value.shape[axis]})"


def _all(value: Value) -> str:
    return f"({', '.join(d or 'unnamed' for d in value.dims)})"


def outer(a: Value, b: Value) -> Value:
    """Return the outer product of `a` and `b`."""
    if a.ndim != 1 or b.ndim != 1:
        raise Fault(f"outer needs two arrays of one axis each (got {a.ndim} and {b.ndim} axes)")
    check_size(a.shape + b.shape)
    dims = (*a.dims, b.dims[0] if b.dims != a.dims else None)
    return compute("outer", [a, b], dims)


def transpose(a: Value) -> Value:
    """Reverse the order of the axes."""
    return compute("transpose", [a], a.dims[::-1])


def cholesky(x: Value) -> Value:
    """Return the lower Cholesky factor of a symmetric matrix; its second axis has no name."""
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise Fault(f"cholesky needs a square matrix (got {_all(x)} of shape {x.shape})")
    made = compute("cholesky", [x], (x.dims[0], None))
    if made.known is not None and not np.isfinite(made.known).all():
        raise Fault("this matrix is not positive definite", "add a small multiple of identity(n) to it")
    return made


def identity(n: Value) -> Value:
    """Return the identity matrix of a size."""
    size = whole_number(n, "n")
    if size < 1:
        raise Fault(f"identity needs a size above 0 (got {size})")
    check_size([size, size])
    return constant(np.eye(size))


def distance(a: Value, b: Value) -> Value:
    """Return the Euclidean distances between the points of `a` and `b`, over (point of a, point of b).

    Points are numbers, or rows of coordinates.
    """
    if not 1 <= a.ndim == b.ndim <= 2 or a.shape[1:] != b.shape[1:]:
        raise Fault(f"distance needs two arrays of points with the same coordinates (got {_all(a)} and {_all(b)})")
    check_size([a.shape[0], b.shape[0]])
    dims = (a.dims[0], b.dims[0] if b.dims[0] != a.dims[0] else None)
    apart = [_apart(a, b, i) for i in range(1 if a.ndim == 1 else a.shape[1])]
    if len(apart) == 1:
        return apply("abs", apart).named(dims)
    total = reduce(lambda x, y: x + y, map(square, apart))
    same = apply("equal", [total, 0.0])
    # the gradient of the root is infinite at 0
    return where(same, 0.0, apply("sqrt", [total + same])).named(dims)


def _apart(a: Value, b: Value, coordinate: int) -> Value:
    """Return the differences of all pairs of points in one coordinate."""
    columns = [p if p.ndim == 1 else index(p, [slice(None), constant(coordinate)]) for p in (a, b)]
    left, right = (p.named((None,)) for p in columns)
    ones = [constant(np.ones(p.shape[0])) for p in columns]
    return outer(left, ones[1]) - outer(ones[0], right)


def stack(*arguments: Value) -> Value:
    """Stack arrays along a new, unnamed last axis."""
    dims, aligned = align(arguments)
    shape = np.broadcast_shapes(*[a.shape for a in aligned])
    check_size((*shape, len(aligned)))
    return compute("stack_last", aligned, (*dims, None), shape)


def concatenate(*arguments: Value) -> Value:
    """Concatenate arrays along their first axis; a scalar counts as one element."""
    longest = max(a.ndim for a in arguments)
    if longest == 0:
        return stack(*arguments)
    rest_of = {a.shape[1:] for a in arguments if a.ndim == longest}
    if len(rest_of) > 1 or any(a.ndim != longest and (a.ndim, longest) != (0, 1) for a in arguments):
        raise Fault("the arrays to concatenate differ in their other axes")
    parts = [a if a.ndim else compute("as_row", [a], (None,)) for a in arguments]
    rest = next(a.dims[1:] for a in arguments if a.ndim == longest)
    return compute("concatenate", parts, (None, *rest))


def diff(a: Value) -> Value:
    """Return the first differences along the last axis, which becomes one element shorter."""
    if not a.ndim or a.shape[-1] < 2:
        raise Fault("diff needs an array of two numbers or more")
    return compute("diff", [a], (*a.dims[:-1], None))


def lag(a: Value, steps: Value | None = None) -> Value:
    """Shift along the first axis; vacated elements are missing (NaN)."""
    by = 1 if steps is None else whole_number(steps, "steps")
    if not a.ndim or abs(by) > a.shape[0]:
        raise Fault(f"lag by {by} needs an array of at least {abs(by)} rows")
    return compute("lag", [a], None, by, a.shape)


def arange(start: Value, stop: Value | None = None, step: Value | None = None) -> Value:
    """Return the integers from 0 to below `start`, or from `start` to below `stop`."""
    first, last = (
        (0, whole_number(start, "stop"))
        if stop is None
        else (
            whole_number(start, "start"),
            whole_number(stop, "stop"),
        )
    )
    by = 1 if step is None else whole_number(step, "step")
    if by == 0:
        raise Fault("arange needs a step other than 0")
    check_size([len(range(first, last, by))])
    return constant(np.arange(first, last, by))


def filled(number: float, shape: Sequence[Value]) -> Value:
    """Make an array filled with one number."""
    sizes = [whole_number(size, "shape") for size in shape]
    if any(size < 1 for size in sizes):
        raise Fault(f"a shape needs sizes above 0 (got {sizes})")
    check_size(sizes)
    return constant(np.full(sizes, number))


def whole_number(value: Value, what: str) -> int:
    """Return a known value as an integer.

    Raises
    ------
    Fault
        When it depends on a random variable, or is not a single integer.
    """
    if value.known is None:
        raise Fault(f"'{what}' must be known beforehand, but this depends on a random variable")
    if value.ndim or not np.isfinite(value.known) or value.known != np.round(value.known) or abs(value.known) > 2**53:
        raise Fault(f"'{what}' must be one whole number")
    return int(value.known)


def index(value: Value, parts: Sequence[Value | slice]) -> Value:
    """Index an array: each part is a slice or 0-based integers; integer arrays are aligned by name.

    The axes of the index replace the axis that it picks from, so `theta[county]` is over the rows' dim.
    """
    if len(parts) > value.ndim:
        raise Fault(f"{len(parts)} indices for {_all(value)}, which has {value.ndim} axes")
    full = [*parts, *[slice(None)] * (value.ndim - len(parts))]
    numbers = [i for i, part in enumerate(full) if isinstance(part, Value)]
    picks = [_checked(full[i], value, i) for i in numbers]  # type: ignore[arg-type]
    index_dims, aligned = align(picks) if picks else ((), [])
    dims = _dims_after(value, full, numbers, index_dims)
    template = tuple(None if isinstance(part, Value) else part for part in full)
    result = compute("index", [value, *[_stretched_pick(p, aligned) for p in aligned]], dims, template)
    return _unnamed_repeats(result)


def _stretched_pick(pick: Value, picks: Sequence[Value]) -> Value:
    """Broadcast known indices to a common shape, which engines handle more easily."""
    shape = np.broadcast_shapes(*[p.shape for p in picks])
    if pick.known is None or pick.shape == shape:
        return pick
    return constant(np.broadcast_to(pick.known, shape))


def _checked(pick: Value, value: Value, axis: int) -> Value:
    size, name = value.shape[axis], value.dims[axis] or f"axis {axis}"
    if pick.logical:
        raise Fault("a comparison can't be used as an index", "use where(condition, a, b)")
    if pick.known is None:
        return _as_integer(pick)
    rounded = np.round(pick.known)
    if not np.all(pick.known == rounded):
        raise Fault("an index must hold whole numbers", "make codes with data.factors")
    if pick.known.size and (rounded.min() < -size or rounded.max() >= size):
        worst = rounded.max() if rounded.max() >= size else rounded.min()
        raise Fault(f"index {worst:.0f} is out of range for '{name}' of size {size}", "codes are counted from 0")
    node = pick.node if pick.known.dtype.kind in "iu" else None
    return Value(pick.dims, pick.shape, rounded.astype(np.int64), node)


def _as_integer(pick: Value) -> Value:
    """Check the bounds of an index; those of a random index are not known here."""
    node = Call("as_integer", (node_of(pick),))
    return Value(pick.dims, pick.shape, node=node, sample=np.zeros(pick.shape, dtype=np.int64))


def _dims_after(value: Value, full: Sequence[Any], numbers: Sequence[int], index_dims: Dims) -> Dims:
    """Return the dims of the result in NumPy's order: axes of integer indices go to the position of the first one."""
    together = not numbers or numbers == list(range(numbers[0], numbers[-1] + 1))
    dims: list[str | None] = [] if together else list(index_dims)
    for axis, part in enumerate(full):
        if axis in numbers:
            dims += index_dims if together and axis == numbers[0] else ()
        else:
            dims.append(value.dims[axis] if part in (slice(None), slice(None, None, 1)) else None)
    return tuple(dims)


def _unnamed_repeats(value: Value) -> Value:
    """Keep a repeated name (`sigma[group, group2]` over one dim) only on its first axis."""
    seen: set[str] = set()
    dims: list[str | None] = []
    for name in value.dims:
        dims.append(None if name in seen else name)
        seen |= {name} if name else set()
    return value.named(dims)


_OF_TWO: Mapping[str, Callable[..., Value]] = MappingProxyType({"cov": cov, "quantile": quantile})
_ARRAYS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "dot": dot,
        "outer": outer,
        "transpose": transpose,
        "cholesky": cholesky,
        "identity": identity,
        "distance": distance,
        "log10": log10,
        "one_hot": one_hot,
        "stack": stack,
        "concatenate": concatenate,
        "diff": diff,
        "lag": lag,
        "arange": arange,
    }
)
