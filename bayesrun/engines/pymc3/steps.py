"""PyMC3's own step methods: which one moves which variable, and sampling with them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pymc3 as pm
import theano
from numpy.typing import NDArray
from pymc3.sampling import STEP_METHODS, instantiate_steppers
from pymc3.step_methods.arraystep import Competence
from pymc3.step_methods.compound import CompoundStep
from pymc3.step_methods.hmc import quadpotential
from pymc3.step_methods.step_sizes import DualAverageAdaptation
from pymc3.theanof import set_tt_rng
from theano import gradient
from theano.tensor import discrete_dtypes

from bayesrun.engines.base import Arrays, StepSettings
from bayesrun.engines.pymc3.declared_distributions import name_of
from bayesrun.engines.pymc3.evaluate import own_name
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.errors import Problem, check, did_you_mean, fail

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
    """Return whether the log density has a gradient in a free variable."""
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
    """Return why a step method can't move a variable; None where it can."""
    if getattr(pm, method)._competence(variable, differentiable)[0] != Competence.INCOMPATIBLE:
        return None
    if method in ("NUTS", "HamiltonianMC"):
        return f"{method} needs a gradient of the log density, but there is none for '{name}'"
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
    """PyMC3 wraps several Metropolis steps into a compound step, and can't take a compound step inside a list."""
    return [leaf for method in methods for leaf in (_flat(method.methods) if hasattr(method, "methods") else [method])]


class PyMC3Steps:
    """Step methods that are ready to sample (see `bayesrun.engines.base.StepSampler`)."""

    def __init__(self, model: pm.Model, settings: StepSettings, initial: Any, methods: list[Any]) -> None:
        self.methods = methods
        self._model, self._settings, self._initial = model, settings, initial
        self._recorded = list(model.unobserved_RVs)
        self._record = model.fastfn(self._recorded)
        self._pristine = [_settings_of(method) for method in methods]
        values = self._record(model.test_point)
        self.types = {v.name: str(value.dtype) for v, value in zip(self._recorded, values, strict=True)}

    @property
    def steps(self) -> dict[str, str]:
        """Name of the step method of each free variable, on the variable's own scale."""
        names = {v: type(method).__name__ for method in self.methods for v in method.vars}
        return {own_name(v): names[v] for v in self._model.free_RVs}

    @property
    def keeps_state(self) -> bool:
        """Whether the state of a chain can be stored: only that of NUTS which moves all variables."""
        return len(self.methods) == 1 and isinstance(self.methods[0], pm.NUTS)

    def chain(self, number: int, seed: int, state: Arrays | None = None) -> PyMC3Chain:
        """Begin a chain, as if it were the first of this process."""
        for method, pristine in zip(self.methods, self._pristine, strict=True):
            _restore(method, pristine)
        start = dict(self._model.test_point)
        if self._initial is not None:
            start.update(self._initial[number])
        np.random.seed(seed)
        set_tt_rng(seed + 1)
        chain = PyMC3Chain(self.methods, start, self._settings.tune, self._draw_of)
        if state is not None:
            chain.go_on_from(state)
        return chain

    def _draw_of(self, point: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        return {v.name: value for v, value in zip(self._recorded, self._record(point), strict=True)}


class PyMC3Chain:
    """One chain (see `bayesrun.engines.base.StepChain`); the draws are those of `pm.sample`.

    Parameters
    ----------
    methods
        Step methods, as they are at a chain's beginning.
    start
        The initial point, by name of variable.
    tune
        Tuning draws.
    draw_of
        Computes all variables at a point.
    """

    def __init__(
        self,
        methods: Sequence[Any],
        start: Mapping[str, Any],
        tune: int,
        draw_of: Callable[[Mapping[str, Any]], dict[str, NDArray[Any]]],
    ) -> None:
        self._methods = methods
        self._step = methods[0] if len(methods) == 1 else CompoundStep(methods)
        self._tune, self._draw_of, self._made = tune, draw_of, 0
        self._point = {
            name: np.array(start[name], dtype).reshape(shape)
            for name, (shape, dtype) in self._step.vars_shape_dtype.items()
        }

    def advance(self) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Make the next draw."""
        if self._made == self._tune:
            self._step.stop_tuning()
        if self._step.generates_stats:
            point, of_methods = self._step.step(self._point)
        else:
            point, of_methods = self._step.step(self._point), []
        for name, value in point.items():
            self._point[name][...] = value
        self._made += 1
        stats = {}
        for name, theirs in _STATS.items():
            if (values := next((of[theirs] for of in of_methods if theirs in of), None)) is not None:
                stats[name] = float(values)
        return self._draw_of(self._point), stats

    def shrink_steps(self, factor: float) -> None:
        """Multiply the step size that NUTS has found while tuning; other methods are not changed."""
        for method in self._methods:
            if isinstance(method, pm.NUTS):
                method.step_adapt._log_bar += np.log(factor)
                method.step_adapt._log_step += np.log(factor)  # what its statistics show

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what NUTS continues from."""
        nuts, potential = self._step, self._step.potential
        random: Any = np.random.get_state()
        _, keys, *rest = random
        return {
            "position": np.array(nuts._logp_dlogp_func.dict_to_array(self._point)),
            "log_step": np.array([nuts.step_adapt._log_step, nuts.step_adapt._log_bar]),
            "mass_matrix": np.array(type(potential).__name__),
            **{f"mass_matrix.{n}": v.copy() for n, v in vars(potential).items() if _is_numbers(v)},
            "random": keys.copy(),
            "random_rest": np.array(rest, float),
        }

    def go_on_from(self, state: Arrays) -> None:
        """Continue from the state of another chain."""
        nuts = self._step
        function = nuts._logp_dlogp_func
        self._made = self._tune
        nuts.stop_tuning()
        for name, value in function.array_to_full_dict(np.asarray(state["position"])).items():
            self._point[name][...] = value
        nuts.step_adapt._log_step, nuts.step_adapt._log_bar = state["log_step"]
        potential = _potential(state, function.size)
        nuts.potential = nuts.integrator._potential = potential
        position, has_gauss, gauss = state["random_rest"]
        np.random.set_state(("MT19937", state["random"], int(position), int(has_gauss), float(gauss)))


def _potential(state: Arrays, size: int) -> Any:
    """Make the mass matrix of a tuned chain, which no longer changes."""
    kinds = {kind.__name__: kind for kind in vars(quadpotential).values() if isinstance(kind, type)}
    kind = kinds[str(state["mass_matrix"])]
    assert issubclass(kind, quadpotential.QuadPotential)
    potential: Any = object.__new__(kind)
    prefix = "mass_matrix."
    arrays = {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
    vars(potential).update(arrays, _n=size, dtype=theano.config.floatX)
    return potential


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


_OF_METHOD = (bool, int, float, str, np.ndarray, np.generic, DualAverageAdaptation, quadpotential.QuadPotential)


def _settings_of(method: Any) -> dict[str, Any]:
    """Copy what a step method changes as it tunes and draws; its compiled functions are left out."""
    own = vars(method).items()
    kept = {n: v for n, v in own if v is None or isinstance(v, _OF_METHOD)}
    lists = {n: v for n, v in own if n.startswith("_") and isinstance(v, list | dict)}
    return deepcopy({**kept, **lists})


def _restore(method: Any, settings: Mapping[str, Any]) -> None:
    vars(method).update(deepcopy(dict(settings)))
    if hasattr(method, "integrator"):
        method.integrator._potential = method.potential
