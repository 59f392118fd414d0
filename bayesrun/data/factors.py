"""Labels, levels and factors: a column of labels becomes 0-based codes over the rows, and a dim with its labels.

Labels are compared by value: 308 and "308" are the same label, "01234" and 1234 are different.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bayesrun.data.arrays import Array, plain, shown_values
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.language.calendar_dates import to_days
from bayesrun.lazy import pd, xr

LABELS = "labels"
"""Attribute of a factor's codes: the dim that holds their labels."""

Levels = Mapping[str, Iterable[Any]]

# text with a leading zero is a code, not a number
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?")


def value_key(label: Any) -> str:
    """Return text that is equal for labels of equal value, whatever their types.

    Parameters
    ----------
    label
        A number, text, a boolean or a date.
    """
    if isinstance(label, bool | np.bool_):
        return str(bool(label))
    if isinstance(label, int | np.integer):
        return str(int(label))
    if isinstance(label, float | np.floating):
        return str(int(label)) if np.isfinite(label) and label == np.round(label) else repr(float(label))
    if isinstance(label, np.datetime64 | pd.Timestamp):
        return str(pd.Timestamp(label)).removesuffix(" 00:00:00")
    text = str(label)
    if _NUMBER.fullmatch(text):
        return value_key(float(text)) if "." in text else str(int(text))
    return text


def one_type(column: Any) -> Array:
    """Return a column of a table as a plain array; if it mixes text with other types, all cells become text."""
    values = plain(column)
    if values.dtype != object:
        return values
    missing = pd.isna(values)
    kinds = set(map(type, values[~missing].tolist()))
    if kinds <= {str} or str not in kinds:
        return values
    texts = np.full(values.shape, None, dtype=object)
    texts[~missing] = [v if isinstance(v, str) else value_key(v) for v in values[~missing]]
    return texts


def codes_of(values: Array, levels: Iterable[Any]) -> tuple[Array, Array]:
    """Return the position of each value among the levels, compared by value.

    Parameters
    ----------
    values
        Labels; missing ones are None or NaN.
    levels
        All labels in order.

    Returns
    -------
    tuple
        Codes (-1 where there is none), and where a label is present but is not a level.
    """
    places = list(levels)
    exact = {level: code for code, level in enumerate(places) if isinstance(level, str)}
    missing = pd.isna(values)
    distinct, of = _distinct(values[~missing])
    found = np.array([exact.get(v, -1) if isinstance(v, str) else -1 for v in distinct], dtype=np.int64)
    if (found < 0).any():
        by_value = {value_key(level): code for code, level in enumerate(places)}
        truth = all(isinstance(level, bool | np.bool_) for level in places)
        for i in np.flatnonzero(found < 0):
            found[i] = by_value.get(value_key(distinct[i]), by_value.get(_other_truth(distinct[i], truth), -1))
    codes = np.full(values.shape, -1, dtype=np.int64)
    codes[~missing] = found[of] if len(distinct) else 0
    return codes, (codes < 0) & ~missing


def _other_truth(label: Any, truth: bool) -> str:
    """Return a label written as true and false, or as 1 and 0: with missing values a column holds these.

    Parameters
    ----------
    label
        Any label.
    truth
        Whether it is compared with true and false.
    """
    if truth and isinstance(label, int | float | np.number) and label in (0, 1):
        return value_key(bool(label))
    return value_key(int(label)) if isinstance(label, bool | np.bool_) and not truth else ""


def labels_at(levels: Array, codes: Array) -> Array:
    """Return the label of each code; a negative code has none (NaN, NaT or None)."""
    missing = codes < 0
    if not missing.any():
        return np.asarray(levels[codes])
    kind = levels.dtype.kind
    found = levels[np.where(missing, 0, codes)]
    found = found.astype(float if kind in "iuf" else levels.dtype if kind == "M" else object)
    found[missing] = np.nan if kind in "iuf" else np.datetime64("NaT") if kind == "M" else None
    return np.asarray(found)


def as_levels(labels: Iterable[Any]) -> Array:
    """Return labels as an array of the matching dtype: integers, floats, booleans, dates or text."""
    return _whole(plain(np.array(list(labels), dtype=object)))


