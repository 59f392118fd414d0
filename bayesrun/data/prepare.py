"""From a parsed section `data` to the data set that is passed to a model.

    load:    source -> columns -> dtypes -> dates -> levels -> factors -> derive
    settle:  missing values and domains by role, once the model is known

What is learned from the fitted rows (levels, types, date formats, reductions in `derive`) is a `FittedDesign`, which
`load_new` applies to other rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bayesrun.data.arrays import Array
from bayesrun.data.base import SOURCES, DataSpec, Role
from bayesrun.data.columns import apply_types, choose, label, label_problems, note_odd_cells
from bayesrun.data.dates import DateFormat, by_date, parse_dates
from bayesrun.data.design import KEY, FittedDesign, learn
from bayesrun.data.factors import apply_levels, unused_levels
from bayesrun.data.files import NumberFormat
from bayesrun.data.roles import drop_rows, settle
from bayesrun.errors import Problem, check, fail
from bayesrun.lazy import pd, xr

log = logging.getLogger("bayesrun")


def load(spec: DataSpec, directory: Path) -> xr.Dataset:
    """Read and prepare a data set: the first result of `load_fitted`."""
    return load_fitted(spec, directory)[0]


def load_fitted(spec: DataSpec, directory: Path) -> tuple[xr.Dataset, FittedDesign]:
    """Read and prepare the data set that a model is fitted to.

    Parameters
    ----------
    spec
        The parsed section `data`.
    directory
        `paths.data`, from which relative paths start.

    Returns
    -------
    data : xarray.Dataset
        Variables over named dims, each dim with labels. `attrs`: `name`, `source`, `origin`, `sha256` (files), `dim`
        (the row dimension), `rows` (its size) and `dropped` (messages about dropped rows; may be empty).
    design : FittedDesign
        What is learned from the rows.

    Raises
    ------
    UserError
        When the data can't be read and prepared as configured.
    """
    raw, written = _read(spec, directory)
    return _prepared(*_as_written(raw, spec), written, spec)


def _prepared(
    table: xr.Dataset, dates: Mapping[str, DateFormat], written: NumberFormat | None, spec: DataSpec
) -> tuple[xr.Dataset, FittedDesign]:
    table = by_date(label(apply_levels(table, spec.levels, spec.factors)), spec.dim)
    for note in unused_levels(table, spec.levels, spec.factors):
        log.warning(note)
    data, design = learn(table, spec, dates)
    decimal = None if written is None else written.decimal
    return _whole(data, spec), replace(design, decimal=decimal, missing=tuple(getattr(spec, "missing", ())))


def load_new(
    spec: DataSpec,
    directory: Path,
    design: FittedDesign,
    roles: Sequence[Role],
    new_levels: bool = False,
    needed: Collection[str] | None = None,
) -> tuple[xr.Dataset, list[str]]:
    """Read other rows and transform them as in the fit.

    Parameters
    ----------
    spec
        The section `data` of the new rows. Columns, dates and factors default to those of the fit.
    directory
        `paths.data`.
    design
        What is learned from the fitted rows.
    roles
        Roles of the variables in the model; only predictors are required.
    new_levels
        Whether labels that do not occur in the fit get new codes after all others; otherwise they are an error.
    needed
        Columns and codes that the model reads; null means all. The others are not checked.

    Returns
    -------
    data : xarray.Dataset
        New rows, over the dims of the fit.
    notes : list of str
        Messages about dropped rows.

    Raises
    ------
    UserError
        For labels that do not occur in the fit, missing predictors and all other problems, by row.
    """
    spec = design.completed(spec)
    raw, written = _read(spec, directory)
    if written is not None and design.decimal == ",":
        check(_may_be_thousands(written))
    chosen = choose(raw, design.columns_in(raw, spec))
    table = note_odd_cells(apply_types(chosen, design.types_in(chosen, spec)), spec.dtypes)
    table, _ = parse_dates(table, design.dates_in(table, spec), spec.date_format, design.dates)
    table = design.made_alike(by_date(label(table), spec.dim), spec)
    data = _whole(design.apply(table, new_levels, needed), spec)
    predictors = [role for role in roles if role.kind == "predictor"]
    return settle(data, predictors, spec.drop_missing)


def read_columns(spec: DataSpec, directory: Path) -> pd.DataFrame:
    """Read the columns of a data set as they are written: typed, but neither transformed nor coded.

    Parameters
    ----------
    spec
        The parsed section `data`.
    directory
        `paths.data`.

    Returns
    -------
    DataFrame
        One column per variable over the rows alone.
    """
    raw, _ = _read(spec, directory)
    return _over_rows(_as_written(raw, spec)[0])


def read_fitted_columns(
    spec: DataSpec, directory: Path, roles: Sequence[Role], uses: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Read the columns of a fit's data set, as `read_columns` does, at the rows that the fit has used.

    Parameters
    ----------
    spec, directory
        The parsed section `data` of the fit, and `paths.data`.
    roles, uses
        Roles of the variables in the model, and other variables that it uses: their missing values drop rows.

    Returns
    -------
    columns : DataFrame
        One column per variable as it is written.
    derived : DataFrame
        The variables of `derive` over the same rows.
    data_digest : str
        Digest of the data set that the model was fitted to, if the data are still the same.
    """
    raw, written = _read(spec, directory)
    as_written, dates = _as_written(raw, spec)
    with_all, _ = _prepared(as_written, dates, written, spec)
    data, _ = settle(with_all, roles, spec.drop_missing, uses)
    table = label(as_written)
    if spec.dim in table.dims:  # labels of rows are unique, or the fit would have been refused
        place = {label: number for number, label in enumerate(table[spec.dim].values.tolist())}
        table = table.isel({spec.dim: [place[label] for label in data[spec.dim].values.tolist()]})
    derived = {name: data[name].values for name in spec.derive if data[name].dims == (spec.dim,)}
    return _over_rows(table), pd.DataFrame(derived), digest(data)


