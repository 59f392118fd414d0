"""PyMC3's own samplers: the engine that is always there, and the one that compounds steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.inference import _chains, _steps
from bayesrun.inference.base import Monitor, NutsSpec, Sampled
from bayesrun.inference.theano_setup import compiling

if TYPE_CHECKING:
    import pymc3 as pm


def sample(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample with PyMC3's step methods (see `inference.base.Sampler`)."""
    seeds = _chains.chain_seeds(seed, spec.chains)
    began = time.perf_counter()
    with model, compiling():
        start, steps = _steps.make(model, spec, seeds[0])
    names = _steps.names(steps)
    _steps.log_steps(names)
    monitor.begin()
    compiled = time.perf_counter()
    run = _Run(spec, monitor)
    trace = run.trace(model, steps, start, seeds)
    seconds = time.perf_counter() - compiled
    draws, stats = _chains.draws_of(trace, model), _chains.stats_of(trace)
    return Sampled(draws, stats, names, compiled - began, seconds, interrupted=run.interrupted)


class _Run:
    """One call of `pm.sample`, which ends early on a KeyboardInterrupt; remembers why, and keeps the draws."""

    def __init__(self, spec: NutsSpec, monitor: Monitor) -> None:
        self.spec, self.monitor = spec, monitor
        self.interrupted: Literal["interrupt", "max_seconds"] | None = None
        self._traces: dict[int, Any] = {}
        self._made: dict[int, int] = {}

    def trace(self, model: pm.Model, steps: list[Any], start: Any, seeds: list[int]) -> Any:
        try:
            whole = self._sample(model, steps, start, seeds)
        except (KeyError, ValueError):
            # PyMC3 looks for statistics of chain 0 after an interrupt, also where it has dropped that chain
            if self._complete():
                raise
            whole = None
        if self._complete():
            return whole
        self.interrupted = self.interrupted or "interrupt"
        return self._kept()

    def _sample(self, model: pm.Model, steps: list[Any], start: Any, seeds: list[int]) -> Any:
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
        self._traces[draw.chain], self._made[draw.chain] = trace, draw.draw_idx + 1
        try:
            diverging = any(bool(s.get("diverging", False)) for s in draw.stats or [])
            self.monitor.draw(draw.chain, draw.draw_idx + 1, draw.tuning, diverging)
        except KeyboardInterrupt as stop:
            self.interrupted = _chains.why(stop)
            raise

    def _complete(self) -> bool:
        wanted = self.spec.draws + self.spec.tune
        return len(self._made) == self.spec.chains and all(made == wanted for made in self._made.values())

    def _kept(self) -> Any:
        """Return the chains, cut to one length, that keep the most draws."""
        from pymc3.backends.base import MultiTrace

        tune = self.spec.tune
        made = {chain: count - tune for chain, count in self._made.items() if count > tune}
        if not made:
            raise KeyboardInterrupt
        kept, length = _chains.most_draws(made)
        return MultiTrace([self._traces[chain][tune : tune + length] for chain in kept])
