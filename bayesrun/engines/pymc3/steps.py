"""PyMC3's own step methods: which one moves which variable, and sampling with them."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc3 as pm
from pymc3 import parallel_sampling
from pymc3.sampling import STEP_METHODS, instantiate_steppers
from pymc3.step_methods.arraystep import Competence
from theano import gradient
from theano.tensor import discrete_dtypes

from bayesrun.engines.base import KeepDraws, OnDraw, StepChain, StepDraws, StepSettings
from bayesrun.engines.pymc3.declared import name_of
from bayesrun.engines.pymc3.evaluate import own_name, own_variables
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.errors import Problem, check, did_you_mean, fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("bayesrun.sampling")

_KEEP_SECONDS = 1.0
"""How often new draws are handed on while chains run."""
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "tree_depth": "depth",
    "acceptance_rate": "mean_tree_accept",
    "step_size": "step_size",
    "n_steps": "tree_size",
    "lp": "model_logp",
}
"""PyMC3's names of sampler statistics by ArviZ's."""


def has_gradient(model: pm.Model, variable: Any) -> bool:
    """Say whether the log density has a gradient in a free variable."""
    if variable.dtype in discrete_dtypes:
        return False
    try:
        gradient.grad(model.logpt, variable)
    except (AttributeError, NotImplementedError, gradient.NullTypeGradError):
        return False
    return True


def check_steps(model: pm.Model, assigned: Mapping[str, str]) -> list[Problem]:
    """Name the variables of `sampler.step` that the model lacks, and the steps that can't move theirs."""
    with building():
        return _assigned(model, assigned)[1]


def _assigned(model: pm.Model, assigned: Mapping[str, str]) -> tuple[dict[Any, Any], list[Problem]]:
    own = {own_name(v): v for v in model.free_RVs}
    problems: list[Problem] = []
    chosen: dict[Any, Any] = {}
    for name, method in assigned.items():
        key = f"sampler.step.{name}"
        if name not in own:
            problems.append(Problem(key, f"the model has no free variable '{name}'", did_you_mean(name, own)))
        elif (reason := _unfit(method, name, own[name], has_gradient(model, own[name]))) is not None:
            problems.append(Problem(key, reason, "use Metropolis, or leave the step to bayesrun"))
        else:
            chosen[own[name]] = getattr(pm, method)
    return chosen, problems


def _unfit(method: str, name: str, variable: Any, differentiable: bool) -> str | None:
    """Say why a step method can't move a variable; None where it can."""
    if getattr(pm, method)._competence(variable, differentiable)[0] != Competence.INCOMPATIBLE:
        return None
    if method in ("NUTS", "HamiltonianMC"):
        return f"{method} needs a gradient of the log density, and there is none in '{name}'"
    return f"{method} can't move '{name}', whose distribution is {name_of(variable.distribution)}"


def make_steps(model: pm.Model, settings: StepSettings, seed: int) -> PyMC3Steps:
    """Assign a step method to each free variable; what they need is compiled.

    Parameters
    ----------
    model
        The model.
    settings
        How it is sampled.
    seed
        Decides the jitter of initial points.
    """
    with model, compiling():
        initial, methods = _make(model, settings, seed)
    return PyMC3Steps(model, settings, initial, methods)


def _make(model: pm.Model, settings: StepSettings, seed: int) -> tuple[Any, list[Any]]:
    """Return initial points (None = PyMC3's test point) and step methods that together move every free variable."""
    assigned, problems = _assigned(model, settings.assigned)
    check(problems)
    differentiable = {v: has_gradient(model, v) for v in model.free_RVs}
    if not assigned and all(differentiable.values()):
        initial, step = _nuts(model, settings, seed)
        return initial, [step]
    chosen = {v: _best(v, differentiable[v]) for v in model.free_RVs if v not in assigned}
    return None, _flat(_instantiate(model, {**chosen, **assigned}, settings))


def _nuts(model: pm.Model, settings: StepSettings, seed: int) -> tuple[list[dict[str, Any]], Any]:
    initial, step = pm.init_nuts(
        init=settings.init,
        chains=settings.chains,
        model=model,
        random_seed=seed,
        progressbar=False,
        target_accept=settings.target_accept,
        max_treedepth=settings.max_treedepth,
    )
    _check_gradient(step, initial[0])
    return list(initial), step


def _check_gradient(step: Any, point: dict[str, Any]) -> None:
    density = step._logp_dlogp_func
    density.set_extra_values({})
    value, slope = density(density.dict_to_array(point))
    if not (np.isfinite(value) and np.all(np.isfinite(slope))):
        by_name = density.array_to_full_dict(slope)
        bad = [name for name, part in by_name.items() if not np.all(np.isfinite(part))] or ["the log density"]
        message = f"the gradient at the initial point is not finite in {', '.join(bad)}"
        raise fail("model.priors", message, "give the variable an `initval` inside its support, or a tighter prior")


def _best(variable: Any, differentiable: bool) -> Any:
    return max(STEP_METHODS, key=lambda method: method._competence(variable, differentiable))


def _instantiate(model: pm.Model, chosen: Mapping[Any, Any], settings: StepSettings) -> list[Any]:
    selected = defaultdict(list)
    for variable in model.free_RVs:
        selected[chosen[variable]].append(variable)
    nuts = {"target_accept": settings.target_accept, "max_treedepth": settings.max_treedepth}
    arguments = {"nuts": nuts} if any(method.name == "nuts" for method in selected) else {}
    methods = instantiate_steppers(model, [], selected, arguments)
    return methods if isinstance(methods, list) else [methods]


