"""Where a variable starts: what `initval` says, and starts spread apart where a transform wants order."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError
from bayesrun.language._read import read
from bayesrun.language.plan import Plan
from bayesrun.language.scope import Scope
from bayesrun.language.values import Fault, Value, conform

_SCALES = ("sigma", "b", "s", "beta")
_CENTRES = ("mu", "alpha")


def starting_value(this: Plan, scope: Scope) -> Any:
    """Return the value that the sampler starts from, None where the distribution's own will do.

    Parameters
    ----------
    this
        The variable.
    scope
        What names mean in `initval`.
    """
    given = this.option("initval")
    if given is not None:
        return _given(this, given, scope)
    if this.option("transform") == "ordered" and this.shape and this.shape[-1] > 1:
        return _spread(this)
    return None


def _given(this: Plan, given: Any, scope: Scope) -> Any:
    key = f"{this.key}.initval"
    value = read(given, scope, key, this.dims)
    if value.known is None:
        raise UserError([Problem(key, "must not depend on a random variable", "write a number or use data")])
    try:
        fitted = conform(value, this.dims, this.shape)
    except Fault as fault:
        raise UserError([Problem(key, fault.message, fault.hint)]) from None
    full = np.broadcast_to(fitted.known, this.shape)
    if this.option("transform") == "ordered" and not np.all(np.diff(full, axis=-1) > 0):
        raise UserError([Problem(key, "must increase, as transform is ordered", "leave it out to have it spread")])
    return full.astype(np.int64 if this.family.discrete else float).copy()


def _spread(this: Plan) -> Any:
    """Return increasing numbers along the last axis, apart by the prior's scale and inside its support."""
    steps = np.linspace(-1.0, 1.0, this.shape[-1])
    support = this.family.support
    if support == "positive":
        return np.broadcast_to(np.exp(steps), this.shape).copy()
    if support == "unit":
        return np.broadcast_to(1 / (1 + np.exp(-steps)), this.shape).copy()
    if support == "interval" and {"lower", "upper"} <= this.values.keys():
        low, high = (_now(this.values[name]) for name in ("lower", "upper"))
        return np.broadcast_to(low + (high - low) * (steps * 0.4 + 0.5), this.shape).copy()
    centre, scale = _first(this, _CENTRES, 0.0), np.max(_first(this, _SCALES, 1.0))
    if np.ndim(centre) and np.all(np.diff(np.broadcast_to(centre, this.shape), axis=-1) > 0):
        return np.broadcast_to(centre, this.shape).copy()
    return np.broadcast_to(np.mean(centre) + scale * steps, this.shape).copy()


def _first(this: Plan, names: tuple[str, ...], default: float) -> Any:
    for name in names:
        if name in this.values:
            return _now(this.values[name])
    return default


def _now(value: Value) -> Any:
    """Return the numbers of a value, for a random one those it starts with."""
    return value.known if value.known is not None else value.graph.tag.test_value
