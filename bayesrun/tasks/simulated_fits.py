"""Fits to simulated data: parameters and data that are drawn forward, and the model that is fitted to each data set.

The model of a simulated data set is built as that of the data is, from the data with other values of what is observed;
so it is sampled in the same form, by the same compiled functions. Where more than the observed values would change,
because a prior is scaled by the data or the response is computed, the model as it is written is fitted instead, with
its observed values replaced: the prior must be the one that was drawn from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.calibration import ranks
from bayesrun.diagnostics.numerics.convergence import statistics
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError, UserError, fail
from bayesrun.language.declaration import (
    Container,
    Declaration,
    Likelihood,
    Observed,
    Potential,
    has_initial_values,
)
from bayesrun.language.operations import Call, Constant, Data, Node, in_order, names_in
from bayesrun.language.plan import Plan
from bayesrun.language.values import Value, node_of
from bayesrun.lazy import xr
from bayesrun.many_fits import Fit
from bayesrun.pipeline import compiled
from bayesrun.samplers.base import SAMPLERS, Sampled, SamplerSpec
from bayesrun.samplers.initial_points import settle_start
from bayesrun.tasks.ranked_quantities import LOG_LIKELIHOOD, Quantities
from bayesrun.tasks.second_series import AGAIN, TERMS

Arrays = Mapping[str, NDArray[Any]]
Build = Callable[[Arrays], Declaration]
"""The data of each likelihood to the model that is fitted to them."""

log = logging.getLogger("bayesrun")

_BLOCK = 100
_LENGTHENED = 3
_MOST_TIMES = 8
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Simulated:
    """Parameters and data sets that were drawn from a model.

    Parameters
    ----------
    truth
        Name to array (fit, ...) of parameters, deterministics and the values of missing data.
    data
        Likelihood to array (fit, ...) of its data, complete.
    """

    truth: Arrays
    data: Arrays


class _Silent:
    """A monitor that does nothing."""

    def begin(self) -> None:
        """Nothing to do."""

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Nothing to do."""


# ---------------------------------------------------------------- simulation


