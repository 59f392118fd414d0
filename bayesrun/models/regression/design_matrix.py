"""The data of a GLM: the response, the columns of the formula, the offset, and natural scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.factors import formula_column, row_column
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.declaration import ModelDesign
from bayesrun.language.expressions import evaluate
from bayesrun.language.formula_grammar import dates_in, texts_in
from bayesrun.language.formulas import Design, Formula, design
from bayesrun.language.grammar import parse, single_name
from bayesrun.language.learned import Learned
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import level_on_link, reach, spread_on_link


@dataclass(frozen=True)
class Prepared:
    """A GLM's data.

    Parameters
    ----------
    response
        Over the row dim; a missing value is NaN.
    design
        The columns of the formula.
    offset
        Over the rows, or None.
    trials
        For counts of successes: trials over the rows, or None.
    learned
        Reductions over the rows in the response and the offset.
    """

    response: xr.DataArray
    design: Design
    offset: NDArray[Any] | None
    trials: NDArray[Any] | None
    learned: Learned


def response_variables(text: str, key: str) -> tuple[str, ...]:
    """Return the data variables in the left side of a formula."""
    single = single_name(text, key)
    return (single,) if single is not None else tuple(sorted(parse(text, key).names))


def likelihood_of(response: str) -> str:
    """Return the name of a response's likelihood; NetCDF reads a slash as a path."""
    return f"{response.replace('/', '÷')}_obs"


def labels_in(text: str, key: str) -> frozenset[str]:
    """Return the data variables that the left side of a formula only compares with strings."""
    return frozenset() if single_name(text, key) is not None else parse(text, key).labels


def prepare(data: xr.Dataset, formula: Formula, offset: str | None, trials: str | None) -> Prepared:
    """Evaluate a formula, its response and its offset on the data.

    Parameters
    ----------
    data
        The rows.
    formula
        The checked formula.
    offset
        Expression that is added to the linear predictor.
    trials
        Variable with the number of trials.

    Raises
    ------
    UserError
        When they can't be computed from these data.
    """
    names = response_variables(formula.response, formula.key)
    if not names:
        raise fail(formula.key, f"the left side of '{formula.text}' names no variable", "name the response")
    dim = str(data[names[0]].dims[0]) if data[names[0]].ndim == 1 else ""
    learned = Learned(dim)
    response = response_values(data, formula.response, formula.key, learned)
    check([*_misshapen(data, [trials] if trials else [], dim, formula.key), *column_problems(data, formula, dim)])
    columns = {n: formula_column(data, n, n in formula.categorical) for n in formula.variables}
    columns = columns or {dim: data[dim].values}
    return Prepared(
        response,
        design(formula, columns),
        None if offset is None else offset_values(data, offset, dim, learned),
        None if trials is None else data[trials].values.astype(int),
        learned,
    )


def learned_from(prepared: Prepared) -> ModelDesign:
    """Return the learned state that is applied to new rows: everything except the rows themselves."""
    without_rows = replace(prepared.design, matrix=prepared.design.matrix[:0].copy())
    return ModelDesign(dict(prepared.learned.constants), without_rows, str(prepared.response.dims[0]))


@dataclass(frozen=True)
class Scales:
    """Natural scales of a GLM, `term_scale` in priors.

    Parameters
    ----------
    spread
        Sd on the scale of the linear predictor: of the response, or 1 if the link removes its units.
    response
        Sd of the response in its own units: the scale of a family's further parameters.
    terms
        Term to the scale of its coefficients: a scalar, or an array over its columns.
    """

    spread: float
    response: float
    terms: Mapping[str, NDArray[Any]]


def scales(prepared: Prepared, link: str) -> Scales:
    """Return the natural scale of each term's coefficients.

    With `s` the sd of the response (1 if a link other than the identity removes units) and `m` its mean on the
    scale of the link, it is `sqrt((s by_spread)^2 + (m by_level)^2)` (`blocked_algebra.reach`). Beside an intercept and
    uncorrelated columns that is `s / sd(column)`, the slope of a predictor that explains everything; for the intercept
    it is the scale of the response where all predictors are 0, `sqrt(m^2 + s^2 (1 + sum (mean / sd)^2))`.

    """
    values = prepared.response.values.astype(float)
    in_units = float(np.nanstd(values)) or 1.0
    trials = np.ones_like(values) if prepared.trials is None else prepared.trials
    mean = float(np.nansum(values) / np.sum(trials[~np.isnan(values)]))
    spread = spread_on_link(in_units, mean, link)
    middle = level_on_link(mean, link, 0.5 / float(np.sum(trials)))
    middle -= 0.0 if prepared.offset is None else float(np.mean(prepared.offset))
    by_spread, by_level = reach(prepared.design.matrix)
    columns = np.sqrt((spread * by_spread) ** 2 + (middle * by_level) ** 2)
    terms = {
        term.name: columns[term.start] if term.labels is None else columns[term.start : term.stop]
        for term in prepared.design.terms
    }
    return Scales(spread, in_units, terms)


