"""NUTS by nutpie over the engine's compiled log density: the quick engine of `sampler.method: nuts`.

nutpie's tree is compiled, PyMC3's is Python and costs more than the gradient of most models. Chains run in processes
that fork after compiling; each has its own seed, so the draws do not depend on how many run at a time.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import CompiledModel
from bayesrun.partial_imports import arviz_without_plots
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
from bayesrun.samplers.draw_store import NOWHERE, STATS, ChainFile, DrawStore, RowLayout, rows_of
from bayesrun.samplers.initial_points import correlated, find_coordinates, initial_points
from bayesrun.samplers.minor_modes import leave_minor_modes
from bayesrun.samplers.monitors import reason_of
from bayesrun.samplers.smaller_steps import FACTOR, SETTLING, Changes, StepChange, StepControl, described, observed_from

Vector = NDArray[np.float64]
Density = Callable[[Vector], tuple[float, Vector]]

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


def sample(
    model: CompiledModel,
    spec: NutsSpec,
    seed: int,
    monitor: Monitor,
    store: DrawStore = NOWHERE,
    changes: Changes | None = None,
) -> Sampled:
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
    changes
        Changes of the chains' steps that are made, and no others; null = each chain decides (see `smaller_steps`).

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
    first = initial_points(model, density, spec, seeds)
    first, best = leave_minor_modes(density, first, seeds) if spec.init == "auto" else (first, None)
    mapped = find_coordinates(density, spec, best)
    settings = NutpieSettings(
        spec.draws,
        spec.tune,
        spec.target_accept,
        spec.max_treedepth,
        correlated(spec, density.size),
        mapped.factor if mapped else None,
    )
    first = mapped.nearer(first) if mapped else first
    shared = share_draws(spec.chains, spec.draws, density.size)
    steps = dict.fromkeys((block.name for block in density.blocks), "NUTS (nutpie)")
    chosen = {"engine": "nutpie", "target_accept": spec.target_accept}
    layout = RowLayout("points", {"point": (density.size,)}, STATS, spec.chains, spec.draws, steps, chosen)
    files = store.begin(layout)
    _nutpie()  # once, before the chains fork
    monitor.begin()
    began_sampling = time.perf_counter()

    def one(chain: int, keep_going: KeepGoing) -> Mapping[str, NDArray[Any]]:
        saver = _Saver(files[chain], layout, shared.points[chain], spec.tune)
        control = StepControl.of(spec, chain, changes)
        path = _Path(density.evaluate, first[chain], settings, shared, chain, control)
        return run_chain(path, seeds[chain], saver, keep_going)

    progress = Progress(shared, spec.tune, monitor)
    outcome = run_chains(spec.chains, parallel_chains(spec), one, shared, progress.tell)
    made_changes = shared.all_changes()
    if made_changes:
        log.info(described(made_changes))
    kept_stats: dict[int, Mapping[str, NDArray[Any]]] = {}
    for chain, stats in outcome.stats.items():
        kept_stats[chain] = {name: values[spec.tune :] for name, values in stats.items()}
    # nutpie makes some draws more until it has ended: those that count are done
    made = {n: min(int(shared.done[n]) - spec.tune, len(of["lp"])) for n, of in kept_stats.items()}
    short = [n for n in range(spec.chains) if n not in made or (n in made_changes and made[n] < spec.draws)]
    for chain, (columns, stats, before) in store.beyond({n: made.get(n, 0) for n in short}).items():
        shared.take(chain, columns["point"], spec.tune)
        kept_stats[chain], made[chain], made_changes[chain] = stats, len(columns["point"]), before
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
        changes={chain: made_changes[chain] for chain in kept if made_changes.get(chain)},
    )


def _rows(stats: Mapping[int, Mapping[str, NDArray[Any]]], kept: list[int], name: str, draws: slice) -> NDArray[Any]:
    return np.stack([stats[chain][name][draws] for chain in kept])


@dataclass(frozen=True)
class NutpieSettings:
    """What every chain of a run has in common.

    `sampler`'s keys, whether the mass matrix knows correlations, and the linear map from the chain's coordinates.
    """

    draws: int
    tune: int
    target_accept: float
    max_treedepth: int
    correlated: bool
    coordinates: Vector | None = None


def run_chain(path: _Path, seed: int, saver: _Saver, keep_going: KeepGoing) -> Mapping[str, NDArray[Any]]:
    """Sample one chain; draws and progress go to the shared memory as they come.

    Parameters
    ----------
    path
        The chain's density and draws.
    seed
        Decides the chain, bit for bit.
    saver
        Takes the draws to disk now and then.
    keep_going
        Called now and then in this thread; False ends the chain and keeps its draws.

    Returns
    -------
    dict
        ArviZ's name to array (draw) of each statistic, tuning draws first.
    """
    nutpie, settings = _nutpie(), path.settings
    model = nutpie.compiled_pyfunc.from_pyfunc(
        path.initial.size, lambda: path.evaluate, lambda *_: path.record, [], [], []
    )
    sampler = nutpie.sample(
        model,
        draws=path.most_draws,
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
        _watch(sampler, path, saver, keep_going)
    except BaseException:
        path.go_on(for_good=True)
        sampler.cancel()
        raise
    path.go_on(for_good=True)
    stats = path.of_kept(_stats(sampler.wait() if path.is_last else sampler.abort()))
    saver.save(path.done, stats)
    saver.finish()
    return stats


@cache
def _nutpie() -> Any:
    with arviz_without_plots():
        import nutpie  # may be missing: see `_not_nutpie` of `nuts`
        import nutpie.compiled_pyfunc
    return nutpie


def _watch(sampler: Any, path: _Path, saver: _Saver, keep_going: KeepGoing) -> None:
    """Wait for the end of the chain, and decide on its steps where it waits for that."""
    polls = 0
    try:
        while not path.finished and not sampler.is_finished:
            if path.waits(_POLL_SECONDS):
                path.decide(_stats(sampler.inspect()), saver)
                if not keep_going():
                    return
                path.go_on()
            else:
                polls += 1
                if polls % _POLLS_PER_COUNT == 0:
                    done, stats = path.done, _stats(sampler.inspect())
                    path.count(stats)
                    if saver.is_due:
                        saver.save(done, path.of_kept(stats))
            if not keep_going():
                return
    except KeyboardInterrupt:
        path.stop()


class _Saver:
    """Takes a chain's draws to its file, with their statistics."""

    def __init__(self, file: ChainFile, layout: RowLayout, points: Vector, tune: int) -> None:
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

    def begin_again(self, change: StepChange) -> None:
        self._file.begin_again(change)

    def finish(self) -> None:
        self._file.finish()


