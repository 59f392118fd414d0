"""Predictions of a fitted model for new rows: all checks are done before anything is sampled.

The rows are read and transformed by the fitted design of the data. The model declares its likelihoods over them, using
what it has learned from the fit, and the declaration is then evaluated at every posterior draw.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.factors import value_key
from bayesrun.data.prepare import load_new
from bayesrun.data.roles import settle
from bayesrun.data.section import PredictSpec, of_new_rows
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.language.declaration import Declaration, Deterministic, Likelihood, Random
from bayesrun.language.evaluation_at_draws import whole_factor
from bayesrun.language.operations import Constant, in_order, names_in
from bayesrun.language.values import Value, node_of
from bayesrun.lazy import xr
from bayesrun.models.base import ModelSpec, ModelType, NewRows
from bayesrun.predict.fitted_model import FittedModel
from bayesrun.predict.forward import DrawByEngine, Forecast, Forward

Draws = Mapping[str, NDArray[Any]]

KEY = "predict.data"
AT_ONCE = 10_000_000
"""Maximum number of values of a likelihood that are predicted at once."""
ORDERED = re.compile(
    r'\b(cumsum|cumprod|cummax|lag|diff|concatenate)\(|"recurrence": [{\[]'
    r'|"(GaussianProcess|HiddenMarkov|LinearGaussian|AR|AR1|GaussianRandomWalk)"'
)
"""Functions and distributions that make a row depend on other rows."""


@dataclass(frozen=True)
class PreparedRows:
    """New rows that can be predicted.

    Parameters
    ----------
    data
        The rows, transformed as in the fit.
    declared
        The likelihoods over them.
    fresh
        Names of the random variables of the declaration that are drawn, in full or in part.
    declare
        Declares the likelihoods over some of the rows (a slice); None if rows depend on other rows, as in `cumsum(x)`.
    dim
        The row dimension.
    levels
        Labels of the levels of the observed variable, in order, by likelihood; codes if there are none.
    notes
        Messages about the rows.
    """

    data: xr.Dataset
    declared: Declaration
    fresh: frozenset[str]
    declare: Callable[[slice], Declaration] | None
    dim: str
    levels: Mapping[str, tuple[Any, ...]]
    notes: tuple[str, ...] = ()


def prepare_rows(
    kind: ModelType, spec: ModelSpec, fitted: FittedModel, predict: PredictSpec, directory: Path
) -> PreparedRows:
    """Read new rows, and declare the model's likelihoods over them.

    Parameters
    ----------
    kind, spec
        The model.
    fitted
        What its fit has learned.
    predict
        The section `predict`.
    directory
        `paths.data`.

    Raises
    ------
    UserError
        For all problems of the rows, by column and row, and for anything that the model can't predict.
    """
    assert predict.data is not None
    if not fitted.likelihoods:
        message = "the model has no likelihood: its data enter only through potentials, from which nothing can be drawn"
        raise fail(KEY, message, "write the data's distribution into model.likelihood")
    population = predict.new_levels == "population"
    read = {role.variable for role in kind.roles(spec) if role.kind == "predictor"} | kind.uses(spec)
    with _as_new_rows():
        table, notes = load_new(predict.data, directory, fitted.data, (), new_levels=population, needed=read)
    grown = _grown(table, fitted)
    rows = NewRows(table, fitted.model, fitted.quantities, fitted.likelihoods, grown, population)
    needed = [replace(role, key=f"{KEY}.{role.variable}") for role in _needed(kind, spec, rows)]
    with _as_new_rows():
        data, more = settle(table, needed, predict.data.drop_missing)
    data = fitted.data.with_truth(data, {role.variable for role in needed if role.domain == "any"})
    rows = replace(rows, data=data)
    declared, fresh = _declared(kind, spec, rows)
    _check_finite(declared, fresh, rows)
    if grown:
        _check_known_groups(kind, spec, rows)
    said = tuple(dict.fromkeys([*notes, *more, *declared.notes]))
    apart = None if ORDERED.search(json.dumps(spec.model_dump(mode="json"))) else _by_parts(kind, spec, rows)
    levels = _observed_levels(kind, spec, fitted)
    return PreparedRows(data, declared, fresh, apart, fitted.model.rows, levels, said)


@contextmanager
def _as_new_rows() -> Iterator[None]:
    """Report problems of reading a data set with the keys of the new rows."""
    try:
        yield
    except UserError as error:
        raise UserError(map(of_new_rows, error.problems)) from error


def _observed_levels(kind: ModelType, spec: ModelSpec, fitted: FittedModel) -> dict[str, tuple[Any, ...]]:
    """Return the labels of the observed variable of each likelihood, if the data or the model's terms have them."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, state in {"": fitted.model.terms, **fitted.model.terms.get("responses", {})}.items():
        labels = tuple(map(value_key, state.get("levels") or ()))
        named = [one for one in fitted.likelihoods if one == f"{name}_obs" or not name]
        found.update({one: labels for one in named if labels})
    for role in kind.roles(spec):
        column = fitted.data.factors.get(role.variable, role.variable)
        if role.kind == "observed" and column in fitted.data.levels:
            named = [name for name in fitted.likelihoods if role.key == f"model.likelihood.{name}.observed"]
            labels = tuple(fitted.data.levels[column].tolist())
            found.update({name: labels for name in named or fitted.likelihoods})
    return {**_levels_of_regression(fitted), **found}


