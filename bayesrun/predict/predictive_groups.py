"""From a sampler's draws to one ArviZ InferenceData with all its groups, over named dims with labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics.base import DRAWN_AFTERWARDS
from bayesrun.engines.base import ArrayBuffer, CompiledModel, MakeBuffer
from bayesrun.lazy import az, xr
from bayesrun.samplers.base import Sampled, why_no_draws

Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger("bayesrun.predictive")

LARGEST = 50_000_000
"""Maximum number of values in a group of predictive draws."""
MANY = 5_000_000
"""Number of prior predictive values from which on fewer draws are made of the prior."""


@dataclass(frozen=True)
class Wanted:
    """Groups to create in addition to the draws.

    Parameters
    ----------
    prior
        Draws from the prior and the prior predictive; 0 = none.
    posterior
        Whether to draw the posterior predictive.
    log_likelihood
        Maximum number of pointwise terms that are kept; 0 = none.
    log_prior
        The prior's log density is evaluated at each draw in models of at most this many scalars; 0 = not.
    """

    prior: int = 0
    posterior: bool = False
    log_likelihood: int = 0
    log_prior: int = 0


@dataclass(frozen=True)
class Predicted:
    """Draws by name, (chain, draw, ...), and the reason for each group or likelihood without draws."""

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
    model: CompiledModel,
    data: xr.Dataset | None,
    sampled: Sampled,
    seed: int,
    wanted: Wanted,
    folder: Path | None = None,
) -> tuple[az.InferenceData, dict[str, str]]:
    """Draw the variables that were marginalised out, predict, evaluate the likelihood, and assemble all groups.

    Parameters
    ----------
    model
        The model that was sampled.
    data
        The prepared data.
    sampled
        The sampler's draws.
    seed
        Seed of the run; each part has its own seed, derived from it.
    wanted
        Groups to create.
    folder
        Where large predictions and pointwise terms are kept in a file, of which parts are read; None = in memory.

    Returns
    -------
    idata : InferenceData
        All groups that could be created.
    missing : dict
        Groups that could not be created, with the reason.
    """
    from bayesrun.large_draws import draw_buffers  # xarray's backends, which a check of the config does without

    seeds = [int(s) for s in np.random.SeedSequence([seed, 1]).generate_state(3)]
    draws = model.recover(sampled.draws, seeds[0])
    shown, helpers = model.reported, model.helpers
    make_buffer = draw_buffers(folder)
    prior, prior_predictive = draw_prior(shown, wanted.prior, seeds[1], helpers, make_buffer)
    predicted = predict(shown, draws, seeds[2], make_buffer) if wanted.posterior else Predicted()
    terms = log_likelihood(shown, draws, wanted.log_likelihood, make_buffer) if wanted.log_likelihood else Predicted()
    if terms.draws:
        given_others = model.terms_given_others(draws)
        others = {name: _put(values, make_buffer) for name, values in given_others.items()}
        terms = replace(terms, draws={name: others.get(name, own) for name, own in terms.draws.items()})
    stats = dict(sampled.stats)
    of_prior = log_prior(shown, draws, wanted.log_prior)
    stats |= of_prior.draws
    groups = Groups(
        posterior={n: v for n, v in draws.items() if n not in helpers},
        sample_stats=stats,
        log_likelihood=terms.draws,
        prior=prior.draws,
        prior_predictive=prior_predictive.draws,
        posterior_predictive=predicted.draws,
    )
    idata = inference_data(shown, data, groups)
    for name in draws.keys() - sampled.draws.keys() - helpers:
        idata.posterior[name].attrs[DRAWN_AFTERWARDS] = 1
    add_records(idata, sampled.records)
    return idata, {**prior.missing, **predicted.missing, **terms.missing, **of_prior.missing}


def _put(values: NDArray[Any], make_buffer: MakeBuffer) -> Any:
    """Put draws (chain, draw, ...) into a buffer if they are not in one; with a full disk, they stay where they are."""
    if not isinstance(values, np.ndarray):
        return values
    chains, length, *shape = values.shape
    with suppress(OSError):
        place = make_buffer((chains, length), tuple(shape), values.dtype)
        place.fill(0, values.reshape(chains * length, *shape))
        return place.draws
    return values


def draw_prior(
    model: CompiledModel, draws: int, seed: int, helpers: frozenset[str], make_buffer: MakeBuffer = ArrayBuffer
) -> tuple[Predicted, Predicted]:
    """Draw from the prior and the prior predictive.

    Parameters
    ----------
    model
        The model.
    draws
        Number of draws; 0 = none. Fewer are made if they have more than `MANY` numbers.
    seed
        Seed of the draws.
    helpers
        Variables to leave out.
    make_buffer
        Makes the buffer of each likelihood.

    Returns
    -------
    prior, prior_predictive
        Arrays of one chain. A prior that can't be sampled (flat) has none; the reason is recorded.
    """
    each = sum(map(math.prod, model.likelihoods.values()))
    size = draws * each
    if MANY < size <= LARGEST:  # they only show the range of the data, which takes no more draws for more rows
        draws = MANY // each
        log.info("%d draws of the prior predictive are made: each has %s numbers", draws, f"{each:,}")
    if draws == 0 or size > LARGEST:
        reason = {} if draws == 0 else {"prior": f"{size:,} numbers are too many"}
        return Predicted(missing=reason), Predicted()
    try:
        drawn = model.draw_prior(draws, seed, make_buffer)
    except Exception as error:  # the engine passes on any exception of a distribution's generator
        log.info("no prior draws: %s: %s", type(error).__name__, error, exc_info=True)
        return Predicted(missing={"prior": why_no_draws(model, error)}), Predicted()
    one_chain = {
        name: values[None] if isinstance(values, np.ndarray) else values  # from a buffer, it has a chain
        for name, values in drawn.items()
        if name not in helpers
    }
    return (
        Predicted({n: v for n, v in one_chain.items() if n not in model.likelihoods}),
        Predicted({n: _put(v, make_buffer) for n, v in one_chain.items() if n in model.likelihoods}),
    )


def predict(model: CompiledModel, draws: Arrays, seed: int, make_buffer: MakeBuffer = ArrayBuffer) -> Predicted:
    """Draw each likelihood once per posterior draw.

    Parameters
    ----------
    model
        The model.
    draws
        Names mapped to arrays (chain, draw, ...), for free variables and deterministics.
    seed
        Seed of the draws.
    make_buffer
        Makes the buffer of each likelihood.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) over the dims of each likelihood.
    """
    sizes = {name: _count(draws) * math.prod(shape) for name, shape in model.likelihoods.items()}
    found, failed = model.predict([name for name, size in sizes.items() if size <= LARGEST], draws, seed, make_buffer)
    missing = {name: f"{size:,} numbers are too many" for name, size in sizes.items() if size > LARGEST}
    for name, error in failed.items():
        log.info("no predictions of %s", name, exc_info=error)
        missing[name] = f"{type(error).__name__}: {error}"
    return Predicted(found, {f"posterior_predictive {name}": reason for name, reason in missing.items()})


def log_likelihood(
    model: CompiledModel, draws: Arrays, largest: int, make_buffer: MakeBuffer = ArrayBuffer
) -> Predicted:
    """Evaluate the pointwise terms of each likelihood at every draw; imputed points are NaN.

    Parameters
    ----------
    model
        The model.
    draws
        Names mapped to arrays (chain, draw, ...).
    largest
        Maximum number of terms that are kept.
    make_buffer
        Makes the buffer of each likelihood.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) by likelihood, and the reason for each likelihood without terms.
    """
    reasons = {name: _no_terms(model, name, _count(draws), largest) for name in model.likelihoods}
    pointwise = [name for name, reason in reasons.items() if reason is None]
    try:
        terms = model.log_likelihood(pointwise, draws, make_buffer) if pointwise else {}
    except OSError as error:  # no room on the disk: the posterior is worth more than its terms
        terms, reasons = {}, {name: reason or f"{error}" for name, reason in reasons.items()}
    return Predicted(terms, {f"log_likelihood {name}": reason for name, reason in reasons.items() if reason})


def _no_terms(model: CompiledModel, name: str, draws: int, largest: int) -> str | None:
    distribution = model.without_pointwise_terms(name)
    if distribution is not None:
        return f"{distribution} has no pointwise terms"
    size = draws * math.prod(model.likelihoods[name])
    return f"{size:,} numbers are above diagnostics.log_likelihood_max" if size > largest else None


def log_prior(model: CompiledModel, draws: Arrays, most: int) -> Predicted:
    """Evaluate the log density of the priors at every draw.

    Parameters
    ----------
    model
        The model.
    draws
        Names mapped to arrays (chain, draw, ...).
    most
        Maximum number of scalars in a draw.

    Returns
    -------
    Predicted
        `log_prior` (chain, draw), or why there is none.
    """
    if sum(math.prod(values.shape[2:]) for values in draws.values()) > most:
        return Predicted()
    try:
        return Predicted({"log_prior": model.log_prior(draws)})
    except Exception as error:  # the engine passes on any exception of a distribution; the draws must not be lost
        log.info("no log density of the priors", exc_info=True)
        return Predicted(missing={"log_prior": f"{type(error).__name__}: {error}"})


def _count(draws: Arrays) -> int:
    """Return the number of draws in all chains."""
    return math.prod(next(iter(draws.values())).shape[:2])


def inference_data(model: CompiledModel, data: xr.Dataset | None, groups: Groups) -> az.InferenceData:
    """Assemble all groups.

    Parameters
    ----------
    model
        The model, which defines the dims of each variable and what is observed.
    data
        The prepared data; all variables are stored in `constant_data`.
    groups
        The draws of each group.

    Returns
    -------
    InferenceData
        `observed_data` holds each likelihood's data under the likelihood's name; missing values are NaN.
    """
    from bayesrun.large_draws import lazy_variable  # as above

    coords, dims = model.labels()
    if data is not None:
        coords = {**coords, **{str(d): data[d].values for d in data.dims if d in data.coords}}
    found = {name: dict(getattr(groups, name)) for name in Groups.__dataclass_fields__ if getattr(groups, name)}
    observed = dict(model.observed_data())
    kept = {
        (group, name): values
        for group, of in found.items()
        for name, values in of.items()
        if not isinstance(values, np.ndarray)
    }
    for (group, name), values in kept.items():
        found[group][name] = np.broadcast_to(np.zeros((), values.dtype), values.shape)
    terms = found.pop("log_likelihood", {})
    idata = az.from_dict(**found, observed_data=observed, coords=coords, dims=dims, save_warmup=False, pred_dims=None)
    if terms:
        # a term of several values of one row lacks their dim
        over = {name: list(dims.get(name, ()))[: array.ndim - 2] for name, array in terms.items()}
        made = az.from_dict(log_likelihood=terms, coords=coords, dims=over, save_warmup=False)
        idata.add_groups({"log_likelihood": made["log_likelihood"]})
    for (group, name), values in kept.items():
        idata[group][name] = lazy_variable(idata[group][name].dims, values, idata[group][name].attrs)
    if data is not None and data.data_vars:
        idata.add_groups({"constant_data": _plain(data)})
    return idata


def add_records(idata: az.InferenceData, records: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]) -> None:
    """Add the statistics of a sampler, `{name: (dims, values)}`, to `sample_stats`."""
    if not records:
        return
    if "sample_stats" in idata.groups():
        idata.sample_stats = idata.sample_stats.assign(records)
    else:
        idata.add_groups({"sample_stats": xr.Dataset(records, coords={"chain": idata.posterior["chain"]})})


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Convert attributes to plain values that can be stored in a netCDF file."""
    plain = data.copy()
    plain.attrs = {key: str(value) for key, value in data.attrs.items()}
    return plain