def simulate_prior(model: CompiledModel, fits: int, seed: int) -> Simulated:
    """Draw parameters from the prior, and a data set for each.

    Parameters
    ----------
    model
        The model as it is written.
    fits
        How many; the first ones do not depend on it.
    seed
        Decides them.

    Raises
    ------
    UserError
        When prior or data can't be drawn.
    """
    flat = model.flat_priors()
    if flat:
        message = f"data are simulated from the prior, but these variables have a flat prior: {', '.join(flat)}"
        raise fail("model.priors", message, "give them a proper prior, such as Normal(0, 10)")
    blocks = []
    for block in range(-(-fits // _BLOCK)):
        own = int(np.random.SeedSequence([seed, 2, block]).generate_state(1)[0] >> 1)
        try:
            blocks.append(model.draw_prior(_BLOCK, own))
        except Exception as error:  # an engine raises whatever a distribution's generator raises
            raise fail("model.priors", f"the prior can't be drawn from: {type(error).__name__}: {error}") from error
    drawn = {name: np.concatenate([block[name] for block in blocks])[:fits] for name in blocks[0]}
    missing = [name for name in model.likelihoods if name not in drawn]
    if missing:
        raise fail("model", f"data of '{missing[0]}' can't be simulated: its distribution has no forward draws")
    likelihoods = model.likelihoods
    truth = {name: values for name, values in drawn.items() if name not in likelihoods}
    return Simulated(truth, {name: drawn[name] for name in likelihoods})


def simulate_posterior(model: CompiledModel, posterior: Arrays, fits: int, seed: int) -> Simulated:
    """Take parameters from the draws of a posterior, and simulate new data of the same rows for each.

    Parameters
    ----------
    model
        The model as it is written.
    posterior
        Name to array (chain, draw, ...).
    fits
        How many draws are taken, evenly spread over the chains.
    seed
        Decides the data.

    Raises
    ------
    UserError
        When there are fewer draws, or data can't be drawn.
    """
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in posterior.items()}
    count = len(next(iter(flat.values())))
    if fits > count:
        raise fail("sbc.fits", f"must be at most {count}, the number of the run's posterior draws (got {fits})")
    # every fit has its place whatever their number is, so that more fits add to those that are made
    order = np.random.default_rng([seed, 3]).permutation(count)[:fits]
    truth = {name: values[order] for name, values in flat.items()}
    one_chain = {name: values[None] for name, values in truth.items()}
    found, failed = model.predict(list(model.likelihoods), one_chain, int(seed))
    for name, error in failed.items():
        message = f"data of '{name}' can't be simulated: {type(error).__name__}: {error}"
        raise fail("run", message, "the run must have stored all parameters (store.variables, store.exclude)")
    return Simulated(truth, {name: values[0] for name, values in found.items()})


# ---------------------------------------------------------------- the model of each data set


def written_of(declared: Declaration) -> Declaration:
    """Return a model as its user wrote it, where it is sampled in another form."""
    return declared.reported or declared


def calibration_problems(declared: Declaration) -> list[Problem]:
    """Return why data of a model can't be simulated from its prior."""
    if not isinstance(declared, Declaration):
        return [Problem("model.type", "builds its model by the engine itself, whose data can't be replaced")]
    items, problems = written_of(declared).items, []
    if not any(isinstance(item, Likelihood) for item in items):
        problems.append(Problem("model", "has no likelihood, so there are no data to simulate"))
    for item in items:
        if isinstance(item, Potential):
            hint = "write it as a prior or a likelihood; what a potential adds to the prior can't be drawn from"
            problems.append(Problem(f"model.potentials.{item.name}", "the model has a potential", hint))
    return problems


def with_data(declared: Declaration, data: Arrays) -> Declaration:
    """Replace the observed values of likelihoods.

    Parameters
    ----------
    declared
        The model as it is written.
    data
        Likelihood to its values over its dims, complete: where values are missing, they stay missing.

    Raises
    ------
    UserError
        When more than the values depends on what is observed.
    """
    _check_replaceable(declared)
    return replace(declared, items=tuple(_with_values(item, data) for item in declared.items))


def _check_replaceable(declared: Declaration) -> None:
    """Refuse likelihoods whose rows follow from the rows before: these would stay those of the data."""
    hidden = [i.name for i in declared.items if isinstance(i, Likelihood) and TERMS in i.plan.values]
    names = [*hidden, *declared.fed.values()]
    if names:
        message = f"'{names[0]}' follows from its own earlier rows, which can't be replaced here by simulated ones"
        raise fail("model", message, "write the observed values into the data, without other changes by the model")


def _with_values(item: Any, data: Arrays) -> Any:
    if not isinstance(item, Likelihood):
        return item
    values, observed = _typed(data[item.name], item), item.observed
    if observed.missing is not None:
        values = np.where(observed.missing.mask, np.zeros((), values.dtype), values)
    return replace(item, observed=replace(observed, values=values, container=None))


def _typed(values: NDArray[Any], item: Likelihood) -> NDArray[Any]:
    return np.rint(values).astype(np.int64) if item.plan.discrete else np.asarray(values, float)


def with_more_data(declared: Declaration, data: Arrays) -> Declaration:
    """Add a second set of data of the same rows to each likelihood.

    Raises
    ------
    UserError
        When something in the model depends on the data of a likelihood: that of the new data is not known.
    """
    _check_replaceable(declared)
    items: list[Any] = []
    likelihoods = [item.name for item in declared.items if isinstance(item, Likelihood)]
    for item in declared.items:
        used = sorted({name for value in _values_in(item) for name in names_in(node_of(value))} & set(likelihoods))
        if used:
            message = f"'{item.name}' depends on the data of '{used[0]}', which can't be doubled"
            raise fail("model", message, "leave run out: task=sbc model=... draws parameters from the prior")
        items.append(item)
        if isinstance(item, Likelihood):
            observed = item.observed
            again = Observed(_typed(data[item.name], item), observed.dims, observed.coords)
            plan = replace(item.plan, name=f"{item.name}{AGAIN}")
            items.append(replace(item, plan=plan, observed=again))
    return replace(declared, items=tuple(items))


def _values_in(found: Any) -> Iterator[Value]:
    """Yield the values of a part of a declaration."""
    if isinstance(found, Value):
        yield found
    elif isinstance(found, Mapping):
        for one in found.values():
            yield from _values_in(one)
    elif isinstance(found, tuple | list):
        for one in found:
            yield from _values_in(one)
    elif is_dataclass(found):
        for part in fields(found):
            yield from _values_in(getattr(found, part.name))


def same_but_observed(one: Any, other: Any) -> bool:
    """Return whether two declarations, or parts of them, differ at most in observed values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, Value):
        return one.shape == other.shape and _same_nodes(node_of(one), node_of(other))
    if isinstance(one, Declaration):
        return same_but_observed(_without_own_data(one), _without_own_data(other))
    if isinstance(one, Plan) and TERMS in one.values and TERMS in other.values:
        # the terms of a series with hidden states are made of what is observed
        return bool(one.name == other.name and one.family.name == other.family.name and one.shape == other.shape)
    if isinstance(one, Observed):
        return one.values.shape == other.values.shape and same_but_observed(one.missing, other.missing)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same_but_observed(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same_but_observed, one, other))
    if is_dataclass(one):
        parts = [part.name for part in fields(one) if part.name not in ("initial", "elementwise", "family")]
        return all(same_but_observed(getattr(one, name), getattr(other, name)) for name in parts)
    return bool(one == other)


def _without_own_data(declared: Declaration) -> list[Any]:
    """Leave out containers that hold what likelihoods observe, and nothing else uses."""
    items = declared.items
    observed = {item.observed.container for item in items if isinstance(item, Likelihood)}
    used = {part.name for value in _values_in(items) for part in in_order(node_of(value)) if isinstance(part, Data)}
    return [item for item in items if not (isinstance(item, Container) and item.name in observed - used)]


def _same_nodes(one: Node, other: Node) -> bool:
    ours, theirs = list(in_order(one)), list(in_order(other))
    return len(ours) == len(theirs) and all(map(_same_node, ours, theirs))


def _same_node(one: Node, other: Node) -> bool:
    if isinstance(one, Constant) and isinstance(other, Constant):
        # what is computed from other data may differ by rounding
        return np.shape(one.numbers) == np.shape(other.numbers) and np.allclose(
            one.numbers, other.numbers, rtol=_ROUNDING, atol=0.0, equal_nan=True
        )
    if isinstance(one, Call) and isinstance(other, Call):
        return one.operation == other.operation and repr(one.settings) == repr(other.settings)
    return type(one) is type(other) and getattr(one, "name", None) == getattr(other, "name", None)


def builder_for(config: RunConfig, data: xr.Dataset | None, declared: Declaration, example: Arrays) -> Build | None:
    """Return how the model of a simulated data set is built as that of the data was.

    Parameters
    ----------
    config, data
        The config, and the prepared data.
    declared
        The model of the data.
    example
        A simulated data set, by which that is tried.

    Returns
    -------
    callable or None
        None where the model would differ in more than the observed values.
    """
    written = written_of(declared)
    sources = {} if data is None else _sources(config, data, written)
    if data is None or len(sources) < len(example):
        return None

    def build(values: Arrays) -> Declaration:
        made = {source: data[source].copy(data=_masked(values[name], data[source])) for name, source in sources.items()}
        return config.model_type.build(data.assign(made), config.model)

    try:
        tried = written_of(build(example))
    except UserError:
        return None
    return build if same_but_observed(written, tried) else None


def _sources(config: RunConfig, data: xr.Dataset, written: Declaration) -> dict[str, str]:
    """Return the data variable that each likelihood explains, where its values are those of the likelihood."""
    observed = [role.variable for role in config.model_type.roles(config.model) if role.kind == "observed"]
    found = {}
    for item in written.items:
        if isinstance(item, Likelihood):
            own = [name for name in observed if name in data and _is_of(item.observed, data[name])]
            if len(own) == 1:
                found[item.name] = own[0]
    return found


def _is_of(observed: Observed, array: xr.DataArray) -> bool:
    if array.dtype.kind not in "biuf" or array.shape != observed.shape:
        return False
    mask = array.isnull().values
    return bool(np.array_equal(array.values[~mask], observed.values[~mask]))


def _masked(values: NDArray[Any], array: xr.DataArray) -> NDArray[Any]:
    mask = array.isnull().values
    return np.where(mask, np.nan, values) if mask.any() else np.asarray(values)


# ---------------------------------------------------------------- one fit


@dataclass(frozen=True)
class RankedFits:
    """Makes one fit of a simulated data set, and ranks the true values among its draws.

    Parameters
    ----------
    config
        Of the fits.
    simulated
        All parameters and data sets.
    build
        Makes the model of a data set.
    model
        The model as it is written, with any data.
    quantities
        What is ranked beside the log likelihood.
    among
        Number of nearly independent draws among which each rank is.
    seed
        Of all fits.
    """

    config: RunConfig
    simulated: Simulated
    build: Build
    model: CompiledModel
    quantities: Quantities
    among: int
    seed: int

    @property
    def names(self) -> list[str]:
        """Names of what `rank` and the other arrays of a fit are over: the scalars, and the log likelihood."""
        return [*self.quantities.names, LOG_LIKELIHOOD]

    def __call__(self, number: int) -> Fit:
        """Fit one data set.

        Returns
        -------
        dict
            `rank`, `truth`, `mean`, `sd`, `ess` over `names`; `draws`, the number of all draws; `divergences`.
        """
        simulated = self.simulated
        data = {name: values[number] for name, values in simulated.data.items()}
        if not all(np.all(np.isfinite(values)) for values in data.values()):
            raise SamplingError("the simulated data are not finite")
        truth = {name: values[number] for name, values in simulated.truth.items()}
        seeds = [int(s) >> 2 for s in np.random.SeedSequence([self.seed, 4, number]).generate_state(3)]
        declared = self.build(data)
        model = compiled(self.config, declared)
        settle_start(model, seeds[0], has_initial_values(declared))
        sampled, draws, table = self._sample(model, seeds, data)
        chosen = _evenly(draws, self.among)
        own = self._with_log_likelihood(model.reported, truth, chosen, data)
        true, drawn = own[0], own[1:]
        return {
            "rank": ranks(true, drawn.T, seeds[2]),
            "truth": true,
            "mean": np.append(table[0], drawn[:, -1].mean()),
            "sd": np.append(table[1], drawn[:, -1].std(ddof=1)),
            "ess": np.append(table[2], np.nan),
            "draws": np.array(int(np.prod(sampled.size))),
            "divergences": np.array(int(np.sum(sampled.stats.get("diverging", 0)))),
        }

    def _sample(
        self, model: CompiledModel, seeds: Sequence[int], data: Arrays
    ) -> tuple[Sampled, Arrays, NDArray[np.float64]]:
        """Sample; where an ESS is below the number of draws that are ranked among, once more with more draws."""
        sampler, spec = SAMPLERS.load(self.config.sampler.method, "sampler.method"), self.config.sampler
        is_chain = (sampler.judged_as or self.config.sampler.method) == "nuts"
        for attempt in range(_LENGTHENED):
            sampled = sampler.sample(model, spec, seeds[0], _Silent())
            sampled.require_whole()
            draws = model.recover(sampled.draws, seeds[1])
            table = _statistics(self.quantities.of(draws, 2, data))
            least = float(np.nanmin(table[2], initial=np.inf))
            if not is_chain or least >= self.among or attempt == _LENGTHENED - 1:
                break
            spec = _longer(spec, self.config.sampler, self.among / max(least, 1.0))
        return sampled, draws, table

    def _with_log_likelihood(
        self, model: CompiledModel, truth: Arrays, draws: Arrays, data: Arrays
    ) -> NDArray[np.float64]:
        """Return the scalars, the log likelihood last, of the true values and of the draws (1 + draw, scalar)."""
        known = {name: values for name, values in draws.items() if name in truth}
        both = {name: np.concatenate([truth[name][None], values])[None] for name, values in known.items()}
        terms = model.log_likelihood(list(model.likelihoods), both)
        total = np.sum([np.nansum(t.reshape(*t.shape[:2], -1), axis=-1)[0] for t in terms.values()], axis=0)
        return np.column_stack([self.quantities.of(both, 2, data)[0], total])


def _statistics(scalars: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean, sd and bulk ESS (statistic, scalar) of draws (chain, draw, scalar); constant ones have no ESS."""
    table = statistics(np.ascontiguousarray(np.moveaxis(scalars, 2, 0)), 0.9)
    found: NDArray[np.float64] = np.stack([table[:, 0], table[:, 1], table[:, 6]])
    found[2, np.ptp(scalars, axis=(0, 1)) == 0] = np.nan
    return found


def _longer(spec: SamplerSpec, first: SamplerSpec, times: float) -> SamplerSpec:
    most = first.draws * _MOST_TIMES
    return spec.model_copy(update={"draws": int(min(most, np.ceil(spec.draws * max(2.0, 1.3 * times))))})


def _evenly(draws: Arrays, wanted: int) -> dict[str, NDArray[Any]]:
    """Choose draws, evenly spread over all chains, from arrays (chain, draw, ...)."""
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in draws.items()}
    count = len(next(iter(flat.values())))
    if count < wanted:
        raise SamplingError(f"a fit has {count} draws, which are fewer than sbc.ranks={wanted}")
    places = np.floor(np.arange(wanted) * (count / wanted)).astype(int)
    return {name: values[places] for name, values in flat.items()}


__all__ = [
    "RankedFits",
    "Simulated",
    "builder_for",
    "calibration_problems",
    "simulate_posterior",
    "simulate_prior",
    "with_data",
    "with_more_data",
    "written_of",
]
