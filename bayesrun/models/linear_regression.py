"""Linear regression with two or more named predictors, as in the PyMC3 tutorial.

alpha ~ Normal, beta ~ Normal over `predictor`, sigma ~ HalfNormal
mu = alpha + sum_j beta_j X_j,    Y_obs ~ Normal(mu, sigma)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bayesrun.data.base import Role
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, data_variables, observed_values
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr


class Options(Section):
    """`predictors`: names of the data variables that are regressed on; `response`: the one that is explained."""

    predictors: list[str] = Field(default=["X1", "X2"], min_length=1)
    response: str = "Y"


class LinearRegressionSpec(ModelSpec):
    """Config of `type: linear_regression`."""

    options: Options = Options()


def roles(spec: LinearRegressionSpec) -> tuple[Role, ...]:
    """The response is observed, the predictors are numbers."""
    options = spec.options
    predictors = [Role(name, "predictor", key="model.options.predictors") for name in options.predictors]
    return (Role(options.response, "observed", key="model.options.response"), *predictors)


def build(data: xr.Dataset, spec: LinearRegressionSpec) -> pm.Model:
    """Build the model; `beta` is over dim `predictor`, labelled by the predictors' names."""
    import pymc3 as pm

    from bayesrun.language.priors import Scope, declare

    options = spec.options
    with pm.Model(coords={"predictor": list(options.predictors)}) as model:
        variables = data_variables(data, [*options.predictors])
        scope = Scope(data)
        prior = {name: f"model.priors.{name}" for name in ("alpha", "beta", "sigma")}
        alpha = declare("alpha", spec.priors["alpha"], scope, prior["alpha"])
        beta = declare("beta", spec.priors["beta"], scope, prior["beta"], dims=("predictor",))
        sigma = declare("sigma", spec.priors["sigma"], scope, prior["sigma"])
        mu = alpha + sum(beta[j] * variables[name] for j, name in enumerate(options.predictors))
        values, dims = observed_values(data, options.response, "Y_obs")
        pm.Normal("Y_obs", mu=mu, sigma=sigma, observed=values, dims=dims)
    return model


MODEL = ModelType(LinearRegressionSpec, PriorNames(("alpha", "beta", "sigma")), roles, build)
