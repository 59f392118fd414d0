"""Any model, written in YAML: priors, deterministics, potentials and likelihoods in the language of `docs/language.md`.

name: eight_schools
type: declarative
priors:
  mu:  {dist: Normal, mu: 0, sigma: 5}
  tau: {dist: HalfCauchy, beta: 5}
  theta: {dist: Normal, mu: mu, sigma: tau, dims: [school], parameterization: noncentered}
likelihood:
  y: {dist: Normal, mu: theta, sigma: stderr, observed: effect}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import Field

from bayesrun.data.base import Domain, Role
from bayesrun.errors import Problem, UserError
from bayesrun.errors import check as check_problems
from bayesrun.language.component_draws import DrawnComponents
from bayesrun.language.declaration import Declaration, Draft, Hidden, ModelDesign, Observed, coords_of, observed_values
from bayesrun.language.densities.named_densities import written_density
from bayesrun.language.distributions import family
from bayesrun.language.functions import index, reduce_axis
from bayesrun.language.hidden_markov import HIDDEN_MARKOV, HiddenMarkov, emitted, read_hidden_markov
from bayesrun.language.hidden_states import HiddenStates
from bayesrun.language.later_rows import (
    CONTINUED,
    remember_end,
    remember_last,
    remember_observed,
    series_coefficients,
)
from bayesrun.language.learned import Learned
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN, LinearGaussian, read_linear_gaussian
from bayesrun.language.modifiers import Modifiers
from bayesrun.language.plan import of_values, plan
from bayesrun.language.priors import declare, declare_likelihood
from bayesrun.language.recurrence_checks import lags_in
from bayesrun.language.recurrence_draws import same_row_problems
from bayesrun.language.recurrence_reader import read_recurrence
from bayesrun.language.time_steps import times_along
from bayesrun.language.values import apply, constant
from bayesrun.lazy import xr
from bayesrun.models.base import ModelSpec, ModelType, PriorNames
from bayesrun.models.declarative.declarative_rows import at_rows, needs
from bayesrun.models.declarative.declarative_statements import statements
from bayesrun.models.declarative.definitions import (
    Definition,
    definitions,
    in_order,
    static_problems,
)
from bayesrun.models.declarative.dimension_checks import (
    add_parts,
    completed,
    data_problems,
    dims_taken,
    explained,
    expression_value,
    has_missing,
    with_coords,
)
from bayesrun.models.declarative.filled_series import between_neighbours, filled_in, filled_support
from bayesrun.models.declarative.marginal_draws import Recovery
from bayesrun.models.declarative.marginal_variables import (
    SummedOut,
    axis_of,
    is_marginal,
    marginal_problems,
    plain,
)
from bayesrun.models.declarative.whitened_processes import Sight, add_seen_process, centred, seen_processes

_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "binary": "binary",
        "count": "count",
        "unit": "unit",
        "unit_or_end": "unit",
        "positive": "nonnegative",
        "nonnegative": "nonnegative",
    }
)

_OF_LEVELS = (
    *("Categorical", "CategoricalLogit", "OrderedLogistic", "OrderedProbit", "OrderedCloglog"),
    *("SequentialLogistic", "AdjacentLogistic"),
)
"""Distributions of codes of levels."""


class DeclarativeSpec(ModelSpec):
    """Config of `type: declarative`.

    Parameters
    ----------
    coords
        Dims of the model that the data do not have, with their labels: `{effect: [intercept, slope]}`.
    deterministics
        Quantities computed for each draw and kept: `{name: expression}`, or `{name: {expr: ..., dims: [...]}}`.
    potentials
        Terms added to the log density, written as deterministics are.
    recurrence
        What is computed row by row: `{over: dim, state: ..., first: ..., step: {name: expression}, keep: [...]}`, or a
        list of such (docs/language.md).
    likelihood
        Distributions of what was observed: `{name: {dist: NAME, PARAM: VALUE, ..., observed: data variable}}`.
    """

    coords: dict[str, list[Any]] = Field(default={})
    deterministics: dict[str, Any] = Field(default={})
    potentials: dict[str, Any] = Field(default={})
    recurrence: Any = None
    likelihood: dict[str, dict[str, Any]] = Field(default={})


def roles(spec: DeclarativeSpec) -> tuple[Role, ...]:
    """Return the roles of observed variables; names in expressions are checked once the data are loaded."""
    found = []
    for part in definitions(spec):
        if part.kind == "likelihood" and part.body.get("dist") == LINEAR_GAUSSIAN:
            found.append(Role(str(part.observed), "observed", "real", f"{part.key}.observed", imputed=False))
            continue
        for key, name, dist in _observed(part) if part.kind == "likelihood" else ():
            known = family(dist)
            if known is not None:
                domain = "index" if known.name in _OF_LEVELS else _DOMAINS.get(known.support, "real")
                is_imputed = part.body.get("observed_if") is None and part.body.get("dist") != HIDDEN_MARKOV
                found.append(Role(name, "observed", domain, f"{key}.observed", is_imputed))
    return tuple(found)


def _observed(part: Definition) -> list[tuple[str, str, str]]:
    """Return the keys, data variables and distributions of what a likelihood explains."""
    if part.body.get("dist") != HIDDEN_MARKOV:
        return [(part.key, str(part.observed), str(part.body.get("dist")))]
    each = emitted(part.key, part.body)
    return [(part.key if own is None else key, str(part.observed if own is None else own), d) for key, own, d in each]


def uses(spec: DeclarativeSpec) -> frozenset[str]:
    """Return the names in all expressions, some of which are data variables."""
    return frozenset().union(*(part.names for part in definitions(spec)))


def static_check(spec: DeclarativeSpec) -> list[Problem]:
    """Find expressions that do not parse, repeated names, cycles and missing parts."""
    return static_problems(spec) or list(marginal_problems(definitions(spec)))


def check(data: xr.Dataset | None, spec: DeclarativeSpec) -> list[Problem]:
    """Find unknown names, clashing dims and shapes that do not fit, without an engine."""
    parts = definitions(spec)
    taken = dims_taken(data, spec.coords)
    if taken:
        return taken
    data = with_coords(data, spec.coords)
    problems = data_problems(data, [plain(part) for part in parts])
    if not problems and any(map(is_marginal, parts)):
        try:
            _summed_out(data, parts, _declared(data, [plain(part) for part in parts], sums=True))
        except UserError as error:
            problems = list(error.problems)
    return problems


def build(data: xr.Dataset | None, spec: DeclarativeSpec) -> Declaration:
    """Declare the model; with a whitened walk, or a variable summed out, it is reported as the user wrote it."""
    parts, data = definitions(spec), with_coords(data, spec.coords)
    written = [replace(p, body={**p.body, "parameterization": None}) if _is_whitened(p) else plain(p) for p in parts]
    if any(map(is_marginal, parts)):
        return _summed_out(data, parts, _declared(data, written, sums=True))
    seen = seen_processes(data, parts)
    written = [centred(part) if part.name in seen else part for part in written]
    declared = _declared(data, parts, seen=seen)
    return declared if written == parts else replace(declared, reported=_declared(data, written))


def _is_whitened(part: Definition) -> bool:
    return part.kind == "prior" and part.body.get("parameterization") == "whitened"


def _declared(
    data: xr.Dataset | None, parts: Sequence[Definition], sums: bool = False, seen: Mapping[str, Sight] | None = None
) -> Declaration:
    rows = _rows(data, parts)
    learned = None if rows is None else Learned(rows)
    draft = Draft(data, learned=learned)
    _add_containers(draft, data, parts)
    fed, chains, series = explained(parts), list[HiddenMarkov](), list[LinearGaussian]()
    filled = filled_in(data, parts)
    for part in filled.values():
        _add_missing_of_series(draft, part, data)
    for part in in_order(parts, completed(data, parts)):
        if part.kind == "recurrence":
            add_recurrence(draft, part, fed)
            if not sums:
                _remember_rows(draft, part, data, filled)
        elif part.observed in filled and part.name == filled[part.observed].name:
            _add_filled_likelihood(draft, part, data)
        elif part.body.get("dist") == HIDDEN_MARKOV:
            chains.append(_add_hidden_markov(draft, part, data))
        elif part.body.get("dist") == LINEAR_GAUSSIAN:
            series.append(_add_linear_gaussian(draft, part, data))
        elif seen and part.name in seen:
            add_seen_process(draft, part, seen[part.name])
        else:
            _add(draft, part, data)
    design = ModelDesign() if learned is None else ModelDesign(dict(learned.constants), rows=learned.rows)
    fed_by = {str(part.observed): part.name for part in parts if part.kind == "likelihood"}
    has_recurrence = any(part.kind == "recurrence" for part in parts)
    made = replace(draft.declaration(), design=design, fed=fed_by if has_recurrence else {})
    check_problems(list(same_row_problems(made)))
    hidden: list[Hidden] = [HiddenStates(tuple(chains), made)] if chains else []
    hidden += [DrawnComponents(tuple(series), made)] if series else []
    if not hidden:
        return made

    def recover(draws: Any, rng: np.random.Generator) -> dict[str, Any]:
        return {name: values for each in hidden for name, values in each.recover(draws, rng).items()}

    return replace(made, hidden=tuple(hidden), recover=recover)


def _summed_out(data: xr.Dataset | None, parts: Sequence[Definition], reported: Declaration) -> Declaration:
    """Declare a model whose discrete variables are summed out, and drawn afterwards."""
    summed = SummedOut(parts, reported)
    draft = Draft(data)
    _add_containers(draft, data, parts)
    for one in in_order(parts, completed(data, parts)):
        if is_marginal(one):
            summed.begin(draft, one)
        elif one.name not in summed.names:
            _add_any(draft, one, data)
        elif one.kind == "likelihood":
            assert data is not None
            summed.explain(draft, one, data)
        elif summed.is_needed(one):
            summed.compute(draft, one)
    first = summed.variables[0]
    draft.potential(f"{first.name}_marginal", summed.total(first.key))
    made = draft.declaration()
    axes = {axis_of(part.name) for part in summed.variables}
    made = replace(made, coords={dim: labels for dim, labels in made.coords.items() if dim not in axes})
    recovery = Recovery(summed.values, summed.factors, made, reported, summed.names)
    return replace(made, design=reported.design, recover=recovery, reported=reported, terms=recovery.terms)


def _add_any(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    """Add a definition that does not depend on a variable that is summed out."""
    if part.kind == "recurrence":
        add_recurrence(draft, part, frozenset())
    else:
        _add(draft, part, data)


def _rows(data: xr.Dataset | None, parts: Sequence[Definition]) -> str | None:
    """Return the row dimension of the observed data: `data.dim` if it is among their dims, else the first dim."""
    observed = [data[part.observed] for part in parts if data is not None and part.observed is not None]
    dims = [str(dim) for array in observed for dim in array.dims]
    named = None if data is None else str(data.attrs.get("dim", "obs"))
    return named if named in dims else dims[0] if dims else None


def _add_containers(draft: Draft, data: xr.Dataset | None, parts: Sequence[Definition]) -> None:
    """Add data containers for the predictors, except one that has the name of a likelihood."""
    if data is None:
        return
    own = {p.name for p in parts}
    for name in _used(data, parts):
        values = data[name].values
        if name in own or values.dtype.kind not in "biuf" or has_missing(data, name):
            continue
        dims = draft.name_axes(name, tuple(map(str, data[name].dims)), values.shape, draft.scope)
        numbers = values.astype(int) if values.dtype.kind == "b" else values
        draft.scope.add(name, draft.container(name, numbers, dims), replace=True)


def _used(data: xr.Dataset, parts: Iterable[Definition]) -> list[str]:
    names = {n for part in parts for n in part.names}
    return [str(n) for n in data.data_vars if n in names]


def add_recurrence(draft: Draft, part: Definition, fed: frozenset[str]) -> None:
    """Add what a recurrence computes; what it keeps becomes a variable of the posterior."""
    for name, value in read_recurrence(part.body, draft.scope, part.key, fed).items():
        made = value
        if name in (part.body.get("keep") or ()):
            dims = draft.name_axes(name, value.dims, value.shape, draft.scope)
            made = draft.deterministic(name, value, dims)
        draft.scope.add(name, made if value.known is None else replace(made, known=value.known))


def _remember_rows(draft: Draft, part: Definition, data: xr.Dataset | None, filled: Mapping[str, Definition]) -> None:
    """Keep what later rows of a recurrence go on from."""
    assert data is not None
    remember_end(draft.scope, part.name, part.body, part.key, times_along(data, part.body["over"]), 0)
    for name, count in lags_in(part.body).items():
        if name in filled:
            remember_observed(draft, name, data[name].values.astype(float), count)
        elif part.body["over"] in draft.scope.lookup(name).dims:
            remember_last(draft, name, draft.scope.lookup(name), count)


def _add_missing_of_series(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    """Add the missing values of a series that a recurrence goes along, and let its name stand for the whole series."""
    assert data is not None and part.observed is not None
    array = data[part.observed]
    seen = observed_values(array)
    assert seen.missing is not None
    mask, name = seen.missing.mask, f"{part.name}_missing"
    dim = seen.missing.dim if seen.missing.dim not in draft.coords else f"{part.name}_{seen.missing.dim}"
    draft.add_coords({dim: seen.missing.labels})
    support = filled_support(part)
    of_unit = {"lower": constant(0.0), "upper": constant(1.0)} if support == "Uniform" else {}
    this = of_values(name, support, of_unit, (dim,), (int(mask.sum()),), part.key)
    between = between_neighbours(array.values.astype(float))
    missing = draft.random(this, (dim,), constant(between[mask]))[name]
    places = np.zeros(mask.shape, dtype=np.int64)
    places[mask] = np.arange(mask.sum())
    each = index(missing.named((None,)), [constant(places, seen.dims)])
    whole = apply("where", [constant(mask, seen.dims), each, constant(between, seen.dims)])
    draft.scope.add(part.observed, whole, replace=True)


def _add_filled_likelihood(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    """Add the likelihood of a series with missing values, whose own density is a further term of the log density."""
    assert data is not None and part.observed is not None
    seen = observed_values(data[part.observed])
    assert seen.missing is not None
    mask = seen.missing.mask
    this = plan(part.name, part.body, draft.scope, part.key, seen.dims, seen.shape)
    density = written_density(this.family.name)
    assert density is not None
    parameters = {name: value.named((None,) * value.ndim) for name, value in this.values.items()}
    whole = draft.scope.lookup(part.observed)
    terms = density(whole.named((None,) * whole.ndim), parameters)
    terms = apply("where", [constant(mask), terms, 0.0])
    draft.potential(f"{part.name}_imputed", reduce_axis("sum", terms))
    values = np.where(mask, np.asarray(seen.values)[~mask][0], seen.values)
    draft.name_axes(part.name, this.dims, this.shape, draft.scope)
    draft.likelihood(replace(this, modifiers=Modifiers(kept=~mask)), Observed(values, seen.dims, seen.coords))


def _add_hidden_markov(draft: Draft, part: Definition, data: xr.Dataset | None) -> HiddenMarkov:
    assert data is not None and part.observed is not None
    array = data[part.observed]
    known = constant(array.values, tuple(map(str, array.dims)))
    made = read_hidden_markov(part.name, part.body, draft.scope, part.key, known)
    draft.name_axes(part.name, made.dims, made.shape, draft.scope)
    times = times_along(data, made.dims[-1])
    remember_end(draft.scope, part.name, part.body, part.key, times, made.shape[-1])
    # missing values are not imputed: the chain goes on without them
    observed = observed_values(array)
    if observed.missing is not None:
        observed = replace(observed, missing=None, absent=observed.missing.mask)
    draft.likelihood(made.plan(part.key), observed)
    return made


def _add_linear_gaussian(draft: Draft, part: Definition, data: xr.Dataset | None) -> LinearGaussian:
    assert data is not None and part.observed is not None
    array = data[part.observed]
    dims = tuple(map(str, array.dims))
    made = read_linear_gaussian(part.name, part.body, draft.scope, part.key, array.values, dims)
    draft.name_axes(part.name, made.dims, made.shape, draft.scope)
    remember_end(draft.scope, part.name, part.body, part.key, times_along(data, dims[-1]), made.shape[-1])
    # missing values are not imputed: the filter goes on without them
    seen = Observed(np.where(made.kept, array.values, 0.0), dims, coords_of(array))
    draft.likelihood(made.plan(part.key), seen)
    return made


def _add(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    """Add one definition to the model."""
    if part.kind == "prior":
        declare(draft, part.name, part.body, part.key)
        _remember_walk(draft, part, data)
    elif part.kind == "likelihood":
        _add_likelihood(draft, part, data)
    else:
        _add_expression(draft, part)


def _remember_walk(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    """Keep the times of the last points of a random walk over rows of the data."""
    dims = part.body.get("dims")
    last = dims if isinstance(dims, str) else str(dims[-1]) if dims else ""
    if part.body.get("dist") == "GaussianRandomWalk" and data is not None and last in data.sizes:
        remember_end(draft.scope, part.name, part.body, part.key, times_along(data, last), data.sizes[last])


def _add_likelihood(draft: Draft, part: Definition, data: xr.Dataset | None) -> None:
    assert data is not None and part.observed is not None
    if part.body.get("dist") in CONTINUED:
        array = data[part.observed]
        dim = str(array.dims[-1])
        remember_end(draft.scope, part.name, part.body, part.key, times_along(data, dim), array.sizes[dim])
        this = plan(part.name, part.body, draft.scope, part.key, tuple(map(str, array.dims)), array.shape)
        remember_observed(draft, part.observed, array.values.astype(float), len(series_coefficients(this)))
    value = declare_likelihood(draft, part.name, part.body, part.key, observed_values(data[part.observed]))
    if has_missing(data, part.observed) and part.observed == part.name:
        draft.scope.add(part.name, value, replace=True)


def _add_expression(draft: Draft, part: Definition) -> None:
    value = expression_value(part, draft.scope)
    if part.kind == "potential":
        draft.potential(part.name, value)
        return
    dims = draft.name_axes(part.name, value.dims, value.shape, draft.scope)
    made = draft.deterministic(part.name, value, dims)
    # a known quantity stays known, so that values computed from it can be learned
    kept = made if value.known is None else replace(made, known=value.known)
    draft.scope.add(part.name, kept)
    add_parts(part, kept, draft.scope)


MODEL = ModelType(
    DeclarativeSpec,
    PriorNames(open=True),
    roles,
    build,
    check,
    static_check,
    at_rows,
    needs,
    uses,
    statements=statements,
)
