"""From a GLM's config and data to its declaration: as it is written, and in the form that is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bayesrun.language.formulas import Term, plain
from bayesrun.models.regression.design_matrix import Prepared, prepare, response_variables, scales
from bayesrun.models.regression.glm_spec import KEY, GlmSpec
from bayesrun.models.regression.likelihood_sums import State, summed
from bayesrun.models.regression.response_families import likelihood
from bayesrun.models.regression.whitening import whitening

if TYPE_CHECKING:
    import xarray as xr

    from bayesrun.language.declaration import Declaration, Draft
    from bayesrun.language.values import Value

HELPER = "coefficients_whitened"
_WIDE = 10.0
"""Sd of the whitened coefficients' base measure, which the priors' potential takes out again."""
LARGEST = 35.0
"""Linear predictor whose exponential is still a mean that an engine can draw counts of."""


def build(data: xr.Dataset, spec: GlmSpec) -> Declaration:
    """Declare the model: a variable per term, the family's further parameters, and the likelihood `RESPONSE_obs`.

    The whitened form reports as the direct one.
    """
    from bayesrun.language.functions import concatenate
    from bayesrun.language.values import apply

    prepared = prepare(data, spec.parsed(), spec.options.offset, spec.options.trials)
    natural = scales(prepared, spec.link())
    draft = _draft(data, prepared)
    matrix = draft.container("design", prepared.design.matrix, (_rows(prepared), "column"))
    terms = [_declare_term(draft, data, spec, term, natural[term.name]) for term in prepared.design.terms]
    plans = {item.name: item.plan for item in _random(draft.declaration())}
    is_whitened = spec.options.form == "whitened" and all(
        term.name in plans and plans[term.name].unconstrained for term in prepared.design.terms
    )
    auxiliaries = _auxiliaries(draft, data, spec, natural)
    predictor = _predictor(matrix, prepared, concatenate(*[term.named((None,) * term.ndim) for term in terms]))
    # weak priors predict means beyond any count; the sampled form needs their gradient, this one does not
    shown = apply("minimum", [predictor, LARGEST]) if is_whitened and spec.link() == "log" else predictor
    _observe(draft, shown, data, spec, prepared, auxiliaries)
    direct = draft.declaration()
    return _whitened(direct, data, spec, prepared, natural) if is_whitened else direct


def _whitened(
    direct: Declaration, data: xr.Dataset, spec: GlmSpec, prepared: Prepared, natural: Mapping[str, Any]
) -> Declaration:
    from bayesrun.language.declaration import Density
    from bayesrun.language.functions import dot, index
    from bayesrun.language.plan import of_values
    from bayesrun.language.values import Value, constant, fixed

    made = whitening(prepared, spec.link(), float(natural[""]))
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
    from bayesrun.language.declaration import Draft, coords_of

    return Draft(data, {**coords_of(prepared.response), "column": list(prepared.design.columns)})


def _rows(prepared: Prepared) -> str:
    return str(prepared.response.dims[0])


def _random(declared: Declaration) -> list[Any]:
    from bayesrun.language.declaration import Random

    return [item for item in declared.items if isinstance(item, Random)]


def _predictor(matrix: Value, prepared: Prepared, coefficients: Value) -> Value:
    from bayesrun.language.functions import dot
    from bayesrun.language.values import constant

    predictor = dot(matrix, coefficients.named(("column",)))
    return predictor if prepared.offset is None else predictor + constant(prepared.offset, predictor.dims)


def _auxiliaries(draft: Draft, data: xr.Dataset, spec: GlmSpec, natural: Mapping[str, Any]) -> dict[str, Value]:
    return {n: _declare(draft, n, n, data, spec, natural[""]) for n in spec.known_family().auxiliaries}


def _observe(
    draft: Draft,
    predictor: Value,
    data: xr.Dataset,
    spec: GlmSpec,
    prepared: Prepared,
    auxiliaries: Mapping[str, Value],
) -> None:
    from bayesrun.language.declaration import observed_values

    family, parameters = likelihood(spec.family, spec.link(), predictor, auxiliaries, prepared.trials)
    name = f"{response_variables(spec.parsed().response, KEY)[0]}_obs"
    draft.observe(name, family, parameters, observed_values(prepared.response), rows_alike=True)


def _declare_term(draft: Draft, data: xr.Dataset, spec: GlmSpec, term: Term, scale: Any) -> Value:
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
    """Declare a variable; priors of a GLM may name `term_scale`, but no other variable of the model."""
    from bayesrun.language.priors import declare
    from bayesrun.language.scope import Scope
    from bayesrun.language.values import constant

    scope = Scope(data, draft.coords)
    scope.add("term_scale", constant(scale, dims))
    return declare(draft, name, spec.priors[prior], f"model.priors.{prior}", dims, scope)
