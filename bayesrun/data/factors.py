"""Factors and levels: a column of labels becomes 0-based codes over the rows and a dim with the labels in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array
from bayesrun.data.labels import as_levels, codes_of, labels_at, levels_of, value_key
from bayesrun.data.locate import shown_values
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.language.calendar_dates import to_days

LABELS = "labels"
"""Attribute of a factor's codes: the dim that holds their labels."""

Levels = Mapping[str, Iterable[Any]]


def by_column(levels: Levels, factors: Mapping[str, str]) -> dict[str, Iterable[Any]]:
    """Return `data.levels` by column, where a key may also name the codes of a factor."""
    return {factors.get(name, name): labels for name, labels in levels.items()}


def apply_levels(data: xr.Dataset, levels: Levels, factors: Mapping[str, str]) -> xr.Dataset:
    """Give columns the labels of `data.levels`, and remember their order in the attribute `levels`.

    Parameters
    ----------
    data
        Renamed variables.
    levels
        Column, or the codes that `factors` makes of it, to its labels in order.
    factors
        Name of codes to column.

    Raises
    ------
    UserError
        For columns that are not there, labels that repeat, and values that are none of the labels: all of them.
    """
    problems: list[Problem] = []
    for name, labels in levels.items():
        column, key = factors.get(name, name), f"data.levels.{name}"
        found = _level_problems(data, column, labels, key)
        problems += found
        if not found:
            data = data.assign({column: _labelled(data[column], labels)})
    check(problems)
    return data


def add_factors(data: xr.Dataset, factors: Mapping[str, str], levels: Levels | None = None) -> xr.Dataset:
    """Replace label columns by codes.

    Parameters
    ----------
    data
        Renamed variables.
    factors
        Name of the codes to the column of labels, which becomes a dim of that name.
    levels
        Column to its labels in order; the labels of other columns are sorted.

    Returns
    -------
    xarray.Dataset
        Codes are whole numbers; where a label is missing, NaN (and then all are floats). The attribute `labels` of the
        codes names their dim.

    Raises
    ------
    UserError
        For columns that are not there or can't be labels, and names that are taken: all of them.
    """
    given = levels or {}
    check([p for name, column in factors.items() for p in _problems(data, name, column, column in given)])
    known = {c: as_levels(given[c]) for c in factors.values() if c in given}
    coded = {c: (known[c], codes_of(data[c].values, known[c])[0]) for c in known}
    coded.update({c: levels_of(data[c].values) for c in factors.values() if c not in given})
    labels = {column: levels for column, (levels, _) in coded.items()}
    codes = {name: _codes(data[column], coded[column][1]) for name, column in factors.items()}
    return data.drop_vars(list(labels)).assign(codes).assign_coords(labels)


def row_column(data: xr.Dataset, name: str) -> xr.DataArray:
    """Return a column over the rows, also one of which a factor was made: its labels, row by row.

    Parameters
    ----------
    data
        A prepared data set.
    name
        Name of a variable or of a factor's dim.
    """
    found = data[name]
    codes = [v for v in data.data_vars.values() if v.attrs.get(LABELS) == name]
    if found.dims != (name,) or not codes:
        return found
    rows = labels_at(found.values, np.nan_to_num(codes[0].values.astype(float), nan=-1).astype(np.int64))
    return xr.DataArray(rows, dims=codes[0].dims, name=name, attrs={"levels": found.values.tolist()})


def formula_column(data: xr.Dataset, name: str, categorical: bool) -> Any:
    """Return a column over the rows as a formula takes it.

    Parameters
    ----------
    data
        A prepared data set.
    name
        Name of a variable or of a factor's dim.
    categorical
        Whether the formula may take it as labels.

    Returns
    -------
    ndarray or pandas.Categorical
        Numbers or labels; where `data.levels` or a factor gives the order of the labels, a categorical in that order.
        Dates are days since 1970-01-01.
    """
    column = row_column(data, name)
    if column.dtype.kind == "M":
        return to_days(column.values)
    if not categorical or "levels" not in column.attrs:
        return column.values
    levels = as_levels(np.atleast_1d(column.attrs["levels"]).tolist())
    codes, _ = codes_of(column.values, levels)
    return pd.Categorical.from_codes(codes, categories=levels).remove_unused_categories()  # type: ignore[arg-type]


def ordered_codes(column: xr.DataArray) -> xr.DataArray:
    """Return the codes of a column whose labels are ordered by `data.levels`; a missing label is NaN."""
    codes, _ = codes_of(column.values, column.attrs["levels"])
    missing = codes < 0
    return column.copy(data=np.where(missing, np.nan, codes) if missing.any() else codes)


def _level_problems(data: xr.Dataset, column: str, labels: Iterable[Any], key: str) -> list[Problem]:
    if column not in data.variables:
        return [Problem(key, f"there is no column '{column}'", did_you_mean(column, map(str, data.variables)))]
    keys = [value_key(label) for label in labels]
    repeated = sorted({k for k in keys if keys.count(k) > 1})
    if repeated:
        return [Problem(key, f"labels repeat: {', '.join(repeated)}", "name each label once")]
    _, strange = codes_of(data[column].values, labels)
    if not strange.any():
        return []
    got = shown_values(data[column], data[column].copy(data=strange))
    hint = f"levels are {', '.join(keys)}: add what is missing"
    if any(isinstance(label, bool) for label in labels):
        hint += "; YAML reads an unquoted yes, no, on, off, true or false as true or false: quote them"
    return [Problem(key, f"'{column}' has labels that are not among its levels: {got}", hint)]


def _labelled(column: xr.DataArray, labels: Iterable[Any]) -> xr.DataArray:
    """Write a column's values as its levels are written."""
    levels = as_levels(labels)
    codes, _ = codes_of(column.values, labels)
    return column.copy(data=labels_at(levels, codes)).assign_attrs(levels=levels.tolist())


def _problems(data: xr.Dataset, name: str, column: str, known: bool) -> list[Problem]:
    key = f"data.factors.{name}"
    if column not in data.variables:
        names = [str(n) for n in data.variables]
        return [Problem(key, f"there is no column '{column}'", did_you_mean(column, names))]
    if name in data.variables or name in data.dims:
        return [Problem(key, f"the name '{name}' is taken by a column or a dim", "give the codes a new name")]
    if column in data.dims:
        return [Problem(key, f"'{column}' labels the rows already", "set data.dim to another name")]
    return [] if known else _no_labels(data[column], key)


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


def _codes(column: xr.DataArray, codes: Array) -> xr.DataArray:
    missing = codes < 0
    values = np.where(missing, np.nan, codes) if missing.any() else codes
    return xr.DataArray(values, dims=column.dims, attrs={LABELS: str(column.name)})
