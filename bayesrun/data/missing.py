"""Missing values: which rows are dropped, which variables may be imputed, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from bayesrun.data.base import MissingRule, Role
from bayesrun.data.factors import LABELS, row_column
from bayesrun.data.locate import places, where_missing
from bayesrun.errors import Problem, did_you_mean

Rule = MissingRule | Mapping[str, MissingRule] | None


def drop_rows(data: xr.Dataset, names: Sequence[str], dim: str) -> tuple[xr.Dataset, list[str]]:
    """Drop every row with a missing value in one of the variables.

    Parameters
    ----------
    data
        Variables; those that are not over the row dimension are left alone.
    names
        Variables whose missing values count.
    dim
        Name of the row dimension.

    Returns
    -------
    tuple
        The rows that are left, and what was dropped, in words (nothing: an empty list).
    """
    columns = {name: row_column(data, name) for name in names}
    incomplete = {name: _rows_with_missing(of, dim) for name, of in columns.items() if dim in of.dims}
    incomplete = {name: rows for name, rows in incomplete.items() if rows.any()}
    if not incomplete:
        return data, []
    dropped = np.any([rows.values for rows in incomplete.values()], axis=0)
    where = places(xr.DataArray(dropped, dims=(dim,), coords={dim: data[dim]} if dim in data.coords else None))
    note = (
        f"{dropped.sum()} of {dropped.size} rows dropped because of missing values in {', '.join(incomplete)}: {where}"
    )
    return data.isel({dim: ~dropped}), [note]


def rows_to_drop(data: xr.Dataset, rule: Rule, roles: Sequence[Role]) -> list[str]:
    """Return the variables whose missing values drop their rows: of those that the model uses, or that are named."""
    if isinstance(rule, Mapping):
        return [name for name, what in rule.items() if what == "rows" and name in data.variables]
    return list(dict.fromkeys(role.variable for role in roles)) if rule == "rows" else []


def unknown_names(data: xr.Dataset, rule: Rule) -> list[Problem]:
    """Return the problems of a mapping that names variables that are not there."""
    names = [str(name) for name in data.variables]
    return [
        Problem(f"data.drop_missing.{name}", f"there is no variable '{name}'", did_you_mean(name, names))
        for name in (rule if isinstance(rule, Mapping) else [])
        if name not in names
    ]


def missing_problems(data: xr.Dataset, role: Role, rule: Rule) -> list[Problem]:
    """Return what is wrong with the missing values of a variable: a predictor has some, or all values are missing."""
    variable = row_column(data, role.variable)
    where = where_missing(variable)
    count = int(where.sum())
    if not count:
        return []
    factor = data[role.variable].attrs.get(LABELS)
    column = f" (codes of the column '{factor}')" if factor else ""
    if count == where.size:
        return [Problem(role.key, f"all values of '{role.variable}'{column} are missing", "choose another variable")]
    if role.kind == "observed" and _rule_of(role.variable, rule) != "error":
        return []
    message = f"{role.kind} '{role.variable}'{column} has {count} missing of {where.size} values: {places(where)}"
    return [Problem(role.key, message, _remedy(role, rule, str(data.attrs.get("dim", "obs")) in variable.dims))]


def imputed(data: xr.Dataset, roles: Sequence[Role]) -> list[str]:
    """Say which values of observed variables are missing and will be imputed, one sentence per variable."""
    notes = []
    for name in dict.fromkeys(role.variable for role in roles if role.kind == "observed"):
        where = where_missing(data[name])
        count = int(where.sum())
        if count:
            verb = "is" if count == 1 else "are"
            notes.append(
                f"{count} of {where.size} values {verb} missing in '{name}' and will be imputed: {places(where)}"
            )
    return notes


def _rows_with_missing(variable: xr.DataArray, dim: str) -> xr.DataArray:
    return where_missing(variable).any([d for d in variable.dims if d != dim])


def _rule_of(name: str, rule: Rule) -> MissingRule | None:
    return rule.get(name) if isinstance(rule, Mapping) else rule


def _remedy(role: Role, rule: Rule, over_rows: bool) -> str:
    if role.kind == "observed":
        return "data.drop_missing is 'error' for it: use 'impute' or 'rows'"
    only_observed = "only observed variables can be imputed; " if _rule_of(role.variable, rule) == "impute" else ""
    drop = ", or drop their rows: data.drop_missing=rows" if over_rows else "; it is not over data.dim: no row to drop"
    return f"{only_observed}fill them in{drop}"
