"""Stochastic volatility of daily returns, as in the PyMC3 tutorial (Hoffman and Gelman 2014, section 4.2).

    nu ~ Exponential(1/10),  sigma ~ Exponential(2),  s ~ GaussianRandomWalk(sigma)
    volatility_process_t = exp(-2 s_t)^(1/2),    r_t ~ StudentT(nu, 0, scale volatility_process_t)

Form `centered` is the tutorial's. Form `whitened` has the same priors and posterior in coordinates in which the walk's
posterior is nearly spherical (`bayesrun.language.random_walks`): thousands of correlated days become easy to sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from bayesrun.data.base import Role
from bayesrun.errors import Problem, fail
from bayesrun.models.base import ModelSpec, ModelType, NewRows, PriorNames
from bayesrun.schema import Section

if TYPE_CHECKING:
    import xarray as xr

    from bayesrun.language.declaration import Declaration, Draft
    from bayesrun.language.values import Value

INFORMATION = 1.5
"""Fisher information of one return about the log of its scale, 2 nu / (nu + 3), at nu = 9."""


class Options(Section):
    """`form`: of the walk; `response`: the returns, relative changes per day."""

    form: Literal["whitened", "centered"] = "whitened"
    response: str = "returns"


class StochasticVolatilitySpec(ModelSpec):
    """Config of `type: stochastic_volatility`."""

    options: Options = Options()


def roles(spec: StochasticVolatilitySpec) -> tuple[Role, ...]:
    """Returns, one per row in the order of time."""
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


def build(data: xr.Dataset, spec: StochasticVolatilitySpec) -> Declaration:
    """Declare the model in its form; the whitened one reports as the centred one."""
    centered = _declared(data, spec, whitened=False)
    if spec.options.form == "centered":
        return centered
    return replace(_declared(data, spec, whitened=True), reported=centered)


def _declared(data: xr.Dataset, spec: StochasticVolatilitySpec, whitened: bool) -> Declaration:
    from bayesrun.language.declaration import Draft, observed_values
    from bayesrun.language.functions import exp
    from bayesrun.language.plan import of_values
    from bayesrun.language.priors import declare

    draft, returns = Draft(data), data[spec.options.response]
    observed = observed_values(returns)
    if observed.missing is None:
        # missing values can't be held by a data container
        draft.data_variables([spec.options.response])
        observed = replace(observed, container=spec.options.response)
    nu = declare(draft, "nu", spec.priors["nu"], "model.priors.nu")
    sigma = declare(draft, "sigma", spec.priors["sigma"], "model.priors.sigma")
    dims, shape = observed.dims, observed.shape
    if whitened:
        walk = _whitened_walk(draft, returns, nu, sigma)
    else:
        draft.add_coords(observed.coords)
        plan = of_values("s", "GaussianRandomWalk", {"sigma": sigma}, dims, shape, "model.priors.sigma")
        walk = draft.random(plan, dims)["s"]
    volatility = draft.deterministic("volatility_process", exp(-2 * walk) ** 0.5, dims)
    draft.observe("r", "StudentT", {"nu": nu, "sigma": volatility}, observed)
    return draft.declaration()


def _whitened_walk(draft: Draft, returns: xr.DataArray, nu: Value, sigma: Value) -> Value:
    import numpy as np

    from bayesrun.language.declaration import coords_of
    from bayesrun.language.functions import log
    from bayesrun.language.random_walks import fast_length, whitened_walk

    dims = tuple(map(str, returns.dims))
    draft.add_coords(coords_of(returns))
    # Heavier tails ask for a smaller scale. By Fisher's information of a Student-t the best level moves with nu as
    # log(1 + 1 / nu); with that as its offset, level and nu are independent (-0.7 otherwise).
    offset = log(1 + 1 / nu)
    # Start at the returns' own scale: from volatility 1 the level has hundreds of its sds to go.
    level = (-np.log(float(returns.std())) - offset) * np.sqrt(fast_length(returns.size) * INFORMATION)
    return whitened_walk(draft, "s", sigma, dims, returns.size, INFORMATION, offset=offset, level=level)


PRIORS = PriorNames(("nu", "sigma"))


def at_rows(rows: NewRows, spec: StochasticVolatilitySpec) -> Declaration:
    """Refuse new rows: they have no volatility."""
    message = "the volatility 's' is a random walk over the rows, and new rows have no values of it"
    raise fail("predict.data", message, "predict from a model without a walk")


MODEL = ModelType(StochasticVolatilitySpec, PRIORS, roles, build, check, at_rows=at_rows)
