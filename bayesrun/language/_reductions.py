"""Functions along an axis: reductions, cumulative sums, standardizing. Gaps (NaN) in known numbers are left out.

`std`, `var` and `zscore` divide by n - 1. Without a dim a reduction is over all axes, a cumulative function and
`softmax` go along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special

from bayesrun.language.values import Fault, Value, compute

_Reduction = Callable[[Any, Any], Any]


def _tt() -> Any:
    import theano.tensor as tt

    return tt


def _count(x: Any, axis: Any) -> Any:
    """Number of values that are reduced, as a symbol."""
    tt = _tt()
    return x.size if axis is None else tt.cast(x.shape[axis], "float64")


def _var(x: Any, axis: Any) -> Any:
    tt = _tt()
    return tt.sum(tt.sqr(x - tt.mean(x, axis=axis, keepdims=True)), axis=axis) / (_count(x, axis) - 1)


def _median(x: Any, axis: Any) -> Any:
    tt = _tt()
    flat, axis = (x.flatten(), 0) if axis is None else (x, axis)
    ordered = tt.sort(flat, axis=axis)
    size = flat.shape[axis]
    low, high = tt.take(ordered, (size - 1) // 2, axis=axis), tt.take(ordered, size // 2, axis=axis)
    return (low + high) / 2.0


def _logsumexp(x: Any, axis: Any) -> Any:
    tt = _tt()
    top = tt.max(x, axis=axis, keepdims=True)
    return tt.log(tt.sum(tt.exp(x - top), axis=axis)) + (top.sum() if axis is None else tt.sum(top, axis=axis))


def _zscore(x: Any, axis: Any) -> Any:
    tt = _tt()
    deviation = tt.sqrt(_var(x, axis))
    wide = deviation if axis is None else tt.shape_padaxis(deviation, axis)
    return (x - tt.mean(x, axis=axis, keepdims=True)) / wide


def _softmax(x: Any, axis: Any) -> Any:
    tt = _tt()
    shifted = tt.exp(x - tt.max(x, axis=axis, keepdims=True))
    return shifted / tt.sum(shifted, axis=axis, keepdims=True)


def _without_gaps(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy gives one warning for all-NaN input; the result NaN says it all."""

    def call(x: Any, **options: Any) -> Any:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(x, **options)

    return call


_REDUCE: dict[str, tuple[_Reduction, _Reduction]] = {
    "sum": (lambda x, a: np.nansum(x, axis=a), lambda x, a: _tt().sum(x, axis=a)),
    "prod": (lambda x, a: np.nanprod(x, axis=a), lambda x, a: _tt().prod(x, axis=a)),
    "mean": (lambda x, a: _without_gaps(np.nanmean)(x, axis=a), lambda x, a: _tt().mean(x, axis=a)),
    "std": (lambda x, a: _without_gaps(np.nanstd)(x, axis=a, ddof=1), lambda x, a: _tt().sqrt(_var(x, a))),
    "var": (lambda x, a: _without_gaps(np.nanvar)(x, axis=a, ddof=1), _var),
    "min": (lambda x, a: _without_gaps(np.nanmin)(x, axis=a), lambda x, a: _tt().min(x, axis=a)),
    "max": (lambda x, a: _without_gaps(np.nanmax)(x, axis=a), lambda x, a: _tt().max(x, axis=a)),
    "median": (lambda x, a: _without_gaps(np.nanmedian)(x, axis=a), _median),
    "logsumexp": (lambda x, a: special.logsumexp(x, axis=a), _logsumexp),
}
_ALONG: dict[str, tuple[_Reduction, _Reduction]] = {
    "cumsum": (lambda x, a: np.cumsum(x, axis=a), lambda x, a: _tt().cumsum(x, axis=a)),
    "cumprod": (lambda x, a: np.cumprod(x, axis=a), lambda x, a: _tt().cumprod(x, axis=a)),
    "softmax": (lambda x, a: special.softmax(x, axis=a), _softmax),
    "zscore": (
        lambda x, a: (
            (x - _without_gaps(np.nanmean)(x, axis=a, keepdims=True))
            / _without_gaps(np.nanstd)(x, axis=a, ddof=1, keepdims=True)
        ),
        _zscore,
    ),
}


def call(name: str, arguments: Sequence[Value], dim: str | int | None) -> Value | None:
    """Call a function along an axis; None when `name` is no such function."""
    if name in _REDUCE:
        return _reduce(name, arguments[0], dim)
    if name in _ALONG:
        value = arguments[0]
        axis = axis_of(value, dim) if dim is not None else None if name == "zscore" else axis_of(value, -1)
        in_numpy, in_theano = _ALONG[name]
        return compute(lambda x: in_numpy(x, axis), lambda x: in_theano(x, axis), [value])
    return None


def _reduce(name: str, value: Value, dim: str | int | None) -> Value:
    axis = None if dim is None else axis_of(value, dim)
    if name in ("min", "max", "median", "mean") and 0 in value.shape:
        raise Fault(f"{name} of nothing: the array is empty")
    left = () if axis is None else tuple(d for i, d in enumerate(value.dims) if i != axis)
    in_numpy, in_theano = _REDUCE[name]
    return compute(lambda x: in_numpy(x, axis), lambda x: in_theano(x, axis), [value], left)


def axis_of(value: Value, dim: str | int) -> int:
    """Return the number of an axis that is given by name or number.

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
