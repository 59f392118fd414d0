"""The first steps on raw variables: which are kept and under which name, dates, and labels of dims."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data._arrays import assemble
from bayesrun.data._values import Array, plain, with_none
from bayesrun.errors import Problem, check, did_you_mean

_SHOWN = 5


def choose(raw: xr.Dataset, columns: Sequence[str] | dict[str, str] | None) -> xr.Dataset:
    """Keep and rename variables; the labels of their dims come along.

    Parameters
    ----------
    raw
        What the source read.
    columns
        Names to keep, or name to column in the file; null keeps all.

    Raises
    ------
    UserError
        When a column is not there, or its new name is that of a dim it does not label.
    """
    wanted = _wanted(raw, columns)
    check(_not_there(raw, wanted))
    kept = {new: raw[old].variable for _, new, old in wanted}
    renamed = {old for _, new, old in wanted if new != old}
    for dim in {str(d) for variable in kept.values() for d in variable.dims}:
        if dim in raw.coords and dim not in kept and dim not in renamed:
            kept[dim] = raw[dim].variable
    arrays = {n: (tuple(str(d) for d in v.dims), plain(v.values)) for n, v in kept.items()}
    return assemble(arrays, "data.columns").assign_attrs(raw.attrs)


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
            problems.append(Problem(key, f"there is no column '{name}'", did_you_mean(name, _names(data))))
            continue
        dates = _dates(data[name].values)
        problems += _no_dates(name, data[name].values, dates, key)
        parsed[name] = (data[name].dims, dates)
    check(problems)
    return data.assign(parsed)


def label(data: xr.Dataset) -> xr.Dataset:
    """Give dims without labels the labels 0..n-1."""
    return data.assign_coords({dim: np.arange(n) for dim, n in data.sizes.items() if dim not in data.coords})


def _wanted(raw: xr.Dataset, columns: Sequence[str] | dict[str, str] | None) -> list[tuple[str, str, str]]:
    """List (config key, new name, old name) of what is kept."""
    if columns is None:
        return [("data.columns", name, name) for name in _names(raw)]
    if isinstance(columns, dict):
        return [(f"data.columns.{new}", new, old) for new, old in columns.items()]
    return [(f"data.columns[{i}]", name, name) for i, name in enumerate(columns)]


def _not_there(raw: xr.Dataset, wanted: Sequence[tuple[str, str, str]]) -> list[Problem]:
    names, origin = _names(raw), raw.attrs.get("origin", "the data")
    return [
        Problem(key, f"there is no column '{old}' in '{origin}'", did_you_mean(old, names))
        for key, _, old in wanted
        if old not in names
    ]


def _names(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data.variables]


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
