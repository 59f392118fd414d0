"""Checks of variables in their roles in a model: missing values, domains and types."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from bayesrun.data.arrays import Array, places, shown_values, where_missing
from bayesrun.data.base import Domain, MissingRule, Role
from bayesrun.data.columns import advice
from bayesrun.data.factors import LABELS, alike_labels, ordered_codes, row_column
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.lazy import pd, xr

log = logging.getLogger("bayesrun")

Rule = MissingRule | Mapping[str, MissingRule] | None

_LIKE_A_DATE = re.compile(r"\s*(?:\d{4}-\d{1,2}(?:-\d{1,2})?|\d{1,2}([./-])\d{1,2}\1\d{2,4})\b.*")
_MAX_LIMITS = 5
_MAX_LABEL_LENGTH = 200
_MAX_LEVELS = 12
_WHOLE: tuple[Domain, ...] = ("count", "binary", "index")


def _whole_from_zero(x: Array) -> Array:
    return np.asarray((x >= 0) & (x == np.round(x)))


_ALLOWED: Mapping[Domain, tuple[str, Callable[[Array], Array]]] = {
    "real": ("finite numbers", lambda x: np.ones(x.shape, dtype=bool)),
    "number_or_date": ("finite numbers", lambda x: np.ones(x.shape, dtype=bool)),
    "positive": ("finite numbers above 0", lambda x: x > 0),
    "nonnegative": ("finite numbers from 0 up", lambda x: x >= 0),
    "count": ("counts: whole numbers, 0 or above", _whole_from_zero),
    "binary": ("0 or 1", lambda x: (x == 0) | (x == 1)),
    "unit": ("numbers from 0 to 1", lambda x: (x >= 0) & (x <= 1)),
    "index": ("codes: whole numbers, 0 or above", _whole_from_zero),
}
_HINTS: Mapping[Domain, str] = {
    "index": "make codes of labels with data.factors",
    "binary": "make it so with data.derive, e.g. {y: 'Y > median(Y)'}",
}


def settle(
    data: xr.Dataset, roles: Sequence[Role], drop_missing: Rule, uses: Collection[str] = ()
) -> tuple[xr.Dataset, list[str]]:
    """Apply the rules for missing values, and check every variable's values, once the roles are known.

    Parameters
    ----------
    data
        A loaded data set.
    roles
        Roles of the variables in the model.
    drop_missing
        `data.drop_missing`. Null: missing predictors are an error, missing observed values stay NaN and are imputed.
    uses
        Other data variables that the model uses: their missing values drop rows, too.

    Returns
    -------
    tuple
        The data set (whole numbers without missing values as integers), and messages about dropped rows and values to
        impute.

    Raises
    ------
    UserError
        All problems of all roles together.
    """
    dim = str(data.attrs.get("dim", "obs"))
    problems = [*unknown_names(data, drop_missing), *_not_there(data, roles)]
    known = [role for role in roles if role.variable in data.variables]
    left, dropped = drop_rows(
        data,
        rows_to_drop(data, drop_missing, [*(role.variable for role in known if not role.optional), *sorted(uses)]),
        dim,
    )
    if dropped and not left.sizes[dim] and drop_missing == "rows":
        raise fail("data.drop_missing", f"no row is left: {dropped[0]}", "drop by variable: {NAME: rows}")
    left = _ordered(left, known)
    check([*problems, *_value_problems(left, known, drop_missing), *_long_labels(left, known, uses)])
    _warn_of_text(left, known)
    _warn_of_alike_labels(left, known)
    before = [str(data.attrs["dropped"])] if data.attrs.get("dropped") else []
    settled = _typed(left, known).assign_attrs(rows=left.sizes.get(dim, 0))
    return settled, [*before, *dropped, *imputed(settled, known)]


def _ordered(data: xr.Dataset, roles: Sequence[Role]) -> xr.Dataset:
    """Convert observed labels to codes in the order of `data.levels`, for discrete distributions."""
    for role in roles:
        column = data[role.variable]
        ordered = "levels" in column.attrs and role.kind == "observed" and role.domain in ("count", "index", "binary")
        if ordered and column.dtype.kind not in "biuf":
            data = data.assign({role.variable: ordered_codes(column)})
    return data


def _warn_of_text(data: xr.Dataset, roles: Sequence[Role]) -> None:
    """Warn of columns used as labels although most cells look like numbers, or like dates of single rows."""
    for name in dict.fromkeys(role.variable for role in roles if role.domain == "any"):
        there = data[name].values[~pd.isna(data[name].values)]
        reason = data[name].attrs.get("text_because")
        if reason:
            log.warning("%s; it is used as %d labels. %s", reason, len(pd.unique(there)), advice(data[name]))
        elif there.dtype == object and _look_like_dates(there) and 2 * (labels := len(pd.unique(there))) > len(there):
            hint = f"List it in data.parse_dates, and write trend({name})"
            log.warning("'%s' holds dates as text; it is used as %d labels. %s", name, labels, hint)


def _look_like_dates(values: Array) -> bool:
    return bool(values.size) and all(_LIKE_A_DATE.match(str(value)) for value in values[:_MAX_LEVELS])


def _warn_of_alike_labels(data: xr.Dataset, roles: Sequence[Role]) -> None:
    """Warn of labels that look the same but differ."""
    columns = {role.variable: data[data[role.variable].attrs.get(LABELS, role.variable)] for role in roles}
    for name, column in columns.items():
        for alike in alike_labels(column.values) if column.dtype == object else ():
            shown = ", ".join(ascii(label) for label in alike)
            log.warning("'%s' has labels that look the same and are not: %s", column.name or name, shown)


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
        # if all values are missing, there are none to check
        all_missing = bool(wrong) and bool(data[role.variable].isnull().all())
        problems += wrong if all_missing else [*wrong, *domain_problems(data, role)]
    return problems


def _long_labels(data: xr.Dataset, roles: Sequence[Role], uses: Collection[str]) -> list[Problem]:
    """Return the columns whose name or labels are too long: they are names in every table and figure."""
    problems = []
    for name in sorted({*(role.variable for role in roles), *uses} & set(data.variables)):
        if len(name) > _MAX_LABEL_LENGTH:
            message = f"the column '{name}' has a name of {len(name):,} characters; it may have {_MAX_LABEL_LENGTH}"
            problems.append(Problem("data", message, "give it a shorter one: data.columns={SHORT: LONG}"))
        values = data[name].values
        if values.dtype != object or not (labels := [v for v in values.ravel() if isinstance(v, str)]):
            continue
        longest = max(labels, key=len)
        if len(longest) > _MAX_LABEL_LENGTH:
            message = f"'{name}' holds a label of {len(longest):,} characters; it may have {_MAX_LABEL_LENGTH}"
            hint = f"it begins with '{longest[:40]}'; fix the cell, or make labels of the column first"
            problems.append(Problem("data", message, hint))
    return problems


def _typed(data: xr.Dataset, roles: Sequence[Role]) -> xr.Dataset:
    for role in roles:
        if role.variable not in data.dims:
            data = data.assign({role.variable: settle_type(data[role.variable], role.domain)})
    return data


def domain_problems(data: xr.Dataset, role: Role) -> list[Problem]:
    """Return the problems of the values of a variable in its role; missing values are not checked here.

    Parameters
    ----------
    data
        Prepared variables.
    role
        Role of the variable in a model.
    """
    variable = data[role.variable]
    if role.domain == "any" or (role.domain == "number_or_date" and variable.dtype.kind == "M"):
        return []
    if variable.dtype.kind not in "biuf":
        return [_not_numeric(variable, role)]
    words, allowed = _ALLOWED[role.domain]
    values = variable.values.astype(float)
    bad = ~np.isnan(values) & ~(np.isfinite(values) & allowed(values))
    if not bad.any():
        return []
    got = shown_values(variable, variable.copy(data=bad))
    return [Problem(role.key, f"{role.kind} '{role.variable}' must be {words} (got {got})", _hint(role))]


def outside(variable: xr.DataArray, low: Array | float, high: Array | float, what: str, key: str) -> list[Problem]:
    """Return the observed values outside the support of a distribution, by row; missing values are ignored.

    Codes that leave the first category empty but include the last only cause a warning.

    Parameters
    ----------
    variable
        The observed variable.
    low, high
        Smallest and largest possible value, one for all or one per value.
    what
        `codes`, `counts` or `numbers`.
    key
        Config key of the likelihood.
    """
    values = variable.values.astype(float)
    lows, highs = (np.broadcast_to(np.asarray(limit, dtype=float), values.shape) for limit in (low, high))
    bad = (values < lows) | (values > highs)  # false for missing values
    known = values[~np.isnan(values)]
    if not bad.any():
        if what == "codes" and known.size and known.min() == 1 and known.max() == highs.max():
            log.warning(
                "no '%s' is 0, so the first of %d categories is empty: codes count from 0",
                variable.name,
                highs.max() + 1,
            )
        return []
    limits = f"{what} from {_one(lows, bad)} to {_one(highs, bad)}"
    of = f", one for each of {int(highs.max()) + 1} categories" if what == "codes" else ""
    got = shown_values(variable, variable.copy(data=np.asarray(bad)))
    shifted = np.all(np.isnan(values) | ((values - 1 >= lows) & (values - 1 <= highs)))
    own = f"codes count from 0: data.derive: {{{variable.name}_0: '{variable.name} - 1'}}"
    return [Problem(key, f"'{variable.name}' must be {limits}{of} (got {got})", own if shifted else "fix the values")]


def _one(limits: Array, at: Array) -> str:
    """Return a limit as text: one number, or those of the invalid rows."""
    found = np.unique(limits) if np.unique(limits).size == 1 else np.unique(limits[at])
    return ", ".join(f"{limit:g}" for limit in found[:_MAX_LIMITS]) + ("" if found.size == 1 else " (by row)")


def settle_type(variable: xr.DataArray, domain: Domain) -> xr.DataArray:
    """Convert a variable to the numbers that its domain requires: integers without missing values as `int64`."""
    values = variable.values
    whole = domain in _WHOLE or values.dtype.kind == "b"
    if domain == "any" or not whole or values.dtype.kind not in "bf" or np.isnan(values.astype(float)).any():
        return variable
    return variable.astype(np.int64)


def _not_numeric(variable: xr.DataArray, role: Role) -> Problem:
    must = f"{role.kind} '{role.variable}' must be numbers"
    if variable.dtype != object:
        held = "dates" if variable.dtype.kind == "M" else f"values of type {variable.dtype}"
        return Problem(role.key, f"{must}, but holds {held}", "use another variable")
    odd = np.vectorize(_is_no_number, otypes=[bool])(variable.values)
    # every cell is a number written as text
    odd = odd if odd.any() else variable.notnull().values
    hint, there = "fix the values; labels become codes with data.factors", variable.notnull().values
    if role.kind == "observed" and role.domain in ("index", "binary") and there.any() and odd[there].all():
        labels = list(dict.fromkeys(map(str, variable.values[there])))
        if role.domain == "binary":  # `no, yes` also where the first row says yes: the last one is the event
            labels.sort(key=str.casefold)
        listed = ", ".join(labels[:_MAX_LEVELS]) + (", ..." if len(labels) > _MAX_LEVELS else "")
        hint = f"name the labels in their order: data.levels={{{role.variable}: [{listed}]}}"
    elif _look_like_dates(variable.values[odd]):
        hint = f"make dates of it: data.parse_dates=[{role.variable}]"
    return Problem(role.key, f"{must} (got text: {shown_values(variable, variable.copy(data=odd))})", hint)


def _is_no_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value is not None
    return False


def _hint(role: Role) -> str:
    return _HINTS.get(role.domain, "fix the values, or choose another likelihood or variable")


def drop_rows(data: xr.Dataset, names: Sequence[str], dim: str) -> tuple[xr.Dataset, list[str]]:
    """Drop every row with a missing value in one of the variables.

    Parameters
    ----------
    data
        Variables; those that are not over the row dimension are unchanged.
    names
        Variables whose missing values drop rows.
    dim
        Name of the row dimension.

    Returns
    -------
    tuple
        The remaining rows, and messages about the dropped rows (may be empty).
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


