"""NUTS for continuous variables; nutpie's, or the engine's own with its choice of step for other variables."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bayesrun.engines.base import CompiledModel, StepChain, StepDraws, StepSettings
from bayesrun.errors import Problem
from bayesrun.samplers import chains, nutpie
from bayesrun.samplers.base import Monitor, NutsSpec, Sampled, Sampler
from bayesrun.samplers.draw_store import NOWHERE, STATS, DrawStore, Layout, rows_of
from bayesrun.samplers.initial_points import choose_init
from bayesrun.samplers.monitors import reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger("bayesrun.sampling")


CAREFUL = 0.95
"""`target_accept` of a second try."""
_FEW = 0.01


def sample(model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore = NOWHERE) -> Sampled:
    """Sample with the engine that the config asks for, or the quickest that can sample this model.

    With `init: auto` and the default `target_accept`, a handful of divergences has the model sampled once more in
    smaller steps, which mostly removes them. Many divergences come from the model's form, which no step size fixes.
    """
    sampled = _once(model, spec, seed, monitor, store)
    if not worth_another(spec, sampled):
        return sampled
    count, all_draws = int(sampled.stats["diverging"].sum()), sampled.stats["diverging"].size
    log.info("%d of %s draws diverged: sampling again with target_accept %g", count, f"{all_draws:,}", CAREFUL)
    again = _once(model, spec.model_copy(update={"target_accept": CAREFUL}), seed, monitor, store)
    if again.interrupted is not None:  # the first try is complete
        return replace(sampled, interrupted=again.interrupted)
    compiling = sampled.seconds_compile + again.seconds_compile
    return replace(again, seconds_compile=compiling, seconds_sample=sampled.seconds_sample + again.seconds_sample)


def worth_another(spec: NutsSpec, sampled: Sampled) -> bool:
    """Whether a few draws diverged of a complete run whose settings were bayesrun's to choose."""
    default = NutsSpec.model_fields["target_accept"].default
    if spec.init != "auto" or spec.target_accept != default or sampled.interrupted is not None:
        return False
    diverging = sampled.stats.get("diverging")
    return diverging is not None and 0 < float(diverging.mean()) <= _FEW


def _once(model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore) -> Sampled:
    began = time.perf_counter()
    by_nutpie = _choose_nutpie(model, spec)
    deciding = time.perf_counter() - began  # makes the gradient's graph, which is part of compiling it
    sampled = (nutpie.sample if by_nutpie else sample_with_steps)(model, spec, seed, monitor, store)
    return replace(sampled, seconds_compile=deciding + sampled.seconds_compile)


def _choose_nutpie(model: CompiledModel, spec: NutsSpec) -> bool:
    if spec.engine == "pymc3":
        log.info("engine: pymc3 (asked for)")
        return False
    reason = _not_nutpie(model, spec)
    if reason:
        log.info("engine: pymc3 (%s)", reason)
        return False
    log.info("engine: nutpie (every free variable is continuous and has a gradient)")
    return True


def _not_nutpie(model: CompiledModel, spec: NutsSpec) -> str | None:
    return "step methods are set in sampler.step" if spec.step else nutpie.unusable(model, spec)


def sample_with_steps(
    model: CompiledModel, spec: NutsSpec, seed: int, monitor: Monitor, store: DrawStore = NOWHERE
) -> Sampled:
    """Sample with the engine's own step methods (see `Sampler.sample`)."""
    seeds = chains.chain_seeds(seed, spec.chains)
    began = time.perf_counter()
    sampler = model.step_sampler(_settings(model, spec, seeds[0]), seeds[0])
    _log_steps(sampler.steps)
    layout = Layout("variables", model.variables, STATS, spec.chains, spec.draws, sampler.steps)
    files = store.begin(layout)
    monitor.begin()
    compiled = time.perf_counter()
    made = sampler.run(seeds, monitor.draw, lambda n, new: files[n].append(rows_of(new.draws, new.stats, layout)))
    seconds = time.perf_counter() - compiled
    for file in files.values():
        file.finish()
    kept = _kept(made)
    draws, stats = _stacked([chain.draws for chain in kept]), _stacked([chain.stats for chain in kept])
    for chain, how in made.died.items():
        log.warning(chains.DIED, chain, how)
    reason = reason_of(made.stop)
    return Sampled(draws, stats, sampler.steps, compiled - began, seconds, interrupted=reason, died=made.died)


def _settings(model: CompiledModel, spec: NutsSpec, seed: int) -> StepSettings:
    init = spec.init
    if not spec.step and not any(block.discrete for block in model.blocks) and model.missing_gradient() is None:
        init = choose_init(model, seed) if spec.init == "auto" else spec.init
        log.info("init: %s%s", init, " (chosen by init=auto)" if spec.init == "auto" else "")
    return StepSettings(
        draws=spec.draws,
        tune=spec.tune,
        chains=spec.chains,
        processes=chains.parallel_chains(spec),
        assigned=spec.step,
        init=init,
        target_accept=spec.target_accept,
        max_treedepth=spec.max_treedepth,
    )


def _log_steps(steps: Mapping[str, str]) -> None:
    """Say which variables each step method moves."""
    by_method = defaultdict(list)
    for variable, method in steps.items():
        by_method[method].append(variable)
    for method, variables in by_method.items():
        log.info("step %s: %s", method, ", ".join(variables))


def _kept(made: StepDraws) -> Sequence[StepChain]:
    """Return the chains, cut to one length, that keep the most draws."""
    lengths = {number: len(next(iter(chain.draws.values()))) for number, chain in made.chains.items()}
    if not lengths:
        raise made.stop or KeyboardInterrupt()
    kept, length = chains.most_draws(lengths)
    return [_cut(made.chains[number], length) for number in kept]


def _cut(chain: StepChain, length: int) -> StepChain:
    draws, stats = ({n: values[:length] for n, values in part.items()} for part in (chain.draws, chain.stats))
    return StepChain(draws, stats)


def _stacked(parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    import numpy as np

    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def check(model: CompiledModel, spec: NutsSpec) -> list[Problem]:
    """Say which steps can't move their variables, and why the engine that is asked for can't sample the model."""
    reason = _not_nutpie(model, spec) if spec.engine == "nutpie" else None
    problems = model.check_steps(spec.step) if spec.step else []
    if reason:
        message, hint = f"nutpie can't sample this model: {reason}", "use engine=auto or engine=pymc3"
        problems.append(Problem("sampler.engine", message, hint))
    return problems


SAMPLER = Sampler(NutsSpec, sample, check, keeps_draws=True)