def response_values(data: xr.Dataset, text: str, key: str, learned: Learned) -> xr.DataArray:
    """Evaluate the left side of a formula on the rows where its variables are known; it is missing elsewhere.

    Parameters
    ----------
    data
        The rows.
    text
        The expression.
    key
        Config key of the formula.
    learned
        Its reductions over the rows; names the row dimension.

    Raises
    ------
    UserError
        When the result is not one value per row.
    """
    dim, names = learned.rows, response_variables(text, key)
    check(_misshapen(data, names, dim, key))
    single = single_name(text, key)
    if single is not None:
        found = data[single]
        return found.astype(int) if found.dtype.kind == "b" else found

    known = np.all([~data[name].isnull().values for name in names], axis=0)
    made = evaluate(text, data.isel({dim: known}), key, learned=learned)
    if made.dims != (dim,):
        raise fail(key, f"the left side '{text}' must give one value per row")
    values = made.values.astype(int) if made.dtype.kind == "b" else made.values
    whole = np.full(known.size, np.nan)
    whole[known] = values
    return data[names[0]].copy(data=values if known.all() else whole)


def column_problems(data: xr.Dataset, formula: Formula, dim: str) -> list[Problem]:
    """Find variables of the right side that are not over the rows, and dates where they are not allowed."""
    columns = {name: row_column(data, name) for name in formula.variables}
    compared = [pair for term in formula.parsed for factor in term.factors for pair in texts_in(factor.expr).items()]
    of_dates = {name for term in formula.parsed for factor in term.factors for name in dates_in(factor.expr)}
    problems = []
    for name, column in columns.items():
        if column.dims != (dim,):
            message = f"'{name}' must be over the rows, one value each (its dims are {column.dims})"
            problems.append(Problem(formula.key, message, "a formula takes columns of one table"))
        elif column.dtype.kind == "M" and name in formula.categorical:
            hint = f"take a number of it: trend({name}), days({name}), month({name}), or C(weekday({name}))"
            problems.append(Problem(formula.key, f"'{name}' holds dates", hint))
        elif column.dtype.kind != "M" and name in of_dates:
            hint = "parse it with data.parse_dates"
            problems.append(Problem(formula.key, f"'{name}' holds no dates", hint))
    return [*problems, *(p for name, texts in compared for p in _unknown_texts(columns[name], texts, formula.key))]


def _unknown_texts(column: xr.DataArray, texts: list[str], key: str) -> list[Problem]:
    """Find strings that occur in no row; a numeric column has none."""
    if column.dtype.kind != "O":
        hint = f"write {column.name} == {texts[0]} without quotes"
        return [Problem(key, f"'{column.name}' holds no text, but is compared with '{texts[0]}'", hint)]
    labels = {str(label) for label in column.values if label is not None}
    return [
        Problem(key, f"'{column.name}' has no value '{text}'", did_you_mean(text, labels))
        for text in texts
        if text not in labels
    ]


def _misshapen(data: xr.Dataset, names: Any, dim: str, key: str) -> list[Problem]:
    problems = []
    for name in names:
        if data[name].dims != (dim,):
            message = f"'{name}' must be over the rows, one value each (its dims are {data[name].dims})"
            problems.append(Problem(key, message, "a formula takes columns of one table"))
        elif data[name].dtype.kind == "M":
            problems.append(Problem(key, f"'{name}' holds dates", "make a number of it with data.derive"))
    return problems


def offset_values(
    data: xr.Dataset, text: str, dim: str, learned: Learned, key: str = "model.options.offset"
) -> NDArray[Any]:
    """Return the offset of each row; reductions over the rows are learned, or reused for new rows.

    Raises
    ------
    UserError
        When it is not one finite number per row.
    """
    made = evaluate(text, data, key, learned=learned)
    odd = made.dims == (dim,) and places(made.copy(data=~np.isfinite(made.values.astype(float))))
    if made.dims not in ((dim,), ()) or not np.all(np.isfinite(made.values)):
        message = f"'{text}' must give one finite number per row" + (f" (not in {odd})" if odd else "")
        raise UserError([Problem(key, message, "exposures must be above 0")])
    return np.broadcast_to(made.values.astype(float), (data.sizes[dim],))
