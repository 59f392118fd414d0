"""Which step method moves which variable, and where the chains start."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.inference import _start
from bayesrun.inference.base import NutsSpec
from bayesrun.inference.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm

log = logging.getLogger("bayesrun.sampling")


def make(model: pm.Model, spec: NutsSpec, seed: int) -> tuple[Any, list[Any]]:
    """Make the step method and the chains' starting points of a model.

    Parameters
    ----------
    model
        The model, in context.
    spec
        The config section.
    seed
        Seed of the jitter of starting points.

    Returns
    -------
    start : list of dict or None
        One point a chain; None = PyMC3's test point.
    steps : list
        PyMC3 step methods; together they move every free variable.
    """
    explicit = _explicit(model, spec)
    gradient = {v: has_gradient(model, v) for v in model.free_RVs}
    if not explicit and all(gradient.values()):
        start, step = _start.nuts(model, spec, seed)
        return start, [step]
    selected = {v: _best(v, gradient[v]) for v in model.free_RVs if v not in explicit}
    return None, _flat(_instantiate(model, {**selected, **explicit}, spec))


def has_gradient(model: pm.Model, variable: Any) -> bool:
    """Say whether the log density has a gradient in a free variable."""
    from theano import gradient
    from theano.tensor import discrete_dtypes

    if variable.dtype in discrete_dtypes:
        return False
    try:
        gradient.grad(model.logpt, variable)
    except (AttributeError, NotImplementedError, gradient.NullTypeGradError):
        return False
    return True


def names(steps: Sequence[Any]) -> dict[str, str]:
    """Return the step method's name of each free variable, on the variable's own scale."""
    from pymc3.util import get_untransformed_name, is_transformed_name

    found = {}
    for method in steps:
        for v in method.vars:
            name = get_untransformed_name(v.name) if is_transformed_name(v.name) else v.name
            found[name] = type(method).__name__
    return found


def log_steps(steps: Mapping[str, str]) -> None:
    """Say which variables each step method moves."""
    by_method = defaultdict(list)
    for variable, method in steps.items():
        by_method[method].append(variable)
    for method, variables in by_method.items():
        log.info("step %s: %s", method, ", ".join(variables))


def _best(variable: Any, gradient: bool) -> Any:
    from pymc3.sampling import STEP_METHODS

    return max(STEP_METHODS, key=lambda method: method._competence(variable, gradient))


def faults(model: pm.Model, spec: NutsSpec) -> list[Problem]:
    """Name the variables of `sampler.step` that the model lacks, and the steps that can't move theirs."""
    with building():
        return _asked_for(model, spec)[1]


def _explicit(model: pm.Model, spec: NutsSpec) -> dict[Any, Any]:
    chosen, problems = _asked_for(model, spec)
    check(problems)
    return chosen


def _asked_for(model: pm.Model, spec: NutsSpec) -> tuple[dict[Any, Any], list[Problem]]:
    import pymc3 as pm
    from pymc3.util import get_untransformed_name, is_transformed_name

    own = {get_untransformed_name(v.name) if is_transformed_name(v.name) else v.name: v for v in model.free_RVs}
    problems: list[Problem] = []
    chosen: dict[Any, Any] = {}
    for name, method in spec.step.items():
        key = f"sampler.step.{name}"
        if name not in own:
            problems.append(Problem(key, f"the model has no free variable '{name}'", did_you_mean(name, own)))
        elif (reason := _unfit(method, name, own[name], has_gradient(model, own[name]))) is not None:
            problems.append(Problem(key, reason, "use Metropolis, or leave the step to bayesrun"))
        else:
            chosen[own[name]] = getattr(pm, method)
    return chosen, problems


def _unfit(method: str, name: str, variable: Any, gradient: bool) -> str | None:
    """Say why a step method can't move a variable; None where it can."""
    import pymc3 as pm
    from pymc3.step_methods.arraystep import Competence

    if getattr(pm, method)._competence(variable, gradient)[0] != Competence.INCOMPATIBLE:
        return None
    if method in ("NUTS", "HamiltonianMC"):
        return f"{method} needs a gradient of the log density, and there is none in '{name}'"
    return f"{method} can't move '{name}', whose distribution is {type(variable.distribution).__name__}"


def _instantiate(model: pm.Model, chosen: Mapping[Any, Any], spec: NutsSpec) -> list[Any]:
    from pymc3.sampling import instantiate_steppers

    selected = defaultdict(list)
    for variable in model.free_RVs:
        selected[chosen[variable]].append(variable)
    nuts = {"target_accept": spec.target_accept, "max_treedepth": spec.max_treedepth}
    settings = {"nuts": nuts} if any(method.name == "nuts" for method in selected) else {}
    steps = instantiate_steppers(model, [], selected, settings)
    return steps if isinstance(steps, list) else [steps]


def _flat(steps: Sequence[Any]) -> list[Any]:
    """PyMC3 wraps several Metropolis steps into a compound step, and cannot take that back inside a list."""
    return [leaf for step in steps for leaf in (_flat(step.methods) if hasattr(step, "methods") else [step])]
