"""NUTS by nutpie over the engine's compiled log density: the quick engine of `sampler.method: nuts`.

nutpie's tree is compiled, PyMC3's is Python and costs more than the gradient of most models. Chains run in processes
that fork after compiling; each has its own seed, so the draws do not depend on how many run at a time.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import CompiledModel
from bayesrun.samplers.base import Monitor, NutsSpec, Sampled
from bayesrun.samplers.chains import (
    KeepGoing,
    Progress,
    SharedDraws,
    chain_seeds,
    kept_chains,
    parallel_chains,
    run_chains,
    share_draws,
)
from bayesrun.samplers.draw_store import NOWHERE, STATS, ChainFile, DrawStore, Layout, rows_of
from bayesrun.samplers.initial_points import correlated, find_coordinates, initial_points
from bayesrun.samplers.monitors import reason_of

Vector = NDArray[np.float64]
Density = Callable[[Vector], tuple[float, Vector]]
Shifted = Callable[[Vector, Vector], tuple[float, Vector]]

log = logging.getLogger("bayesrun.sampling")

_MIN_TUNE = 10
"""Fewest tuning draws for which nutpie can lay out its windows of adaptation."""
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "tree_depth": "depth",
    "acceptance_rate": "mean_tree_accept",
    "step_size": "step_size",
    "n_steps": "n_steps",
    "lp": "logp",
}
"""nutpie's names of statistics by ArviZ's."""
_POLL_SECONDS = 0.05
_POLLS_PER_COUNT = 10
"""How many polls pass between two counts of divergences: counting copies all statistics so far."""


def unusable(model: CompiledModel, spec: NutsSpec | None = None) -> str | None:
    """Return why nutpie can't sample a model.

    Parameters
    ----------
    model
        The model.
    spec
        Settings to sample it with, if they are known.

    Returns
    -------
    str or None
        The reason, or None when it can: it is installed, and every free variable is continuous and has a gradient.
    """
    if importlib.util.find_spec("nutpie") is None:
        return "nutpie is not installed"
    if spec is not None and spec.tune < _MIN_TUNE:
        return f"nutpie needs at least {_MIN_TUNE} tuning draws"
    if not model.blocks:
        return "the model has no free variables"
    if discrete := [block.name for block in model.blocks if block.discrete]:
        return f"discrete variables: {', '.join(discrete)}"
    return model.missing_gradient()


def sample(model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore = NOWHERE) -> Sampled:
    """Sample a model that is not `unusable` with nutpie.

    Parameters
    ----------
    model
        The model.
    spec
        `draws`, `tune`, `chains`, `cores`, `init`, `target_accept` and `max_treedepth` are used.
    seed
        Decides every draw, bit for bit.
    monitor
        Notified of each draw; its `KeyboardInterrupt` ends sampling and keeps the draws so far.
    store
        Where draws are kept while sampling.

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
    density, constrain = model.log_density(), model.constrain()
    compiled = time.perf_counter()
    seeds = chain_seeds(seed, spec.chains)
    mapped = find_coordinates(density, spec)
    settings = Settings(
        spec.draws,
        spec.tune,
        spec.target_accept,
        spec.max_treedepth,
        correlated(spec, density.size),
        mapped.factor if mapped else None,
    )
    first = initial_points(model, density, spec, seeds)
    first = mapped.nearer(first) if mapped else first
    shared = share_draws(spec.chains, spec.draws, density.size)
    steps = dict.fromkeys((block.name for block in density.blocks), "NUTS (nutpie)")
    chosen = {"engine": "nutpie", "target_accept": spec.target_accept}
    layout = Layout("points", {"point": (density.size,)}, STATS, spec.chains, spec.draws, steps, chosen)
    files = store.begin(layout)
    monitor.begin()
    began_sampling = time.perf_counter()

    def one(chain: int, keep_going: KeepGoing) -> Mapping[str, NDArray[Any]]:
        saver = _Saver(files[chain], layout, shared.points[chain], spec.tune)
        return run_chain(chain, density.evaluate, first[chain], seeds[chain], settings, shared, saver, keep_going)

    progress = Progress(shared, spec.tune, monitor)
    outcome = run_chains(spec.chains, parallel_chains(spec), one, shared, progress.tell)
    kept_stats: dict[int, Mapping[str, NDArray[Any]]] = {}
    for chain, stats in outcome.stats.items():
        kept_stats[chain] = {name: values[spec.tune :] for name, values in stats.items()}
    kept_stats.update(_stats_from(store, [n for n in range(spec.chains) if n not in kept_stats]))
    made = {n: min(int(shared.done[n]) - spec.tune, len(of["lp"])) for n, of in kept_stats.items()}
    kept, length = kept_chains(made, spec.chains, outcome)
    kept_rows = {name: _rows(kept_stats, kept, name, slice(length)) for name in _STATS}
    whole = all(chain in outcome.stats for chain in kept)
    tuning = {name: _rows(outcome.stats, kept, name, slice(spec.tune)) for name in _STATS if whole}
    # where all chains are kept, their draws stay where they are: a choice of chains is a copy
    points = (shared.points if len(kept) == len(shared.points) else shared.points[kept])[:, :length]
    seconds = time.perf_counter() - began_sampling
    reason = reason_of(outcome.stop)
    return Sampled(
        draws=constrain(points),
        stats=kept_rows,
        steps=steps,
        seconds_compile=compiled - began,
        seconds_sample=seconds,
        tuning_stats=tuning,
        interrupted=reason,
        died=outcome.died,
        kept=kept,
        attempt=store.attempts,
    )


