"""Labels of dims: each must be there, and stand for one place only."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from bayesrun.data._places import text_of
from bayesrun.errors import Problem

_SHOWN = 5


def label_problems(data: xr.Dataset, row_dim: str) -> list[Problem]:
    """Return the dims whose labels are missing or repeat.

    Parameters
    ----------
    data
        Prepared variables, each dim with labels.
    row_dim
        Name of the row dimension (`data.dim`).
    """
    return [p for dim in data.dims for p in _of_dim(data[dim], "data.dim" if dim == row_dim else "data.dims")]


def _of_dim(labels: xr.DataArray, key: str) -> list[Problem]:
    values = pd.Series(labels.values)
    missing = int(values.isna().sum())
    if missing:
        message = f"{missing} of {len(values)} labels of dim '{labels.name}' are missing"
        return [Problem(key, message, "fill them in, or drop their rows: data.drop_missing=rows")]
    repeated = values[values.duplicated()].unique()
    if not len(repeated):
        return []
    shown = ", ".join(text_of(v) for v in repeated[:_SHOWN]) + (", ..." if len(repeated) > _SHOWN else "")
    message = f"labels of dim '{labels.name}' repeat: {shown}"
    return [Problem(key, message, f"give the dim another name; '{labels.name}' then stays a plain variable")]
