"""A fitted declarative model over new rows: what it has learned, what new rows need, and its likelihoods over them.

Variables that are not over the rows are those of the posterior, so their priors are not evaluated again. A variable
over groups of which some are new, or over the rows themselves, is declared with its prior, from which what is new is
drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.language.component_draws import linear_gaussian_at_rows
from bayesrun.language.declaration import Draft, Observed, observed_values
from bayesrun.language.distributions import family
from bayesrun.language.gaussian_processes import latent_at_rows, observed_at_rows
from bayesrun.language.grammar import parse
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.later_rows import (
    CONTINUED,
    autoregression_at_rows,
    hidden_markov_at_rows,
    last_values,
    recurrence_at_rows,
    series_coefficients,
    steps_from_end,
    walk_at_rows,
)
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.plan import Plan, plan
from bayesrun.language.priors import declare, declare_likelihood
from bayesrun.language.time_steps import times_along
from bayesrun.language.values import Value, variable
from bayesrun.lazy import xr
from bayesrun.models.base import NewRows
from bayesrun.models.declarative.definitions import Definition, definitions, gives, in_order
from bayesrun.models.declarative.dimension_checks import (
    add_parts,
    completed,
    explained,
    expression_value,
    has_missing,
    with_coords,
)
from bayesrun.models.declarative.marginal_variables import plain

if TYPE_CHECKING:
    from bayesrun.models.declarative import DeclarativeSpec

_KEY = "predict.data"


def plain_parts(spec: DeclarativeSpec) -> list[Definition]:
    """Return the definitions with every prior in its centred form, which has the same posterior."""
    return [replace(part, body=_plain_body(part.body)) for part in map(plain, definitions(spec))]


def _plain_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the parametrization of a prior, and the parts of a likelihood that are only known for observed rows."""
    if body.get("dist") == HIDDEN_MARKOV and isinstance(body.get("emission"), Sequence):
        body = {**body, "emission": body["emission"][0]}
    dropped = {"weights", "observed_if"}
    if body.get("parameterization") in ("noncentered", "whitened"):
        dropped.add("parameterization")
    censored = body.get("censored")
    if isinstance(censored, Mapping) and censored.get("status") is not None:
        dropped.add("censored")
    return {name: given for name, given in body.items() if name not in dropped}


def needs(rows: NewRows, spec: DeclarativeSpec) -> tuple[Role, ...]:
    """Return the variables over the rows that the likelihoods need, except those that the model can draw."""
    rows, parts = _with_coords(rows, spec), plain_parts(spec)
    used = _used(rows, parts)
    _refuse_recurrences(used, rows)
    own = explained(parts) if _goes_on(used) else frozenset()
    own |= {str(p.observed) for p in parts if p.kind == "likelihood" and p.observed == p.name}
    own |= {name for p in parts if p.system is not None or p.kind == "recurrence" for name in gives(p)}
    keys = {name: part.key for part in used for name in _data_names(rows, part)}
    return tuple(Role(name, "predictor", "any", key) for name, key in keys.items() if name not in own)


def _with_coords(rows: NewRows, spec: DeclarativeSpec) -> NewRows:
    data = with_coords(rows.data, spec.coords)
    assert data is not None
    return replace(rows, data=data)


def at_rows(rows: NewRows, spec: DeclarativeSpec) -> Any:
    """Declare the likelihoods over new rows.

    Raises
    ------
    UserError
        When the likelihoods depend on variables over the rows, or on groups, of which new ones can't be drawn.
    """
    rows, parts = _with_coords(rows, spec), plain_parts(spec)
    if not rows.likelihoods:
        raise fail(
            _KEY, "the model has no likelihood: its data enter only through potentials", "write model.likelihood"
        )
    used = _used(rows, parts)
    if not used:
        raise fail(_KEY, f"no likelihood of the model is over the rows ('{rows.dim}')", "predict from another model")
    _refuse_recurrences(used, rows)
    data = _with_drawn_predictors(rows.data, rows, used)
    fed = {str(p.observed): p.name for p in used if p.kind == "likelihood"} if _goes_on(used) else {}
    data = data.assign({name: (rows.likelihoods[own], np.zeros(_sizes(data, rows, own))) for name, own in fed.items()})
    draft = Draft(data, learned=rows.design.recalled())
    problems: list[Problem] = []
    for part in in_order(used, completed(data, used)):
        if part.kind == "prior":
            problems += _add_prior(draft, part, rows)
        elif not problems and part.kind == "recurrence":
            _add_recurrence(draft, part, data, rows, fed)
        elif not problems and part.kind == "deterministic":
            _add_known_deterministic(draft, part, rows)
        elif not problems:
            _add_likelihood(draft, part, data, rows)
    check(problems)
    return replace(draft.declaration(), fed=fed)


