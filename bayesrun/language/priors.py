"""From a prior in YAML to a variable of a model; every builder declares its variables with this module.

    draft = Draft(data)
    tau = declare(draft, "tau", {"dist": "HalfCauchy", "beta": 5}, "model.priors.tau")
    theta = declare(draft, "theta", {"dist": "Normal", "mu": 0, "sigma": "tau", "dims": ["school"]}, "...")

Some priors have parametrizations that are easier to sample; names and posterior stay the same. Non-centred:
`theta = location + scale * theta_offset`, `theta_offset` of the standard family, so that the shape of the prior does
not change with its scale (Papaspiliopoulos, Roberts and Skold 2007, doi:10.1214/088342307000000014). Whitened: see
`random_walks`.

Initial values are those of `initval`, or increasing values if the transform is `ordered`. One that depends on other
variables is computed by the engine from their initial values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.language.areal_models import AREAL, declare_areas
from bayesrun.language.declaration import Density, Draft, Observed
from bayesrun.language.distributions import FAMILIES
from bayesrun.language.expressions import read
from bayesrun.language.functions import exp, index, log
from bayesrun.language.gaussian_processes import approximated, as_vectors, remember
from bayesrun.language.incomplete_vectors import summed_out
from bayesrun.language.modifiers import observed_rows, only_rows, plan_modifiers
from bayesrun.language.plan import Plan, of_values, plan, variables_of
from bayesrun.language.prior_checks import SOFTPLUS_SCALES, check_prior, modifier_problems, split
from bayesrun.language.random_walks import LONGEST_UNEQUAL, noncentered_walk, whitened_walk, with_steps
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import all_equal
from bayesrun.language.values import Fault, Value, compute, conform, constant, fixed, replaceable

# Fisher information of a typical likelihood about one point of a walk; a wrong guess only costs speed.
_INFORMATION = 1.5
_LOG_SCALE = ("LogNormal", "Lognormal")
_PRECISIONS = ("tau", "lam")


def declare(
    draft: Draft,
    name: str,
    prior: Mapping[str, Any],
    key: str,
    dims: tuple[str, ...] | None = None,
    scope: Scope | None = None,
) -> Value:
    """Add a variable to a model from its prior in YAML.

    Parameters
    ----------
    draft
        The model.
    name
        Name of the variable.
    prior
        The prior in YAML: `dist`, its parameters, and the options `dims`, `shape`, `initval`, `transform`,
        `parameterization`.
    key
        Config key of the prior, for messages.
    dims
        Its dims, if the builder determines them; None leaves them to the prior. Labels come from the model's
        coords or the data set; an axis without a name is labelled 0, 1, ...
    scope
        Values of the names in its expressions, if not the model's own scope; the new variable is added to it.

    Returns
    -------
    Value
        The variable; for `LKJCholeskyCov` the whole Cholesky factor.

    Raises
    ------
    UserError
        When the prior is wrong, or its parameters do not fit its dims.
    """
    scope = scope or draft.scope
    check(check_prior(key, prior))
    this = plan(name, prior, scope, key, dims)
    form = this.option("parameterization")
    if this.family.name in AREAL:
        made = declare_areas(draft, this, scope)
    elif this.family.name == "GaussianProcess":
        made = _process(draft, this, scope)
    elif form == "noncentered":
        made = _noncentered(draft, this, scope)
    elif form == "whitened":
        made = _whitened(draft, this, scope)
    else:
        made = _centered(draft, this, scope)
    for known, value in made.items():
        scope.add(known, value)
    return made[name]


def declare_likelihood(
    draft: Draft, name: str, body: Mapping[str, Any], key: str, observed: Observed, new_rows: bool = False
) -> Value:
    """Add a likelihood to a model from its distribution in YAML.

    Parameters
    ----------
    draft, name, key
        As for `declare`.
    body
        The likelihood in YAML: the distribution and its modifiers.
    observed
        The observed data.
    new_rows
        Whether new rows are to be drawn.

    Returns
    -------
    Value
        The observed values with missing values imputed.

    Raises
    ------
    UserError
        When the distribution is wrong, or its parameters do not fit the observed values' dims.
    """
    prior, modifiers = split(body)
    check([*check_prior(key, prior, observed=True), *modifier_problems(key, modifiers)])
    this = plan(name, prior, draft.scope, key, observed.dims, observed.shape)
    if this.family.name in AREAL:
        raise fail(
            f"{key}.dist",
            f"{this.family.name} is a prior of effects",
            "make it a prior, and let observations vary around it",
        )
    if this.family.name == "GaussianProcess":
        remember(draft.scope, this, prior.get("mu"), observed)
        return draft.likelihood(as_vectors(this), observed)
    if not new_rows:
        observed = _only_observed(observed, modifiers, draft.scope, key, this.family.event)
    this = with_modifiers(this, modifiers, draft.scope, observed.values, new_rows)
    if this.option("parameterization") in ("noncentered", "whitened"):
        raise fail(f"{key}.parameterization", "has no meaning for an observed variable", "remove it")
    if this.truncated and this.family.name != "Normal":
        raise fail(
            key, f"an observed {this.family.name} can't be bounded in this way", "write truncated: {lower: , upper: }"
        )
    if this.family.support != "matrix":
        draft.name_axes(name, this.dims, this.shape, draft.scope)
    if not new_rows:
        this, observed = summed_out(this, observed)
    return draft.likelihood(with_steps(this), observed)


def _only_observed(observed: Observed, modifiers: Mapping[str, Any], scope: Scope, key: str, event: int) -> Observed:
    """Put an observed value in the place of each row that is not observed; it has no part in the density."""
    values = np.asarray(observed.values)
    given = values if observed.missing is None else np.where(observed.missing.mask, np.nan, values)
    kept = observed_rows(modifiers, scope, key, observed.dims, given, event)
    if kept is None:
        return observed
    return replace(observed, values=only_rows(values, kept), missing=None)


def with_modifiers(
    this: Plan, modifiers: Mapping[str, Any], scope: Scope, observed: Any, new_rows: bool = False
) -> Plan:
    """Return the plan of a likelihood with its modifiers.

    Raises
    ------
    UserError
        When its distribution does not support the modifier, or a value does not fit.
    """
    if this.truncated and modifiers:
        raise fail(this.key, "lower and upper can't be combined with modifiers", "write truncated: {lower: , upper: }")
    made = plan_modifiers(this.family, modifiers, scope, this.key, this.dims, np.asarray(observed), new_rows)
    return this if made is None else replace(this, modifiers=made)


def _process(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    """Add a latent Gaussian process, non-centred unless the prior says otherwise."""
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    remember(scope, this, this.option("mu"))
    if this.flags["process"].approximation is not None:
        approximated(draft, this, dims)
        return variables_of(this)
    vectors = as_vectors(this)
    centered = this.option("parameterization") == "centered"
    return draft.random(vectors, dims) if centered else _noncentered_vectors(draft, vectors, scope)


def _centered(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    _check_truncation(this)
    _check_ordered(this)
    _check_softplus(this)
    initial = initial_value(this, scope)
    matrix = this.family.support == "matrix" or this.family.name == "BART"
    dims = () if matrix else draft.name_axes(this.name, this.dims, this.shape, scope)
    if this.family.name == "LKJCholeskyCov" and this.option("dims") is not None:
        dims = _name_both_axes(draft, this, scope)
    return draft.random(with_steps(this), dims, initial)


def _name_both_axes(draft: Draft, this: Plan, scope: Scope) -> tuple[str, ...]:
    """Name the axes of a square matrix; the second has the labels of the first."""
    (dim,) = draft.name_axes(this.name, this.dims, this.shape, scope)
    draft.add_coords({f"{dim}_bis": draft.coords[dim]})
    return dim, f"{dim}_bis"


def _check_truncation(this: Plan) -> None:
    """Reject a truncated distribution whose normalizing constant would be unknown.

    A normal distribution is normalized for all parameters. Others are cut off but not renormalized, which gives the
    same posterior only if their parameters are not random.
    """
    if not this.truncated or this.family.name == "Normal" or not this.family.parameters:
        return
    if any(value.known is None for value in this.values.values()):
        hint = "use TruncatedNormal, or give it fixed parameters and bounds"
        raise fail(this.key, f"a truncated {this.family.name} with random parameters has no known scale", hint)


def _check_ordered(this: Plan) -> None:
    """Reject an ordering of values that have no order, or whose range is unknown."""
    if this.option("transform") != "ordered":
        return
    key, family = f"{this.key}.transform", this.family
    if not this.shape or this.shape[-1] < 2:
        raise fail(key, "ordered needs an axis of two or more", "write shape: 2, or dims")
    if family.support == "interval" and not {"lower", "upper"} <= this.values.keys():
        if family.name in ("Uniform", "Triangular"):
            raise fail(key, "ordered needs both lower and upper here", "write them")
    elif family.support not in ("real", "any", "interval", "positive", "unit"):
        raise fail(key, f"a {family.name} can't be ordered", "remove transform")


def _check_softplus(this: Plan) -> None:
    """Reject a softplus transform whose scale is random: a transform is the same whatever the parameters are."""
    if this.option("transform") != "softplus":
        return
    parameter = SOFTPLUS_SCALES[this.family.name]
    if this.values[parameter].known is None or this.truncated:
        message = f"softplus needs a {parameter} that is a number or computed from data, without lower and upper"
        raise fail(f"{this.key}.transform", message, "use transform: log")


def _noncentered(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    """Add a variable as a function of a standard one, or a walk as the sum of its steps; these are model helpers."""
    if this.family.name == "GaussianRandomWalk":
        return _noncentered_walk(draft, this, scope)
    if this.family.name == "MvNormal":
        return _noncentered_vectors(draft, this, scope)
    location, scale, others = _location_and_scale(this)
    location, scale = _with_stretched_axes(location, this), _with_stretched_axes(scale, this)
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    log_scale = this.family.name in _LOG_SCALE
    start = initial_value(this, scope)
    if start is not None:
        start = ((log(start) if log_scale else start) - location) / scale
    family = FAMILIES["Normal"] if log_scale else this.family
    standard = Plan(
        f"{this.name}_offset", this.key, family, this.dims, this.shape, {**_standard(this), **others}, prior={}
    )
    offset = draft.random(standard, dims, start, helper=True)[standard.name]
    moved = location + scale * offset
    draft.deterministic(this.name, exp(moved) if log_scale else moved, dims)
    return variables_of(this)


def _with_stretched_axes(value: Value, this: Plan) -> Value:
    """Drop the names of a parameter's axes of size 1 that stand for a whole dim, so that they meet it by place."""
    sizes = this.shape[len(this.shape) - value.ndim :]
    pairs = zip(value.dims, value.shape, sizes, strict=True)
    return value.named(tuple(dim if own == size else None for dim, own, size in pairs))


