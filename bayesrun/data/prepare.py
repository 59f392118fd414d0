"""From a parsed section `data` to the data set that a model gets.

load:    source -> columns -> dates -> factors -> derive -> drop_missing: rows
settle:  missing values and domains by role, once the model is known
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.assemble import Array
from bayesrun.data.base import SOURCES, DataSpec, Role
from bayesrun.data.columns import choose, label, label_problems
from bayesrun.data.dates import parse_dates
from bayesrun.data.domains import domain_problems, settle_type
from bayesrun.data.factors import add_factors
from bayesrun.data.missing import Rule, drop_rows, imputed, missing_problems, rows_to_drop, unknown_names
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.expressions import evaluate


def load(spec: DataSpec, directory: Path) -> xr.Dataset:
    """Read and prepare a data set.

    Parameters
    ----------
    spec
        The parsed section `data`.
    directory
        `paths.data`, from which relative paths start.

    Returns
    -------
    xarray.Dataset
        Variables over named dims, each dim with labels. `attrs`: `name`, `source`, `origin`, `sha256` (files), `dim`
        (the row dimension), `rows` (its size) and `dropped` (which rows were dropped, in words; may be empty).

    Raises
    ------
    UserError
        When the data can't be had as the config describes them.
    """
    raw = SOURCES.load(spec.source, "data.source").load(spec, directory)
    data = label(parse_dates(choose(raw, spec.columns), spec.parse_dates))
    data = _derive(add_factors(data, spec.factors), spec.derive)
    data, dropped = _drop(data, spec)
    _check_whole(data, spec)
    return data.assign_attrs(
        name=spec.name, source=spec.source, dim=spec.dim, rows=data.sizes.get(spec.dim, 0), dropped="; ".join(dropped)
    )


def settle(data: xr.Dataset, roles: Sequence[Role], drop_missing: Rule) -> tuple[xr.Dataset, list[str]]:
    """Apply the rules for missing values, and check every variable's values, once the roles are known.

    Parameters
    ----------
    data
        A loaded data set.
    roles
        What the model uses which variable for.
    drop_missing
        `data.drop_missing`. Null: missing predictors are an error, missing observed values stay NaN to be imputed.

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
    left, dropped = drop_rows(data, rows_to_drop(data, drop_missing), dim)
    known = [role for role in roles if role.variable in data.variables]
    check([*problems, *_value_problems(left, known, drop_missing)])
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


def _derive(data: xr.Dataset, expressions: Mapping[str, str]) -> xr.Dataset:
    """Add the derived variables in order; one that fails is reported and the others are still tried."""
    problems: list[Problem] = []
    for name, text in expressions.items():
        try:
            data = _add_derived(data, name, text)
        except UserError as error:
            problems += error.problems
    check(problems)
    return data


def _add_derived(data: xr.Dataset, name: str, text: str) -> xr.Dataset:
    key = f"data.derive.{name}"
    if name in data.variables or name in data.dims:
        raise fail(key, f"the name '{name}' is taken by a column or a dim", "give it a new name")
    made = evaluate(text, data, key)
    return label(data.assign({name: (made.dims, made.values)}))


def _drop(data: xr.Dataset, spec: DataSpec) -> tuple[xr.Dataset, list[str]]:
    if spec.drop_missing != "rows":
        return data, []
    left, dropped = drop_rows(data, rows_to_drop(data, "rows"), spec.dim)
    if dropped and not left.sizes[spec.dim]:
        raise fail("data.drop_missing", f"no row is left: {dropped[0]}", "drop by variable: {NAME: rows}")
    return left, dropped


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
            settled = settle_type(data[role.variable], role.domain)
            data = data.assign({role.variable: (settled.dims, settled.values)})
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