def _flat(methods: Sequence[Any]) -> list[Any]:
    """PyMC3 wraps several Metropolis steps into a compound step, and cannot take that back inside a list."""
    return [leaf for method in methods for leaf in (_flat(method.methods) if hasattr(method, "methods") else [method])]


class PyMC3Steps:
    """Step methods that are ready to sample (see `bayesrun.engines.base.StepSampler`)."""

    def __init__(self, model: pm.Model, settings: StepSettings, initial: Any, methods: list[Any]) -> None:
        self.methods = methods
        self._model, self._settings, self._initial = model, settings, initial

    @property
    def steps(self) -> dict[str, str]:
        """Name of the step method of each free variable, on the variable's own scale."""
        names = {v: type(method).__name__ for method in self.methods for v in method.vars}
        return {own_name(v): names[v] for v in self._model.free_RVs}

    def run(self, seeds: Sequence[int], on_draw: OnDraw, keep: KeepDraws) -> StepDraws:
        """Sample one chain per seed; an interrupt keeps the draws so far, and a chain that dies its own."""
        return _Run(self._model, self._settings, on_draw, keep).sample(self.methods, self._initial, seeds)


class _Run:
    """One call of `pm.sample`, which ends early on a KeyboardInterrupt; remembers it, and keeps the draws."""

    def __init__(self, model: pm.Model, settings: StepSettings, on_draw: OnDraw, keep: KeepDraws) -> None:
        self._model, self._settings, self._on_draw, self._keep = model, settings, on_draw, keep
        self._stop: KeyboardInterrupt | None = None
        self._traces: dict[int, Any] = {}
        self._made: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._due = time.monotonic() + _KEEP_SECONDS

    def sample(self, methods: list[Any], initial: Any, seeds: Sequence[int]) -> StepDraws:
        died: dict[int, str] = {}
        try:
            with _without_dead_chains(died):
                trace = self._call(self._model, methods, initial, seeds)
        except Exception as error:
            # PyMC3 looks for statistics of chain 0 after an interrupt, also where it has dropped that chain, and
            # expects chains of one length
            expected = isinstance(error, (KeyError, ValueError)) and not self._complete()
            if not expected and not (died and self._after_tuning()):
                raise
            trace = None
        self._keep_new()
        if self._complete():
            chains = {chain: _chain(self._model, trace._straces[chain]) for chain in trace.chains}
            return StepDraws(chains, self._stop)
        tune = self._settings.tune
        chains = {n: _chain(self._model, self._traces[n][tune:count]) for n, count in self._after_tuning().items()}
        return StepDraws(chains, self._stop if died else self._stop or KeyboardInterrupt(), died)

    def _after_tuning(self) -> dict[int, int]:
        """Return how many draws the chains have made that are past their tuning."""
        return {chain: made for chain, made in sorted(self._made.items()) if made > self._settings.tune}

    def _keep_new(self) -> None:
        """Hand on the draws that have come since the last time."""
        for chain, made in self._after_tuning().items():
            first = self._kept.get(chain, self._settings.tune)
            if made > first:
                self._keep(chain, _chain(self._model, self._traces[chain][first:made]))
                self._kept[chain] = made
        self._due = time.monotonic() + _KEEP_SECONDS

    def _call(self, model: pm.Model, methods: list[Any], initial: Any, seeds: Sequence[int]) -> Any:
        settings = self._settings
        with model, compiling():
            return pm.sample(
                draws=settings.draws,
                tune=settings.tune,
                chains=settings.chains,
                cores=settings.processes,
                step=methods if len(methods) > 1 else methods[0],
                start=initial,
                random_seed=list(seeds),
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
            self._on_draw(draw.chain, draw.draw_idx + 1, draw.tuning, diverging)
            if time.monotonic() >= self._due:
                self._keep_new()
        except KeyboardInterrupt as stop:
            self._stop = stop
            raise

    def _complete(self) -> bool:
        wanted = self._settings.draws + self._settings.tune
        return len(self._made) == self._settings.chains and all(made == wanted for made in self._made.values())


@contextmanager
def _without_dead_chains(died: dict[int, str]) -> Iterator[None]:
    """Let PyMC3 go on with the other chains when the process of one dies; it would end all of them.

    Parameters
    ----------
    died
        Filled with the number of each chain that died, and how.
    """

    class Adapter(parallel_sampling.ProcessAdapter):  # type: ignore[misc]  # PyMC3 has no type hints
        def write_next(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # its end is seen when its draw is waited for
                super().write_next()

        @staticmethod
        def recv_draw(processes: list[Any], timeout: int = 3600) -> Any:
            while True:
                ready = wait([process._msg_pipe for process in processes])
                one = [process for process in processes if process._msg_pipe is ready[0]]
                try:
                    return parallel.recv_draw(one, timeout)
                except (EOFError, ConnectionResetError):
                    one[0]._process.join()
                    code = one[0]._process.exitcode
                    died[one[0].chain] = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                    processes.remove(one[0])
                    if not processes:
                        raise

    parallel = parallel_sampling.ProcessAdapter
    parallel_sampling.ProcessAdapter = Adapter
    try:
        yield
    finally:
        parallel_sampling.ProcessAdapter = parallel


def _chain(model: pm.Model, trace: Any) -> StepChain:
    draws = {v.name: np.asarray(trace.get_values(v.name)) for v in own_variables(model)}
    stats = {}
    for name, theirs in _STATS.items():
        if theirs in trace.stat_names:
            values: NDArray[Any] = np.asarray(trace.get_sampler_stats(theirs))
            stats[name] = values.reshape(len(values), -1)[..., 0]
    return StepChain(draws, stats)
