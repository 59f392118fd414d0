"""Labels by value: 308 and "308" are one label, "01234" and 1234 are two."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bayesrun.data.assemble import Array, plain

# a leading zero says that a text is a code and no number
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?")


def value_key(label: Any) -> str:
    """Return a text that is equal for labels of equal value, whatever their type.

    Parameters
    ----------
    label
        A number, a text, a truth value or a date.
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
    """Return a column of a table as a plain array; one that mixes text with other types is text in all its cells."""
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
    """Return the place of each value among the levels, compared by value.

    Parameters
    ----------
    values
        Labels; missing ones are None or NaN.
    levels
        All labels in order.

    Returns
    -------
    tuple
        Codes (-1 where there is none), and where a label is there but is no level.
    """
    places = list(levels)
    exact = {level: code for code, level in enumerate(places) if isinstance(level, str)}
    missing = pd.isna(values)
    distinct, of = _distinct(values[~missing])
    found = np.array([exact.get(v, -1) if isinstance(v, str) else -1 for v in distinct], dtype=np.int64)
    if (found < 0).any():
        by_value = {value_key(level): code for code, level in enumerate(places)}
        for i in np.flatnonzero(found < 0):
            found[i] = by_value.get(value_key(distinct[i]), -1)
    codes = np.full(values.shape, -1, dtype=np.int64)
    codes[~missing] = found[of] if len(distinct) else 0
    return codes, (codes < 0) & ~missing


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
    """Return labels as an array of their own kind: whole numbers, numbers, truth values, dates or text."""
    array = plain(np.array(list(labels), dtype=object))
    whole = array.dtype.kind == "f" and bool(np.all(array == np.round(array)))
    return array.astype(np.int64) if whole else array


def levels_of(values: Array) -> tuple[Array, Array]:
    """Return the distinct labels of a column, sorted, and their codes (-1 where a label is missing).

    Whole numbers are whole also beside missing values.
    """
    missing = pd.isna(values)
    distinct, of = _distinct(values[~missing])
    codes = np.full(values.shape, -1, dtype=np.int64)
    codes[~missing] = of
    return as_levels(distinct), codes


def _distinct(values: Array) -> tuple[Array, Array]:
    of, distinct = pd.factorize(pd.Series(values), sort=True)
    return np.asarray(distinct), of
