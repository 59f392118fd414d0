"""Arrays of plain dtypes over named dims, and how messages locate values in them: `year 1890, 1934`.

A plain array holds numbers (missing: NaN), booleans, `datetime64[ns]` (missing: NaT), or objects: text (missing: None).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from bayesrun.data.base import ArraySpec
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.lazy import pd, xr

Array = np.ndarray[Any, Any]
_PLACES = 10
_VALUES = 5
_MAX_LENGTH = 80

Variables = Mapping[str, tuple[tuple[str, ...], Array]]


def from_values(values: Mapping[str, Any], spec: ArraySpec, key: str) -> xr.Dataset:
    """Build a Dataset from nested lists.

    Parameters
    ----------
    values
        Names mapped to a number or nested lists of numbers, text or nulls (missing values).
    spec
        The section `data`: `dims` names the dims of arrays. Without it, a list is over `spec.dim`; a list with the
        name of a dim holds that dim's labels. Further dims are called `NAME_dim_1`, ...
    key
        Config key of the values, for messages.

    Raises
    ------
    UserError
        For ragged lists, mismatched dims and inconsistent lengths; all problems are reported.
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
    """Return a problem for each key of `data.dims` that matches no array."""
    return [
        Problem(f"data.dims.{name}", f"there is no array '{name}'", did_you_mean(name, names))
        for name in spec.dims
        if name not in names
    ]


