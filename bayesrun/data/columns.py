"""Columns: selection, renaming, types, and the detection of text that should be numeric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from bayesrun.data.arrays import Array, assemble, plain, shown_values, text_of
from bayesrun.data.base import ColumnKind
from bayesrun.data.factors import value_key
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.lazy import pd, xr

_SHOWN = 5
_ODD_CELLS = 3
_SAMPLE = 1000
_MAX_NUMBER_LENGTH = 100
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_CODE = re.compile(r"\s*0\d+\s*")
# 1,234,567 or, as in India, 12,34,567; spaces may be non-breaking
_THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(?:([,.' \u00a0\u202f])\d{2,3})*([,.' \u00a0\u202f])\d{3}(?:[.,]\d+)?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
_REMEDIES = {
    "all its cells look like numbers": "set data.dtypes: {{{}: number}}",
    "this looks like": "set what this looks like",
    "": "fix the cells, or list their words in data.missing",
}
"""Part of the reason why a column is text, and what makes numbers of it."""
_UNIT = re.compile(r"\s*[$€£]?\s*[+-]?[\d.,' ]*\d\s*[%$€£]?\s*")


def choose(raw: xr.Dataset, columns: Sequence[str] | dict[str, str] | None) -> xr.Dataset:
    """Select and rename variables; the labels of their dims are kept.

    Parameters
    ----------
    raw
        What the source read.
    columns
        Names to keep, or names mapped to columns in the file; null keeps all.

    Raises
    ------
    UserError
        When a column does not exist, or its new name is that of a dim that it does not label.
    """
    wanted = _wanted(raw, columns)
    check(_not_there(raw, wanted))
    kept = {new: raw.variables[old] for _, new, old in wanted}
    renamed = {old for _, new, old in wanted if new != old}
    for dim in {str(d) for variable in kept.values() for d in variable.dims}:
        if dim in raw.coords and dim not in kept and dim not in renamed:
            kept[dim] = raw.variables[dim]
    arrays = {n: (tuple(str(d) for d in v.dims), plain(v.values)) for n, v in kept.items()}
    return assemble(arrays, "data.columns").assign_attrs(raw.attrs)


def label(data: xr.Dataset) -> xr.Dataset:
    """Give dims without labels the labels 0..n-1."""
    return data.assign_coords({dim: np.arange(n) for dim, n in data.sizes.items() if dim not in data.coords})


def _wanted(raw: xr.Dataset, columns: Sequence[str] | dict[str, str] | None) -> list[tuple[str, str, str]]:
    """List (config key, new name, old name) of the columns to keep."""
    if columns is None:
        return [("data.columns", name, name) for name in _names(raw)]
    if isinstance(columns, dict):
        return [(f"data.columns.{new}", new, old) for new, old in columns.items()]
    return [(f"data.columns[{i}]", name, name) for i, name in enumerate(columns)]


def _not_there(raw: xr.Dataset, wanted: Sequence[tuple[str, str, str]]) -> list[Problem]:
    names, origin = dict.fromkeys(_names(raw)), raw.attrs.get("origin", "the data")
    return [
        Problem(key, f"there is no column '{old}' in '{origin}'", did_you_mean(old, names))
        for key, _, old in wanted
        if old not in names
    ]


def _names(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data.variables]


def label_problems(data: xr.Dataset, row_dim: str) -> list[Problem]:
    """Return the dims with missing or duplicate labels.

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


def why_text(name: str, values: Array) -> str:
    """Explain why a column that looks numeric is text; empty when it does not look numeric.

    Parameters
    ----------
    name
        Name of the column.
    values
        Cells of the column; missing ones are None.
    """
    if values.dtype != object or values.ndim != 1:
        return ""
    there = np.flatnonzero(~pd.isna(values))
    texts = [str(value)[:_MAX_NUMBER_LENGTH] for value in values[there]]
    some = texts[:_SAMPLE]
    if len(texts) < 2 or 4 * sum(any(c.isdigit() for c in text) for text in some) < len(some):
        return ""  # a column of words, which does not need to be checked cell by cell
    odd = [i for i, text in zip(there, texts, strict=True) if not _NUMBER.fullmatch(text)]
    if not odd:
        codes = any(_CODE.fullmatch(text) for text in texts)
        return "" if codes else f"'{name}' is text although all its cells look like numbers"
    form = _written(texts)
    if form:
        example = f"{text_of(values[odd[0]])} in row {odd[0] + 1}"
        return f"'{name}' is text because of how its numbers are written, such as {example}{form}"
    if len(odd) * 2 > len(texts) or len(texts) - len(odd) < 2:
        return ""
    shown = ", ".join(f"{text_of(values[i])} in row {i + 1}" for i in odd[:_ODD_CELLS])
    more = f" and {len(odd) - _ODD_CELLS} more" if len(odd) > _ODD_CELLS else ""
    return f"'{name}' is text because of {shown}{more}"


def note_odd_cells(data: xr.Dataset, declared: Mapping[str, ColumnKind]) -> xr.Dataset:
    """Record in the attribute `text_because` why a column is text; columns of a declared type are skipped."""
    annotated = {}
    for name in [str(name) for name in data.data_vars if name not in declared]:
        reason = why_text(name, data.variables[name].values)
        if reason:
            annotated[name] = data[name].assign_attrs(text_because=reason)
    return data.assign(annotated)


def advice(variable: xr.DataArray) -> str:
    """Advise how to fix a column that is text by mistake."""
    name, reason = variable.name, variable.attrs["text_because"]
    numbers = next(remedy for sign, remedy in _REMEDIES.items() if sign in reason)
    return f"For numbers {numbers.format(name)}; for labels set data.dtypes: {{{name}: text}}"


def apply_types(data: xr.Dataset, declared: Mapping[str, ColumnKind]) -> xr.Dataset:
    """Convert columns to text or numbers as specified by `data.dtypes`.

    Raises
    ------
    UserError
        For missing columns and cells that are not numbers; all problems are reported.
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
    """Describe the number format when every cell is a number in another format; empty otherwise."""
    others = [text for text in texts if not _NUMBER.fullmatch(text)]
    grouped = _THOUSANDS.fullmatch(others[0])
    if grouped and all(map(_THOUSANDS.fullmatch, others)):
        return f": this looks like data.thousands={_quoted(grouped[2])}"
    if all(map(_DECIMAL_COMMA.fullmatch, others)):
        return ": this looks like data.decimal=','"
    return ": numbers are read without unit or sign" if all(map(_UNIT.fullmatch, others)) else ""


def _quoted(sign: str) -> str:
    """Quote a character for YAML; every kind of space is written as a plain space."""
    return '"\'"' if sign == "'" else f"'{sign if sign.isascii() else ' '}'"
