"""Initial values of variables: from `initval`, or increasing values where a transform requires order.

An initial value may depend on other variables; an engine then computes it from their initial values.
"""

from __future__ import annotations

import numpy as np

from bayesrun.errors import Problem, UserError
from bayesrun.language.expressions import read
from bayesrun.language.plan import Plan
from bayesrun.language.scope import Scope
from bayesrun.language.values import Fault, Value, compute, conform, constant

_SCALES = ("sigma", "b", "s", "beta")
_CENTRES = ("mu", "alpha")


def initial_value(this: Plan, scope: Scope) -> Value | None:
    """Return the initial value of a variable; None for the distribution's default.

    Parameters
    ----------
    this
        The variable.
    scope
        Values of the names in `initval`.

    Raises
    ------
    UserError
        When `initval` does not fit the variable.
    """
    given = this.option("initval")
    if given is not None:
        return _given(this, given, scope)
    if this.option("transform") == "ordered" and this.shape and this.shape[-1] > 1:
        return _spread(this)
    return None


def _given(this: Plan, given: object, scope: Scope) -> Value:
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
    return constant(full.astype(np.int64 if this.family.discrete else float), this.dims)


def _spread(this: Plan) -> Value:
    """Return increasing numbers along the last axis, spaced by the prior's scale and inside its support."""
    steps = np.broadcast_to(np.linspace(-1.0, 1.0, this.shape[-1]), this.shape)
    support = this.family.support
    if support == "positive":
        return constant(np.exp(steps))
    if support == "unit":
        return constant(1 / (1 + np.exp(-steps)))
    if support == "interval" and {"lower", "upper"} <= this.values.keys():
        low, high = this.values["lower"], this.values["upper"]
        return low + (high - low) * (steps * 0.4 + 0.5)
    centre, scale = _first(this, _CENTRES, 0.0), _first(this, _SCALES, 1.0)
    return compute("increasing", [centre, scale], (None,) * len(this.shape), this.shape)


def _first(this: Plan, names: tuple[str, ...], default: float) -> Value:
    return next((this.values[name] for name in names if name in this.values), constant(default))