def rows_to_drop(data: xr.Dataset, rule: Rule, used: Sequence[str]) -> list[str]:
    """Return the variables whose missing values drop rows: those that the model uses, or those that are named."""
    if isinstance(rule, Mapping):
        return [name for name, what in rule.items() if what == "rows" and name in data.variables]
    return [name for name in dict.fromkeys(used) if name in data.variables] if rule == "rows" else []


def unknown_names(data: xr.Dataset, rule: Rule) -> list[Problem]:
    """Return a problem for each unknown variable in a mapping."""
    names = [str(name) for name in data.variables]
    return [
        Problem(f"data.drop_missing.{name}", f"there is no variable '{name}'", did_you_mean(name, names))
        for name in (rule if isinstance(rule, Mapping) else [])
        if name not in names
    ]


def missing_problems(data: xr.Dataset, role: Role, rule: Rule) -> list[Problem]:
    """Return the problems of missing values: a predictor has some, or all values of a variable are missing."""
    variable = row_column(data, role.variable)
    where = where_missing(variable)
    count = int(where.sum())
    if not count or role.optional:
        return []
    factor = data[role.variable].attrs.get(LABELS)
    column = f" (codes of the column '{factor}')" if factor else ""
    if count == where.size and (count > 1 or role.kind == "observed"):
        hint = "fill them in, or choose another variable"
        return [Problem(role.key, f"all values of '{role.variable}'{column} are missing", hint)]
    if role.kind == "observed" and _rule_of(role.variable, rule) != "error":
        return []
    message = f"{role.kind} '{role.variable}'{column} has {count} missing of {where.size} values: {places(where)}"
    return [Problem(role.key, message, _remedy(role, rule, str(data.attrs.get("dim", "obs")) in variable.dims))]


def imputed(data: xr.Dataset, roles: Sequence[Role]) -> list[str]:
    """Describe the missing values of observed variables that will be imputed, one sentence per variable."""
    notes = []
    for name in dict.fromkeys(role.variable for role in roles if role.kind == "observed" and role.imputed):
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
