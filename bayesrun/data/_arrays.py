"""Named arrays to a Dataset: every array gets its dims, and sizes and labels must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from bayesrun.data._values import Array, nested
from bayesrun.data.base import ArraySpec
from bayesrun.errors import Problem, check, did_you_mean

Variables = Mapping[str, tuple[tuple[str, ...], Array]]


def from_values(values: Mapping[str, Any], spec: ArraySpec, key: str) -> xr.Dataset:
    """Make a Dataset of nested lists.

    Parameters
    ----------
    values
        Name to number or nested lists of numbers, text or nulls (gaps).
    spec
        The section `data`: `dims` names the dims of arrays. Without it a list is over `spec.dim`, or over itself
        where it bears the name of a dim (its labels); further dims are called `NAME_dim_1`, ...
    key
        Config key of the values, for messages.

    Raises
    ------
    UserError
        For ragged lists, dims that do not match, lengths that do not agree: all of them.
    """
    problems = unknown_dims(spec, values)
    arrays: dict[str, Array] = {}
    for name, value in values.items():
        try:
            arrays[name] = nested(value)
        except ValueError as error:
            problems.append(Problem(f"{key}.{name}", f"'{name}' {error}", "give each row as many values as the others"))
    check(problems)
    return assemble({name: (_dims_of(name, array, spec), array) for name, array in arrays.items()}, key)


def unknown_dims(spec: ArraySpec, names: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of `data.dims` keys that name no array."""
    return [
        Problem(f"data.dims.{name}", f"there is no array '{name}'", did_you_mean(name, names))
        for name in spec.dims
        if name not in names
    ]


def assemble(variables: Variables, key: str) -> xr.Dataset:
    """Make a Dataset of arrays whose dims are known.

    Parameters
    ----------
    variables
        Name to (dims, array). A 1-d array that bears the name of its dim holds its labels.
    key
        Config key of the arrays, for messages.

    Raises
    ------
    UserError
        When number of dims, sizes or labels do not agree.
    """
    check(_wrong_count(variables, key))
    check([*_repeated_dims(variables), *_wrong_size(variables), *_bad_labels(variables, key)])
    return xr.Dataset({name: (dims, array) for name, (dims, array) in variables.items()})


def _dims_of(name: str, array: Array, spec: ArraySpec) -> tuple[str, ...]:
    if name in spec.dims:
        return tuple(spec.dims[name])
    if array.ndim == 1 and name in {spec.dim, *(d for dims in spec.dims.values() for d in dims)}:
        return (name,)
    return (spec.dim, *(f"{name}_dim_{i}" for i in range(1, array.ndim)))[: array.ndim]


def _wrong_count(variables: Variables, key: str) -> list[Problem]:
    return [
        Problem(
            f"data.dims.{name}",
            f"'{name}' has {array.ndim} dims of sizes {_sizes(array.shape)}, but {len(dims)} are named: {_sizes(dims)}",
            f"name one dim for each level of lists in {key}.{name}",
        )
        for name, (dims, array) in variables.items()
        if len(dims) != array.ndim
    ]


def _repeated_dims(variables: Variables) -> list[Problem]:
    return [
        Problem(f"data.dims.{name}", f"'{name}' names a dim twice: {_sizes(dims)}", "give each dim a name of its own")
        for name, (dims, _) in variables.items()
        if len(set(dims)) < len(dims)
    ]


def _wrong_size(variables: Variables) -> list[Problem]:
    first: dict[str, tuple[str, int]] = {}
    problems = []
    for name, (dims, array) in variables.items():
        for dim, size in zip(dims, array.shape, strict=True):
            other, expected = first.setdefault(dim, (name, size))
            if size != expected:
                message = f"dim '{dim}' has size {size} in '{name}', but {expected} in '{other}'"
                hint = f"give them equal lengths, or another dim: data.dims: {{{name}: [...]}}"
                problems.append(Problem(f"data.dims.{name}", message, hint))
    return problems


def _bad_labels(variables: Variables, key: str) -> list[Problem]:
    dims_used = {dim for dims, _ in variables.values() for dim in dims}
    return [
        Problem(
            f"{key}.{name}",
            f"'{name}' bears the name of a dim, but is not its labels: its dims are {_sizes(dims)}",
            "give the variable or the dim another name",
        )
        for name, (dims, _) in variables.items()
        if name in dims_used and dims != (name,)
    ]


def _sizes(parts: Sequence[object]) -> str:
    return f"[{', '.join(str(p) for p in parts)}]"
