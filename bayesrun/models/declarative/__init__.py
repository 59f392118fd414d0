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

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bayesrun.data.base import Domain, Role
from bayesrun.errors import Problem
from bayesrun.language.distributions import family
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, notes, observed_values
from bayesrun.models.declarative.definitions import Definition, definitions, in_order, static_problems
from bayesrun.models.declarative.dimension_checks import completed, data_problems, expression_value, has_gaps

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr

    from bayesrun.language.priors import Scope

_DOMAINS: dict[str, Domain] = {"binary": "binary", "count": "count", "unit": "unit", "positive": "nonnegative"}


class DeclarativeSpec(ModelSpec):
    """Config of `type: declarative`.

    `deterministics` and `potentials` map a name to an expression, or to `{expr: ..., dims: [...]}`; `likelihood` maps
    a name to a distribution whose `observed` names a data variable.
    """

    deterministics: dict[str, Any] = Field(default={})
    potentials: dict[str, Any] = Field(default={})
    likelihood: dict[str, dict[str, Any]] = Field(default={})


def roles(spec: DeclarativeSpec) -> tuple[Role, ...]:
    """What is observed; the variables that expressions name are checked when the data are there."""
    found = []
    for part in definitions(spec):
        known = family(str(part.body.get("dist")))
        if part.kind == "likelihood" and known is not None:
            domain = _DOMAINS.get(known.support, "real")
            found.append(Role(str(part.observed), "observed", domain, f"{part.key}.observed"))
    return tuple(found)


def static_check(spec: DeclarativeSpec) -> list[Problem]:
    """Find expressions that do not parse, repeated names, circles and what is missing."""
    return static_problems(spec)


def check(data: xr.Dataset | None, spec: DeclarativeSpec) -> list[Problem]:
    """Find unknown names, clashing dims and shapes that do not fit, without PyMC3."""
    return data_problems(data, definitions(spec))


def build(data: xr.Dataset | None, spec: DeclarativeSpec) -> pm.Model:
    """Build the model; with a whitened walk it reports as the same model with the walk as users think of it."""
    parts = definitions(spec)
    model = _build(data, parts)
    plain = [replace(p, body={**p.body, "parameterization": None}) if _is_whitened(p) else p for p in parts]
    if plain != parts:
        notes(model).reported = _build(data, plain)
    return model


def _is_whitened(part: Definition) -> bool:
    return part.body.get("parameterization") == "whitened"


def _build(data: xr.Dataset | None, parts: Sequence[Definition]) -> pm.Model:
    import pymc3 as pm

    from bayesrun.language.priors import Scope

    with pm.Model() as model:
        scope = Scope(data)
        _add_containers(data, parts, scope)
        for part in in_order(parts, completed(data, parts)):
            _add(part, data, scope)
    return model


def _add_containers(data: xr.Dataset | None, parts: Sequence[Definition], scope: Scope) -> None:
    """Put the predictors into containers of the model; one that bears a likelihood's name stays without."""
    import pymc3 as pm

    from bayesrun.language._make import register_dims

    if data is None:
        return
    own = {p.name for p in parts}
    for name in _used(data, parts):
        values = data[name].values
        if name in own or values.dtype.kind not in "biuf" or has_gaps(data, name):
            continue
        dims = tuple(map(str, data[name].dims))
        register_dims(name, dims, values.shape, scope)
        scope.add(name, pm.Data(name, values.astype(int) if values.dtype.kind == "b" else values, dims=dims), dims)


def _used(data: xr.Dataset, parts: Iterable[Definition]) -> list[str]:
    names = {n for part in parts for n in part.names}
    return [str(n) for n in data.data_vars if n in names]


def _add(part: Definition, data: xr.Dataset | None, scope: Scope) -> None:
    """Add one definition to the model in context."""
    from bayesrun.language.priors import declare

    if part.kind == "prior":
        declare(part.name, part.body, scope, part.key)
    elif part.kind == "likelihood":
        _add_likelihood(part, data, scope)
    else:
        _add_expression(part, scope)


def _add_likelihood(part: Definition, data: xr.Dataset | None, scope: Scope) -> None:
    from bayesrun.language.priors import declare

    assert data is not None and part.observed is not None
    values, dims = _observed(data, part)
    variable = declare(part.name, part.body, scope, part.key, dims, values)
    if has_gaps(data, part.observed) and part.observed == part.name:
        scope.complete(part.name, variable, dims)


def _observed(data: xr.Dataset, part: Definition) -> tuple[Any, tuple[str, ...]]:
    """Return observed values; gaps of a second likelihood over the same dim get a dim of their own."""
    import pymc3 as pm

    from bayesrun.language._make import register_dims
    from bayesrun.language.priors import Scope

    array, note = data[part.observed], notes(pm.modelcontext(None))
    register_dims(part.name, tuple(map(str, array.dims)), array.shape, Scope(data))
    before = dict(note.coords)
    values, dims = observed_values(data, str(part.observed), part.name)
    missing = note.dims.get(f"{part.name}_missing", ("",))[0]
    if missing in before and list(before[missing]) != list(note.coords[missing]):
        own = f"{part.name}_{missing}"
        note.coords[own], note.coords[missing] = note.coords[missing], before[missing]
        note.dims[f"{part.name}_missing"] = (own,)
    return values, dims


def _add_expression(part: Definition, scope: Scope) -> None:
    import pymc3 as pm

    from bayesrun.language._make import register_dims
    from bayesrun.language.values import theano_of

    value = expression_value(part, scope)
    if part.kind == "potential":
        pm.Potential(part.name, theano_of(value))
        return
    dims = register_dims(part.name, value.dims, value.shape, scope) or None
    variable = pm.Deterministic(part.name, theano_of(value), dims=dims)
    scope.add(part.name, variable, value.dims)


MODEL = ModelType(DeclarativeSpec, PriorNames(open=True), roles, build, check, static_check)
