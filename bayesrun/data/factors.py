"""Factors: a column of labels becomes 0-based codes over the rows and a dim with the sorted labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array, plain
from bayesrun.errors import Problem, check, did_you_mean

LABELS = "labels"
"""Attribute of a factor's codes: the dim that holds their labels."""


def add_factors(data: xr.Dataset, factors: Mapping[str, str]) -> xr.Dataset:
    """Replace label columns by codes.

    Parameters
    ----------
    data
        Renamed variables.
    factors
        Name of the codes to the column of labels, which becomes a dim of that name.

    Returns
    -------
    xarray.Dataset
        Codes are whole numbers; where a label is missing, NaN (and then all are floats).

    Raises
    ------
    UserError
        For columns that are not there or can't be labels, and names that are taken: all of them.
    """
    check([p for name, column in factors.items() for p in _problems(data, name, column)])
    made = {name: _encode(data[column]) for name, column in factors.items()}
    codes = {name: (data[column].dims, made[name][0], {LABELS: column}) for name, column in factors.items()}
    labels = {column: made[name][1] for name, column in factors.items()}
    return data.drop_vars(list(labels)).assign(codes).assign_coords(labels)


def _problems(data: xr.Dataset, name: str, column: str) -> list[Problem]:
    key = f"data.factors.{name}"
    if column not in data.variables:
        names = [str(n) for n in data.variables]
        return [Problem(key, f"there is no column '{column}'", did_you_mean(column, names))]
    if name in data.variables or name in data.dims:
        return [Problem(key, f"the name '{name}' is taken by a column or a dim", "give the codes a new name")]
    if column in data.dims:
        return [Problem(key, f"'{column}' labels the rows already", "set data.dim to another name")]
    return _no_labels(data[column], key)


def _no_labels(column: xr.DataArray, key: str) -> list[Problem]:
    values = column.values
    there = values[~pd.isna(values)]
    if values.ndim != 1:
        return [Problem(key, f"'{column.name}' has {values.ndim} dims", "a factor is made of a column over the rows")]
    if not there.size:
        return [Problem(key, f"all values of '{column.name}' are missing", "choose another column")]
    if len({isinstance(v, str) for v in there}) > 1:
        return [Problem(key, f"'{column.name}' mixes text and numbers", "write all labels in the same way")]
    return []


def _encode(column: xr.DataArray) -> tuple[Array, Array]:
    values = column.values
    missing = pd.isna(values)
    found, levels = pd.factorize(values[~missing], sort=True)
    codes = np.full(values.shape, np.nan)
    codes[~missing] = found
    return (codes if missing.any() else codes.astype(np.int64)), _whole(plain(levels))


def _whole(labels: Array) -> Array:
    """Undo what missing values do to whole numbers: labels 0.0 and 1.0 are 0 and 1."""
    whole = labels.dtype.kind == "f" and bool(np.all(labels == np.round(labels)))
    return labels.astype(np.int64) if whole else labels
