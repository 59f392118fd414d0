"""The first step on raw variables: which are kept and under which name; and the labels of their dims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import assemble, plain
from bayesrun.data.locate import text_of
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