def _levels_of_regression(fitted: FittedModel) -> dict[str, tuple[Any, ...]]:
    """Return the labels that the response of a regression had in the fit, where the data do not define them."""
    terms = fitted.model.terms
    likelihoods, states = list(fitted.likelihoods), list(terms.get("responses", {"": terms}).values())
    if len(likelihoods) != len(states):
        return {}
    pairs = zip(likelihoods, states, strict=True)
    return {name: tuple(state["levels"]) for name, state in pairs if state.get("levels")}


def _by_parts(kind: ModelType, spec: ModelSpec, rows: NewRows) -> Callable[[slice], Declaration]:
    return lambda part: _declared(kind, spec, replace(rows, data=rows.data.isel({rows.dim: part})))[0]


def _grown(table: xr.Dataset, fitted: FittedModel) -> dict[str, int]:
    levels = fitted.data.levels
    return {c: len(known) for c, known in levels.items() if c in table.sizes and table.sizes[c] > len(known)}


def _needed(kind: ModelType, spec: ModelSpec, rows: NewRows) -> list[Any]:
    if kind.needs is not None:
        return list(kind.needs(rows, spec))
    return [role for role in kind.roles(spec) if role.kind == "predictor"]


def _declared(kind: ModelType, spec: ModelSpec, rows: NewRows) -> tuple[Declaration, frozenset[str]]:
    """Declare the likelihoods over the rows, and name the variables that are drawn."""
    if kind.at_rows is not None:
        declared = kind.at_rows(rows, spec)
        return declared, frozenset(item.name for item in declared.items if isinstance(item, Random))
    if rows.grown:
        names = ", ".join(rows.grown)
        raise fail("predict.new_levels", f"this type of model can't draw new groups ({names})", "use type: declarative")
    made = kind.build(_with_responses(kind, spec, rows), spec)
    declared = made.reported or made
    kept = [i for i in declared.items if not isinstance(i, Likelihood) or rows.dim in i.observed.dims]
    declared = replace(declared, items=tuple(kept))
    check(_unknown(declared, rows))
    return declared, frozenset()


def _with_responses(kind: ModelType, spec: ModelSpec, rows: NewRows) -> xr.Dataset:
    """Add values of the response to the rows: a builder requires them, but no prediction depends on them."""
    data = rows.data
    for role in kind.roles(spec):
        if role.kind == "observed":
            blank = np.zeros(data.sizes[rows.dim], dtype=int if role.domain != "real" else float)
            data = data.assign({role.variable: ((rows.dim,), blank)})
    return data


def _unknown(declared: Declaration, rows: NewRows) -> list[Problem]:
    """Find random variables over the rows that likelihoods depend on: new rows have no values of them."""
    over_rows = {
        item.name: item.plan.family.name
        for item in declared.items
        if isinstance(item, Random) and rows.dim in (*item.dims, *item.plan.dims)
    }
    values = {item.name: [item.value] for item in declared.items if isinstance(item, Deterministic)}
    needed: set[str] = set()
    todo = [v for item in declared.items if isinstance(item, Likelihood) for v in item.plan.values.values()]
    while todo:
        for name in names_in(node_of(todo.pop())):
            if name not in needed:
                needed.add(name)
                todo += values.get(name, [])
    return [
        Problem(
            KEY,
            f"'{name}' ({distribution}) is a random variable over the rows, which has no values for new ones",
            "predict from a model without it",
        )
        for name, distribution in over_rows.items()
        if name in needed
    ]


def _check_finite(declared: Declaration, fresh: frozenset[str], rows: NewRows) -> None:
    """Reject rows with NaN in the parameters of a likelihood, such as `log(x)` of a negative `x`.

    The parameters are computed at artificial draws, which may be outside the range of the posterior: a row is invalid
    only if other rows are valid, or if NaN arises from its own data.
    """
    likelihoods = [item for item in declared.items if isinstance(item, Likelihood)]
    if any(item.observed.missing is not None for item in likelihoods):
        return  # imputed values are not known yet
    forward = Forward(_made_up(rows), np.random.default_rng(1), _no_engine, fresh, rows.dim)
    found = forward.parameters_of_likelihoods(declared)
    problems = []
    for item in likelihoods:
        for name, values, value in zip(item.plan.values, found[item.name], item.plan.values.values(), strict=True):
            if rows.dim not in value.dims or values.dtype.kind != "f":
                continue
            axis = 1 + value.dims.index(rows.dim)
            bad = ~np.isfinite(np.moveaxis(values, axis, -1)).reshape(-1, values.shape[axis]).any(axis=0)
            if name in ("lower", "upper") or not bad.any() or (bad.all() and not _has_odd_data(value)):
                continue
            where = places(xr.DataArray(bad, dims=(rows.dim,), coords={rows.dim: rows.data[rows.dim]}))
            problems.append(Problem(KEY, f"'{name}' of '{item.name}' is not a number ({where})", "correct the rows"))
    check(problems)


