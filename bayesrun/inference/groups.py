"""From a sampler's draws to an InferenceData with all its groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes
from bayesrun.inference import predictive
from bayesrun.inference.base import Sampled
from bayesrun.inference.posterior import Groups, add_records, inference_data

if TYPE_CHECKING:
    import arviz as az
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray


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


def collect(
    model: pm.Model, data: xr.Dataset | None, sampled: Sampled, seed: int, wanted: Wanted
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
        All groups that could be had.
    missing : dict
        Groups that could not, with the reason.
    """
    import numpy as np

    seeds = [int(s) for s in np.random.SeedSequence([seed, 1]).generate_state(3)]
    draws = _recovered(model, sampled, seeds[0])
    shown = notes(model).reported or model
    prior, prior_predictive = predictive.prior(shown, wanted.prior, seeds[1], notes(model).helpers)
    predicted = predictive.posterior(shown, draws, seeds[2]) if wanted.posterior else predictive.Predicted()
    largest = wanted.log_likelihood
    terms = predictive.log_likelihood(shown, draws, largest) if largest else predictive.Predicted()
    stats = dict(sampled.stats)
    if wanted.log_prior:
        stats["log_prior"] = predictive.log_prior(shown, draws)
    groups = Groups(
        posterior={n: v for n, v in draws.items() if n not in notes(model).helpers},
        sample_stats=stats,
        log_likelihood=terms.draws,
        prior=prior.draws,
        prior_predictive=prior_predictive.draws,
        posterior_predictive=predicted.draws,
    )
    missing = {**prior.missing, **predicted.missing, **terms.missing}
    idata = inference_data(shown, data, groups)
    add_records(idata, sampled.records)
    return idata, missing


def _complete(model: pm.Model, draws: Mapping[str, NDArray[Any]]) -> bool:
    """Say whether the draws have every variable of the model that is reported, as those of the prior have."""
    from pymc3.util import is_transformed_name

    reported = notes(model).reported
    return reported is not None and {v.name for v in reported.unobserved_RVs if not is_transformed_name(v.name)} <= set(
        draws
    )


def _recovered(model: pm.Model, sampled: Sampled, seed: int) -> Mapping[str, NDArray[Any]]:
    import numpy as np

    recover = notes(model).recover
    if recover is None or _complete(model, sampled.draws):
        return sampled.draws
    return {**sampled.draws, **recover(sampled.draws, np.random.default_rng(seed))}
