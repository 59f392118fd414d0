"""Functions that change the axes of arrays: products, stacking, shifting, indexing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayesrun.language.values import Dims, Fault, Value, align, check_size, compute, constant


def _tt() -> Any:
    import theano.tensor as tt

    return tt


def dot(a: Value, b: Value) -> Value:
    """Sum over the axis that both share by name, else over the last of `a` and the first of `b`."""
    if not a.ndim or not b.ndim:
        raise Fault("dot needs two arrays, one of these is a single number", "use *")
    of_a, of_b = _contracted(a, b)
    if a.shape[of_a] != b.shape[of_b]:
        raise Fault(f"dot sums over axes of different sizes, {_axis(a, of_a)} and {_axis(b, of_b)}")
    rest_a = tuple(d for i, d in enumerate(a.dims) if i != of_a)
    rest_b = tuple(d for i, d in enumerate(b.dims) if i != of_b)
    shared = {d for d in rest_a if d is not None} & set(rest_b)
    if shared:
        name = a.dims[of_a] or "dim"
        raise Fault(f"both have the dim '{sorted(shared)[0]}' beside", f"use sum(a * b, {name})")
    check_size([n for i, n in enumerate(a.shape) if i != of_a] + [n for i, n in enumerate(b.shape) if i != of_b])
    return compute(
        lambda x, y: np.tensordot(x, y, axes=(of_a, of_b)),
        lambda x, y: _theano_dot(x, y, of_a, of_b),
        [a, b],
        rest_a + rest_b,
    )


def _theano_dot(x: Any, y: Any, of_x: int, of_y: int) -> Any:
    if x.ndim <= 2 and y.ndim <= 2:
        x = x.T if x.ndim == 2 and of_x == 0 else x
        y = y.T if y.ndim == 2 and of_y == 1 else y
        return _tt().dot(x, y)
    return _tt().tensordot(x, y, axes=[[of_x], [of_y]])


def _contracted(a: Value, b: Value) -> tuple[int, int]:
    for i in reversed(range(a.ndim)):
        if a.dims[i] is not None and a.dims[i] in b.dims:
            return i, b.dims.index(a.dims[i])
    of_a, of_b = a.ndim - 1, 0
    if a.dims[of_a] is not None and b.dims[of_b] is not None:
        raise Fault(f"dot has no common dim: the dims are {_all(a)} and {_all(b)}", "name one dim alike in both")
    return of_a, of_b


def _axis(value: Value, axis: int) -> str:
    return f"'{value.dims[axis] or 'unnamed'}' ({value.shape[axis]})"


def _all(value: Value) -> str:
    return f"({', '.join(d or 'unnamed' for d in value.dims)})"


def outer(a: Value, b: Value) -> Value:
    """Multiply every number of `a` with every number of `b`."""
    if a.ndim != 1 or b.ndim != 1:
        raise Fault(f"outer needs two arrays of one axis each (got {a.ndim} and {b.ndim} axes)")
    check_size(a.shape + b.shape)
    dims = (*a.dims, b.dims[0] if b.dims != a.dims else None)
    return compute(np.outer, lambda x, y: _tt().outer(x, y), [a, b], dims)


def transpose(a: Value) -> Value:
    """Reverse the order of the axes."""
    return compute(np.transpose, lambda x: x.T, [a], a.dims[::-1])


def stack(*arguments: Value) -> Value:
    """Put arrays side by side along a new last axis, which has no name."""
    dims, aligned = align(arguments)
    shape = np.broadcast_shapes(*[a.shape for a in aligned])
    check_size((*shape, len(aligned)))

    def in_theano(*parts: Any) -> Any:
        wide = _tt().zeros(shape)
        return _tt().stack([part + wide for part in parts], axis=-1)

    return compute(lambda *parts: np.stack(np.broadcast_arrays(*parts), axis=-1), in_theano, aligned, (*dims, None))


def concatenate(*arguments: Value) -> Value:
    """Put arrays one after another along their first axis; single numbers count as one element."""
    longest = max(a.ndim for a in arguments)
    if longest == 0:
        return stack(*arguments)
    rest_of = {a.shape[1:] for a in arguments if a.ndim == longest}
    if len(rest_of) > 1 or any(a.ndim != longest and (a.ndim, longest) != (0, 1) for a in arguments):
        raise Fault("the arrays to concatenate differ in their other axes")
    parts = [a if a.ndim else _as_row(a) for a in arguments]
    rest = next(a.dims[1:] for a in arguments if a.ndim == longest)
    return compute(
        lambda *xs: np.concatenate(xs, axis=0), lambda *xs: _tt().concatenate(xs, axis=0), parts, (None, *rest)
    )


def _as_row(value: Value) -> Value:
    return compute(lambda x: np.reshape(x, (1,)), lambda x: _tt().shape_padleft(x), [value], (None,))


def diff(a: Value) -> Value:
    """Return the differences of neighbours along the last axis, one fewer than there are numbers."""
    if not a.ndim or a.shape[-1] < 2:
        raise Fault("diff needs an array of two numbers or more")
    return compute(lambda x: np.diff(x, axis=-1), lambda x: x[..., 1:] - x[..., :-1], [a], (*a.dims[:-1], None))


def lag(a: Value, steps: Value | None = None) -> Value:
    """Shift along the first axis; the places that become free are gaps (NaN)."""
    by = 1 if steps is None else whole_number(steps, "steps")
    if not a.ndim or abs(by) > a.shape[0]:
        raise Fault(f"lag by {by} needs an array of at least {abs(by)} rows")
    gaps = np.full((abs(by), *a.shape[1:]), np.nan)

    def shifted(join: Callable[..., Any]) -> Callable[[Any], Any]:
        kept = slice(None, a.shape[0] - by) if by > 0 else slice(-by, None)
        return lambda x: x if by == 0 else join([gaps, x[kept]] if by > 0 else [x[kept], gaps])

    return compute(
        shifted(lambda parts: np.concatenate([np.asarray(p, dtype=float) for p in parts], axis=0)),
        shifted(lambda parts: _tt().concatenate(parts, axis=0)),
        [a],
    )


def arange(start: Value, stop: Value | None = None, step: Value | None = None) -> Value:
    """Count: from 0 to below `start`, or from `start` to below `stop`."""
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
    """Make an array of one number."""
    sizes = [whole_number(size, "shape") for size in shape]
    if any(size < 1 for size in sizes):
        raise Fault(f"a shape needs sizes above 0 (got {sizes})")
    check_size(sizes)
    return constant(np.full(sizes, number))


def whole_number(value: Value, what: str) -> int:
    """Return the whole number that a value is known to be.

    Raises
    ------
    Fault
        When it depends on a random variable, or is no single whole number.
    """
    if value.known is None:
        raise Fault(f"'{what}' must be known beforehand, this depends on a random variable")
    if value.ndim or not np.isfinite(value.known) or value.known != np.round(value.known) or abs(value.known) > 2**53:
        raise Fault(f"'{what}' must be one whole number")
    return int(value.known)


def index(value: Value, parts: Sequence[Value | slice]) -> Value:
    """Take elements: each part is a slice or whole numbers, counted from 0; arrays of them meet by name.

    The axes of the index replace the axis that it picks from, so `theta[county]` is over the rows' dim.
    """
    if len(parts) > value.ndim:
        raise Fault(f"{len(parts)} indices for {_all(value)}, which has {value.ndim} axes")
    full = [*parts, *[slice(None)] * (value.ndim - len(parts))]
    numbers = [i for i, part in enumerate(full) if isinstance(part, Value)]
    picks = [_checked(full[i], value, i) for i in numbers]  # type: ignore[arg-type]
    index_dims, aligned = align(picks) if picks else ((), [])
    dims = _dims_after(value, full, numbers, index_dims)

    def take(x: Any, *picked: Any) -> Any:
        chosen: list[Any] = list(full)
        for i, pick in zip(numbers, picked, strict=True):
            chosen[i] = pick
        return x[tuple(chosen)]

    result = compute(take, take, [value, *[_stretched_pick(p, aligned) for p in aligned]], dims)
    return _unnamed_repeats(result)


def _stretched_pick(pick: Value, picks: Sequence[Value]) -> Value:
    """Known indices are broadcast to one shape, which is easier on Theano than several shapes."""
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
    graph = pick.graph if pick.known.dtype.kind in "iu" else None
    return Value(pick.dims, pick.shape, rounded.astype(np.int64), graph)


def _as_integer(pick: Value) -> Value:
    """A random index has no bounds that can be checked here."""
    graph = None if pick.graph is None else _tt().cast(pick.graph, "int64")
    return Value(pick.dims, pick.shape, graph=graph, sample=np.zeros(pick.shape, dtype=np.int64))


def _dims_after(value: Value, full: Sequence[Any], numbers: Sequence[int], index_dims: Dims) -> Dims:
    """Return the dims of the result, in NumPy's order: the index' own axes go where the first of them picked."""
    together = not numbers or numbers == list(range(numbers[0], numbers[-1] + 1))
    dims: list[str | None] = [] if together else list(index_dims)
    for axis, part in enumerate(full):
        if axis in numbers:
            dims += index_dims if together and axis == numbers[0] else ()
        else:
            dims.append(value.dims[axis] if part in (slice(None), slice(None, None, 1)) else None)
    return tuple(dims)


def _unnamed_repeats(value: Value) -> Value:
    """A name that came up twice (`sigma[group, group2]` over one dim) stays with its first axis."""
    seen: set[str] = set()
    dims: list[str | None] = []
    for name in value.dims:
        dims.append(None if name in seen else name)
        seen |= {name} if name else set()
    return value.named(dims)
