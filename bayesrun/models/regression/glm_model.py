"""From a GLM's config and data to its declaration: as written, and in the parametrization that is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bayesrun.language.declaration import Declaration, Density, Draft, Random, coords_of, observed_values
from bayesrun.language.formulas import DesignTerm, plain
from bayesrun.language.functions import concatenate, dot, index
from bayesrun.language.plan import of_values
from bayesrun.language.priors import declare
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, apply, constant, fixed
from bayesrun.lazy import xr
from bayesrun.models.regression.design_matrix import (
    Prepared,
    Scales,
    learned_from,
    likelihood_of,
    prepare,
    response_variables,
    scales,
)
from bayesrun.models.regression.glm_spec import KEY, GlmSpec
from bayesrun.models.regression.likelihood_sums import State, summed
from bayesrun.models.regression.response_families import likelihood
from bayesrun.models.regression.whitening import whitening

HELPER = "coefficients_whitened"
_WIDE = 10.0
"""Sd of the whitened coefficients' base measure, which the priors' potential cancels."""
LARGEST = 35.0
"""Largest linear predictor whose exponential is a mean from which an engine can draw counts."""


def build(data: xr.Dataset, spec: GlmSpec) -> Declaration:
    """Declare the model: a variable per term, the family's further parameters, and the likelihood `RESPONSE_obs`.

    The whitened form is reported as the direct one.
    """
    return build_prepared(data, spec, prepare(data, spec.parsed(), spec.options.offset, spec.options.trials))


def build_prepared(data: xr.Dataset, spec: GlmSpec, prepared: Prepared) -> Declaration:
    """Declare the model of rows that are prepared already."""
    natural = scales(prepared, spec.link())
    direct = _direct(data, spec, prepared, natural)
    declared = _whitened(direct, data, spec, prepared, natural) if _can_be_whitened(direct, spec, prepared) else direct
    return replace(declared, design=learned_from(prepared))


def _direct(data: xr.Dataset, spec: GlmSpec, prepared: Prepared, natural: Scales) -> Declaration:
    """Declare the model as written; if another form is sampled, means are limited so that counts can be drawn."""
    draft = _draft(data, prepared)
    matrix = draft.container("design", prepared.design.matrix, (_rows(prepared), "column"))
    terms = [_declare_term(draft, data, spec, term, natural.terms[term.name]) for term in prepared.design.terms]
    auxiliaries = _auxiliaries(draft, data, spec, natural)
    predictor = _predictor(matrix, prepared, concatenate(*[term.named((None,) * term.ndim) for term in terms]))
    # weak priors imply means beyond any count; the sampled form needs their gradient, this one does not
    bounded = spec.link() == "log" and _can_be_whitened(draft.declaration(), spec, prepared)
    shown = apply("minimum", [predictor, LARGEST]) if bounded else predictor
    _observe(draft, shown, data, spec, prepared, auxiliaries)
    return draft.declaration()


def _can_be_whitened(direct: Declaration, spec: GlmSpec, prepared: Prepared) -> bool:
    """Return whether the form `whitened` is requested, and each term's prior is a density on the real line."""
    plans = {item.name: item.plan for item in direct.items if isinstance(item, Random)}
    names = [term.name for term in prepared.design.terms]
    return spec.options.form == "whitened" and all(n in plans and plans[n].unconstrained for n in names)


def _whitened(direct: Declaration, data: xr.Dataset, spec: GlmSpec, prepared: Prepared, natural: Scales) -> Declaration:
    made = whitening(prepared, spec.link(), natural.spread)
    draft = _draft(data, prepared)
    draft.add_coords(direct.coords)
    plan = of_values(HELPER, "Normal", {"mu": fixed(0.0), "sigma": fixed(_WIDE)}, (None,), (len(made.centre),))
    base = draft.random(plan, helper=True)[HELPER]
    coefficients = constant(made.centre) + dot(constant(made.basis), base)
    densities = [Density(plan, base, -1)]
    for term in prepared.design.terms:
        where = constant(term.start) if term.labels is None else slice(term.start, term.stop)
        written = direct.random(term.name)
        part = index(coefficients, [where]).named(written.plan.dims)
        variable = draft.deterministic(term.name, part, written.dims)
        densities.append(Density(written.plan, variable))
    draft.potential("priors_of_terms", None, densities)
    auxiliaries = _auxiliaries(draft, data, spec, natural)
    likelihood_of_all = summed(spec.family, spec.link(), State(prepared, made, base, coefficients, auxiliaries))
    if likelihood_of_all is not None:
        draft.potential("likelihood", likelihood_of_all)
    else:
        matrix = prepared.design.matrix
        dims = (_rows(prepared), "column")
        predictor = _predictor(Value(dims, matrix.shape, matrix), prepared, coefficients)
        _observe(draft, predictor, data, spec, prepared, auxiliaries)
    return replace(draft.declaration(), reported=direct)


def _draft(data: xr.Dataset, prepared: Prepared) -> Draft:
    return Draft(data, {**coords_of(prepared.response), "column": list(prepared.design.columns)})


def _rows(prepared: Prepared) -> str:
    return str(prepared.response.dims[0])


def _predictor(matrix: Value, prepared: Prepared, coefficients: Value) -> Value:
    predictor = dot(matrix, coefficients.named(("column",)))
    return predictor if prepared.offset is None else predictor + constant(prepared.offset, predictor.dims)


def _auxiliaries(draft: Draft, data: xr.Dataset, spec: GlmSpec, natural: Scales) -> dict[str, Value]:
    return {n: _declare(draft, n, n, data, spec, natural.response) for n in spec.known_family().auxiliaries}


def _observe(
    draft: Draft,
    predictor: Value,
    data: xr.Dataset,
    spec: GlmSpec,
    prepared: Prepared,
    auxiliaries: Mapping[str, Value],
) -> None:
    family, parameters = likelihood(spec.family, spec.link(), predictor, auxiliaries, prepared.trials)
    name = likelihood_of(response_variables(spec.parsed().response, KEY)[0])
    draft.observe(name, family, parameters, observed_values(prepared.response), elementwise=True)


def _declare_term(draft: Draft, data: xr.Dataset, spec: GlmSpec, term: DesignTerm, scale: Any) -> Value:
    own = {plain(name): name for name in spec.priors}
    prior = own.get(plain(term.name), "default")
    dims: tuple[str, ...] = ()
    if term.labels is not None:
        dims = (f"{term.name}_level",)
        draft.add_coords({dims[0]: list(term.labels)})
    return _declare(draft, term.name, prior, data, spec, scale, dims)


def _declare(
    draft: Draft, name: str, prior: str, data: xr.Dataset, spec: GlmSpec, scale: Any, dims: tuple[str, ...] = ()
) -> Value:
    """Declare a variable; priors of a GLM may use `term_scale`, but no other variable of the model."""
    scope = Scope(data, draft.coords)
    scope.add("term_scale", constant(scale, dims))
    return declare(draft, name, spec.priors[prior], f"model.priors.{prior}", dims, scope)