def _noncentered_vectors(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    """Add multivariate normal vectors from standard normal variables: `mu + chol @ offset`, for each vector."""
    if "chol" not in this.values or this.option("initval") is not None:
        raise fail(f"{this.key}.parameterization", "a noncentered MvNormal is given by chol, without initval")
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    values = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    standard = Plan(f"{this.name}_offset", this.key, FAMILIES["Normal"], this.dims, this.shape, values, prior={})
    offset = draft.random(standard, dims, helper=True)[standard.name]
    axes = (*this.dims[:-1], None)
    turned = compute("contract", [offset, this.values["chol"]], axes, len(this.shape) - 1, 1)
    mean = this.values.get("mu")
    turned = turned.named(this.dims)
    moved = turned if mean is None or (mean.known is not None and not np.any(mean.known)) else turned + mean
    draft.deterministic(this.name, moved.named(this.dims), dims)
    return variables_of(this)


def _location_and_scale(this: Plan) -> tuple[Value, Value, dict[str, Value]]:
    """Return location, scale, and the remaining parameters."""
    names = this.family.location_scale
    assert names is not None
    others = {name: kept_symbolic(value) for name, value in this.values.items()}
    location = others.pop(names[0], constant(0.0)) if names[0] else constant(0.0)
    scale = others.pop(names[1], constant(1.0))
    for precision in _PRECISIONS:
        if precision in others:
            scale = others.pop(precision) ** -0.5
    return location, scale, others


def kept_symbolic(value: Value) -> Value:
    """Return a known scalar as a constant that an engine may replace in compiled code."""
    return replaceable(value.known) if value.known is not None and value.node is None and not value.ndim else value


def _standard(this: Plan) -> dict[str, Value]:
    names = this.family.location_scale
    assert names is not None
    return {name: fixed(value) for name, value in ((names[0], 0.0), (names[1], 1.0)) if name is not None}


def _noncentered_walk(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    noncentered_walk(draft, this, _start_of(this, f"{this.name}_level"), dims, initial_value(this, scope))
    return variables_of(this)


def _start_of(this: Plan, name: str) -> Plan:
    """Return the distribution of a walk's first point."""
    init = this.inner.get("init")
    if isinstance(init, Plan):
        return replace(init, name=name)
    return of_values(name, "Flat", {}, this.dims[:-1], this.shape[:-1], this.key)


def _whitened(draft: Draft, this: Plan, scope: Scope) -> dict[str, Value]:
    """Add a Gaussian random walk in coordinates that make its posterior nearly spherical."""
    where = f"{this.key}.parameterization"
    values = {name: kept_symbolic(value) for name, value in this.values.items()}
    sigma = values["sigma"] if "sigma" in values else values["tau"] ** -0.5
    drift = values.get("mu")
    if len(this.shape) != 1 or sigma.ndim or (drift is not None and drift.ndim):
        raise fail(where, "a whitened walk has one axis, and single numbers as mu and sigma", "use centered")
    size = this.shape[0]
    if this.steps is not None and not all_equal(this.steps) and size > LONGEST_UNEQUAL:
        message = f"a walk of {size:,} points with unequal steps can't be whitened (up to {LONGEST_UNEQUAL:,} can)"
        raise fail(where, message, "use noncentered, or centered")
    dims = draft.name_axes(this.name, this.dims, this.shape, scope)
    initial = initial_value(this, scope)
    # the helpers start at a level: the mean of the requested initial values
    start = None if initial is None else constant(np.mean(initial.known))
    walk = whitened_walk(
        draft, this.name, sigma, dims, size, _INFORMATION, drift=drift, initial=start, steps=this.steps
    )
    if "init" in this.inner:
        first = _start_of(this, f"{this.name}_start")
        draft.potential(first.name, None, [Density(first, index(walk, [constant(0)]))])
    return variables_of(this)


__all__ = ["Draft", "Scope", "declare", "declare_likelihood"]


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
        raise UserError([Problem(key, "must increase because transform is ordered", "leave it out to have it spread")])
    return constant(full.astype(np.int64 if this.family.discrete else float), this.dims)


def _spread(this: Plan) -> Value:
    """Return increasing numbers along the last axis, spaced by the prior's scale and inside its support."""
    steps = np.broadcast_to(np.linspace(-1.0, 1.0, this.shape[-1]), this.shape)
    support, low, high = this.family.support, this.values.get("lower"), this.values.get("upper")
    if low is not None and high is not None:
        return low + (high - low) * (steps * 0.4 + 0.5)
    if low is not None:
        return low + np.exp(steps)
    if high is not None and support == "real":
        return high - np.exp(-steps)
    if support == "positive":
        return constant(np.exp(steps))
    if support == "unit":
        return constant(1 / (1 + np.exp(-steps)))
    centre, scale = _first(this, _CENTRES, 0.0), _first(this, _SCALES, 1.0)
    return compute("increasing", [centre, scale], (None,) * len(this.shape), this.shape)


def _first(this: Plan, names: tuple[str, ...], default: float) -> Value:
    return next((this.values[name] for name in names if name in this.values), constant(default))
