"""Text to dates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array, with_none
from bayesrun.errors import Problem, check, did_you_mean

_SHOWN = 5


def parse_dates(data: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Parse text variables as dates (`datetime64[ns]`, UTC where a time zone is given).

    Parameters
    ----------
    data
        Renamed variables.
    names
        Variables to parse.

    Raises
    ------
    UserError
        For names that are not there and values that are no dates: all of them.
    """
    problems: list[Problem] = []
    parsed = {}
    for index, name in enumerate(names):
        key = f"data.parse_dates[{index}]"
        if name not in data.variables:
            problems.append(Problem(key, f"there is no column '{name}'", did_you_mean(name, map(str, data.variables))))
            continue
        dates = _dates(data[name].values)
        problems += _no_dates(name, data[name].values, dates, key)
        parsed[name] = (data[name].dims, dates)
    check(problems)
    return data.assign(parsed)


def _dates(values: Array) -> Array:
    # numbers are no dates: pandas would take them as nanoseconds since 1970
    if values.dtype.kind in "iufb":
        values = with_none(values.astype(str), np.isnan(values.astype(float)))
    flat = pd.Series(values.ravel(), dtype=object)
    with warnings.catch_warnings():
        # what pandas warns of (a format that it can't infer, day before month) ends as a date or as our error
        warnings.simplefilter("ignore", UserWarning)
        dates = pd.to_datetime(flat, errors="coerce", utc=True).dt.tz_localize(None)
    return np.asarray(dates, dtype="datetime64[ns]").reshape(values.shape)


def _no_dates(name: str, values: Array, dates: Array, key: str) -> list[Problem]:
    bad = values[pd.isna(dates) & ~pd.isna(values)]
    if not bad.size:
        return []
    shown = ", ".join(f"'{v}'" for v in bad[:_SHOWN]) + (", ..." if bad.size > _SHOWN else "")
    message = f"{bad.size} of {values.size} values of '{name}' are no dates in the format of the first: {shown}"
    return [Problem(key, message, "write all in one format, best as year-month-day: 2008-05-02")]