def assemble(variables: Variables, key: str) -> xr.Dataset:
    """Build a Dataset from arrays with known dims.

    Parameters
    ----------
    variables
        Names mapped to (dims, array). A 1-d array with the name of its dim holds the labels of that dim.
    key
        Config key of the arrays, for messages.

    Raises
    ------
    UserError
        When the numbers of dims, the sizes or the labels are inconsistent.
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
            f"'{name}' has the name of a dim, but is not its labels: its dims are {_sizes(dims)}",
            "give the variable or the dim another name",
        )
        for name, (dims, _) in variables.items()
        if name in dims_used and dims != (name,)
    ]


def _sizes(parts: Sequence[object]) -> str:
    return f"[{', '.join(str(p) for p in parts)}]"


def plain(values: Any) -> Array:
    """Return values as an array of a plain dtype; missing numbers are NaN, missing dates NaT, missing text None.

    Durations become numbers of days, as differences of dates are.

    Parameters
    ----------
    values
        A column of a data frame or an array, of any pandas or NumPy type.
    """
    if isinstance(values, pd.Series):
        values = _without_extension(values)
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return array.astype("datetime64[ns]")
    if array.dtype.kind == "m":
        return np.asarray(array / np.timedelta64(1, "D"))
    if array.dtype.kind in "US":
        return array.astype(object)
    return _plain_objects(array) if array.dtype == object else array


def nested(values: Any) -> Array:
    """Return nested lists as an array.

    Raises
    ------
    ValueError
        When the lists are ragged or contain anything other than numbers, text, dates, booleans and nulls.
    """
    shape = _shape(values)
    flat = _flat(values, len(shape))
    if any(isinstance(v, dict | list | tuple) for v in flat):
        raise ValueError("must be a number, or a list of numbers or text")
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return _plain_objects(array).reshape(shape)


def _without_extension(column: pd.Series[Any]) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if isinstance(dtype, np.dtype):
        return column.to_numpy()
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) and column.isna().any():
        return column.to_numpy(dtype=float, na_value=np.nan)
    return column.astype(object).to_numpy()


def _plain_objects(array: Array) -> Array:
    """Convert objects of a single kind to the matching dtype: a column of `Decimal` becomes floats."""
    missing = pd.isna(array)
    # compare types first: a long column has few, and checking the kind of each value would take seconds
    kinds = {_kind(t) for t in set(map(type, array[~missing].tolist()))}
    if not kinds:
        return np.full(array.shape, np.nan)
    if kinds == {"bool"} and not missing.any():
        return array.astype(bool)
    if kinds == {"int"} and not missing.any() and _fits_int64(array):
        return array.astype(np.int64)
    if kinds <= {"int", "float"} or kinds == {"bool"}:
        return np.where(missing, np.nan, array).astype(float)
    if kinds == {"date"}:
        return np.asarray(pd.to_datetime(array.ravel(), utc=True).tz_localize(None)).reshape(array.shape)
    return with_none(array, missing)


def with_none(array: Array, missing: Array) -> Array:
    """Return an array as objects, with None where `missing` is true."""
    objects = array.astype(object)
    objects[missing] = None
    return objects


def _kind(of: type) -> str:
    if issubclass(of, bool | np.bool_):
        return "bool"
    if issubclass(of, int | np.integer):
        return "int"
    if issubclass(of, float | np.floating | Decimal):
        return "float"
    return "date" if issubclass(of, datetime.date | np.datetime64) else "other"


def _fits_int64(array: Array) -> bool:
    limits = np.iinfo(np.int64)
    return all(limits.min <= int(v) <= limits.max for v in array.flat)


def _shape(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        return ()
    inner = {_shape(v) for v in values}
    if len(inner) > 1:
        raise ValueError(_ragged(values))
    return (len(values), *(inner.pop() if inner else ()))


def _ragged(values: Sequence[Any]) -> str:
    if any(isinstance(v, list | tuple) for v in values) and any(not isinstance(v, list | tuple) for v in values):
        return "is ragged: its list holds lists beside single values"
    first = len(values[0])
    odd = next((i for i, v in enumerate(values) if len(v) != first), None)
    if odd is None:
        return "is ragged: its inner lists have different lengths"
    return f"is ragged: row 0 has {first} values, row {odd} has {len(values[odd])}"


def _flat(values: Any, depth: int) -> list[Any]:
    if depth == 0:
        return [values]
    return list(values) if depth == 1 else [v for row in values for v in _flat(row, depth - 1)]


def where_missing(variable: xr.DataArray) -> xr.DataArray:
    """Return where a variable of any dtype is missing, as booleans over its dims."""
    return variable.copy(data=np.asarray(pd.isna(variable.values)))


def places(where: xr.DataArray, most: int = _PLACES) -> str:
    """Describe where an array of booleans is true, by the labels of its dims.

    Parameters
    ----------
    where
        Booleans over any dims.
    most
        Maximum number of places to name; the others are only counted.
    """
    found = np.argwhere(where.values)
    shown = [_place(where, index) for index in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    if where.ndim == 1:
        return f"{where.dims[0]} {', '.join(shown)}{more}"
    return f"{'; '.join(shown)}{more}" if where.ndim else "its only value"


def shown_values(variable: xr.DataArray, where: xr.DataArray) -> str:
    """List the selected values and where they are: `-1, -3 (year 1890, 1934)`."""
    values = variable.values[where.values].ravel()
    more = ", ..." if values.size > _VALUES else ""
    return f"{', '.join(text_of(v) for v in values[:_VALUES])}{more} ({places(where, _VALUES)})"


def text_of(value: Any) -> str:
    """Return a label or value as text; a date without a time is written as `2008-05-02`."""
    if isinstance(value, np.datetime64):
        return str(pd.Timestamp(value)).removesuffix(" 00:00:00")
    if not isinstance(value, str):
        return str(value)
    return f"'{value}'" if len(value) <= _MAX_LENGTH else f"'{value[:_MAX_LENGTH]}...'"


def _place(where: xr.DataArray, index: Any) -> str:
    labels = [_label(where, str(dim), int(i)) for dim, i in zip(where.dims, index, strict=True)]
    if where.ndim == 1:
        return labels[0]
    return ", ".join(f"{dim} {text}" for dim, text in zip(where.dims, labels, strict=True))


def _label(where: xr.DataArray, dim: str, index: int) -> str:
    return text_of(where.coords[dim].values[index]) if dim in where.coords else str(index)
