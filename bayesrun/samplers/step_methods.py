"""Sampling with the engine's own step methods: NUTS of the engine, or its choice of step for each variable.

Chains run in processes that fork after compiling. Their draws go to memory that all processes see, and to the run's
`DrawStore`; so does the state of NUTS, from which a later run goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import Arrays, CompiledModel, StepChain, StepSettings
from bayesrun.samplers.base import Monitor, NutsSpec, Sampled
from bayesrun.samplers.chains import (
    GoOn,
    Progress,
    SharedDraws,
    chain_seeds,
    kept_chains,
    parallel_chains,
    run_chains,
    share_draws,
)
from bayesrun.samplers.draw_store import NOWHERE, STATS, ChainFile, DrawStore, Layout, split_rows
from bayesrun.samplers.earlier import EarlierDraws
from bayesrun.samplers.initial_points import choose_init
from bayesrun.samplers.monitors import reason_of

log = logging.getLogger("bayesrun.sampling")


def sample_with_steps(
    model: CompiledModel,
    spec: NutsSpec,
    seed: int,
    monitor: Monitor,
    store: DrawStore = NOWHERE,
    earlier: EarlierDraws | None = None,
) -> Sampled:
    """Sample with the engine's own step methods (see `Sampler.sample`).

    Parameters
    ----------
    model, spec, seed, monitor, store
        As for every sampler.
    earlier
        Draws of the same chains that are not made again: each chain continues from its last stored state.
    """
    seeds = chain_seeds(seed, spec.chains)
    began = time.perf_counter()
    origins = [earlier.origin(chain) if earlier else _BEGINNING for chain in range(spec.chains)]
    goes_on = all(state is not None for _, state in origins)
    sampler = model.step_sampler(_settings(model, spec, seeds[0], goes_on), seeds[0])
    _log_steps(sampler.steps)
    chosen = {"engine": "pymc3", "target_accept": spec.target_accept}
    layout = Layout("variables", model.variables, STATS, spec.chains, spec.draws, sampler.steps, chosen)
    shared = share_draws(spec.chains, spec.draws, layout.width)
    files = store.begin(layout)
    for chain, (draws, state) in enumerate(origins):
        if earlier is not None and state is not None:
            files[chain].copy_states(earlier.states, draws)
            shared.points[chain, :draws] = rows = earlier.rows(chain, draws, layout)
            files[chain].append(rows)
            shared.done[chain] = spec.tune + draws
    monitor.begin()
    compiled = time.perf_counter()

    def one(chain: int, go_on: GoOn) -> Mapping[str, NDArray[Any]]:
        work = _Chain(chain, sampler.chain(chain, seeds[chain], origins[chain][1]), shared, files[chain], layout)
        work.run(spec.tune, sampler.keeps_state, go_on)
        return {}

    progress = Progress(shared, spec.tune, monitor, [int(done) for done in shared.done])
    outcome = run_chains(spec.chains, parallel_chains(spec), one, shared, progress.tell)
    kept, length = kept_chains({n: int(done) - spec.tune for n, done in enumerate(shared.done)}, spec.chains, outcome)
    parts = [split_rows(shared.points[chain, :length], layout) for chain in kept]
    return Sampled(
        draws={name: np.stack([draws[name] for draws, _ in parts]).astype(sampler.types[name]) for name in parts[0][0]},
        stats={name: np.stack([stats[name] for _, stats in parts]) for name in parts[0][1]},
        steps=sampler.steps,
        seconds_compile=compiled - began,
        seconds_sample=time.perf_counter() - compiled,
        interrupted=reason_of(outcome.stop),
        died=outcome.died,
        kept=kept,
        attempt=store.attempts,
    )


def compound(model: CompiledModel, spec: NutsSpec) -> str | None:
    """Return why the step methods are more than NUTS for all variables; None where they are not."""
    if spec.step:
        return f"step methods are set in sampler.step ({', '.join(spec.step)})"
    if discrete := [block.name for block in model.blocks if block.discrete]:
        return f"discrete variables: {', '.join(discrete)}"
    return model.missing_gradient()


@dataclass(frozen=True)
class _Chain:
    """One chain at work in its process."""

    number: int
    chain: StepChain
    shared: SharedDraws
    file: ChainFile
    layout: Layout

    def run(self, tune: int, keeps_state: bool, go_on: GoOn) -> None:
        """Make the draws; those that are kept go to the file, and now and then the state, if it can be kept."""
        shared, number, file = self.shared, self.number, self.file
        rows, made, end = shared.points[number], int(shared.done[number]), tune + self.layout.draws
        while made < end and go_on():
            draw, stats = self.chain.advance()
            if made >= tune:
                self._write(rows[made - tune], draw, stats)
            made += 1
            shared.diverging[number] += stats.get("diverging", 0) > 0
            shared.done[number] = made
            due = made > tune and file.is_due
            if due:
                file.append(rows[file.saved : made - tune])
            if keeps_state and (made == tune or due or made == end - 1):  # a continued run makes the last draw again
                file.save_state(made - tune, self.chain.state())
        if made > tune:
            file.append(rows[file.saved : made - tune])
        file.finish()

    def _write(self, row: NDArray[Any], draw: Arrays, stats: Mapping[str, float]) -> None:
        begin = 0
        for name in self.layout.columns:
            values = draw[name].ravel()
            row[begin : begin + values.size] = values
            begin += values.size
        row[begin:] = [stats.get(name, math.nan) for name in self.layout.stats]


_BEGINNING: tuple[int, Arrays | None] = (0, None)


def _settings(model: CompiledModel, spec: NutsSpec, seed: int, goes_on: bool) -> StepSettings:
    """Choose initial points and mass matrix of NUTS; continued chains have theirs."""
    init = "adapt_diag" if goes_on else spec.init
    if not goes_on and compound(model, spec) is None:
        init = choose_init(model, seed) if spec.init == "auto" else spec.init
        log.info("init: %s%s", init, " (chosen by init=auto)" if spec.init == "auto" else "")
    return StepSettings(spec.tune, spec.chains, spec.step, init, spec.target_accept, spec.max_treedepth)


def _log_steps(steps: Mapping[str, str]) -> None:
    """Log which variables each step method moves."""
    by_method = defaultdict(list)
    for variable, method in steps.items():
        by_method[method].append(variable)
    for method, variables in by_method.items():
        log.info("step %s: %s", method, ", ".join(variables))
