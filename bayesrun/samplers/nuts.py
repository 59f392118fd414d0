"""NUTS by nutpie, or by the engine with its choice of step method for each variable that NUTS can't move.

With the engine's step methods, chains run in processes that fork after compiling. Their draws go to memory that all
processes see, and to the run's `DrawStore`; so does the state of NUTS, from which a later run continues.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.engines.base import Arrays, CompiledModel, StepChain, StepSettings
from bayesrun.errors import Problem, SamplingError
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import Monitor, NutsSpec, Sampled, Sampler
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
from bayesrun.samplers.draw_store import (
    CHANGES,
    NOWHERE,
    STATS,
    ChainFile,
    DrawStore,
    RowLayout,
    changes_in,
    rows_of,
    split_rows,
)
from bayesrun.samplers.earlier import EarlierDraws
from bayesrun.samplers.initial_points import choose_init
from bayesrun.samplers.monitors import reason_of
from bayesrun.samplers.smaller_steps import FACTOR, SETTLING, StepControl, described, observed_from

log = logging.getLogger("bayesrun.sampling")

_FROM_START: tuple[int, Arrays | None] = (0, None)


def sample(model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore = NOWHERE) -> Sampled:
    """Sample with the engine that the config asks for, or the quickest that can sample this model.

    With `init: auto` and the default `target_accept`, a chain in which a few draws diverge takes smaller steps, and its
    draws until then become warm-up (see `smaller_steps`).
    """
    began = time.perf_counter()
    by_nutpie = _choose_nutpie(model, spec)
    deciding = time.perf_counter() - began  # makes the gradient's graph, which is part of compiling it
    sampled = (nutpie.sample if by_nutpie else sample_with_steps)(model, spec, seed, monitor, store)
    return replace(sampled, seconds_compile=deciding + sampled.seconds_compile)


def _choose_nutpie(model: CompiledModel, spec: NutsSpec) -> bool:
    if spec.engine == "pymc3":
        log.info("engine: pymc3 (as configured)")
        return False
    reason = _not_nutpie(model, spec)
    if reason:
        log.info("engine: pymc3 (%s)", reason)
        return False
    log.info("engine: nutpie (every free variable is continuous and has a gradient)")
    return True


def _not_nutpie(model: CompiledModel, spec: NutsSpec) -> str | None:
    return "step methods are set in sampler.step" if spec.step else nutpie.unusable(model, spec)


def extend(
    model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore, earlier: EarlierDraws
) -> Sampled:
    """Make the draws of one long run whose first ones are those of an earlier run (see `Sampler.extend`).

    The engine's NUTS continues from the state that the earlier run stored. nutpie can't resume one: it makes the first
    draws again, and the same seed makes the same draws. Either way, draws that are made again are compared.
    """
    chosen = earlier.layout.chosen
    spec = spec.model_copy(update={"target_accept": chosen["target_accept"]})
    if chosen["engine"] == "nutpie":
        log.info("nutpie can't resume a chain: the first %d draws are made again, and compared", earlier.length)
        sampled = nutpie.sample(model, spec, seed, monitor, store, earlier.changes)
    else:
        sampled = sample_with_steps(model, spec, seed, monitor, store, earlier)
    try:
        earlier.compare(sampled)
    except SamplingError:
        store.remove()  # a recovery must not mix two different chains
        raise
    return sampled


def not_extendable(model: CompiledModel, spec: NutsSpec) -> str | None:
    """Return why no draws can be added to those of this model; None where they can."""
    by_nutpie = spec.engine != "pymc3" and _not_nutpie(model, spec) is None
    reason = None if by_nutpie else compound(model, spec)
    return reason and f"the state of step methods other than NUTS can't be stored ({reason})"


def check(model: CompiledModel, spec: NutsSpec) -> list[Problem]:
    """Return the problems of steps that can't move their variables, and of an engine that can't sample the model."""
    reason = _not_nutpie(model, spec) if spec.engine == "nutpie" else None
    problems = model.check_steps(spec.step) if spec.step else []
    if reason:
        message, hint = f"nutpie can't sample this model: {reason}", "use engine=auto or engine=pymc3"
        problems.append(Problem("sampler.engine", message, hint))
    return problems


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
    origins = [earlier.origin(chain) if earlier else _FROM_START for chain in range(spec.chains)]
    continued = all(state is not None for _, state in origins)
    sampler = model.step_sampler(_settings(model, spec, seeds[0], continued), seeds[0])
    _log_steps(sampler.steps)
    chosen = {"engine": "pymc3", "target_accept": spec.target_accept}
    layout = RowLayout("variables", model.variables, STATS, spec.chains, spec.draws, sampler.steps, chosen)
    shared = share_draws(spec.chains, spec.draws, layout.width)
    files = store.begin(layout, {chain: changes_in(state) for chain, (_, state) in enumerate(origins) if state})
    for chain, (draws, state) in enumerate(origins):
        if earlier is not None and state is not None:
            files[chain].copy_states(earlier.states, draws)
            shared.points[chain, :draws] = rows = earlier.rows(chain, draws, layout)
            files[chain].append(rows)
            shared.change(chain, changes_in(state), spec.tune + draws)
    monitor.begin()
    compiled = time.perf_counter()

    def one(chain: int, keep_going: KeepGoing) -> Mapping[str, NDArray[Any]]:
        state = origins[chain][1]
        control = StepControl.of(spec, chain, earlier.changes if earlier else None)
        control.changes += [] if state is None else changes_in(state)
        work = _Chain(chain, sampler.chain(chain, seeds[chain], state), shared, files[chain], layout, control)
        work.run(spec.tune, sampler.keeps_state, keep_going)
        return {}

    progress = Progress(shared, spec.tune, monitor, [int(done) for done in shared.done])
    outcome = run_chains(spec.chains, parallel_chains(spec), one, shared, progress.tell)
    changes = shared.all_changes()
    if changes:
        log.info(described(changes))
        made = {chain: int(shared.done[chain]) - spec.tune for chain in changes}
        short = {chain: count for chain, count in made.items() if count < spec.draws}
        for chain, (columns, stats, before) in store.beyond(short).items():
            shared.take(chain, rows_of(columns, stats, layout), spec.tune)
            changes[chain] = before
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
        changes={chain: changes[chain] for chain in kept if changes.get(chain)},
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
    layout: RowLayout
    control: StepControl

    def run(self, tune: int, keeps_state: bool, keep_going: KeepGoing) -> None:
        """Make the draws; those that are kept go to the file, and now and then the state, if it can be kept."""
        shared, number, file = self.shared, self.number, self.file
        rows, made, end = shared.points[number], int(shared.done[number]), tune + self.layout.draws
        while made < end and keep_going():
            draw, stats = self.chain.advance()
            if made >= tune:
                self._write(rows[made - tune], draw, stats)
            made += 1
            diverging = stats.get("diverging", 0) > 0
            shared.diverging[number] += diverging
            shared.done[number] = made
            if made > observed_from(tune):
                self.control.see(diverging, 1)
            if made >= tune and self.control.decides(made - tune) and self.control.changes_now(made - tune):
                file.append(rows[file.saved : made - tune])
                self._change(tune, keep_going)
                made = tune
            due = made > tune and file.is_due
            if due:
                file.append(rows[file.saved : made - tune])
            if keeps_state and (made == tune or due or made == end - 1):  # a continued run makes the last draw again
                file.save_state(made - tune, {**self.chain.state(), CHANGES: np.array(self.control.changes)})
        if made > tune:
            file.append(rows[file.saved : made - tune])
        file.finish()

    def _change(self, tune: int, keep_going: KeepGoing) -> None:
        """Take smaller steps from here on, the first few of which belong to warm-up, too."""
        self.file.begin_again(self.control.changes[-1])
        self.shared.change(self.number, self.control.changes, tune)
        self.chain.shrink_steps(FACTOR)
        for _ in range(SETTLING):
            if keep_going():
                self.chain.advance()

    def _write(self, row: NDArray[Any], draw: Arrays, stats: Mapping[str, float]) -> None:
        begin = 0
        for name in self.layout.columns:
            values = draw[name].ravel()
            row[begin : begin + values.size] = values
            begin += values.size
        row[begin:] = [stats.get(name, math.nan) for name in self.layout.stats]


def _settings(model: CompiledModel, spec: NutsSpec, seed: int, continued: bool) -> StepSettings:
    """Choose initial points and mass matrix of NUTS; continued chains have theirs."""
    init = "adapt_diag" if continued else spec.init
    if not continued and compound(model, spec) is None:
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


SAMPLER = Sampler(NutsSpec, sample, check, keeps_draws=True, extend=extend, not_extendable=not_extendable)
