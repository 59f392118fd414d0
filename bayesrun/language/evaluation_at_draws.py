"""The nodes of a declaration at every posterior draw, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.operations import OPERATIONS, Call, Constant, Data, Node, in_order
from bayesrun.language.recurrences import at_draws

Array = NDArray[Any]
_AT_ONCE = 1_000_000
"""Maximum number of values of a subexpression that are computed at once."""
NUMBER_BY_NUMBER = frozenset(
    (
        *("abs", "add", "and", "arctan", "as_integer", "atan", "clip", "cos", "divide", "equal", "erf", "exp"),
        *("expm1", "floor_divide", "gammaln", "greater", "greater_equal", "less", "less_equal", "log"),
        *("log1mexp", "log1p", "log_normal_cdf", "logaddexp", "logit", "maximum", "minimum", "mod", "multiply"),
        *("negative", "normal_cdf", "not", "not_equal", "ode", "or", "positive", "power", "probit", "sigmoid"),
        *("sign", "sin", "softplus", "sqrt", "square", "subtract", "tan", "tanh", "where"),
    )
)
"""Elementwise operations, which work with any leading axes."""


def evaluate_at_draws(
    nodes: Sequence[Node], variable: Callable[[str], Array], containers: Mapping[str, Array]
) -> list[Array]:
    """Compute nodes at every draw.

    Parameters
    ----------
    nodes
        Nodes to compute.
    variable
        Names mapped to arrays (draw, ...).
    containers
        Values of the data containers.

    Returns
    -------
    list of ndarray
        One array (draw, ...) per node; (1, ...) if nothing in it differs between draws.
    """
    order = list({id(part): part for node in nodes for part in in_order(node)}.values())
    fixed: dict[int, Any] = {}
    inputs: dict[int, Array] = {}
    steps: list[Call] = []
    with np.errstate(all="ignore"):
        for part in order:
            if isinstance(part, Constant):
                fixed[id(part)] = part.numbers
            elif isinstance(part, Data):
                fixed[id(part)] = containers[part.name]
            elif isinstance(part, Call):
                if all(id(given) in fixed for given in part.inputs):
                    fixed[id(part)] = _apply(part, fixed)
                else:
                    steps.append(part)
            else:
                inputs[id(part)] = variable(part.name)
        varying = [node for node in nodes if id(node) not in fixed and id(node) not in inputs]
        results = _at_draws(varying, steps, fixed, inputs)
    found = {**{key: np.asarray(value)[None] for key, value in fixed.items()}, **inputs, **results}
    return [np.asarray(found[id(node)]) for node in nodes]


def whole_factor(packed: Array) -> Array:
    """Return Cholesky factors (draw, row, column), of their lower triangle row by row (draw, element)."""
    size = int((np.sqrt(8 * packed.shape[-1] + 1) - 1) / 2)
    whole = np.zeros((len(packed), size, size))
    rows, columns = np.tril_indices(size)
    whole[:, rows, columns] = packed
    return whole


def _at_draws(
    nodes: Sequence[Node], steps: Sequence[Call], fixed: Mapping[int, Any], inputs: Mapping[int, Array]
) -> dict[int, Array]:
    """Compute what differs between draws: the first draw determines the sizes, the others follow in batches."""
    if not nodes:
        return {}
    count = max(len(values) for values in inputs.values())
    results: dict[int, Array] = {}
    first, stop = 0, 1
    while first < count:
        known = {key: values[first:stop] if len(values) > 1 else values for key, values in inputs.items()}
        for part in steps:
            known[id(part)] = _step(part, known, fixed)
        for node in nodes:
            value = known[id(node)]
            if not first:
                results[id(node)] = np.empty((count, *value.shape[1:]), value.dtype)
            results[id(node)][first:stop] = value
        largest = max(values.size // len(values) for values in known.values())
        first, stop = stop, stop + max(1, _AT_ONCE // max(1, largest))
    return results


def _step(part: Call, known: Mapping[int, Array], fixed: Mapping[int, Any]) -> Array:
    """Apply an operation at several draws: arrays (draw, ...) in and out."""
    given = [known[id(one)] if id(one) in known else np.asarray(fixed[id(one)]) for one in part.inputs]
    varies = [id(one) in known for one in part.inputs]
    if part.operation in NUMBER_BY_NUMBER:
        ndim = max(array.ndim - of for array, of in zip(given, varies, strict=True))
        meeting = [
            array.reshape(len(array), *(1,) * (ndim + 1 - array.ndim), *array.shape[1:]) if of else array
            for array, of in zip(given, varies, strict=True)
        ]
        return np.asarray(OPERATIONS[part.operation](*meeting, *part.settings))
    if part.operation == "contract" and varies.count(True) == 1:
        (x, y), (of_x, of_y) = given, part.settings
        if varies[0]:
            return np.tensordot(x, y, axes=(of_x % (x.ndim - 1) + 1, of_y))
        found = np.tensordot(x, y, axes=(of_x, of_y % (y.ndim - 1) + 1))
        return np.moveaxis(found, x.ndim - 1, 0)
    count = max(len(array) for array, of in zip(given, varies, strict=True) if of)
    if part.operation == "as_row":
        return given[0].reshape(len(given[0]), 1)
    if part.operation == "stack_last":
        shape = part.settings[0]
        return np.stack(
            [_broadcast(a if of else a[None], count, shape) for a, of in zip(given, varies, strict=True)], -1
        )
    if part.operation == "concatenate":
        parts = [a if of else a[None] for a, of in zip(given, varies, strict=True)]
        return np.concatenate([np.broadcast_to(a, (count, *a.shape[1:])) for a in parts], axis=1)
    if part.operation == "recurrence":
        return at_draws(OPERATIONS, given, varies, part.settings[0], count)
    every = []
    for draw in range(count):
        inputs = [a[draw if len(a) > 1 else 0] if of else a for a, of in zip(given, varies, strict=True)]
        every.append(np.asarray(OPERATIONS[part.operation](*inputs, *part.settings)))
    return np.stack(every)


def _broadcast(values: Array, count: int, shape: tuple[int, ...]) -> Array:
    """Broadcast values (draw, ...) to a shape at so many draws."""
    aligned = values.reshape(len(values), *(1,) * (len(shape) + 1 - values.ndim), *values.shape[1:])
    return np.broadcast_to(aligned, (count, *shape))


def _apply(part: Call, known: Mapping[int, Any]) -> Any:
    return OPERATIONS[part.operation](*[known[id(given)] for given in part.inputs], *part.settings)