def _sizes(data: xr.Dataset, rows: NewRows, name: str) -> list[int]:
    return [data.sizes[dim] for dim in rows.likelihoods[name]]


def _goes_on(used: Sequence[Definition]) -> bool:
    """Return whether rows are drawn one after another."""
    return any(part.kind == "recurrence" or _is_series(part) for part in used)


def _is_series(part: Definition) -> bool:
    return part.kind == "likelihood" and part.body.get("dist") in CONTINUED


def _refuse_recurrences(used: Sequence[Definition], rows: NewRows) -> None:
    for part in used:
        if part.kind == "recurrence" and part.body["over"] != rows.dim:
            names = ", ".join(p.name for p in used if p.kind == "likelihood")
            message = (
                f"'{names}' depends on a recurrence over '{part.body['over']}': later rows of it can be predicted, "
                f"but these are rows of '{rows.dim}'"
            )
            raise fail(_KEY, message, f"set data.dim={part.body['over']} in the fit")


def _used(rows: NewRows, parts: Sequence[Definition]) -> list[Definition]:
    """Return the likelihoods over the rows and what they need; no potentials."""
    over_rows = {name for name, dims in rows.likelihoods.items() if rows.dim in dims}
    owner = {name: part for part in parts if part.kind != "potential" for name in gives(part)}
    found = {part.name: part for part in parts if part.kind == "likelihood" and part.name in over_rows}
    todo = list(found.values())
    while todo:
        part = todo.pop()
        # variables known from the draws have no further dependencies
        if part.kind != "likelihood" and not _is_made_again(rows, part):
            continue
        needed = [owner[name] for name in part.names if name in owner and owner[name].name not in found]
        found.update({other.name: other for other in needed})
        todo += needed
    return [part for part in parts if found.get(part.name) is part]


def _is_made_again(rows: NewRows, part: Definition) -> bool:
    """Return whether a variable differs from that of the posterior."""
    if part.kind == "recurrence":
        return True
    if part.kind == "prior":
        return _is_new(rows, part)
    this = rows.quantities[part.name]
    return bool(this.known or rows.grown or rows.dim in this.dims)


def _is_new(rows: NewRows, part: Definition) -> bool:
    dims = rows.quantities[part.name].dims
    return rows.dim in dims or bool(set(dims) & set(rows.grown)) or _grown_shape(rows, part) is not None


def _data_names(rows: NewRows, part: Definition) -> list[str]:
    """Return the data variables over the rows that a definition names outside of what was learned."""
    if part.kind != "likelihood" and not _is_made_again(rows, part):
        return []
    learned, quantities, likelihoods = rows.design.recalled(), rows.quantities, rows.likelihoods
    needed: set[str] = set()
    for text in part.texts:
        try:
            needed |= learned.names_needed(parse(text, part.key).tree)
        except UserError:  # a name of another kind, such as that of a transform
            continue
    other = {*quantities, *rows.data.sizes, *(n for n in likelihoods if n not in rows.data.variables)}
    sizes = {f"n_{dim}" for dim in rows.data.sizes}
    fixed = {str(n) for n, v in rows.data.variables.items() if rows.dim not in v.dims}
    return sorted(name for name in needed & part.names if name not in other | sizes | fixed)


def _with_drawn_predictors(data: xr.Dataset, rows: NewRows, used: Sequence[Definition]) -> xr.Dataset:
    """Treat absent predictors that have their own likelihood as missing in every row."""
    needed = {name for part in used for name in part.names}
    for part in used:
        if part.kind == "likelihood" and part.name in needed and part.observed == part.name:
            dims = rows.likelihoods[part.name]
            if part.name not in data.variables and all(d in data.sizes for d in dims):
                data = data.assign({part.name: (dims, np.full([data.sizes[d] for d in dims], np.nan))})
    return data


