"""PyMC3's own step methods: which one moves which variable, and sampling with them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc3 as pm
from pymc3.sampling import STEP_METHODS, instantiate_steppers
from pymc3.step_methods.arraystep import Competence
from theano import gradient
from theano.tensor import discrete_dtypes

from bayesrun.engines.base import OnDraw, StepChain, StepDraws, StepSettings
from bayesrun.engines.pymc3.evaluate import own_name, own_variables
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.errors import Problem, check, did_you_mean, fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("bayesrun.sampling")

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
    return f"{method} can't move '{name}', whose distribution is {type(variable.distribution).__name__}"


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

    def run(self, seeds: Sequence[int], on_draw: OnDraw) -> StepDraws:
        """Sample one chain per seed; an interrupt keeps the draws so far."""
        return _Run(self._settings, on_draw).sample(self._model, self.methods, self._initial, seeds)


class _Run:
    """One call of `pm.sample`, which ends early on a KeyboardInterrupt; remembers it, and keeps the draws."""

    def __init__(self, settings: StepSettings, on_draw: OnDraw) -> None:
        self._settings, self._on_draw = settings, on_draw
        self._stop: KeyboardInterrupt | None = None
        self._traces: dict[int, Any] = {}
        self._made: dict[int, int] = {}

    def sample(self, model: pm.Model, methods: list[Any], initial: Any, seeds: Sequence[int]) -> StepDraws:
        tune = self._settings.tune
        try:
            trace = self._call(model, methods, initial, seeds)
        except (KeyError, ValueError):
            # PyMC3 looks for statistics of chain 0 after an interrupt, also where it has dropped that chain
            if self._complete():
                raise
            trace = None
        if self._complete():
            return StepDraws({chain: _chain(model, trace._straces[chain]) for chain in trace.chains}, self._stop)
        kept = {chain: count for chain, count in sorted(self._made.items()) if count > tune}
        chains = {chain: _chain(model, self._traces[chain][tune:count]) for chain, count in kept.items()}
        return StepDraws(chains, self._stop or KeyboardInterrupt())

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
        except KeyboardInterrupt as stop:
            self._stop = stop
            raise

    def _complete(self) -> bool:
        wanted = self._settings.draws + self._settings.tune
        return len(self._made) == self._settings.chains and all(made == wanted for made in self._made.values())


def _chain(model: pm.Model, trace: Any) -> StepChain:
    draws = {v.name: np.asarray(trace.get_values(v.name)) for v in own_variables(model)}
    stats = {}
    for name, theirs in _STATS.items():
        if theirs in trace.stat_names:
            values: NDArray[Any] = np.asarray(trace.get_sampler_stats(theirs))
            stats[name] = values.reshape(len(values), -1)[..., 0]
    return StepChain(draws, stats)
