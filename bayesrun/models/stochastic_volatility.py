"""Stochastic volatility of daily returns, as in the PyMC3 tutorial (Hoffman and Gelman 2014, section 4.2).

    nu ~ Exponential(1/10),  sigma ~ Exponential(2),  s ~ GaussianRandomWalk(sigma)
    volatility_process_t = exp(-2 s_t)^(1/2),    r_t ~ StudentT(nu, 0, scale volatility_process_t)

Form `centered` is the tutorial's. Form `whitened` has the same priors and posterior in coordinates in which the walk's
posterior is nearly spherical (`bayesrun.language.random_walks`): thousands of correlated days become easy to sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bayesrun.data.base import Role
from bayesrun.errors import Problem
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, data_variables, notes, observed_values
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr

INFORMATION = 1.5
"""Fisher information of one return about the log of its scale, 2 nu / (nu + 3), at nu = 9."""


class Options(Section):
    """`form`: of the walk; `response`: the returns, in units of a day's relative change."""

    form: Literal["whitened", "centered"] = "whitened"
    response: str = "returns"


class StochasticVolatilitySpec(ModelSpec):
    """Config of `type: stochastic_volatility`."""

    options: Options = Options()


def roles(spec: StochasticVolatilitySpec) -> tuple[Role, ...]:
    """Returns, one a row in the order of time."""
    return (Role(spec.options.response, "observed", key="model.options.response"),)


def check(data: xr.Dataset, spec: StochasticVolatilitySpec) -> list[Problem]:
    """Find returns that no volatility can be learned from, and rows that are not in the order of time."""
    returns, key = data[spec.options.response], "model.options.response"
    if returns.ndim != 1 or returns.size < 3:
        return [Problem(key, f"'{returns.name}' must be a series of at least 3 values (it has shape {returns.shape})")]
    problems = []
    if not bool((returns != 0).any()):
        problems.append(Problem(key, f"all values of '{returns.name}' are 0", "choose another variable"))
    dim = str(returns.dims[0])
    if not returns.indexes[dim].is_monotonic_increasing:
        hint = "sort the file; dates must be parsed (data.parse_dates)"
        problems.append(Problem(key, f"'{returns.name}' must be in the order of time, but '{dim}' is not", hint))
    return problems


def build(data: xr.Dataset, spec: StochasticVolatilitySpec) -> pm.Model:
    """Build the model in its form; the whitened one reports as the centred one."""
    if spec.options.form == "centered":
        return _build(data, spec, whitened=False)
    model = _build(data, spec, whitened=True)
    notes(model).reported = _build(data, spec, whitened=False)
    return model


def _build(data: xr.Dataset, spec: StochasticVolatilitySpec, whitened: bool) -> pm.Model:
    import pymc3 as pm

    from bayesrun.language.priors import Scope, declare

    scope = Scope(data)
    with pm.Model() as model:
        observed, dims = _observed(data, spec.options.response)
        nu = declare("nu", spec.priors["nu"], scope, "model.priors.nu")
        sigma = declare("sigma", spec.priors["sigma"], scope, "model.priors.sigma")
        size = data.sizes[dims[0]]
        walk = (
            _whitened(model, data[spec.options.response], nu, sigma, size, dims)
            if whitened
            else pm.GaussianRandomWalk("s", sigma=sigma, dims=dims)
        )
        volatility = pm.Deterministic("volatility_process", pm.math.exp(-2 * walk) ** 0.5, dims=dims)
        pm.StudentT("r", nu=nu, mu=0, sigma=volatility, observed=observed, dims=dims)
    return model


def _observed(data: xr.Dataset, response: str) -> tuple[Any, tuple[str, ...]]:
    """Return the returns in a data container; as a masked array when some are to be imputed, which none can hold."""
    if not bool(data[response].isnull().any()):
        return data_variables(data, [response])[response], tuple(map(str, data[response].dims))
    return observed_values(data, response, "r")


def _whitened(model: pm.Model, returns: xr.DataArray, nu: Any, sigma: Any, size: int, dims: tuple[str, ...]) -> Any:
    import numpy as np
    import pymc3 as pm

    from bayesrun.language.random_walks import fast_length, whitened_walk

    # Heavier tails ask for a smaller scale. By Fisher's information of a Student-t the best level moves with nu as
    # log(1 + 1 / nu); with that as its offset, level and nu are independent (-0.7 otherwise).
    offset = pm.math.log(1 + 1 / nu)
    made = whitened_walk("s", sigma, size, INFORMATION, dims, offset=offset)
    notes(model).helpers.update(made.helpers)
    # Start at the returns' own scale: from volatility 1 the level has hundreds of its sds to go.
    level = -np.log(float(returns.std())) - offset.tag.test_value
    level *= np.sqrt(fast_length(size) * INFORMATION)
    model[made.helpers[0]].tag.test_value = np.asarray(level)
    return made.walk


PRIORS = PriorNames(("nu", "sigma"))
MODEL = ModelType(StochasticVolatilitySpec, PRIORS, roles, build, check)