def _add_prior(draft: Draft, part: Definition, rows: NewRows) -> list[Problem]:
    """Register a variable: from the draws, or with its prior if part of it is new."""
    dims = rows.quantities[part.name].dims
    if not _is_new(rows, part):
        for name in gives(part):
            draft.scope.add(name, _of_draws(rows, name))
        return []
    known = family(str(part.body["dist"]))
    if part.body["dist"] == "GaussianProcess" and rows.dim == dims[-1] and not set(dims) & set(rows.grown):
        latent_at_rows(draft, plan(part.name, part.body, draft.scope, part.key), part.body, _all_draws(rows))
        return []
    event = known.event if known else 0
    if part.body["dist"] == "GaussianRandomWalk" and rows.dim == dims[-1] and not set(dims) & set(rows.grown):
        this = plan(part.name, {**part.body, "steps": None}, draft.scope, part.key)
        steps = _steps(draft, part, [str(dim) for dim in dims], rows.data, rows)
        walk_at_rows(draft, this, steps, _of_draws(rows, part.name))
        return []
    what = f"'{part.name}' ({part.body['dist']})"
    if rows.dim in dims and (event or not rows.draw_over_rows):
        message = f"{what} is a random variable over the rows, which has no values for new ones"
        hint = "predict from a model without it" if event else "predict.new_levels=population draws them anew"
        return [Problem(_KEY, message, hint)]
    along = [d for d in (dims[len(dims) - event :] if event else []) if d in rows.grown]
    if along or part.body.get("transform") == "ordered" or (known and known.support == "matrix"):
        message = f"{what} depends on all groups at once: new ones can't be drawn from it"
        return [Problem("predict.new_levels", message, "predict for groups that the fit has seen")]
    grown = _grown_shape(rows, part)
    _declare(draft, part if grown is None else replace(part, body={**part.body, "shape": grown}))
    return []


def _of_draws(rows: NewRows, name: str) -> Value:
    return variable(name, rows.quantities[name].dims, rows.quantities[name].shape)


def _all_draws(rows: NewRows) -> dict[str, Value]:
    return {name: _of_draws(rows, name) for name in rows.quantities}


def _declare(draft: Draft, part: Definition) -> None:
    body = {k: v for k, v in part.body.items() if k != "initval"}
    declare(draft, part.name, body, part.key)


def _grown_shape(rows: NewRows, part: Definition) -> list[int] | None:
    """Return a prior's `shape` with the current number of groups; None if it has not grown.

    An unnamed axis is that of the groups if its length was their number; `bayesrun.predict` ensures that
    the rows of known groups stay unchanged.
    """
    shape = part.body.get("shape")
    if part.kind != "prior" or shape is None:
        return None
    sizes = [int(n) for n in shape] if isinstance(shape, Sequence) else [int(shape)]
    grown = {number: rows.data.sizes[dim] for dim, number in rows.grown.items()}
    return [grown.get(n, n) for n in sizes] if any(n in grown for n in sizes) else None


def _add_deterministic(draft: Draft, part: Definition) -> None:
    """Add a quantity; a known one stays known, so that values computed from it can be learned."""
    value = expression_value(part, draft.scope)
    dims = draft.name_axes(part.name, value.dims, value.shape, draft.scope)
    made = draft.deterministic(part.name, value, dims)
    kept = made if value.known is None else replace(made, known=value.known)
    draft.scope.add(part.name, kept)
    add_parts(part, kept, draft.scope)


def _add_known_deterministic(draft: Draft, part: Definition, rows: NewRows) -> None:
    """Compute a quantity; one that is not over the rows and can't be computed from new rows is taken from the draws."""
    dims = rows.quantities[part.name].dims
    if not _is_made_again(rows, part):
        draft.scope.add(part.name, _of_draws(rows, part.name))
        add_parts(part, _of_draws(rows, part.name), draft.scope)
        return
    try:
        _add_deterministic(draft, part)
    except UserError:
        if rows.dim in dims or set(dims) & set(rows.grown):
            raise
        draft.scope.add(part.name, _of_draws(rows, part.name))
        add_parts(part, _of_draws(rows, part.name), draft.scope)


