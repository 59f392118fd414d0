r"""Sequential Monte Carlo by tempering: a population of particles moves from the prior to the posterior.

Stage by stage the population targets `prior * likelihood^beta`, with `beta` from 0 to 1. A stage chooses the next
`beta` so that the importance weights keep a given effective sample size, resamples, and moves every particle by
independent Metropolis-Hastings with a normal proposal fitted to the population (Del Moral et al. 2006,
doi:10.1111/j.1467-9868.2006.00553.x; Minson et al. 2013, doi:10.1093/gji/ggt180).

PyMC3's kernel takes the mean of the proposals, not of the proposal distribution, for the way back: that adds noise of
the size of the Monte Carlo error to each step. Here both ways have the same distribution, as the method asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bayesrun.errors import SamplingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bayesrun.inference._smc_density import Tempered

    Vector = NDArray[np.float64]

_RIDGE = 1e-9
"""Added to the population's covariance, relative to its diagonal, so that it has an inverse."""


@dataclass(frozen=True)
class Settings:
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


def run(
    tempered: Tempered, start: Vector, settings: Settings, rng: np.random.Generator, go_on: Callable[[float], bool]
) -> Result:
    """Move a population from the prior to the posterior.

    Parameters
    ----------
    tempered
        The model's densities.
    start
        Draws from the prior (particle, parameter).
    settings
        How it moves.
    rng
        Source of randomness.
    go_on
        Told `beta` after each move of the population; False ends the run.

    Raises
    ------
    Stopped
        When `go_on` said so.
    SamplingError
        When no particle has a likelihood.
    """
    population = Population(start.copy(), *tempered.densities(start))
    if not (population.likelihood > -math.inf).any():
        raise SamplingError("smc: no draw of the prior has a positive likelihood; tighten the priors")
    beta, evidence, moved, steps = 0.0, 0.0, 0.0, settings.n_steps
    while beta < 1:
        step = next_step(population.likelihood, beta, settings.threshold)
        weights, ratio = _weights(population.likelihood, step)
        beta, evidence = min(1.0, beta + step), evidence + ratio
        proposal = fit(population.points, weights)
        population = _resampled(population, weights, rng)
        moved, accepted = _move(tempered, population, proposal, beta, steps, rng, go_on)
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
    """Return normalised weights `likelihood^step` and the log of their mean."""
    import numpy as np
    from scipy.special import logsumexp

    logs = step * likelihood
    total = logsumexp(logs)
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
        from scipy.linalg import solve_triangular

        z = solve_triangular(self.factor, (points - self.mean).T, lower=True)
        return -0.5 * (z**2).sum(axis=0)  # type: ignore[no-any-return]


def fit(points: Vector, weights: Vector) -> Proposal:
    """Fit a normal distribution to weighted points (particle, parameter)."""
    import numpy as np

    covariance = np.atleast_2d(np.cov(points, rowvar=False, aweights=weights, ddof=0))
    scale = np.where(np.diag(covariance) > 0, np.diag(covariance), 1e-12)
    return Proposal(weights @ points, np.linalg.cholesky(covariance + _RIDGE * np.diag(scale)))


def _resampled(population: Population, weights: Vector, rng: np.random.Generator) -> Population:
    """Resample systematically (doi:10.1198/016214504000001385), then shuffle: neighbours are not twins."""
    import numpy as np

    count = len(weights)
    places = (np.arange(count) + rng.uniform()) / count
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), count - 1)
    chosen = rng.permutation(chosen)
    return Population(population.points[chosen], population.prior[chosen], population.likelihood[chosen])


def _move(
    tempered: Tempered,
    population: Population,
    proposal: Proposal,
    beta: float,
    steps: int,
    rng: np.random.Generator,
    go_on: Callable[[float], bool],
) -> tuple[float, float]:
    """Move all particles `steps` times; return the share that moved at all, and the mean acceptance."""
    import numpy as np

    ever, accepted = np.zeros(len(population.prior), bool), 0.0
    for _ in range(steps):
        took = _metropolis(tempered, population, proposal, beta, rng)
        ever |= took
        accepted += float(took.mean()) / steps
        if not go_on(beta):
            raise Stopped
    return float(ever.mean()), accepted


def _metropolis(
    tempered: Tempered, population: Population, proposal: Proposal, beta: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    import numpy as np

    count = len(population.prior)
    points = proposal.draw(count, rng)
    new = Population(points, *tempered.densities(points))
    gain = _density(new, beta) - _density(population, beta)
    gain += proposal.log_density(population.points) - proposal.log_density(points)
    took = np.log(rng.uniform(size=count)) < gain
    population.put(took, new)
    return np.asarray(took)


def _density(population: Population, beta: float) -> Vector:
    return population.prior + beta * population.likelihood


def _steps(accepted: float, settings: Settings) -> int:
    """Return how many moves the next stage takes, so that most particles have moved after it."""
    rate = min(max(accepted, 1e-6), 1 - 1e-6)
    return min(settings.n_steps, max(2, math.ceil(math.log(1 - settings.p_acc_rate) / math.log(1 - rate))))
