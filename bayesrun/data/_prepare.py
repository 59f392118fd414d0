"""From a parsed section `data` to the data set that a model gets.

    load:    source -> columns -> dates -> factors -> derive -> drop_missing: rows
    settle:  gaps and domains by role, once the model is known

Heavy packages are imported inside the functions, so that this module may be imported while the config is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data.base import SOURCES, DataSpec, Gaps, Role
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail

if TYPE_CHECKING:
    import xarray as xr


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
    from bayesrun.data._columns import choose, label, parse_dates
    from bayesrun.data._factors import add_factors

    raw = SOURCES.load(spec.source, "data.source").load(spec, directory)
    data = label(parse_dates(choose(raw, spec.columns), spec.parse_dates))
    data = _derive(add_factors(data, spec.factors), spec.derive)
    data, dropped = _drop(data, spec)
    _check_whole(data, spec)
    return data.assign_attrs(
        name=spec.name, source=spec.source, dim=spec.dim, rows=data.sizes.get(spec.dim, 0), dropped="; ".join(dropped)
    )


def settle(
    data: xr.Dataset, roles: Sequence[Role], drop_missing: Gaps | Mapping[str, Gaps] | None
) -> tuple[xr.Dataset, list[str]]:
    """Apply the rules for gaps, and check every variable's values, once the roles are known.

    Parameters
    ----------
    data
        A loaded data set.
    roles
        What the model uses which variable for.
    drop_missing
        `data.drop_missing`. Null: gaps of predictors are an error, those of observed variables stay NaN to be imputed.

    Returns
    -------
    tuple
        The data set (whole numbers without gaps as integers), and what was dropped and will be imputed, in words.

    Raises
    ------
    UserError
        All problems of all roles at once.
    """
    from bayesrun.data._gaps import drop_rows, imputed, rows_to_drop, unknown_names

    dim = str(data.attrs.get("dim", "obs"))
    problems = [*unknown_names(data, drop_missing), *_not_there(data, roles)]
    left, dropped = drop_rows(data, rows_to_drop(data, drop_missing), dim)
    known = [role for role in roles if role.variable in data.variables]
    check([*problems, *_value_problems(left, known, drop_missing)])
    before = [str(data.attrs["dropped"])] if data.attrs.get("dropped") else []
    settled = _typed(left, known).assign_attrs(rows=left.sizes.get(dim, 0))
    return settled, [*before, *dropped, *imputed(settled, known)]


def digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over names, dims, labels and values of a data set, in hexadecimal (`data_digest`)."""
    from bayesrun.data._digest import digest as digest_of

    return digest_of(dataset)


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
    from bayesrun.data._columns import label
    from bayesrun.language.expressions import evaluate

    key = f"data.derive.{name}"
    if name in data.variables or name in data.dims:
        raise fail(key, f"the name '{name}' is taken by a column or a dim", "give it a new name")
    made = evaluate(text, data, key)
    return label(data.assign({name: (made.dims, made.values)}))


def _drop(data: xr.Dataset, spec: DataSpec) -> tuple[xr.Dataset, list[str]]:
    from bayesrun.data._gaps import drop_rows, rows_to_drop

    if spec.drop_missing != "rows":
        return data, []
    left, dropped = drop_rows(data, rows_to_drop(data, "rows"), spec.dim)
    if dropped and not left.sizes[spec.dim]:
        raise fail("data.drop_missing", f"no row is left: {dropped[0]}", "drop by variable: {NAME: rows}")
    return left, dropped


def _check_whole(data: xr.Dataset, spec: DataSpec) -> None:
    from bayesrun.data._labels import label_problems

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


def _value_problems(data: xr.Dataset, roles: Sequence[Role], rule: Gaps | Mapping[str, Gaps] | None) -> list[Problem]:
    from bayesrun.data._domains import domain_problems
    from bayesrun.data._gaps import gap_problems

    problems: list[Problem] = []
    for role in roles:
        if not data[role.variable].size:
            hint = "give the data at least one complete row"
            problems.append(Problem(role.key, f"no value of '{role.variable}' is left", hint))
            continue
        wrong = gap_problems(data, role, rule)
        # a variable without any value has no values to judge
        all_missing = bool(wrong) and bool(data[role.variable].isnull().all())
        problems += wrong if all_missing else [*wrong, *domain_problems(data, role)]
    return problems


def _typed(data: xr.Dataset, roles: Sequence[Role]) -> xr.Dataset:
    from bayesrun.data._domains import settle_type

    for role in roles:
        if role.variable not in data.dims:
            settled = settle_type(data[role.variable], role.domain)
            data = data.assign({role.variable: (settled.dims, settled.values)})
    return data
