r"""Sequential Monte Carlo: particles tempered from the prior to the posterior; for posteriors with several modes.

Stage by stage a population targets `prior * likelihood^beta`, with `beta` from 0 to 1. A stage chooses the next
`beta` so that the importance weights keep a given effective sample size, resamples, and moves every particle by
independent Metropolis-Hastings with a normal proposal fitted to the population (Del Moral et al. 2006,
doi:10.1111/j.1467-9868.2006.00553.x; Minson et al. 2013, doi:10.1093/gji/ggt180).

PyMC3's kernel takes the mean of the proposals, not of the proposal distribution, for the reverse move: that adds
noise of the size of the Monte Carlo error to each step. Here both moves have the same distribution, as the method
requires.

Each chain is a separate population of `draws` particles, so R-hat compares populations. The log evidence (log
marginal likelihood) comes with it, as `sample_stats.log_marginal_likelihood` of each chain.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bayesrun.engines.base import CompiledModel, TemperedDensity
from bayesrun.errors import SamplingError, fail
from bayesrun.lazy import linalg, special
from bayesrun.samplers.base import Count, Monitor, Sampled, Sampler, SamplerSpec, check_proper, prior_draws
from bayesrun.samplers.chains import Outcome, SharedDraws, chain_seeds, parallel_chains, run_chains, share_draws
from bayesrun.samplers.monitors import reason_of

Vector = NDArray[np.float64]

log = logging.getLogger("bayesrun.sampling")

_RIDGE = 1e-9
"""Added to the population's covariance, relative to its diagonal, so that it can be inverted."""
_TRIES = 20
"""Batches of prior draws, at most, to get enough inside the density's support."""

Share = Annotated[float, Field(gt=0, lt=1)]


class SmcSpec(SamplerSpec):
    """Config of `method: smc`; the method's own keys have PyMC3's names.

    Parameters
    ----------
    draws
        Particles of a chain.
    threshold
        Effective share of the particles that the weights of a stage keep: the lower, the fewer stages.
    n_steps
        Most Metropolis steps in a stage.
    p_acc_rate
        Share of the particles that should move in a stage; steps are taken until it is reached, at most `n_steps`.
    """

    method: str = "smc"
    draws: Annotated[int, Field(ge=10)] = 1000
    threshold: Share = 0.5
    n_steps: Count = 25
    p_acc_rate: Share = 0.99


