"""NUTS for continuous variables; nutpie's, or the engine's own with its choice of step for other variables."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import Monitor, NutsSpec, Sampled, Sampler
from bayesrun.samplers.draw_store import NOWHERE, DrawStore
from bayesrun.samplers.earlier import EarlierDraws
from bayesrun.samplers.step_methods import compound, sample_with_steps

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
        sampled = nutpie.sample(model, spec, seed, monitor, store)
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


SAMPLER = Sampler(NutsSpec, sample, check, keeps_draws=True, extend=extend, not_extendable=not_extendable)