def _stats_from(store: DrawStore, chains: Sequence[int]) -> Mapping[int, Mapping[str, NDArray[Any]]]:
    """Return the stored statistics of kept draws, of chains whose processes left none."""
    stored = store.stored() if chains else None
    return {} if stored is None else {n: stored.chains[n][1] for n in chains if n in stored.chains}


def _rows(stats: Mapping[int, Mapping[str, NDArray[Any]]], kept: list[int], name: str, draws: slice) -> NDArray[Any]:
    return np.stack([stats[chain][name][draws] for chain in kept])


@dataclass(frozen=True)
class Settings:
    """What every chain of a run has in common.

    `sampler`'s keys, whether the mass matrix knows correlations, and the linear map from the chain's coordinates.
    """

    draws: int
    tune: int
    target_accept: float
    max_treedepth: int
    correlated: bool
    coordinates: Vector | None = None


def run_chain(
    chain: int,
    density: Density,
    initial: Vector,
    seed: int,
    settings: Settings,
    shared: SharedDraws,
    saver: _Saver,
    keep_going: KeepGoing,
) -> Mapping[str, NDArray[Any]]:
    """Sample one chain; draws and progress go to the shared memory as they come.

    Parameters
    ----------
    chain
        Its row in the shared memory.
    density
        `(point) -> (log density, gradient)`; only this chain's thread calls it.
    initial
        First point (parameter).
    seed
        Decides the chain, bit for bit.
    settings
        The run's settings.
    shared
        Where draws and progress are written.
    saver
        Takes the draws to disk now and then.
    keep_going
        Called now and then in this thread; False ends the chain and keeps its draws.

    Returns
    -------
    dict
        ArviZ's name to array (draw) of each statistic, tuning draws first.
    """
    import nutpie

    finished = threading.Event()
    mapped = settings.coordinates
    model = _model(density, initial, mapped, _Recorder(shared, chain, settings.tune, finished, mapped))
    sampler = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=1,
        cores=1,
        seed=seed,
        target_accept=settings.target_accept,
        maxdepth=settings.max_treedepth,
        low_rank_modified_mass_matrix=settings.correlated,
        progress_bar=False,
        return_raw_trace=True,
        blocking=False,
    )
    try:
        complete = _watch(sampler, finished, shared, chain, saver, keep_going)
    except BaseException:
        sampler.cancel()
        raise
    stats = _stats(sampler.wait() if complete else sampler.abort())
    saver.save(int(shared.done[chain]), stats)
    saver.finish()
    return stats


