"""Sequential Monte Carlo: particles tempered from the prior to the posterior; for posteriors with several modes.

Each chain is a population of its own of `draws` particles, so R-hat compares populations. The log evidence (log
marginal likelihood) comes with it, as `sample_stats.log_marginal_likelihood` of each chain.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bayesrun.inference import _chains
from bayesrun.inference._prior import check_proper
from bayesrun.inference.base import Count, Monitor, Sampled, Sampler, SamplerSpec

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    from numpy.typing import NDArray

    from bayesrun.inference._board import Board
    from bayesrun.inference._workers import Outcome

log = logging.getLogger("bayesrun.sampling")

_RECORDS = ("log_marginal_likelihood", "moved")
Share = Annotated[float, Field(gt=0, lt=1)]


class SmcSpec(SamplerSpec):
    """Config of `method: smc`; the method's own keys bear PyMC3's names.

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


def sample(model: pm.Model, spec: SmcSpec, seed: int, monitor: Monitor) -> Sampled:
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
        Told of progress: a chain at temperature `beta` counts as `beta * draws` draws.

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
    from bayesrun.inference import _workers as workers
    from bayesrun.inference._board import make_board
    from bayesrun.inference._draws import Draws
    from bayesrun.inference._smc_density import compile_tempered, prior_points

    began = time.perf_counter()
    tempered, draws = compile_tempered(model), Draws(model)
    seeds = _chains.chain_seeds(seed, spec.chains)
    starts = [prior_points(model, tempered, spec.draws, one) for one in seeds]
    monitor.begin()
    compiled = time.perf_counter()
    board = make_board(spec.chains, spec.draws, len(tempered.discrete))

    def one(chain: int, go_on: Callable[[], bool]) -> Mapping[str, Any]:
        return _run_chain(tempered, starts[chain], spec, seeds[chain], board, chain, go_on)

    progress = _Progress(board, spec.draws, monitor)
    outcome = workers.run(spec.chains, _chains.processes(spec), one, board, progress.tell)
    kept = _kept(outcome, spec.chains)
    seconds = time.perf_counter() - compiled
    return Sampled(
        draws=draws.at(tempered.whole(board.points[kept])),
        stats=_stats(outcome, kept, ("lp",)),
        steps={v.name: "SMC" for v in model.free_RVs},
        seconds_compile=compiled - began,
        seconds_sample=seconds,
        interrupted=None if outcome.stop is None else _chains.why(outcome.stop),
        records={
            name: (("chain",), v) for name, v in _stats(outcome, kept, ("log_marginal_likelihood", "moved")).items()
        },
    )


def _run_chain(
    tempered: Any,
    start: NDArray[np.float64],
    spec: SmcSpec,
    seed: int,
    board: Board,
    chain: int,
    go_on: Callable[[], bool],
) -> Mapping[str, Any]:
    import numpy as np

    from bayesrun.inference._smc_population import Settings, Stopped, run

    def told(beta: float) -> bool:
        board.done[chain] = min(int(beta * spec.draws), spec.draws - 1)
        return go_on()

    settings = Settings(spec.threshold, spec.n_steps, spec.p_acc_rate)
    try:
        result = run(tempered, start, settings, np.random.default_rng(seed), told)
    except Stopped:
        return {}
    population = result.population
    board.points[chain], board.done[chain] = population.points, spec.draws
    return {
        "lp": population.prior + population.likelihood,
        "log_marginal_likelihood": np.float64(result.log_evidence),
        "moved": np.float64(result.moved),
    }


class _Progress:
    """Tells a monitor how far each chain is; time counts as tuning until the first chain is done."""

    def __init__(self, board: Board, draws: int, monitor: Monitor) -> None:
        self._board, self._draws, self._monitor = board, draws, monitor

    def tell(self) -> None:
        tuning = not any(int(done) >= self._draws for done in self._board.done)
        for chain, done in enumerate(map(int, self._board.done)):
            if done:
                self._monitor.draw(chain, done, tuning, False)


def _kept(outcome: Outcome, chains: int) -> list[int]:
    kept = sorted(chain for chain, stats in outcome.stats.items() if stats)
    if not kept:
        raise outcome.stop or KeyboardInterrupt()
    if len(kept) < chains:
        log.warning("chains kept: %d of %d; the others had not reached the posterior", len(kept), chains)
    return kept


def _stats(outcome: Outcome, kept: list[int], names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    import numpy as np

    return {name: np.stack([outcome.stats[chain][name] for chain in kept]) for name in names}


SAMPLER = Sampler(SmcSpec, sample, lambda model, spec: check_proper(model))
