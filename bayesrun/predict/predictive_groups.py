"""From a sampler's draws to one ArviZ InferenceData with all its groups, over named dims with labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesrun.engines.base import CompiledModel
from bayesrun.lazy import az, xr
from bayesrun.samplers.base import Sampled
from bayesrun.samplers.prior_draws import why_no_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.lazy import az, xr

    Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger("bayesrun.predictive")

LARGEST = 50_000_000
"""Numbers up to which a group of predictive draws is made."""


@dataclass(frozen=True)
class Wanted:
    """Which groups to make beside the draws themselves.

    Parameters
    ----------
    prior
        Draws from the prior and the prior predictive; 0 = none.
    posterior
        Whether to draw the posterior predictive.
    log_likelihood
        Numbers up to which pointwise terms are kept; 0 = none.
    log_prior
        Whether to evaluate the prior's log density at each draw.
    """

    prior: int = 0
    posterior: bool = False
    log_likelihood: int = 0
    log_prior: bool = False


@dataclass(frozen=True)
class Predicted:
    """Draws by name, (chain, draw, ...), and why a group or a likelihood has none."""

    draws: Arrays = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Groups:
    """Arrays of each group by variable; sampled ones are (chain, draw, ...)."""

    posterior: Arrays
    sample_stats: Arrays = field(default_factory=dict)
    log_likelihood: Arrays = field(default_factory=dict)
    prior: Arrays = field(default_factory=dict)
    prior_predictive: Arrays = field(default_factory=dict)
    posterior_predictive: Arrays = field(default_factory=dict)


def collect(
    model: CompiledModel, data: xr.Dataset | None, sampled: Sampled, seed: int, wanted: Wanted
) -> tuple[az.InferenceData, dict[str, str]]:
    """Draw what was summed out, predict, evaluate the likelihood, and put all groups together.

    Parameters
    ----------
    model
        The model that was sampled.
    data
        The prepared data.
    sampled
        The sampler's draws.
    seed
        Seed of the run; each part draws from a seed of its own.
    wanted
        Which groups to make.

    Returns
    -------
    idata : InferenceData
        All groups that could be made.
    missing : dict
        Groups that could not, with the reason.
    """
    seeds = [int(s) for s in np.random.SeedSequence([seed, 1]).generate_state(3)]
    draws = model.recover(sampled.draws, seeds[0])
    shown, helpers = model.reported, model.helpers
    prior, prior_predictive = draw_prior(shown, wanted.prior, seeds[1], helpers)
    predicted = predict(shown, draws, seeds[2]) if wanted.posterior else Predicted()
    terms = log_likelihood(shown, draws, wanted.log_likelihood) if wanted.log_likelihood else Predicted()
    stats = dict(sampled.stats)
    if wanted.log_prior:
        stats["log_prior"] = shown.log_prior(draws)
    groups = Groups(
        posterior={n: v for n, v in draws.items() if n not in helpers},
        sample_stats=stats,
        log_likelihood=terms.draws,
        prior=prior.draws,
        prior_predictive=prior_predictive.draws,
        posterior_predictive=predicted.draws,
    )
    idata = inference_data(shown, data, groups)
    add_records(idata, sampled.records)
    return idata, {**prior.missing, **predicted.missing, **terms.missing}


def draw_prior(model: CompiledModel, draws: int, seed: int, helpers: frozenset[str]) -> tuple[Predicted, Predicted]:
    """Draw from the prior and the prior predictive.

    Parameters
    ----------
    model
        The model.
    draws
        How many; 0 = none.
    seed
        Seed of the draws.
    helpers
        Variables to leave out.

    Returns
    -------
    prior, prior_predictive
        Arrays of one chain. A prior that can't be drawn from (flat) has none, and says so.
    """
    size = draws * sum(map(math.prod, model.likelihoods.values()))
    if draws == 0 or size > LARGEST:
        reason = {} if draws == 0 else {"prior": f"{size:,} numbers are too many"}
        return Predicted(missing=reason), Predicted()
    try:
        drawn = model.draw_prior(draws, seed)
    except Exception as error:  # an engine raises whatever a distribution's generator raises
        log.info("no prior draws: %s: %s", type(error).__name__, error, exc_info=True)
        return Predicted(missing={"prior": why_no_draws(model, error)}), Predicted()
    one_chain = {name: values[None] for name, values in drawn.items() if name not in helpers}
    return (
        Predicted({n: v for n, v in one_chain.items() if n not in model.likelihoods}),
        Predicted({n: v for n, v in one_chain.items() if n in model.likelihoods}),
    )


def predict(model: CompiledModel, draws: Arrays, seed: int) -> Predicted:
    """Draw each likelihood once per posterior draw.

    Parameters
    ----------
    model
        The model.
    draws
        Name to array (chain, draw, ...) of its free variables and deterministics.
    seed
        Seed of the draws.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) over the dims of each likelihood.
    """
    sizes = {name: _count(draws) * math.prod(shape) for name, shape in model.likelihoods.items()}
    found, failed = model.predict([name for name, size in sizes.items() if size <= LARGEST], draws, seed)
    missing = {name: f"{size:,} numbers are too many" for name, size in sizes.items() if size > LARGEST}
    for name, error in failed.items():
        log.info("no predictions of %s", name, exc_info=error)
        missing[name] = f"{type(error).__name__}: {error}"
    return Predicted(found, {f"posterior_predictive {name}": reason for name, reason in missing.items()})


def log_likelihood(model: CompiledModel, draws: Arrays, largest: int) -> Predicted:
    """Evaluate the pointwise terms of each likelihood at every draw; imputed points are NaN.

    Parameters
    ----------
    model
        The model.
    draws
        Name to array (chain, draw, ...).
    largest
        Numbers up to which the terms are kept.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) by likelihood; why a likelihood has none.
    """
    reasons = {name: _no_terms(model, name, _count(draws), largest) for name in model.likelihoods}
    pointwise = [name for name, reason in reasons.items() if reason is None]
    terms = model.log_likelihood(pointwise, draws) if pointwise else {}
    return Predicted(terms, {f"log_likelihood {name}": reason for name, reason in reasons.items() if reason})


def _no_terms(model: CompiledModel, name: str, draws: int, largest: int) -> str | None:
    distribution = model.without_pointwise_terms(name)
    if distribution is not None:
        return f"{distribution} has no pointwise terms"
    size = draws * math.prod(model.likelihoods[name])
    return f"{size:,} numbers are above diagnostics.log_likelihood_max" if size > largest else None


def _count(draws: Arrays) -> int:
    """Count the draws of all chains."""
    return math.prod(next(iter(draws.values())).shape[:2])


def inference_data(model: CompiledModel, data: xr.Dataset | None, groups: Groups) -> az.InferenceData:
    """Put all groups together.

    Parameters
    ----------
    model
        The model: says which dims each variable has, and what is observed.
    data
        The prepared data; all its variables go into `constant_data`.
    groups
        What was drawn.

    Returns
    -------
    InferenceData
        `observed_data` holds each likelihood's data under the likelihood's name; missing values are NaN.
    """
    coords, dims = model.labels()
    if data is not None:
        coords = {**coords, **{str(d): data[d].values for d in data.dims if d in data.coords}}
    found = {name: dict(getattr(groups, name)) for name in Groups.__dataclass_fields__ if getattr(groups, name)}
    observed = dict(model.observed_data())
    idata = az.from_dict(**found, observed_data=observed, coords=coords, dims=dims, save_warmup=False, pred_dims=None)
    if data is not None and data.data_vars:
        idata.add_groups({"constant_data": _plain(data)})
    return idata


def add_records(idata: az.InferenceData, records: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]) -> None:
    """Add a sampler's records, `{name: (dims, values)}`, to `sample_stats`."""
    if not records:
        return
    if "sample_stats" in idata.groups():
        idata.sample_stats = idata.sample_stats.assign(records)
    else:
        idata.add_groups({"sample_stats": xr.Dataset(records, coords={"chain": idata.posterior["chain"]})})


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Make attributes plain, so that the netCDF file can hold them."""
    plain = data.copy()
    plain.attrs = {key: str(value) for key, value in data.attrs.items()}
    return plain