def _watch(
    sampler: Any,
    finished: threading.Event,
    shared: SharedDraws,
    chain: int,
    saver: _Saver,
    keep_going: KeepGoing,
) -> bool:
    """Wait for the end of the chain; return whether it finished."""
    polls = 0
    try:
        while not finished.wait(_POLL_SECONDS) and not sampler.is_finished:
            polls += 1
            if polls % _POLLS_PER_COUNT == 0:
                done, stats = int(shared.done[chain]), _stats(sampler.inspect())
                shared.diverging[chain] = int(stats["diverging"].sum())
                if saver.is_due:
                    saver.save(done, stats)
            if not keep_going():
                return False
    except KeyboardInterrupt:
        shared.stop[0] = 1
        return False
    return True


class _Saver:
    """Takes a chain's draws to its file, with their statistics."""

    def __init__(self, file: ChainFile, layout: Layout, points: Vector, tune: int) -> None:
        self._file, self._layout, self._points, self._tune = file, layout, points, tune

    @property
    def is_due(self) -> bool:
        return self._file.is_due

    def save(self, done: int, stats: Mapping[str, NDArray[Any]]) -> None:
        """Append the draws that have come since the last time and whose statistics are known."""
        first, last = self._file.saved, min(done, len(stats["lp"])) - self._tune
        if last > first:
            new = {name: values[self._tune + first : self._tune + last] for name, values in stats.items()}
            self._file.append(rows_of({"point": self._points[first:last]}, new, self._layout))

    def finish(self) -> None:
        self._file.finish()


class _Recorder:
    """Called with every point of the chain: writes it to the shared memory."""

    def __init__(
        self, shared: SharedDraws, chain: int, tune: int, finished: threading.Event, mapped: Vector | None
    ) -> None:
        self._shared, self._chain, self._tune, self._finished = shared, chain, tune, finished
        self._shift: Vector | float = 0.0
        self._map = mapped

    def move(self, shift: Vector) -> None:
        self._shift = shift

    def __call__(self, point: Vector) -> dict[str, NDArray[Any]]:
        shared, row = self._shared, int(self._shared.done[self._chain]) - self._tune
        if row >= 0:
            moved = point if self._map is None else self._map @ point
            np.add(moved, self._shift, out=shared.points[self._chain, row])
        shared.done[self._chain] += 1
        if row + 1 == shared.points.shape[1]:
            self._finished.set()
        return _NOTHING


_NOTHING: dict[str, NDArray[Any]] = {}


def _shifted(density: Density) -> Shifted:
    return lambda point, shift: density(point + shift)


def in_coordinates(density: Density, factor: Vector) -> Shifted:
    """Take a density into coordinates `z` with `x = shift + A z`; its gradient becomes `A' g`.

    Parameters
    ----------
    density
        `(x) -> (log density, gradient)`.
    factor
        `A` (parameter, parameter).

    Returns
    -------
    callable
        `(z, shift) -> (log density, gradient)`.
    """

    def moved(point: Vector, shift: Vector) -> tuple[float, Vector]:
        value, gradient = density(factor @ point + shift)
        return value, gradient @ factor

    return moved


def _model(density: Density, initial: Vector, mapped: Vector | None, recorder: _Recorder) -> Any:
    """Make nutpie's model. nutpie draws its own first point: space is shifted so that this one is `initial`."""
    from nutpie.compiled_pyfunc import from_pyfunc

    moved = _shifted(density) if mapped is None else in_coordinates(density, mapped)

    def make_density() -> Callable[[Vector], tuple[float, Vector]]:
        shift: list[Vector] = []

        def shifted(point: Vector) -> tuple[float, Vector]:
            if not shift:
                shift.append(initial - (point if mapped is None else mapped @ point))
                recorder.move(shift[0])
            return moved(point, shift[0])

        return shifted

    def make_recorder(*_: int) -> Callable[[Vector], dict[str, NDArray[Any]]]:
        return recorder

    return from_pyfunc(initial.size, make_density, make_recorder, [], [], [])


def _stats(trace: Any) -> dict[str, NDArray[Any]]:
    if not trace:  # ended before it had begun
        return {name: np.empty(0) for name in _STATS}
    _, stats = trace[0]
    fields = {ours: stats.field(theirs) for ours, theirs in _STATS.items()}
    return {name: np.array(values.to_numpy(zero_copy_only=False)) for name, values in fields.items()}
