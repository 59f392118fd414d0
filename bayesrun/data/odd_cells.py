"""Text where numbers were meant: a column is text because of a few cells, or of how its numbers are written."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array, plain
from bayesrun.data.base import ColumnKind
from bayesrun.data.labels import value_key
from bayesrun.data.locate import shown_values
from bayesrun.errors import Problem, check, did_you_mean

_SHOWN = 3
_SAMPLE = 1000
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_CODE = re.compile(r"\s*0\d+\s*")
_THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(?:([,.' ])\d{3})(?:\1\d{3})*(?:[.,]\d+)?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
_UNIT = re.compile(r"\s*[$€£]?\s*[+-]?[\d.,' ]*\d\s*[%$€£]?\s*")


def why_text(name: str, values: Array) -> str:
    """Say why a column that seems meant as numbers is text; empty when it does not seem so.

    Parameters
    ----------
    name
        Of the column.
    values
        Its cells; missing ones are None.
    """
    if values.dtype != object or values.ndim != 1:
        return ""
    there = np.flatnonzero(~pd.isna(values))
    texts = list(map(str, values[there]))
    some = texts[:_SAMPLE]
    if len(texts) < 2 or 4 * sum(any(c.isdigit() for c in text) for text in some) < len(some):
        return ""  # a column of words, which need not be looked at cell by cell
    odd = [i for i, text in zip(there, texts, strict=True) if not _NUMBER.fullmatch(text)]
    if not odd:
        codes = any(_CODE.fullmatch(text) for text in texts)
        return "" if codes else f"'{name}' is text although all its cells look like numbers"
    form = _written(texts)
    if form:
        example = f"'{values[odd[0]]}' in row {odd[0] + 1}"
        return f"'{name}' is text because of how its numbers are written, such as {example}{form}"
    if len(odd) * 2 > len(texts) or len(texts) - len(odd) < 2:
        return ""
    shown = ", ".join(f"'{values[i]}' in row {i + 1}" for i in odd[:_SHOWN])
    return f"'{name}' is text because of {shown}" + (f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else "")


def note_odd_cells(data: xr.Dataset, declared: Mapping[str, ColumnKind]) -> xr.Dataset:
    """Keep in the attribute `text_because` why a column is text; columns of a declared type are left alone."""
    for name in data.data_vars:
        reason = "" if name in declared else why_text(str(name), data[name].values)
        if reason:
            data = data.assign({str(name): data[name].assign_attrs(text_because=reason)})
    return data


def advice(variable: xr.DataArray) -> str:
    """Say what to do about a column that is text without being meant so."""
    name = variable.name
    return (
        f"for numbers fix these cells, list their words in data.missing, or set data.dtypes: {{{name}: number}}; "
        f"for labels set data.dtypes: {{{name}: text}}"
    )


def apply_types(data: xr.Dataset, declared: Mapping[str, ColumnKind]) -> xr.Dataset:
    """Make columns text or numbers as `data.dtypes` says.

    Raises
    ------
    UserError
        For columns that are not there, and cells that are no numbers: all of them.
    """
    problems: list[Problem] = []
    for name, kind in declared.items():
        key = f"data.dtypes.{name}"
        if name not in data.variables:
            problems.append(Problem(key, f"there is no column '{name}'", did_you_mean(name, map(str, data.variables))))
            continue
        values = _texts(data[name].values) if kind == "text" else _numbers(data[name], key, problems)
        data = data.assign({name: (data[name].dims, values)})
    check(problems)
    return data


def _texts(values: Array) -> Array:
    missing = pd.isna(values)
    texts = np.full(values.shape, None, dtype=object)
    texts[~missing] = [v if isinstance(v, str) else value_key(v) for v in values[~missing]]
    return texts


def _numbers(variable: xr.DataArray, key: str, problems: list[Problem]) -> Array:
    values = variable.values
    if values.dtype.kind in "biuf":
        return values
    found = np.asarray(pd.to_numeric(pd.Series(values.ravel(), dtype=object), errors="coerce")).reshape(values.shape)
    odd = np.isnan(found.astype(float)) & ~pd.isna(values)
    if odd.any():
        got = shown_values(variable, variable.copy(data=odd))
        problems.append(Problem(key, f"'{variable.name}' must be numbers (got {got})", "fix the cells"))
    return plain(found)


def _written(texts: list[str]) -> str:
    """Say how all cells are written, where none but numbers in another form are among them; empty otherwise."""
    others = [text for text in texts if not _NUMBER.fullmatch(text)]
    grouped = _THOUSANDS.fullmatch(others[0])
    if grouped and all(map(_THOUSANDS.fullmatch, others)):
        return f": this looks like data.thousands='{grouped[1]}'"
    if all(map(_DECIMAL_COMMA.fullmatch, others)):
        return ": this looks like data.decimal=','"
    return ": a number has no unit or sign beside it" if all(map(_UNIT.fullmatch, others)) else ""
