"""Counts whose rate switches once, at an unknown year, as in the PyMC3 tutorial's coal-mining disasters.

    switchpoint ~ DiscreteUniform(first year, last year),  early_rate, late_rate ~ Exponential
    disasters_t ~ Poisson(early_rate if switchpoint >= t else late_rate)

Missing counts are imputed. Form `compound` samples the discrete variables with Metropolis steps beside NUTS; form
`marginal` sums them out and draws them afterwards, from the same posterior (`_marginal_switchpoint`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from bayesrun.data.base import Role
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, observed_values
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr


log = logging.getLogger("bayesrun.models")


class Options(Section):
    """`form`: how it is sampled; `response`, `time`: the names of the counts and of their dim."""

    form: Literal["marginal", "compound"] = "marginal"
    response: str = "disasters"
    time: str = "year"


class SwitchpointSpec(ModelSpec):
    """Config of `type: switchpoint`."""

    options: Options = Options()


def roles(spec: SwitchpointSpec) -> tuple[Role, ...]:
    """Counts by year; missing ones are imputed."""
    return (Role(spec.options.response, "observed", "count", key="model.options.response"),)


def build(data: xr.Dataset, spec: SwitchpointSpec) -> pm.Model:
    """Build the model in its form; `marginal` reports as `compound`, and is left where the prior does not allow it."""
    from bayesrun.models import _marginal_switchpoint

    compound = _compound(data, spec)
    if spec.options.form == "compound":
        return compound
    try:
        return _marginal_switchpoint.build(data, spec, compound)
    except _marginal_switchpoint.Unsuitable as reason:
        log.warning("form 'marginal' is not possible: %s; form 'compound' is used", reason)
        return compound


def _compound(data: xr.Dataset, spec: SwitchpointSpec) -> pm.Model:
    """Build the model over the dim of the counts; `disasters_missing` is labelled by year."""
    import pymc3 as pm

    from bayesrun.language.priors import Scope, declare

    years = data[spec.options.time].values
    scope = Scope(data)
    with pm.Model() as model:
        switchpoint = declare("switchpoint", spec.priors["switchpoint"], scope, "model.priors.switchpoint")
        early = declare("early_rate", spec.priors["early_rate"], scope, "model.priors.early_rate")
        late = declare("late_rate", spec.priors["late_rate"], scope, "model.priors.late_rate")
        rate = pm.math.switch(switchpoint >= years, early, late)
        values, dims = observed_values(data, spec.options.response, spec.options.response)
        pm.Poisson(spec.options.response, rate, observed=values, dims=dims)
    return model


MODEL = ModelType(SwitchpointSpec, PriorNames(("switchpoint", "early_rate", "late_rate")), roles, build)