class _Path:
    """The density and the draws of a chain, as nutpie's thread calls for them, in coordinates that may become finer.

    `x = shift + scale A z`: nutpie draws its own first `z`, which `shift` moves to where the chain begins. Its step
    size is fixed once tuning is over; a smaller `scale` makes its steps in `x` smaller, and the next `shift` leaves the
    chain where it is. At that draw alone nutpie still has the gradient of the old coordinates, so that it does not keep
    the posterior exactly; it is among those that belong to warm-up.

    nutpie tells which draws diverged to another thread only: where the chain has something to decide, its thread
    waits, at the first point of the next draw, for what `decide` is told.
    """

    def __init__(
        self,
        density: Density,
        initial: Vector,
        settings: NutpieSettings,
        shared: SharedDraws,
        chain: int,
        control: StepControl,
    ) -> None:
        self.initial, self.settings = initial, settings
        self._density, self._shared, self._chain, self._control = density, shared, chain, control
        self._map, self._scale = settings.coordinates, 1.0
        self._moved = None if self._map is None else in_coordinates(density, self._map)
        self._shift: Vector | None = None
        self._last = initial
        self._made = self._left_out = 0
        """Draws that nutpie made, and those after its tuning that became warm-up."""
        self._seen = observed_from(settings.tune)
        again = [one.draws for one in control.repeated] if control.repeated else [settings.draws] * control.most
        self.most_draws = settings.draws + sum(draws + SETTLING for draws in again)
        """Draws that nutpie makes after its tuning, at most."""
        self._undecided = False
        self._attention, self._decided = threading.Event(), threading.Event()
        self._open = self.finished = False

    @property
    def done(self) -> int:
        """Draws, tuning included, that are kept if no more steps change."""
        return int(self._shared.done[self._chain])

    @property
    def is_last(self) -> bool:
        """Whether nutpie has made all draws that it was asked for."""
        return self._made == self.settings.tune + self.most_draws

    def evaluate(self, point: Vector) -> tuple[float, Vector]:
        """Return the log density and its gradient at a point of nutpie's coordinates."""
        if self._undecided:  # the draw before is complete, its statistics too
            self._pause()
        if self._shift is None:
            self._shift = self.initial - self._turned(point)
        if self._moved is not None:
            return self._moved(point, self._shift)
        if self._scale == 1.0:
            return self._density(point + self._shift)
        value, gradient = self._density(point * self._scale + self._shift)
        return value, gradient * self._scale

    def record(self, point: Vector) -> dict[str, NDArray[Any]]:
        """Write a draw to the shared memory, unless it is one of those after a change of steps."""
        self._made += 1
        row = self._made - 1 - self.settings.tune - self._left_out
        if self.finished or (row < 0 and self._left_out):
            return _NOTHING
        if row >= 0:
            assert self._shift is not None
            np.add(self._turned(point), self._shift, out=self._shared.points[self._chain, row])
        self._shared.done[self._chain] += 1
        if self._control.decides(row + 1):
            self._last = np.array(point)
            self._undecided = True
        elif row + 1 == self.settings.draws:
            self._finish()
        return _NOTHING

    def waits(self, seconds: float) -> bool:
        """Wait for nutpie's thread, at most so long; return whether it waits for `decide`."""
        if not self._attention.wait(seconds):
            return False
        self._attention.clear()
        return not self.finished

    def decide(self, stats: Mapping[str, NDArray[Any]], saver: _Saver) -> None:
        """Take smaller steps from here on if a few draws diverged; nutpie's thread waits."""
        self.count(stats)
        new = stats["diverging"][self._seen : self._made]
        self._seen = self._made
        self._control.see(int(new.sum()), len(new))
        kept = self.done - self.settings.tune
        if self._control.changes_now(kept):
            saver.save(self.done, self.of_kept(stats))
            saver.begin_again(self._control.changes[-1])
            self._change(kept)
        elif kept == self.settings.draws:
            self._finish()

    def _change(self, kept: int) -> None:
        assert self._shift is not None
        here = self._turned(self._last) + self._shift
        self._scale *= FACTOR
        if self._map is not None:
            self._moved = in_coordinates(self._density, self._scale * self._map)
        self._shift = here - self._turned(self._last)
        self._left_out += kept + SETTLING
        self._seen = self._made + SETTLING
        self._shared.change(self._chain, self._control.changes, self.settings.tune)

    def count(self, stats: Mapping[str, NDArray[Any]]) -> None:
        """Record how many draws have diverged."""
        self._shared.diverging[self._chain] = int(stats["diverging"].sum())

    def stop(self) -> None:
        """End all chains."""
        self._shared.stop[0] = 1

    def go_on(self, for_good: bool = False) -> None:
        """Let nutpie's thread continue; `for_good`: its chain is over, and no further draw counts."""
        if for_good:
            self._open = self.finished = True
        self._decided.set()

    def of_kept(self, stats: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the statistics (draw) of tuning and kept draws."""
        tune, draws, begin = self.settings.tune, self.settings.draws, self.settings.tune + self._left_out
        made = {n: np.concatenate([v[:tune], v[begin : begin + draws]]) for n, v in stats.items()}
        if self._left_out:
            made["step_size"][tune:] *= self._scale
        return made

    def _finish(self) -> None:
        self.finished = True
        self._undecided = not self.is_last  # nutpie's thread would make more draws
        self._attention.set()

    def _pause(self) -> None:
        self._undecided = False
        self._decided.clear()
        if not self._open:  # seen after clearing: whoever opens sets `_decided` afterwards
            self._attention.set()
            self._decided.wait()

    def _turned(self, point: Vector) -> Vector:
        turned = point if self._map is None else self._map @ point
        return turned if self._scale == 1.0 else turned * self._scale


_NOTHING: dict[str, NDArray[Any]] = {}
Shifted = Callable[[Vector, Vector], tuple[float, Vector]]


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


def _stats(trace: Any) -> dict[str, NDArray[Any]]:
    if not trace:  # ended before it had begun
        return {name: np.empty(0) for name in _STATS}
    _, stats = trace[0]
    fields = {ours: stats.field(theirs) for ours, theirs in _STATS.items()}
    return {name: np.array(values.to_numpy(zero_copy_only=False)) for name, values in fields.items()}