def _whole(values: Array) -> Array:
    """Return numbers as integers if they are: in a file, a missing value makes a column of them floats."""
    if values.dtype.kind != "f" or not np.all((values == np.round(values)) & (np.abs(values) < 2.0**53)):
        return values
    return values.astype(np.int64)


def levels_of(values: Array) -> tuple[Array, Array]:
    """Return the distinct labels of a column, sorted, and their codes (-1 where a label is missing).

    Integers stay integers even next to missing values.
    """
    missing = pd.isna(values)
    distinct, of = _distinct(values[~missing])
    codes = np.full(values.shape, -1, dtype=np.int64)
    codes[~missing] = of
    return as_levels(distinct), codes


def alike_labels(values: Array) -> list[list[str]]:
    """Return groups of labels that differ only in surrounding spaces or in Unicode normalization."""
    groups: dict[str, list[str]] = {}
    for label in pd.unique(values[~pd.isna(values)].ravel()):
        if isinstance(label, str):
            groups.setdefault(unicodedata.normalize("NFKC", label).strip(), []).append(label)
    return [sorted(labels) for labels in groups.values() if len(labels) > 1]


def _distinct(values: Array) -> tuple[Array, Array]:
    of, distinct = pd.factorize(pd.Series(values), sort=True)
    return np.asarray(distinct), of


def by_column(levels: Levels, factors: Mapping[str, str]) -> dict[str, Iterable[Any]]:
    """Return `data.levels` by column; a key may also be the name of a factor's codes."""
    return {factors.get(name, name): labels for name, labels in levels.items()}


def apply_levels(data: xr.Dataset, levels: Levels, factors: Mapping[str, str]) -> xr.Dataset:
    """Apply the labels of `data.levels` to columns, and record their order in the attribute `levels`.

    Parameters
    ----------
    data
        Renamed variables.
    levels
        Columns, or the codes that `factors` creates from them, mapped to their labels in order.
    factors
        Names of codes mapped to columns.

    Raises
    ------
    UserError
        For missing columns, duplicate labels, and values that are not among the labels; all problems are reported.
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


def unused_levels(data: xr.Dataset, levels: Levels, factors: Mapping[str, str]) -> list[str]:
    """List the labels of `data.levels` that occur in no row, one sentence per column."""
    notes = []
    for name, labels in levels.items():
        found = set(map(value_key, pd.unique(data[factors.get(name, name)].values.ravel())))
        unused = [value_key(label) for label in labels if value_key(label) not in found]
        if unused:
            notes.append(f"data.levels.{name}: no row has {', '.join(unused)}")
    return notes


def add_factors(data: xr.Dataset, factors: Mapping[str, str], levels: Levels | None = None) -> xr.Dataset:
    """Replace label columns by codes.

    Parameters
    ----------
    data
        Renamed variables.
    factors
        Names of codes mapped to columns of labels; each column becomes a dim with its name.
    levels
        Columns mapped to their labels in order; the labels of other columns are sorted.

    Returns
    -------
    xarray.Dataset
        Codes are integers; if a label is missing, its code is NaN and all codes are floats. The attribute `labels` of
        the codes names their dim.

    Raises
    ------
    UserError
        For columns that are missing or can't be labels, and names already in use; all problems are reported.
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
    """Return a column over the rows; for the column of a factor, the label of each row.

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
    """Return a column over the rows for use in a formula.

    Parameters
    ----------
    data
        A prepared data set.
    name
        Name of a variable or of a factor's dim.
    categorical
        Whether the formula may treat it as labels.

    Returns
    -------
    ndarray or pandas.Categorical
        Numbers or labels; a categorical when `data.levels` or a factor defines the order of the labels.
        Dates are days since 1970-01-01.
    """
    column = row_column(data, name)
    if column.dtype.kind == "M":
        return to_days(column.values)
    if not categorical or "levels" not in column.attrs:
        return _whole(column.values) if categorical else column.values
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
    """Write the values of a column in the form of its levels."""
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
