"""Raw values to plain NumPy arrays: numbers, booleans, `datetime64[ns]`, or objects (text, with None as gap)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]


def plain(values: Any) -> Array:
    """Return values as an array of a plain kind, the gaps of numbers as NaN, of dates as NaT, of text as None.

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
    if array.dtype.kind in "US":
        return array.astype(object)
    return _plain_objects(array) if array.dtype == object else array


def nested(values: Any) -> Array:
    """Return nested lists as an array.

    Raises
    ------
    ValueError
        When the lists are ragged or hold anything but numbers, text, dates, booleans and nulls.
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
    """Give objects of one kind that kind's own dtype: a column of `Decimal` is one of floats."""
    gaps = pd.isna(array)
    # types first: a long column has few, and looking at each value's kind would take seconds
    kinds = {_kind(t) for t in set(map(type, array[~gaps].tolist()))}
    if not kinds:
        return np.full(array.shape, np.nan)
    if kinds == {"bool"} and not gaps.any():
        return array.astype(bool)
    if kinds == {"int"} and not gaps.any() and _fits_int64(array):
        return array.astype(np.int64)
    if kinds <= {"int", "float"} or kinds == {"bool"}:
        return np.where(gaps, np.nan, array).astype(float)
    if kinds == {"date"}:
        return np.asarray(pd.to_datetime(array.ravel(), utc=True).tz_localize(None)).reshape(array.shape)
    return with_none(array, gaps)


def with_none(array: Array, gaps: Array) -> Array:
    """Return an array as objects, with None where `gaps` is true."""
    objects = array.astype(object)
    objects[gaps] = None
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
