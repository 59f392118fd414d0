"""NUTS for continuous variables, PyMC3's own choice of step for the others; on PyMC3's engine or nutpie's."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from bayesrun.errors import fail
from bayesrun.inference import _chains, _steps
from bayesrun.inference.base import Monitor, NutsSpec, Sampled, Sampler
from bayesrun.inference.theano_setup import compiling

if TYPE_CHECKING:
    import pymc3 as pm

log = logging.getLogger("bayesrun.sampling")


def sample(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample with the engine that the config asks for, or the quickest that can sample this model."""
    if _engine(model, spec) == "pymc3":
        return _sample_pymc3(model, spec, seed, monitor)
    from bayesrun.inference import _nutpie

    return _nutpie.sample(model, spec, seed, monitor)


def _engine(model: pm.Model, spec: NutsSpec) -> str:
    if spec.engine == "pymc3":
        log.info("engine: pymc3 (asked for)")
        return "pymc3"
    from bayesrun.inference import _nutpie

    reason = "step methods are set in sampler.step" if spec.step else _nutpie.usable(model, spec)
    if reason and spec.engine == "nutpie":
        raise fail("sampler.engine", f"nutpie can't sample this model: {reason}", "use engine=auto or engine=pymc3")
    if reason:
        log.info("engine: pymc3 (%s)", reason)
        return "pymc3"
    log.info("engine: nutpie (every free variable is continuous and has a gradient)")
    return "nutpie"


def _sample_pymc3(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    seeds = _chains.chain_seeds(seed, spec.chains)
    began = time.perf_counter()
    with model, compiling():
        start, steps = _steps.make(model, spec, seeds[0])
    names = _steps.names(steps)
    _steps.log_steps(names)
    compiled = time.perf_counter()
    run = _Run(spec, monitor)
    trace = run.trace(model, steps, start, seeds)
    seconds = time.perf_counter() - compiled
    draws, stats = _chains.draws_of(trace, model), _chains.stats_of(trace)
    return Sampled(draws, stats, names, compiled - began, seconds, interrupted=run.interrupted)


class _Run:
    """One call of `pm.sample`, which ends early on a KeyboardInterrupt and remembers why."""

    def __init__(self, spec: NutsSpec, monitor: Monitor) -> None:
        self.spec, self.monitor = spec, monitor
        self.interrupted: Any = None

    def trace(self, model: pm.Model, steps: list[Any], start: Any, seeds: list[int]) -> Any:
        import pymc3 as pm

        spec = self.spec
        with model, compiling():
            return pm.sample(
                draws=spec.draws,
                tune=spec.tune,
                chains=spec.chains,
                cores=_chains.processes(spec),
                step=steps if len(steps) > 1 else steps[0],
                start=start,
                random_seed=seeds,
                callback=self._tell,
                mp_ctx="fork",
                progressbar=False,
                compute_convergence_checks=False,
                return_inferencedata=False,
            )

    def _tell(self, trace: Any, draw: Any) -> None:
        try:
            diverging = any(bool(s.get("diverging", False)) for s in draw.stats or [])
            self.monitor.draw(draw.chain, draw.draw_idx + 1, draw.tuning, diverging)
        except KeyboardInterrupt as stop:
            self.interrupted = _chains.why(stop)
            raise


SAMPLER = Sampler(NutsSpec, sample)
