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
from bayesrun.language.component_draws import linear_gaussian_at_rows, steps_from_end
from bayesrun.language.declaration import Draft, Observed, observed_values
from bayesrun.language.distributions import family
from bayesrun.language.gaussian_processes import latent_at_rows, observed_at_rows
from bayesrun.language.grammar import parse
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.plan import plan
from bayesrun.language.priors import declare, declare_likelihood
from bayesrun.language.time_steps import times_along
from bayesrun.language.values import Value, variable
from bayesrun.lazy import xr
from bayesrun.models.base import NewRows
from bayesrun.models.declarative.definitions import Definition, definitions, gives, in_order
from bayesrun.models.declarative.dimension_checks import (
    add_parts,
    completed,
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
    _refuse_recurrences(used)
    own = {str(p.observed) for p in parts if p.kind == "likelihood" and p.observed == p.name}
    own |= {name for p in parts if p.system is not None for name in gives(p)}
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
    _refuse_recurrences(used)
    data = _with_drawn_predictors(rows.data, rows, used)
    draft = Draft(data, learned=rows.design.recalled())
    problems: list[Problem] = []
    for part in in_order(used, completed(data, used)):
        if part.kind == "prior":
            problems += _add_prior(draft, part, rows)
        elif not problems and part.kind == "deterministic":
            _add_known_deterministic(draft, part, rows)
        elif not problems:
            _add_likelihood(draft, part, data, rows)
    check(problems)
    return draft.declaration()


def _refuse_recurrences(used: Sequence[Definition]) -> None:
    for part in used:
        if part.body.get("dist") == HIDDEN_MARKOV:
            message = f"'{part.name}' is a hidden Markov chain, where each row needs the rows before"
            raise fail(_KEY, message, "the posterior predictive draws of the fit are new series over its own rows")
        if part.kind == "recurrence":
            names = ", ".join(p.name for p in used if p.kind == "likelihood")
            message = (
                f"'{names}' depends on a recurrence over '{part.body['over']}', whose rows follow from the rows before"
            )
            raise fail(_KEY, message, "the posterior predictive draws of the fit are new series over its own rows")


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
        return False
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
    if part.body["dist"] == LINEAR_GAUSSIAN:
        if dims[-1] != rows.dim or set(dims) & set(rows.grown):
            message = f"'{part.name}' goes along '{dims[-1]}': later rows can be predicted, further series can't"
            raise fail(_KEY, message, f"predict rows of '{dims[-1]}' for series that the fit has seen")
        blank = _blank(data, dims)
        times = times_along(data, dims[-1], fewest=1)
        steps = steps_from_end(draft.scope, part.name, part.body, part.key, times, blank.shape[-1])
        this = linear_gaussian_at_rows(draft, part.name, part.body, part.key, dims, blank.shape, steps)
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


def _blank(data: xr.Dataset, dims: tuple[str, ...]) -> Observed:
    """Return the place of values that are not observed."""
    labels = {d: list(data[d].values) if d in data.coords else list(range(data.sizes[d])) for d in dims}
    return Observed(np.zeros([data.sizes[d] for d in dims]), dims, labels)


__all__ = ["at_rows", "needs"]
