"""Dates in expressions: days since 1970-01-01, marked as dates, and the operations allowed on them.

A difference of dates is a number of days, a date plus a number is a date; `min(ts)`, `ts[0]` and `lag(ts)` are dates.
Everything else takes a number: `days(ts)`, `year(ts)`, `month(ts)`, `weekday(ts)`, `day_of_year(ts)`, `trend(ts)`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.values import Dims, Fault, Value, constant
from bayesrun.lazy import pd

Array = NDArray[Any]

PARTS = ("days", "year", "month", "weekday", "day_of_year")
_OF_ONE = ("min", "max", "mean", "median", "lag", "clip")
_DATES_OF_DATES = frozenset([*_OF_ONE, "where", "switch", "stack", "concatenate", "minimum", "maximum"])
_NUMBERS_OF_DATES = frozenset(["diff", "std", "trend", "zscore"])
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_HINT = "make a number of it: days(date), year(date), month(date), weekday(date), day_of_year(date) or trend(date)"


def date_value(dates: Array, dims: Dims) -> Value:
    """Convert dates (`datetime64`) to a value in days since 1970-01-01, NaN where a date is missing."""
    return replace(constant(to_days(dates), dims), date=True)


def to_days(dates: Array) -> Array:
    """Return days since 1970-01-01, with the time of day as a fraction."""
    whole = dates.astype("datetime64[ns]")
    days = whole.astype(np.int64) / 86_400e9
    return np.where(np.isnat(whole), np.nan, days)


def to_dates(days: Array) -> Array:
    """Convert days since 1970-01-01 to dates (`datetime64[ns]`), to the microsecond."""
    missing = np.isnan(days)
    micro = np.round(np.where(missing, 0.0, days) * 86_400e6).astype(np.int64)
    dates = micro.astype("datetime64[us]").astype("datetime64[ns]")
    return np.where(missing, np.datetime64("NaT", "ns"), dates)


def date_of_text(text: str) -> Value:
    """Parse a quoted date in an expression.

    Raises
    ------
    Fault
        When it is not a date in the form year-month-day.
    """
    try:
        if not text[:4].isdigit():
            raise ValueError(text)
        day = pd.Timestamp(text)
    except ValueError:
        raise Fault(f"'{text}' is not a date", "write it as year-month-day: '2024-11-05'") from None
    stamp = day.tz_convert("UTC").tz_localize(None) if day.tzinfo else day
    return date_value(np.asarray(stamp.to_datetime64()), ())


def is_date_after_operator(operator: ast.AST, parts: Sequence[Value]) -> bool:
    """Return whether the result of an operator is a date.

    Raises
    ------
    Fault
        When the operator can't be applied to dates.
    """
    dates = [part.date for part in parts]
    if isinstance(operator, ast.Sub) and dates[0]:
        return not dates[1]
    if isinstance(operator, ast.Add) and dates.count(True) == 1:
        return True
    if isinstance(operator, _COMPARISONS):
        if all(dates):
            return False
        raise Fault("a date is compared with a number", "compare it with a date: ts > '2024-11-05'")
    raise Fault("dates can't be used in this way", _HINT)


def is_date_after_call(name: str, arguments: Sequence[Value]) -> bool:
    """Return whether the result of a function is a date.

    Raises
    ------
    Fault
        When the function does not accept dates, or its arguments mix dates and numbers.
    """
    of = arguments[1:] if name in ("where", "switch") else arguments[:1] if name == "lag" else arguments
    if name in PARTS or (name in _NUMBERS_OF_DATES and all(v.date for v in of)):
        return False
    if name in _DATES_OF_DATES and (name in ("where", "switch", "lag") or all(v.date for v in of)):
        if any(v.date for v in of) and not all(v.date for v in of):
            raise Fault(f"{name} mixes dates and numbers", "give it dates only, or make numbers with days(date)")
        return all(v.date for v in of)
    raise Fault(f"{name} can't take dates", _HINT)


def date_part(name: str, value: Value) -> Value:
    """Compute one of the `PARTS` of dates.

    Returns
    -------
    Value
        Days since 1970-01-01; the year; the month, 1 to 12; the day of the week (0 is Monday); the day of the year,
        1 to 366.

    Raises
    ------
    Fault
        When the argument is not a date.
    """
    if not value.date:
        raise Fault(f"{name} needs dates", "parse the column with data.parse_dates")
    return constant(part_of_days(name, value.known), value.dims)


def part_of_days(name: str, days: Array) -> Array:
    """Compute one of the `PARTS` of days since 1970-01-01; the result is integer unless a date is missing."""
    if name == "days":
        return days
    dates = to_dates(days)
    index = pd.DatetimeIndex(dates.ravel())
    part = np.asarray(getattr(index, {"day_of_year": "dayofyear"}.get(name, name))).reshape(dates.shape)
    return part if part.dtype.kind == "f" else part.astype(np.int64)
