"""Other forms of one prior, in which a sampler moves more easily: names and posterior stay the same.

Non-centred: `theta = location + scale * theta_offset`, `theta_offset` of the standard family, so that the shape of the
prior does not change with its scale (Papaspiliopoulos, Roberts and Skold 2007, doi:10.1214/088342307000000014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesrun.errors import fail
from bayesrun.language._make import Made, parameters_of, register_dims
from bayesrun.language.initial_values import starting_value
from bayesrun.language.notes import notes
from bayesrun.language.plan import Plan
from bayesrun.language.scope import Scope

# Fisher information of a typical likelihood about one point of a walk; a wrong guess costs speed only.
_INFORMATION = 1.5
_LOG_SCALE = ("LogNormal", "Lognormal")
_PRECISIONS = ("tau", "lam")


def noncentered(this: Plan, scope: Scope) -> Made:
    """Make a location-scale variable of a standard one; the standard one is a helper of the model."""
    import pymc3 as pm

    location, scale, shape_parameters = _parts(this, parameters_of(this, scope))
    dims = register_dims(this.name, this.dims, this.shape, scope) or None
    start = starting_value(this, scope)
    testval = None if start is None else _offset_of(start, location, scale, this)
    helper = f"{this.name}_offset"
    standard = getattr(pm, "Normal" if this.family.name in _LOG_SCALE else this.family.name)
    offset = standard(helper, **_standard(this), **shape_parameters, dims=dims, testval=testval)
    notes(pm.modelcontext(None)).helpers.add(helper)
    moved = location + scale * offset
    variable = pm.Deterministic(this.name, pm.math.exp(moved) if this.family.name in _LOG_SCALE else moved, dims=dims)
    return Made(variable, {this.name: (variable, this.dims)})


def _parts(this: Plan, arguments: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return location, scale, and the parameters that are neither."""
    names = this.family.location_scale
    assert names is not None
    location = arguments.pop(names[0], 0.0) if names[0] else 0.0
    scale = arguments.pop(names[1], 1.0)
    for precision in _PRECISIONS:
        if precision in arguments:
            scale = arguments.pop(precision) ** -0.5
    return location, scale, arguments


def _standard(this: Plan) -> dict[str, float]:
    names = this.family.location_scale
    assert names is not None
    return {name: value for name, value in ((names[0], 0.0), (names[1], 1.0)) if name is not None}


def _offset_of(start: Any, location: Any, scale: Any, this: Plan) -> Any:
    at = np.log(start) if this.family.name in _LOG_SCALE else start
    return np.broadcast_to((at - _now(location)) / _now(scale), this.shape).copy()


def _now(value: Any) -> Any:
    if hasattr(value, "get_value"):
        return value.get_value()
    return value.tag.test_value if hasattr(value, "tag") else value


def whitened(this: Plan, scope: Scope) -> Made:
    """Make a Gaussian random walk in coordinates in which its posterior is nearly spherical (`walks`)."""
    import pymc3 as pm

    from bayesrun.language.random_walks import fast_length, whitened_walk

    arguments = parameters_of(this, scope)
    where = f"{this.key}.parameterization"
    if "init" in arguments:
        raise fail(where, "a whitened walk starts anywhere: it has no init", "remove init, or use noncentered")
    sigma = arguments["sigma"] if "sigma" in arguments else arguments["tau"] ** -0.5
    drift = arguments.get("mu", 0.0)
    if len(this.shape) != 1 or np.ndim(sigma) or getattr(sigma, "ndim", 0) or getattr(drift, "ndim", 0):
        raise fail(where, "a whitened walk has one axis, and single numbers as mu and sigma", "use centered")
    dims = register_dims(this.name, this.dims, this.shape, scope)
    made = whitened_walk(this.name, sigma, this.shape[0], _INFORMATION, dims, drift)
    model = pm.modelcontext(None)
    notes(model).helpers.update(made.helpers)
    start = starting_value(this, scope)
    if start is not None:
        # the walk starts flat, at the mean of what is asked for: that is its level alone
        level = np.mean(start) * np.sqrt(fast_length(this.shape[0]) * _INFORMATION)
        model[made.helpers[0]].tag.test_value = np.asarray(level)
    return Made(made.walk, {this.name: (made.walk, this.dims)})
