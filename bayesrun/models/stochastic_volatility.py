"""Stochastic volatility of daily returns, as in the PyMC3 tutorial (Hoffman and Gelman 2014, section 4.2).

    nu ~ Exponential(1/10),  sigma ~ Exponential(2),  s ~ GaussianRandomWalk(sigma)
    volatility_process_t = exp(-2 s_t)^(1/2),    r_t ~ StudentT(nu, 0, scale volatility_process_t)

Form `centered` is the tutorial's. Form `whitened` has the same priors and posterior in coordinates in which the walk's
posterior is nearly spherical (`bayesrun.language.random_walks`): thousands of correlated days become easy to sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bayesrun.data.base import Role
from bayesrun.errors import Problem, fail
from bayesrun.language.declaration import Declaration, Draft, coords_of, observed_values
from bayesrun.language.functions import exp, log
from bayesrun.language.plan import of_values
from bayesrun.language.priors import declare
from bayesrun.language.random_walks import whitened_walk, with_steps
from bayesrun.language.time_steps import times_along
from bayesrun.lazy import xr
from bayesrun.models.base import ModelSpec, ModelType, NewRows, PriorNames
from bayesrun.schema import Section

if TYPE_CHECKING:
    from bayesrun.language.values import Value

INFORMATION = 1.5
"""Fisher information of one return about the log of its scale, 2 nu / (nu + 3), at nu = 9."""


class Options(Section):
    """Options of the model type.

    Parameters
    ----------
    form
        Of the walk.
    response
        The returns, relative changes from row to row.
    steps
        Definition of a step of the walk. `rows`: from one row to the next, whatever their dates (trading days count
        one, weekends none). `dates`: the variance of a step is proportional to the days between the rows.
    """

    form: Literal["whitened", "centered"] = "whitened"
    response: str = "returns"
    steps: Literal["rows", "dates"] = "rows"


class StochasticVolatilitySpec(ModelSpec):
    """Config of `type: stochastic_volatility`."""

    options: Options = Options()


def roles(spec: StochasticVolatilitySpec) -> tuple[Role, ...]:
    """Return the roles: returns, one per row, sorted by time."""
    return (Role(spec.options.response, "observed", key="model.options.response"),)


def check(data: xr.Dataset, spec: StochasticVolatilitySpec) -> list[Problem]:
    """Find returns from which no volatility can be estimated, and rows that are not sorted by time."""
    returns, key = data[spec.options.response], "model.options.response"
    if returns.ndim != 1 or returns.size < 3:
        return [Problem(key, f"'{returns.name}' must be a series of at least 3 values (it has shape {returns.shape})")]
    problems = []
    if not bool((returns != 0).any()):
        problems.append(Problem(key, f"all values of '{returns.name}' are 0", "choose another variable"))
    return [*problems, *_untimely(data, returns, spec)]


def _untimely(data: xr.Dataset, returns: xr.DataArray, spec: StochasticVolatilitySpec) -> Iterator[Problem]:
    """Find rows that are not sorted by time, and steps that can't be computed from dates."""
    dim, key = str(returns.dims[0]), "model.options.response"
    times = times_along(data, dim)
    ordered = returns.indexes[dim].is_monotonic_increasing if times is None else times.in_order
    by_dates = times is not None and times.dates
    if not ordered:
        message = f"'{returns.name}' must be in the order of time, but '{times.name if times else dim}' is not"
        yield Problem(key, message, "sort the file" + ("" if by_dates else "; dates must be parsed (data.parse_dates)"))
    elif spec.options.steps == "dates" and (times is None or not by_dates or not times.distinct):
        message = f"the rows of '{returns.name}' do not have one date each"
        hint = "parse a column of dates with data.parse_dates, one row per date; or set steps: rows"
        yield Problem("model.options.steps", message, hint)


def build(data: xr.Dataset, spec: StochasticVolatilitySpec) -> Declaration:
    """Declare the model in its parametrization; the whitened one is reported as the centred one."""
    centered = _declared(data, spec, whitened=False)
    if spec.options.form == "centered":
        return centered
    return replace(_declared(data, spec, whitened=True), reported=centered)


def _declared(data: xr.Dataset, spec: StochasticVolatilitySpec, whitened: bool) -> Declaration:
    draft, returns = Draft(data), data[spec.options.response]
    observed = observed_values(returns)
    if observed.missing is None:
        # a data container can't hold missing values
        draft.data_variables([spec.options.response])
        observed = replace(observed, container=spec.options.response)
    nu = declare(draft, "nu", spec.priors["nu"], "model.priors.nu")
    sigma = declare(draft, "sigma", spec.priors["sigma"], "model.priors.sigma")
    dims, shape = observed.dims, observed.shape
    if whitened:
        walk = _whitened_walk(draft, returns, nu, sigma, _days_between(data, returns, spec))
    else:
        draft.add_coords(observed.coords)
        plan = of_values("s", "GaussianRandomWalk", {"sigma": sigma}, dims, shape, "model.priors.sigma")
        walk = draft.random(with_steps(replace(plan, steps=_days_between(data, returns, spec))), dims)["s"]
    volatility = draft.deterministic("volatility_process", exp(-2 * walk) ** 0.5, dims)
    draft.observe("r", "StudentT", {"nu": nu, "sigma": volatility}, observed)
    return draft.declaration()


def _days_between(data: xr.Dataset, returns: xr.DataArray, spec: StochasticVolatilitySpec) -> Any:
    """Return the days between the rows; None if each row is one step."""
    times = times_along(data, str(returns.dims[0])) if spec.options.steps == "dates" else None
    return None if times is None else times.steps


def _whitened_walk(draft: Draft, returns: xr.DataArray, nu: Value, sigma: Value, steps: Any) -> Value:

    dims = tuple(map(str, returns.dims))
    draft.add_coords(coords_of(returns))
    # Heavier tails go with a smaller scale. By the Fisher information of a Student-t, the best level changes with nu as
    # log(1 + 1 / nu); with that as its offset, level and nu are independent (-0.7 otherwise).
    offset = log(1 + 1 / nu)
    # Initialize at the scale of the returns: volatility 1 is hundreds of posterior sds away.
    initial = -np.log(float(returns.std())) - offset
    return whitened_walk(
        draft, "s", sigma, dims, returns.size, INFORMATION, offset=offset, initial=initial, steps=steps
    )


PRIORS = PriorNames(("nu", "sigma"))


def at_rows(rows: NewRows, spec: StochasticVolatilitySpec) -> Declaration:
    """Reject new rows, which have no volatility."""
    message = "the volatility 's' is a random walk over the rows, which has no values for new ones"
    raise fail("predict.data", message, "predict from a model without a walk")


MODEL = ModelType(StochasticVolatilitySpec, PRIORS, roles, build, check, at_rows=at_rows)