def _has_odd_data(value: Value) -> bool:
    numbers = [part.numbers for part in in_order(node_of(value)) if isinstance(part, Constant)]
    return any(n.dtype.kind == "f" and not np.isfinite(n).all() for n in map(np.asarray, numbers))


def _made_up(rows: NewRows) -> dict[str, NDArray[Any]]:
    """Return artificial draws of every variable, to find out what an expression depends on."""
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.3, 0.7, (2, *q.shape)) for name, q in rows.quantities.items()}


def _check_known_groups(kind: ModelType, spec: ModelSpec, rows: NewRows) -> None:
    """Check that new groups do not change predictions for rows of known groups, as a mean over all groups would.

    Parameters of the likelihoods for rows of known groups are compared with and without elements for new groups.
    """
    codes = {name: rows.data[name] for name in rows.data.data_vars if rows.data[name].attrs.get("labels") in rows.grown}
    known = {
        name: array.copy(data=np.where(array.values < rows.grown[array.attrs["labels"]], array.values, 0))
        for name, array in codes.items()
    }
    wide = replace(rows, data=rows.data.assign(known))
    fitted = wide.data.isel({dim: slice(size) for dim, size in rows.grown.items()})
    computed = {name: replace(quantity, known=True) for name, quantity in rows.quantities.items()}
    narrow = replace(wide, data=fitted, grown={}, quantities=computed)
    draws, sides = _made_up(rows), []
    for side in (wide, narrow):
        declared, fresh = _declared(kind, spec, side)
        forward = Forward(draws, np.random.default_rng(1), _no_engine, fresh, rows.dim)
        sides.append(forward.parameters_of_likelihoods(declared))
    different = [name for name, values in sides[0].items() if not all(map(_alike, values, sides[1][name]))]
    if different:
        message = f"'{different[0]}' of known groups would change with new ones ({', '.join(rows.grown)})"
        hint = "give the groups' variables dims, and no expression that puts all groups together"
        raise fail("predict.new_levels", message, hint)


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True))


def _no_engine(distribution: str, parameters: Any, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    return np.full((2, *shape), 0.5)


def forecasts(
    rows: PreparedRows, fitted: FittedModel, draws: Draws, seed: int, draw_by_engine: DrawByEngine
) -> Iterator[tuple[slice, dict[str, Forecast]]]:
    """Predict every likelihood over new rows, at every draw, in blocks of rows that fit in memory.

    Parameters
    ----------
    rows
        The new rows.
    fitted
        What the fit has learned.
    draws
        Posterior draws by name (chain, draw, ...).
    seed
        Seed of the predictions: the same draws and seed give the same numbers.
    draw_by_engine
        Draws from distributions without a NumPy generator.

    Yields
    ------
    tuple
        A slice of the rows, and the forecast of each likelihood over them, by name.
    """
    flat = {name: _as_named(values.reshape(-1, *values.shape[2:]), fitted, name) for name, values in draws.items()}
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    forward = Forward(flat, rng, draw_by_engine, rows.fresh, rows.dim)
    size = rows.data.sizes[rows.dim]
    widest = max(_numbers_per_row(item, rows.dim) for item in rows.declared.items if isinstance(item, Likelihood))
    step = max(1, AT_ONCE // (forward.count * widest))
    if size <= step or rows.declare is None:
        yield slice(0, size), forward.run(rows.declared)
        return
    for begin in range(0, size, step):
        part = slice(begin, min(begin + step, size))
        yield part, forward.run(rows.declare(part))


def _numbers_per_row(item: Likelihood, rows: str) -> int:
    """Return the number of values in a row of a likelihood, including the probabilities of its levels."""
    beside = [n for dim, n in zip(item.observed.dims, item.observed.shape, strict=True) if dim != rows]
    levels = [value.shape[-1] + 1 for value in item.plan.values.values() if value.ndim > len(item.observed.dims)]
    cutpoints = item.plan.values.get("cutpoints")
    if cutpoints is not None:
        levels.append(cutpoints.shape[-1] + 1)
    return math.prod(beside) * max(levels, default=1)


def _as_named(values: NDArray[Any], fitted: FittedModel, name: str) -> NDArray[Any]:
    """Return draws in the shape used in expressions: a Cholesky factor is stored packed."""
    known = fitted.quantities.get(name)
    if known is None or values.shape[1:] == known.shape or len(known.shape) != 2 or values.ndim != 2:
        return values
    return whole_factor(values)


__all__ = ["KEY", "ORDERED", "PreparedRows", "forecasts", "prepare_rows"]