def sample(model: CompiledModel, spec: SmcSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample every chain's population; an interrupt keeps the chains that are done.

    Parameters
    ----------
    model
        The model; it needs priors that can be drawn from.
    spec
        The config section.
    seed
        Decides every draw, however many chains run at a time.
    monitor
        Notified of progress: a chain at temperature `beta` counts as `beta * draws` draws.

    Returns
    -------
    Sampled
        With statistic `lp` and records `log_marginal_likelihood` and `moved` (chain).

    Raises
    ------
    UserError
        When the prior can't be drawn from.
    SamplingError
        When no draw of the prior has a likelihood.
    KeyboardInterrupt
        When it was interrupted before a chain was done.
    """
    began = time.perf_counter()
    tempered, constrain = model.tempered_density(), model.constrain()
    seeds = chain_seeds(seed, spec.chains)
    initial = [prior_points(model, tempered, spec.draws, one) for one in seeds]
    monitor.begin()
    compiled = time.perf_counter()
    shared = share_draws(spec.chains, spec.draws, len(tempered.discrete))

    def one(chain: int, keep_going: Callable[[], bool]) -> Mapping[str, Any]:
        return _run_chain(tempered, initial[chain], spec, seeds[chain], shared, chain, keep_going)

    progress = _Progress(shared, spec.draws, monitor)
    outcome = run_chains(spec.chains, parallel_chains(spec), one, shared, progress.tell)
    kept = _kept(outcome, spec.chains)
    seconds = time.perf_counter() - compiled
    records = _stats(outcome, kept, ("log_marginal_likelihood", "moved"))
    return Sampled(
        draws=constrain(tempered.whole(shared.points[kept])),
        stats=_stats(outcome, kept, ("lp",)),
        steps={block.name: "SMC" for block in model.blocks},
        seconds_compile=compiled - began,
        seconds_sample=seconds,
        interrupted=reason_of(outcome.stop),
        died=outcome.died,
        records={name: (("chain",), values) for name, values in records.items()},
    )


def prior_points(model: CompiledModel, tempered: TemperedDensity, count: int, seed: int) -> Vector:
    """Draw initial points from the prior.

    Draws outside the density's support (unordered values of an ordered vector) are drawn again: the prior that is
    left is the model's.

    Parameters
    ----------
    model
        The model.
    tempered
        Its densities.
    count
        Number of points.
    seed
        Decides them.

    Returns
    -------
    ndarray
        Unconstrained points (particle, parameter).

    Raises
    ------
    UserError
        When the prior can't be drawn from, or its draws are outside the support of its own density.
    """
    kept: list[Vector] = []
    for attempt in np.random.SeedSequence(seed).generate_state(_TRIES):
        points = model.unconstrain(prior_draws(model, count, int(attempt)))
        points = points + tempered.discrete * np.random.default_rng(attempt).uniform(size=points.shape)
        kept.append(points[np.isfinite(points).all(1) & np.isfinite(tempered.evaluate(points)[0])])
        if sum(map(len, kept)) >= count:
            return np.concatenate(kept)[:count]
    message = "smc starts from draws of the prior, but too few of them have positive density"
    raise fail("sampler.method", message, "check the priors' `transform` and bounds, or use sampler=nuts")


def _run_chain(
    tempered: TemperedDensity,
    initial: Vector,
    spec: SmcSpec,
    seed: int,
    shared: SharedDraws,
    chain: int,
    keep_going: Callable[[], bool],
) -> Mapping[str, Any]:
    def on_move(beta: float) -> bool:
        shared.done[chain] = min(int(beta * spec.draws), spec.draws - 1)
        return keep_going()

    settings = PopulationSettings(spec.threshold, spec.n_steps, spec.p_acc_rate)
    try:
        result = temper(tempered, initial, settings, np.random.default_rng(seed), on_move)
    except Stopped:
        return {}
    population = result.population
    shared.points[chain], shared.done[chain] = population.points, spec.draws
    return {
        "lp": population.prior + population.likelihood,
        "log_marginal_likelihood": np.float64(result.log_evidence),
        "moved": np.float64(result.moved),
    }


class _Progress:
    """Notifies a monitor how far each chain is; time counts as tuning until the first chain is done."""

    def __init__(self, shared: SharedDraws, draws: int, monitor: Monitor) -> None:
        self._shared, self._draws, self._monitor = shared, draws, monitor

    def tell(self) -> None:
        tuning = not any(int(done) >= self._draws for done in self._shared.done)
        for chain, done in enumerate(map(int, self._shared.done)):
            if done:
                self._monitor.draw(chain, done, tuning, False)


def _kept(outcome: Outcome, chains: int) -> list[int]:
    kept = sorted(chain for chain, stats in outcome.stats.items() if stats)
    if not kept and outcome.died:
        raise SamplingError(f"no chain finished: their processes {', '.join(sorted(set(outcome.died.values())))}")
    if not kept:
        raise outcome.stop or KeyboardInterrupt()
    if len(kept) < chains:
        log.warning("chains kept: %d of %d; the others had not reached the posterior", len(kept), chains)
    return kept


def _stats(outcome: Outcome, kept: list[int], names: tuple[str, ...]) -> dict[str, Vector]:
    return {name: np.stack([outcome.stats[chain][name] for chain in kept]) for name in names}


@dataclass(frozen=True)
class PopulationSettings:
    """How a population moves.

    Parameters
    ----------
    threshold
        Effective share of the particles that a stage's weights keep.
    n_steps
        Most moves in a stage; the first stage takes all of them.
    p_acc_rate
        Share of particles that should have moved after a stage: later stages take as many moves as that needs.
    """

    threshold: float
    n_steps: int
    p_acc_rate: float


@dataclass
class Population:
    """Particles (particle, parameter) with their log prior and log likelihood (particle)."""

    points: Vector
    prior: Vector
    likelihood: Vector

    def put(self, where: NDArray[np.bool_], other: Population) -> None:
        """Take another population's particles where `where` is true."""
        self.points[where] = other.points[where]
        self.prior[where], self.likelihood[where] = other.prior[where], other.likelihood[where]


@dataclass(frozen=True)
class Result:
    """The last population, the log evidence, and the share of particles that moved in the last stage."""

    population: Population
    log_evidence: float
    moved: float


class Stopped(Exception):
    """The run was stopped early: there is no posterior before `beta` is 1."""


def temper(
    tempered: TemperedDensity,
    initial: Vector,
    settings: PopulationSettings,
    rng: np.random.Generator,
    keep_going: Callable[[float], bool],
) -> Result:
    """Move a population from the prior to the posterior.

    Parameters
    ----------
    tempered
        The model's densities.
    initial
        Draws from the prior (particle, parameter).
    settings
        How it moves.
    rng
        Source of randomness.
    keep_going
        Called with `beta` after each move of the population; False ends the run.

    Raises
    ------
    Stopped
        When `keep_going` said so.
    SamplingError
        When no particle has a likelihood.
    """
    population = Population(initial.copy(), *tempered.evaluate(initial))
    if not (population.likelihood > -math.inf).any():
        raise SamplingError("smc: no draw of the prior has a positive likelihood; tighten the priors")
    beta, evidence, moved, steps = 0.0, 0.0, 0.0, settings.n_steps
    while beta < 1:
        step = next_step(population.likelihood, beta, settings.threshold)
        weights, ratio = _weights(population.likelihood, step)
        beta, evidence = min(1.0, beta + step), evidence + ratio
        proposal = fit(population.points, weights)
        population = _resampled(population, weights, rng)
        moved, accepted = _move(tempered, population, proposal, beta, steps, rng, keep_going)
        steps = _steps(accepted, settings)
    return Result(population, evidence, moved)


def next_step(likelihood: Vector, beta: float, threshold: float) -> float:
    """Return the largest step of `beta` whose weights keep an effective share of `threshold`.

    Parameters
    ----------
    likelihood
        Log likelihoods (particle).
    beta
        Where the population is.
    threshold
        Effective share, the effective number `(sum w)^2 / sum w^2` over the number of particles.
    """
    low, high = 0.0, 1.0 - beta
    if _effective_share(likelihood, high) >= threshold:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _effective_share(likelihood, middle) >= threshold else (low, middle)
    return high


def _effective_share(likelihood: Vector, step: float) -> float:
    weights, _ = _weights(likelihood, step)
    return float(1 / (len(weights) * (weights**2).sum()))


def _weights(likelihood: Vector, step: float) -> tuple[Vector, float]:
    """Return normalized weights `likelihood^step` and the log of their mean."""
    logs = step * likelihood
    total = special.logsumexp(logs)
    return np.exp(logs - total), float(total - math.log(len(logs)))


@dataclass(frozen=True)
class Proposal:
    """A normal distribution by mean (parameter) and Cholesky factor (parameter, parameter)."""

    mean: Vector
    factor: Vector

    def draw(self, count: int, rng: np.random.Generator) -> Vector:
        """Draw points (particle, parameter)."""
        return self.mean + rng.standard_normal((count, len(self.mean))) @ self.factor.T

    def log_density(self, points: Vector) -> Vector:
        """Return the log density at points, but for a constant (particle)."""
        z = linalg.solve_triangular(self.factor, (points - self.mean).T, lower=True)
        return -0.5 * (z**2).sum(axis=0)  # type: ignore[no-any-return]


def fit(points: Vector, weights: Vector) -> Proposal:
    """Fit a normal distribution to weighted points (particle, parameter)."""
    covariance = np.atleast_2d(np.cov(points, rowvar=False, aweights=weights, ddof=0))
    scale = np.where(np.diag(covariance) > 0, np.diag(covariance), 1e-12)
    return Proposal(weights @ points, np.linalg.cholesky(covariance + _RIDGE * np.diag(scale)))


def _resampled(population: Population, weights: Vector, rng: np.random.Generator) -> Population:
    """Resample systematically (doi:10.1198/016214504000001385), then shuffle, so that neighbours are not copies."""
    count = len(weights)
    places = (np.arange(count) + rng.uniform()) / count
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), count - 1)
    chosen = rng.permutation(chosen)
    return Population(population.points[chosen], population.prior[chosen], population.likelihood[chosen])


