"""Automatic differentiation variational inference: a normal approximation in the unconstrained space.

`q` maximizes the evidence lower bound `ELBO(q) = E_q[log p(y, theta) - log q(theta)]` (Kucukelbir et al. 2017,
JMLR 18(14)). The optimizer's last steps jitter around the optimum; their mean over the second half of the fit does not
(Dhaka et al. 2020, arXiv:2009.00666), and is what is drawn from.

It is quick and often too narrow: the checks `elbo` (has it converged?) and `approximation` (how far is `q` from the
posterior?) assess it, and the draws carry `lp` and `log_q` for that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bayesrun.engines.base import CompiledModel, NormalFit, NormalSettings
from bayesrun.errors import Problem
from bayesrun.samplers.base import Monitor, Sampled, Sampler, SamplerSpec
from bayesrun.samplers.chains import chain_seeds
from bayesrun.samplers.monitors import reason_of

Arrays = Mapping[str, NDArray[Any]]


class AdviSpec(SamplerSpec):
    """Config of `method: advi`.

    Parameters
    ----------
    approximation
        `mean_field`: a normal distribution without correlations; `full_rank`: with all of them.
    iterations
        Steps of the optimizer.
    learning_rate
        Of the optimizer, Adam.
    """

    method: str = "advi"
    approximation: Literal["mean_field", "full_rank"] = "mean_field"
    iterations: Annotated[int, Field(ge=100)] = 30_000
    learning_rate: Annotated[float, Field(gt=0)] = 0.01

    def steps(self) -> int:
        """Count the optimizer's steps: one fit is made, whatever the number of chains."""
        return self.iterations


def sample(model: CompiledModel, spec: AdviSpec, seed: int, monitor: Monitor) -> Sampled:
    """Fit the approximation, then draw from it; an interrupt ends the fit, and its last approximation is used.

    Parameters
    ----------
    model
        The model; all its free variables are continuous.
    spec
        The config section; `chains * draws` independent draws come from the one approximation.
    seed
        Decides the fit and every draw.
    monitor
        Notified of each step of the optimizer, as a draw of chain 0.

    Returns
    -------
    Sampled
        With statistics `lp` and `log_q`, and record `elbo` (iteration).

    Raises
    ------
    SamplingError
        When the fit becomes not a number.
    """
    fitting, drawing = chain_seeds(seed, 2)
    monitor.begin()
    began = time.perf_counter()
    fit = _Fit(monitor)
    settings = NormalSettings(spec.approximation == "full_rank", spec.iterations, spec.learning_rate)
    normal = model.fit_normal(settings, fitting, fit.on_step)
    draws, stats = draw_normal(model, normal, (spec.chains, spec.draws), drawing)
    first = fit.first or began
    return Sampled(
        draws,
        stats,
        {block.name: f"ADVI ({spec.approximation})" for block in model.blocks},
        first - began,
        time.perf_counter() - first,
        interrupted=fit.interrupted(spec.iterations),
        records={"elbo": (("iteration",), normal.elbo)},
    )


class _Fit:
    """Observes one fit: when its first step was made, how many steps there were, and what ended it early."""

    def __init__(self, monitor: Monitor) -> None:
        self.first = 0.0
        self._monitor, self._done = monitor, 0
        self._stop: KeyboardInterrupt | None = None

    def on_step(self, done: int) -> None:
        if done == 1:
            self.first = time.perf_counter()
        self._done = done
        try:
            self._monitor.draw(0, done, False, False)
        except KeyboardInterrupt as stop:
            self._stop = stop
            raise

    def interrupted(self, iterations: int) -> Literal["interrupt", "max_seconds"] | None:
        if self._stop is None and self._done < iterations:
            return "interrupt"  # an engine may swallow a Ctrl-C
        return reason_of(self._stop)


def draw_normal(model: CompiledModel, normal: NormalFit, size: tuple[int, int], seed: int) -> tuple[Arrays, Arrays]:
    """Draw from a normal approximation.

    Parameters
    ----------
    model
        The model.
    normal
        The approximation.
    size
        Chains and draws.
    seed
        Decides the draws.

    Returns
    -------
    draws : dict
        Name to array (chain, draw, ...) of every variable on its own scale.
    stats : dict
        `lp`, the model's log density, and `log_q`, the approximation's (chain, draw), both unconstrained.
    """
    z = np.random.default_rng(seed).standard_normal((*size, normal.mean.size))
    points = normal.mean + z @ normal.factor.T
    log_q = -0.5 * (z**2).sum(-1) - np.log(np.diag(normal.factor)).sum() - 0.5 * normal.mean.size * np.log(2 * np.pi)
    draws, density = model.constrain()(points), model.log_density().evaluate
    lp = np.array([density(point)[0] for point in points.reshape(-1, points.shape[-1])]).reshape(size)
    return draws, {"lp": lp, "log_q": log_q}


def check(model: CompiledModel, spec: AdviSpec) -> list[Problem]:
    """Name the discrete variables, which have no normal approximation."""
    names = ", ".join(block.name for block in model.blocks if block.discrete)
    if not names:
        return []
    message = f"advi approximates continuous variables only, but these are discrete: {names}"
    return [Problem("sampler.method", message, "use sampler=nuts or sampler=smc, or marginalize them")]


SAMPLER = Sampler(AdviSpec, sample, check)
