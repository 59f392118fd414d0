"""From a parsed section `data` to the data set that a model gets.

    load:    source -> columns -> dtypes -> dates -> levels -> factors -> derive
    settle:  missing values and domains by role, once the model is known

What the fitted rows teach (levels, types, how dates are written, reductions in `derive`) is a `FittedDesign`;
through it `load_new` sees other rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array
from bayesrun.data.base import SOURCES, DataSpec, Role
from bayesrun.data.columns import choose, label, label_problems
from bayesrun.data.dates import by_date, parse_dates
from bayesrun.data.design import FittedDesign, learn
from bayesrun.data.domains import domain_problems, settle_type
from bayesrun.data.factors import apply_levels, ordered_codes, unused_levels
from bayesrun.data.missing import Rule, drop_rows, imputed, missing_problems, rows_to_drop, unknown_names
from bayesrun.data.odd_cells import advice, apply_types, note_odd_cells
from bayesrun.errors import Problem, check, did_you_mean, fail

log = logging.getLogger("bayesrun")

_MANY_LABELS = 10


def load(spec: DataSpec, directory: Path) -> xr.Dataset:
    """Read and prepare a data set: the first of what `load_fitted` returns."""
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
        (the row dimension), `rows` (its size) and `dropped` (which rows were dropped, in words; may be empty).
    design : FittedDesign
        What was learned from the rows.

    Raises
    ------
    UserError
        When the data can't be had as the config describes them.
    """
    raw = SOURCES.load(spec.source, "data.source").load(spec, directory)
    table = note_odd_cells(apply_types(choose(raw, spec.columns), spec.dtypes), spec.dtypes)
    table, dates = parse_dates(table, spec.parse_dates, spec.date_format)
    table = by_date(label(apply_levels(table, spec.levels, spec.factors)), spec.dim)
    for note in unused_levels(table, spec.levels, spec.factors):
        log.info(note)
    data, design = learn(table, spec, dates)
    return _whole(data, spec), design


def load_new(
    spec: DataSpec, directory: Path, design: FittedDesign, roles: Sequence[Role], new_levels: bool = False
) -> tuple[xr.Dataset, list[str]]:
    """Read other rows and see them through what the fit has learned.

    Parameters
    ----------
    spec
        The section `data` of the new rows. What it does not say about columns, dates and factors is as in the fit.
    directory
        `paths.data`.
    design
        What was learned from the fitted rows.
    roles
        What the model uses which variable for; only predictors must be there.
    new_levels
        Whether labels that the fit has not seen get codes of their own, after all others; otherwise they are an error.

    Returns
    -------
    data : xarray.Dataset
        The new rows, over the dims of the fit.
    notes : list of str
        In words, which rows were dropped.

    Raises
    ------
    UserError
        For labels that the fit has not seen, missing predictors, and whatever else is wrong, by row.
    """
    spec = design.completed(spec)
    raw = SOURCES.load(spec.source, "data.source").load(spec, directory)
    chosen = choose(raw, design.columns_in(raw, spec))
    table = note_odd_cells(apply_types(chosen, design.types_in(chosen, spec)), spec.dtypes)
    table, _ = parse_dates(table, design.dates_in(table, spec), spec.date_format, design.dates)
    table = design.made_alike(by_date(label(table), spec.dim), spec)
    data = _whole(design.apply(table, new_levels), spec)
    needed = [role for role in roles if role.kind == "predictor"]
    return settle(data, needed, spec.drop_missing)


def settle(
    data: xr.Dataset, roles: Sequence[Role], drop_missing: Rule, uses: Collection[str] = ()
) -> tuple[xr.Dataset, list[str]]:
    """Apply the rules for missing values, and check every variable's values, once the roles are known.

    Parameters
    ----------
    data
        A loaded data set.
    roles
        What the model uses which variable for.
    drop_missing
        `data.drop_missing`. Null: missing predictors are an error, missing observed values stay NaN to be imputed.
    uses
        Further names that the model uses, where they are data variables: their missing values drop rows as well.

    Returns
    -------
    tuple
        The data set (whole numbers without missing values as integers), and in words what was dropped and will be
        imputed.

    Raises
    ------
    UserError
        All problems of all roles at once.
    """
    dim = str(data.attrs.get("dim", "obs"))
    problems = [*unknown_names(data, drop_missing), *_not_there(data, roles)]
    known = [role for role in roles if role.variable in data.variables]
    left, dropped = drop_rows(
        data, rows_to_drop(data, drop_missing, [*(role.variable for role in known), *sorted(uses)]), dim
    )
    if dropped and not left.sizes[dim] and drop_missing == "rows":
        raise fail("data.drop_missing", f"no row is left: {dropped[0]}", "drop by variable: {NAME: rows}")
    left = _ordered(left, known)
    check([*problems, *_value_problems(left, known, drop_missing)])
    _warn_of_text(left, known)
    before = [str(data.attrs["dropped"])] if data.attrs.get("dropped") else []
    settled = _typed(left, known).assign_attrs(rows=left.sizes.get(dim, 0))
    return settled, [*before, *dropped, *imputed(settled, known)]


def digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over names, dims, labels and values of a data set, in hexadecimal (`data_digest`).

    Parameters
    ----------
    dataset
        Any data set. Its `attrs` and the order of its variables do not count.
    """
    whole = hashlib.sha256()
    for name in sorted(str(n) for n in dataset.variables):
        variable = dataset[name]
        kind, content = _content(np.asarray(variable.values))
        head = (name, tuple(str(d) for d in variable.dims), variable.shape, kind)
        whole.update(repr(head).encode() + len(content).to_bytes(8, "little") + content)
    return whole.hexdigest()


def _whole(data: xr.Dataset, spec: DataSpec) -> xr.Dataset:
    """Check the data set as a whole and say where it is from; rows whose own label is missing may be dropped."""
    dropped: list[str] = []
    if spec.drop_missing == "rows" and spec.dim in data.coords:
        data, dropped = drop_rows(data, [spec.dim], spec.dim)
    _check_whole(data, spec)
    return data.assign_attrs(
        name=spec.name, source=spec.source, dim=spec.dim, rows=data.sizes.get(spec.dim, 0), dropped="; ".join(dropped)
    )


def _ordered(data: xr.Dataset, roles: Sequence[Role]) -> xr.Dataset:
    """Make codes of observed labels whose order `data.levels` gives, for distributions of whole numbers."""
    for role in roles:
        column = data[role.variable]
        ordered = "levels" in column.attrs and role.kind == "observed" and role.domain in ("count", "index", "binary")
        if ordered and column.dtype.kind not in "biuf":
            data = data.assign({role.variable: ordered_codes(column)})
    return data


def _warn_of_text(data: xr.Dataset, roles: Sequence[Role]) -> None:
    """Warn of columns that are labels although most of their cells look like numbers."""
    for name in dict.fromkeys(role.variable for role in roles if role.domain == "any"):
        reason = data[name].attrs.get("text_because")
        if reason:
            labels = pd.unique(data[name].values[~pd.isna(data[name].values)])
            log.warning("%s; it is used as %d labels. %s", reason, len(labels), advice(data[name]))


def _check_whole(data: xr.Dataset, spec: DataSpec) -> None:
    where = data.attrs.get("origin", spec.source)
    if not data.variables:
        raise fail("data", f"'{where}' has no variables", "name at least one, or use a model without data")
    empty = [str(dim) for dim, size in data.sizes.items() if not size]
    if empty:
        raise fail("data", f"'{where}' is empty: no values over {', '.join(empty)}", "give it at least one row")
    check(label_problems(data, spec.dim))


def _not_there(data: xr.Dataset, roles: Sequence[Role]) -> list[Problem]:
    names = [str(name) for name in data.variables]
    where = f"data set '{data.attrs.get('name', '')}'"
    return [
        Problem(role.key, f"{role.kind} '{role.variable}' is not in {where}", did_you_mean(role.variable, names))
        for role in roles
        if role.variable not in names
    ]


def _value_problems(data: xr.Dataset, roles: Sequence[Role], rule: Rule) -> list[Problem]:
    problems: list[Problem] = []
    for role in roles:
        if not data[role.variable].size:
            hint = "give the data at least one complete row"
            problems.append(Problem(role.key, f"no value of '{role.variable}' is left", hint))
            continue
        wrong = missing_problems(data, role, rule)
        # a variable without any value has no values to judge
        all_missing = bool(wrong) and bool(data[role.variable].isnull().all())
        problems += wrong if all_missing else [*wrong, *domain_problems(data, role)]
    return problems


def _typed(data: xr.Dataset, roles: Sequence[Role]) -> xr.Dataset:
    for role in roles:
        if role.variable not in data.dims:
            data = data.assign({role.variable: settle_type(data[role.variable], role.domain)})
    return data


def _content(values: Array) -> tuple[str, bytes]:
    """Return kind and bytes, the same on every platform."""
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