def _move(
    tempered: TemperedDensity,
    population: Population,
    proposal: Proposal,
    beta: float,
    steps: int,
    rng: np.random.Generator,
    keep_going: Callable[[float], bool],
) -> tuple[float, float]:
    """Move all particles `steps` times; return the share that moved at all, and the mean acceptance."""
    ever, rate = np.zeros(len(population.prior), bool), 0.0
    for _ in range(steps):
        accepted = _metropolis(tempered, population, proposal, beta, rng)
        ever |= accepted
        rate += float(accepted.mean()) / steps
        if not keep_going(beta):
            raise Stopped
    return float(ever.mean()), rate


def _metropolis(
    tempered: TemperedDensity, population: Population, proposal: Proposal, beta: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    count = len(population.prior)
    points = proposal.draw(count, rng)
    new = Population(points, *tempered.evaluate(points))
    gain = _density(new, beta) - _density(population, beta)
    gain += proposal.log_density(population.points) - proposal.log_density(points)
    accepted = np.log(rng.uniform(size=count)) < gain
    population.put(accepted, new)
    return np.asarray(accepted)


def _density(population: Population, beta: float) -> Vector:
    return population.prior + beta * population.likelihood


def _steps(accepted: float, settings: PopulationSettings) -> int:
    """Return how many moves the next stage takes, so that most particles have moved after it."""
    rate = min(max(accepted, 1e-6), 1 - 1e-6)
    return min(settings.n_steps, max(2, math.ceil(math.log(1 - settings.p_acc_rate) / math.log(1 - rate))))


SAMPLER = Sampler(SmcSpec, sample, lambda model, spec: check_proper(model))
