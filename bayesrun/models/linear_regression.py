"""Linear regression with two or more named predictors, as in the PyMC3 tutorial.

alpha ~ Normal, beta ~ Normal over `predictor`, sigma ~ HalfNormal
mu = alpha + sum_j beta_j X_j,    Y_obs ~ Normal(mu, sigma)
"""

from __future__ import annotations

from pydantic import Field

from bayesrun.data.base import Role
from bayesrun.language.declaration import Declaration, Draft, observed_values
from bayesrun.language.functions import index
from bayesrun.language.priors import declare
from bayesrun.language.values import constant
from bayesrun.lazy import xr
from bayesrun.models.base import ModelSpec, ModelType, PriorNames
from bayesrun.schema import Section


class Options(Section):
    """Options of the model type.

    Parameters
    ----------
    predictors
        Names of the predictor variables in the data.
    response
        Name of the response variable.
    """

    predictors: list[str] = Field(default=["X1", "X2"], min_length=1)
    response: str = "Y"


class LinearRegressionSpec(ModelSpec):
    """Config of `type: linear_regression`."""

    options: Options = Options()


def roles(spec: LinearRegressionSpec) -> tuple[Role, ...]:
    """Return the roles: the response is observed, the predictors are numbers."""
    options = spec.options
    predictors = [Role(name, "predictor", key="model.options.predictors") for name in options.predictors]
    return (Role(options.response, "observed", key="model.options.response"), *predictors)


def build(data: xr.Dataset, spec: LinearRegressionSpec) -> Declaration:
    """Declare the model; `beta` is over dim `predictor`, labelled by the predictors' names."""
    options = spec.options
    draft = Draft(data, {"predictor": list(options.predictors)})
    variables = draft.data_variables(options.predictors)
    prior = {name: f"model.priors.{name}" for name in ("alpha", "beta", "sigma")}
    mu = declare(draft, "alpha", spec.priors["alpha"], prior["alpha"])
    beta = declare(draft, "beta", spec.priors["beta"], prior["beta"], dims=("predictor",))
    sigma = declare(draft, "sigma", spec.priors["sigma"], prior["sigma"])
    for j, name in enumerate(options.predictors):
        mu = mu + index(beta, [constant(j)]) * variables[name]
    draft.observe("Y_obs", "Normal", {"mu": mu, "sigma": sigma}, observed_values(data[options.response]))
    return draft.declaration()


MODEL = ModelType(LinearRegressionSpec, PriorNames(("alpha", "beta", "sigma")), roles, build)
