"""From a GLM's config and data to its model: as it is written, and in the form that is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.language.formulas import Term, plain
from bayesrun.models._test_values import one_for_all
from bayesrun.models.base import add_coords, notes, observed_values
from bayesrun.models.regression.design_matrix import Prepared, prepare, response_variables, scales
from bayesrun.models.regression.glm_spec import KEY, GlmSpec
from bayesrun.models.regression.likelihood_sums import State, summed
from bayesrun.models.regression.response_families import likelihood
from bayesrun.models.regression.whitening import whitening

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr

HELPER = "coefficients_whitened"
_WIDE = 10.0
"""Sd of the whitened coefficients' base measure, which the priors' potential takes out again."""
_LARGEST = 35.0
"""Linear predictor whose exponential is still a mean that PyMC3 can draw counts of."""


def build(data: xr.Dataset, spec: GlmSpec) -> pm.Model:
    """Build the model: a variable a term, the family's further parameters, and the likelihood `RESPONSE_obs`.

    The whitened form reports as the direct one.
    """
    import pymc3 as pm

    prepared = prepare(data, spec.parsed(), spec.options.offset, spec.options.trials)
    natural = scales(prepared, spec.link())
    with pm.Model() as direct:
        _add_design(prepared, data)
        terms = [_declare_term(data, spec, term, natural[term.name]) for term in prepared.design.terms]
        is_whitened = spec.options.form == "whitened" and all(map(_is_unconstrained, terms))
        auxiliaries = _auxiliaries(data, spec, natural)
        with one_for_all():
            predictor = _predictor(direct["design"], prepared, _joined(terms))
            # weak priors predict means beyond any count; the sampled form needs their gradient, this one does not
            shown = pm.math.minimum(predictor, _LARGEST) if is_whitened and spec.link() == "log" else predictor
            _observe(shown, data, spec, prepared, auxiliaries)
    if not is_whitened:
        return direct
    return _whitened(direct, data, spec, prepared, natural)


def _whitened(
    direct: pm.Model, data: xr.Dataset, spec: GlmSpec, prepared: Prepared, natural: Mapping[str, Any]
) -> pm.Model:
    import pymc3 as pm
    import theano.tensor as tt

    made = whitening(prepared, spec.link(), float(natural[""]))
    with pm.Model(coords=direct.coords) as model:
        base = pm.Normal(HELPER, mu=0.0, sigma=_WIDE, shape=len(made.centre))
        coefficients = made.centre + tt.dot(made.basis, base)
        density = -base.logpt
        for term in prepared.design.terms:
            part = coefficients[term.start] if term.labels is None else coefficients[term.start : term.stop]
            variable = pm.Deterministic(term.name, part, dims=direct.RV_dims.get(term.name))
            density += tt.sum(direct[term.name].distribution.logp(variable))
        pm.Potential("priors_of_terms", density)
        auxiliaries = _auxiliaries(data, spec, natural)
        state = State(prepared, made, base, coefficients, auxiliaries)
        likelihood_of_all = summed(spec.family, spec.link(), state)
        if likelihood_of_all is not None:
            pm.Potential("likelihood", likelihood_of_all)
        else:
            with one_for_all():
                _observe(_predictor(direct["design"], prepared, coefficients), data, spec, prepared, auxiliaries)
    notes(model).helpers.add(HELPER)
    notes(model).reported = direct
    return model


def _is_unconstrained(term: Any) -> bool:
    """Say whether a term's prior is a density on the whole line that depends on no other variable."""
    law = getattr(term, "distribution", None)
    return law is not None and str(term.dtype).startswith("float") and getattr(law, "transform", None) is None


def _add_design(prepared: Prepared, data: xr.Dataset) -> None:
    import pymc3 as pm

    dim = str(prepared.response.dims[0])
    add_coords(data.assign({"response": prepared.response}), ["response"])
    model, matrix = pm.modelcontext(None), prepared.design.matrix
    model.add_coords({"column": list(prepared.design.columns)})
    container = pm.Data("design", matrix[:1])  # it copies what it is given, twice: the rest is set afterwards
    container.set_value(matrix, borrow=True)
    container.dshape, model.RV_dims["design"] = matrix.shape, (dim, "column")


def _joined(terms: list[Any]) -> Any:
    import theano.tensor as tt

    return tt.concatenate([term if term.ndim else tt.shape_padleft(term) for term in terms])


def _predictor(matrix: Any, prepared: Prepared, coefficients: Any) -> Any:
    import theano.tensor as tt

    predictor = tt.dot(matrix, coefficients)
    return predictor if prepared.offset is None else predictor + prepared.offset


def _auxiliaries(data: xr.Dataset, spec: GlmSpec, natural: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _declare(name, name, data, spec, natural[""]) for name in spec.known_family().auxiliaries}


def _observe(
    predictor: Any, data: xr.Dataset, spec: GlmSpec, prepared: Prepared, auxiliaries: Mapping[str, Any]
) -> None:
    law, parameters = likelihood(spec.family, spec.link(), predictor, auxiliaries, prepared.trials)
    name = f"{response_variables(spec.parsed().response, KEY)[0]}_obs"
    values, dims = observed_values(data.assign({name: prepared.response}), name, name)
    law(name, **parameters, observed=values, dims=dims)


def _declare_term(data: xr.Dataset, spec: GlmSpec, term: Term, scale: Any) -> Any:
    import pymc3 as pm

    own = {plain(name): name for name in spec.priors}
    prior = own.get(plain(term.name), "default")
    dims: tuple[str, ...] = ()
    if term.labels is not None:
        dims = (f"{term.name}_level",)
        pm.modelcontext(None).add_coords({dims[0]: list(term.labels)})
    return _declare(term.name, prior, data, spec, scale, dims)


def _declare(name: str, prior: str, data: xr.Dataset, spec: GlmSpec, scale: Any, dims: tuple[str, ...] = ()) -> Any:
    from bayesrun.language.priors import Scope, declare

    scope = Scope(data)
    scope.add("term_scale", scale, dims)
    return declare(name, spec.priors[prior], scope, f"model.priors.{prior}", dims=dims)