def _as_written(raw: xr.Dataset, spec: DataSpec) -> tuple[xr.Dataset, Mapping[str, DateFormat]]:
    """Return the chosen columns with their types, and the formats of dates."""
    table = note_odd_cells(apply_types(choose(raw, spec.columns), spec.dtypes), spec.dtypes)
    return parse_dates(table, spec.parse_dates, spec.date_format)


def _over_rows(table: xr.Dataset) -> pd.DataFrame:
    longest = max(
        (v.dims for v in table.data_vars.values() if v.ndim == 1), key=lambda d: table.sizes[d[0]], default=()
    )
    own = {str(name): array.values for name, array in table.data_vars.items() if array.dims == longest}
    return pd.DataFrame(own)


def _read(spec: DataSpec, directory: Path) -> tuple[xr.Dataset, NumberFormat | None]:
    """Read the raw variables, and the number format of a text table."""
    raw = SOURCES.load(spec.source, "data.source").load(spec, directory)
    written = raw.attrs.pop("written", None)
    return raw, written


def _may_be_thousands(written: NumberFormat) -> list[Problem]:
    """Find numbers of new rows whose point may be a decimal point or, as in the fit, a thousands separator."""
    hint = f"set {KEY}.decimal='.' or {KEY}.thousands='.'"
    why = "which may be a thousand times that: the fit has decimal=','"
    return [
        Problem(f"{KEY}.decimal", f"'{name}' holds {example}, {why}", hint)
        for name, example in written.doubtful.items()
    ]


def digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over names, dims, labels and values of a data set, in hexadecimal (`data_digest`).

    Parameters
    ----------
    dataset
        Any data set. Its `attrs` and the order of its variables are ignored.
    """
    whole = hashlib.sha256()
    for name in sorted(str(n) for n in dataset.variables):
        variable = dataset.variables[name]
        kind, content = _content(np.asarray(variable.values))
        head = (name, tuple(str(d) for d in variable.dims), variable.shape, kind)
        whole.update(repr(head).encode() + len(content).to_bytes(8, "little") + content)
    return whole.hexdigest()


def _whole(data: xr.Dataset, spec: DataSpec) -> xr.Dataset:
    """Check the data set as a whole and record its origin; rows with a missing row label may be dropped."""
    dropped: list[str] = []
    if spec.drop_missing == "rows" and spec.dim in data.coords:
        data, dropped = drop_rows(data, [spec.dim], spec.dim)
    _check_whole(data, spec)
    return data.assign_attrs(
        name=spec.name, source=spec.source, dim=spec.dim, rows=data.sizes.get(spec.dim, 0), dropped="; ".join(dropped)
    )


def _check_whole(data: xr.Dataset, spec: DataSpec) -> None:
    where = data.attrs.get("origin", spec.source)
    if not data.variables:
        raise fail("data", f"'{where}' has no variables", "name at least one, or use a model without data")
    empty = [str(dim) for dim, size in data.sizes.items() if not size]
    if empty:
        raise fail("data", f"'{where}' is empty: no values over {', '.join(empty)}", "give it at least one row")
    check(label_problems(data, spec.dim))


def _content(values: Array) -> tuple[str, bytes]:
    """Return the kind and the bytes, identical on every platform."""
    kind = values.dtype.kind
    if kind == "f":
        numbers = np.where(np.isnan(values), np.nan, values).astype("<f8") + 0.0  # + 0.0: -0.0 is 0.0
        return "float", np.ascontiguousarray(numbers).tobytes()
    if kind in "iu":
        return "int", np.ascontiguousarray(values.astype("<i8")).tobytes()
    if kind == "M":
        return "date", np.ascontiguousarray(values.astype("datetime64[ns]").astype("<i8")).tobytes()
    if kind == "b":
        return "bool", np.ascontiguousarray(values).tobytes()
    return "text", repr([None if pd.isna(v) else str(v) for v in values.ravel()]).encode()
