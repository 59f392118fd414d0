"""Say where something is in a variable: `year 1890, 1934`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

_PLACES = 10
_VALUES = 5


def where_missing(variable: xr.DataArray) -> xr.DataArray:
    """Return where a variable of any kind is missing: an array of booleans over its dims."""
    return variable.copy(data=np.asarray(pd.isna(variable.values)))


def places(where: xr.DataArray, most: int = _PLACES) -> str:
    """Say where an array of booleans is true, by the labels of its dims.

    Parameters
    ----------
    where
        Booleans over any dims.
    most
        Number of places that are named; of the others, only how many.
    """
    found = np.argwhere(where.values)
    shown = [_place(where, index) for index in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    if where.ndim == 1:
        return f"{where.dims[0]} {', '.join(shown)}{more}"
    return f"{'; '.join(shown)}{more}" if where.ndim else "its only value"


def shown_values(variable: xr.DataArray, where: xr.DataArray) -> str:
    """Say which values are meant and where: `-1, -3 (year 1890, 1934)`."""
    values = variable.values[where.values].ravel()
    more = ", ..." if values.size > _VALUES else ""
    return f"{', '.join(text_of(v) for v in values[:_VALUES])}{more} ({places(where, _VALUES)})"


def text_of(value: Any) -> str:
    """Return a label or value as text; a date without time as `2008-05-02`."""
    if isinstance(value, np.datetime64):
        return str(pd.Timestamp(value)).removesuffix(" 00:00:00")
    return f"'{value}'" if isinstance(value, str) else str(value)


def _place(where: xr.DataArray, index: Any) -> str:
    labels = [_label(where, str(dim), int(i)) for dim, i in zip(where.dims, index, strict=True)]
    if where.ndim == 1:
        return labels[0]
    return ", ".join(f"{dim} {text}" for dim, text in zip(where.dims, labels, strict=True))


def _label(where: xr.DataArray, dim: str, index: int) -> str:
    return text_of(where.coords[dim].values[index]) if dim in where.coords else str(index)
