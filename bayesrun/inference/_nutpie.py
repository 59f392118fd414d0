"""NUTS by nutpie over Theano's compiled function: the quick engine of `sampler.method: nuts`.

nutpie's tree is compiled, PyMC3's is Python and costs more than the gradient of most models. Chains run in processes
that fork after compiling; each has a seed of its own, so the draws do not depend on how many run at a time.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.errors import SamplingError
from bayesrun.inference import _chains, _workers
from bayesrun.inference._board import Board, make_board
from bayesrun.inference._draws import Draws
from bayesrun.inference._gradient import compile_gradient, graph
from bayesrun.inference._nutpie_chain import Settings, run_chain
from bayesrun.inference._nutpie_coordinates import coordinates
from bayesrun.inference._nutpie_start import correlated, starts
from bayesrun.inference._workers import Outcome
from bayesrun.inference.base import Monitor, NutsSpec, Sampled

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

log = logging.getLogger("bayesrun.sampling")

_LEAST_TUNE = 10
"""Fewer tuning draws than this and nutpie's windows of adaptation can't be laid out."""


def usable(model: pm.Model, spec: NutsSpec | None = None) -> str | None:
    """Say why nutpie can't sample a model.

    Parameters
    ----------
    model
        The model.
    spec
        Settings that it should be sampled with, if they are known.

    Returns
    -------
    str or None
        The reason, or None when it can: it is installed, and every free variable is continuous and has a gradient.
    """
    if importlib.util.find_spec("nutpie") is None:
        return "nutpie is not installed"
    if spec is not None and spec.tune < _LEAST_TUNE:
        return f"nutpie needs at least {_LEAST_TUNE} tuning draws"
    if not model.free_RVs:
        return "the model has no free variables"
    if model.disc_vars:
        return f"discrete variables: {', '.join(v.name for v in model.disc_vars)}"
    try:
        graph(model)
    except Exception as error:  # operations say in many ways that they have no gradient
        return f"the log density has no gradient ({type(error).__name__})"
    return None


def sample(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample a model that is `usable` with nutpie.

    Parameters
    ----------
    model
        The model.
    spec
        `draws`, `tune`, `chains`, `cores`, `init`, `target_accept` and `max_treedepth` are honoured.
    seed
        Decides every draw, bit for bit.
    monitor
        Told of each draw; its `KeyboardInterrupt` ends sampling and keeps the draws so far.

    Returns
    -------
    Sampled
        Draws of the chains that have any, all cut to the same length.

    Raises
    ------
    SamplingError
        When a chain fails.
    KeyboardInterrupt
        When sampling was interrupted before any draw was kept.
    """
    began = time.perf_counter()
    gradient, draws = compile_gradient(model), Draws(model)
    compiled = time.perf_counter()
    seeds = _chains.chain_seeds(seed, spec.chains)
    mapped = coordinates(gradient, spec)
    settings = Settings(
        spec.draws,
        spec.tune,
        spec.target_accept,
        spec.max_treedepth,
        correlated(spec, gradient.size),
        mapped.factor if mapped else None,
    )
    first = starts(model, gradient, spec, seeds)
    first = mapped.nearer(first) if mapped else first
    board = make_board(spec.chains, spec.draws, gradient.size)
    monitor.begin()
    began_sampling = time.perf_counter()

    def one(chain: int, go_on: Any) -> Mapping[str, NDArray[Any]]:
        return run_chain(chain, gradient.density, first[chain], seeds[chain], settings, board, go_on)

    progress = _Progress(board, spec.tune, monitor)
    outcome = _workers.run(spec.chains, _chains.processes(spec), one, board, progress.tell)
    kept, length = _kept(board, spec.tune, outcome)
    stats = {name: _rows(outcome, kept, name, slice(spec.tune, spec.tune + length)) for name in outcome.stats[kept[0]]}
    tuning = {name: _rows(outcome, kept, name, slice(spec.tune)) for name in stats}
    steps = dict.fromkeys((part.name for part in gradient.parts), "NUTS (nutpie)")
    # where all chains are kept, their draws stay where they are: a choice of chains is a copy
    points = (board.points if len(kept) == len(board.points) else board.points[kept])[:, :length]
    seconds = time.perf_counter() - began_sampling
    return Sampled(draws.at(points), stats, steps, compiled - began, seconds, tuning, _why(outcome))


class _Progress:
    """Tells a monitor of the draws that have come to the board since it was last told."""

    def __init__(self, board: Board, tune: int, monitor: Monitor) -> None:
        self._board, self._tune, self._monitor = board, tune, monitor
        self._done = [0] * len(board.done)
        self._diverging = [0] * len(board.done)

    def tell(self) -> None:
        for chain, done in enumerate(map(int, self._board.done)):
            new = int(self._board.diverging[chain]) - self._diverging[chain]
            self._diverging[chain] += new
            for number in range(self._done[chain] + 1, done + 1):
                # which of the new draws diverged is not known yet: the last ones are named
                self._done[chain] = number
                self._monitor.draw(chain, number, number <= self._tune, done - number < new)


def _kept(board: Board, tune: int, outcome: Outcome) -> tuple[list[int], int]:
    """Choose the chains, and the length to cut them to, that keep the most draws."""
    made = {chain: min(int(board.done[chain]), len(stats["lp"])) - tune for chain, stats in outcome.stats.items()}
    if not any(count > 0 for count in made.values()):
        if outcome.stop is not None:
            raise outcome.stop
        raise SamplingError("no chain made a draw")
    kept, length = _chains.most_draws(made)
    if len(kept) < len(board.done):
        log.warning("chains kept: %d of %d; the others had too few draws", len(kept), len(board.done))
    return kept, length


def _rows(outcome: Outcome, kept: list[int], name: str, draws: slice) -> NDArray[Any]:
    import numpy as np

    return np.stack([outcome.stats[chain][name][draws] for chain in kept])


def _why(outcome: Outcome) -> Any:
    return None if outcome.stop is None else _chains.why(outcome.stop)
