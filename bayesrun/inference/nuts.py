"""NUTS for continuous variables, PyMC3's own choice of step for the others; on PyMC3's engine or nutpie's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bayesrun.errors import Problem
from bayesrun.inference import _pymc3, _steps
from bayesrun.inference.base import Monitor, NutsSpec, Sampled, Sampler

if TYPE_CHECKING:
    import pymc3 as pm

log = logging.getLogger("bayesrun.sampling")


CAREFUL = 0.95
"""`target_accept` of a second try."""
_FEW = 0.01


def sample(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample with the engine that the config asks for, or the quickest that can sample this model.

    With `init: auto` and the default `target_accept`, a handful of divergences has the model sampled once more in
    smaller steps: they are mostly a matter of the step. Many are one of the model's form, which no step mends.
    """
    sampled = _once(model, spec, seed, monitor)
    if not worth_another(spec, sampled):
        return sampled
    count, all_draws = int(sampled.stats["diverging"].sum()), sampled.stats["diverging"].size
    log.info("%d of %s draws diverged: sampling again with target_accept %g", count, f"{all_draws:,}", CAREFUL)
    again = _once(model, spec.model_copy(update={"target_accept": CAREFUL}), seed, monitor)
    if again.interrupted is not None:  # the first try is whole
        return replace(sampled, interrupted=again.interrupted)
    compiling = sampled.seconds_compile + again.seconds_compile
    return replace(again, seconds_compile=compiling, seconds_sample=sampled.seconds_sample + again.seconds_sample)


def worth_another(spec: NutsSpec, sampled: Sampled) -> bool:
    """Whether a few draws diverged of a whole run whose settings were bayesrun's to choose."""
    default = NutsSpec.model_fields["target_accept"].default
    if spec.init != "auto" or spec.target_accept != default or sampled.interrupted is not None:
        return False
    diverging = sampled.stats.get("diverging")
    return diverging is not None and 0 < float(diverging.mean()) <= _FEW


def _once(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    began = time.perf_counter()
    engine = _engine(model, spec)
    deciding = time.perf_counter() - began  # makes the gradient's graph, which is part of compiling it
    sampled = _sampler(engine)(model, spec, seed, monitor)
    return replace(sampled, seconds_compile=deciding + sampled.seconds_compile)


def _sampler(engine: str) -> Callable[..., Sampled]:
    if engine == "pymc3":
        return _pymc3.sample
    from bayesrun.inference import _nutpie

    return _nutpie.sample


def _engine(model: pm.Model, spec: NutsSpec) -> str:
    if spec.engine == "pymc3":
        log.info("engine: pymc3 (asked for)")
        return "pymc3"
    reason = _not_nutpie(model, spec)
    if reason:
        log.info("engine: pymc3 (%s)", reason)
        return "pymc3"
    log.info("engine: nutpie (every free variable is continuous and has a gradient)")
    return "nutpie"


def _not_nutpie(model: pm.Model, spec: NutsSpec) -> str | None:
    from bayesrun.inference import _nutpie

    return "step methods are set in sampler.step" if spec.step else _nutpie.usable(model, spec)


def check(model: pm.Model, spec: NutsSpec) -> list[Problem]:
    """Say which steps can't move their variables, and why the engine that is asked for can't sample the model."""
    reason = _not_nutpie(model, spec) if spec.engine == "nutpie" else None
    problems = _steps.faults(model, spec) if spec.step else []
    if reason:
        message, hint = f"nutpie can't sample this model: {reason}", "use engine=auto or engine=pymc3"
        problems.append(Problem("sampler.engine", message, hint))
    return problems


SAMPLER = Sampler(NutsSpec, sample, check)