def _add_likelihood(draft: Draft, part: Definition, data: xr.Dataset, rows: NewRows) -> None:

    dims = tuple(rows.likelihoods[part.name])
    known = family(str(part.body["dist"]))
    if part.body["dist"] == "GaussianProcess":
        this = plan(part.name, part.body, draft.scope, part.key)
        draft.likelihood(observed_at_rows(draft, this, part.body, _all_draws(rows)), _blank(data, dims))
        return
    if _is_series(part):
        draft.likelihood(_series_at_rows(draft, part, dims, data, rows), _blank(data, dims))
        return
    if part.body["dist"] in (HIDDEN_MARKOV, LINEAR_GAUSSIAN):
        blank = _blank(data, dims)
        steps = _steps(draft, part, dims, data, rows)
        of = draft, part.name, part.body, part.key, dims, blank.shape, steps
        if part.body["dist"] == HIDDEN_MARKOV:
            this = hidden_markov_at_rows(*of, _of_draws(rows, f"{part.name}_state"))
        else:
            this = linear_gaussian_at_rows(*of)
        draft.likelihood(this, blank)
        return
    if known is not None and known.event and rows.dim in dims[-known.event :]:
        message = f"'{part.name}' is one {known.name} of all rows: new ones depend on those of the fit"
        raise fail(_KEY, message, "rows that depend on each other can't be predicted one by one")
    if part.observed == part.name and part.name in data.variables and has_missing(data, part.name):
        observed = observed_values(data[part.name])
    else:
        observed = _blank(data, dims)
    value = declare_likelihood(draft, part.name, part.body, part.key, observed, new_rows=True)
    if observed.missing is not None:
        draft.scope.add(part.name, value, replace=True)


def _add_recurrence(draft: Draft, part: Definition, data: xr.Dataset, rows: NewRows, fed: Mapping[str, str]) -> None:
    over = str(part.body["over"])
    steps = _steps(draft, part, (over,), data, rows)
    widest = [data[name].dims for name in (*part.names, *fed) if name in data.variables and over in data[name].dims]
    series = [str(dim) for dim in max(widest, key=len, default=(over,)) if dim != over]
    recurrence_at_rows(draft, part.body, part.key, fed, steps, _all_draws(rows), series)


def _series_at_rows(draft: Draft, part: Definition, dims: tuple[str, ...], data: xr.Dataset, rows: NewRows) -> Plan:
    """Return the distribution of an autoregression or a random walk given the rows before."""
    sizes = [data.sizes[dim] for dim in dims]
    steps = _steps(draft, part, dims, data, rows)
    this = plan(part.name, {**part.body, "steps": None, "init": None}, draft.scope, part.key, dims, sizes)
    coefficients = series_coefficients(this)
    fitted, observed = _all_draws(rows), str(part.observed)
    last = last_values(draft.scope, observed, dims[:-1], fitted, f"{part.name}_missing")
    if last is None:
        message = f"the run has not kept the last values of '{observed}', from which '{part.name}' goes on"
        raise fail(_KEY, message, "fit again: the run is of an older version, or has too few rows")
    return autoregression_at_rows(draft, this, steps, last, coefficients, observed)


def _steps(draft: Draft, part: Definition, dims: Sequence[str], data: xr.Dataset, rows: NewRows) -> Any:
    """Return the length of the step of a series into each new row, into the first one from the last row of the fit."""
    if dims[-1] != rows.dim or set(dims) & set(rows.grown):
        message = f"'{part.name}' goes along '{dims[-1]}': later rows can be predicted, further series can't"
        raise fail(_KEY, message, f"predict rows of '{dims[-1]}' for series that the fit has seen")
    times = times_along(data, dims[-1], fewest=1)
    return steps_from_end(draft.scope, part.name, part.body, part.key, times, data.sizes[dims[-1]])


def _blank(data: xr.Dataset, dims: tuple[str, ...]) -> Observed:
    """Return the place of values that are not observed."""
    labels = {d: list(data[d].values) if d in data.coords else list(range(data.sizes[d])) for d in dims}
    return Observed(np.zeros([data.sizes[d] for d in dims]), dims, labels)


__all__ = ["at_rows", "needs"]
