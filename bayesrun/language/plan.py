"""A distribution with its parameters and axes, inferred and checked; an engine makes a variable from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, did_you_mean, fail
from bayesrun.language.distributions import SIZED_BY_DIM, Distribution, DistributionParameter, known_family
from bayesrun.language.expressions import read
from bayesrun.language.kernels import read_process
from bayesrun.language.modifiers import Modifiers
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import SERIES, all_equal, step_lengths
from bayesrun.language.values import Dims, Fault, Value, align, apply, compute, conform, constant, variable

# Parameters whose own axes are those of a draw (a mean vector); the own axes of the others are free (categories).
_LIKE_DRAW = {
    "Dirichlet": ("a",),
    "DirichletMultinomial": ("a",),
    "Multinomial": ("p",),
    "CAR": ("mu",),
    "GaussianProcess": ("mu",),
    "MvNormal": ("mu",),
    "MvStudentT": ("mu",),
    "KroneckerNormal": ("mu",),
    "MvGaussianRandomWalk": ("mu",),
    "MvStudentTRandomWalk": ("mu",),
}
# Families whose parameters may vary along the draw (a walk with a different step width at each time).
_ALONG_DRAW = ("GaussianRandomWalk", "MatrixNormal")
_OF_PROCESS = ("inputs", "kernel", "number", "basis")
_NO_VALUES = ("bool", "text", "distribution", "distributions", "matrices", "steps", *_OF_PROCESS)
_BOUNDS = ("lower", "upper")
_ONE_SERIES = ("AR", "AR1", "GARCH11")


@dataclass(frozen=True)
class Plan:
    """Everything needed to make a variable.

    Parameters
    ----------
    name
        Of the variable.
    key
        Config key of the prior.
    family
        Its distribution.
    dims, shape
        Its axes; the dim of an unnamed axis is None.
    values
        Its parameters, aligned with those axes.
    flags
        Parameters that are a boolean or a name.
    inner
        Parameters that are distributions themselves, or lists of them.
    matrices
        Parameters that are lists of matrices.
    steps
        Lengths of the steps of a series, one fewer than its points; None if all are 1.
    prior
        The prior in YAML, including the options (`transform`).
    modifiers
        Weights, censoring and truncation of a likelihood.
    """

    name: str
    key: str
    family: Distribution
    dims: Dims
    shape: tuple[int, ...]
    values: Mapping[str, Value]
    flags: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Plan | tuple[Plan, ...]] = field(default_factory=dict)
    matrices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    steps: Any = None
    prior: Mapping[str, Any] = field(default_factory=dict, repr=False)
    modifiers: Modifiers | None = None

    def option(self, name: str) -> Any:
        """Return an option of the prior (`transform`); None if it is not given."""
        return self.prior.get(name)

    @property
    def truncated(self) -> bool:
        """Whether it is truncated at a `lower` or `upper` that is not a parameter of its family."""
        return bool(self.values.keys() - self.family.parameters.keys())

    @property
    def discrete(self) -> bool:
        """Whether it is discrete; a mixture is discrete if its components are."""
        if self.family.support != "any":
            return self.family.discrete
        components = self.inner.get("comp_dists", ())
        return all(one.discrete for one in (components if isinstance(components, tuple) else (components,)))

    @property
    def unconstrained(self) -> bool:
        """Whether it is a density on the real line, which needs no transform."""
        if self.discrete or (self.truncated and self.family.name != "Normal"):
            return False
        if self.option("transform") is not None:
            return bool(self.option("transform") == "none")
        bounded = any(name in self.values for name in _BOUNDS)
        return not bounded and (self.family.support in ("real", "any") or self.family.name == "TruncatedNormal")


def plan(
    name: str,
    prior: Mapping[str, Any],
    scope: Scope,
    key: str,
    dims: Sequence[str | None] | None = None,
    shape: Sequence[int] | None = None,
) -> Plan:
    """Evaluate a prior's parameters, and find its shape.

    Parameters
    ----------
    name
        Name of the variable.
    prior
        The prior in YAML, already checked by `check_prior`.
    scope
        Values of the names in its expressions.
    key
        Config key of the prior.
    dims, shape
        The variable's axes, if they are determined by something other than the prior (the observed data).

    Raises
    ------
    UserError
        With every parameter that does not fit.
    """
    family = known_family(prior["dist"])
    wanted = axes_of(prior, scope, key, dims, shape)
    given = {k: v for k, v in prior.items() if v is not None and _parameter(family, k)}
    if family.name in SIZED_BY_DIM and wanted is not None and prior.get("dims") is not None:
        given = _sized(given, wanted, key)
    if "kernel" in family.parameters:
        return _process(name, prior, given, scope, key, wanted)
    raw = {k: v for k, v in given.items() if _parameter(family, k).domain in _NO_VALUES}  # type: ignore[union-attr]
    values = _evaluated(family, {k: v for k, v in given.items() if k not in raw}, scope, key, wanted)
    target = wanted if wanted is not None else _inferred(family, values, key)
    fitted = _fitted(family, values, target, key)
    return _with_steps(_with_parts(Plan(name, key, family, *target, fitted, prior=prior), raw, scope), raw, scope)


def _sized(given: Mapping[str, Any], wanted: tuple[Dims, tuple[int, ...]], key: str) -> dict[str, Any]:
    """Return the parameters of a distribution of square matrices with their size, that of its dim."""
    (size,) = wanted[1]
    if given.get("n", size) != size:
        raise fail(f"{key}.n", f"is {given['n']}, but '{wanted[0][0]}' has {size} labels", "leave n out")
    return {**given, "n": size}


def _process(
    name: str,
    prior: Mapping[str, Any],
    given: Mapping[str, Any],
    scope: Scope,
    key: str,
    wanted: tuple[Dims, tuple[int, ...]] | None,
) -> Plan:
    """Plan a Gaussian process, whose last axis is that of its inputs."""
    family, process = known_family("GaussianProcess"), read_process(given, scope, key)
    target = wanted or ((process.dim,), (process.size,))
    if target[0][-1:] != (process.dim,) or target[1][-1] != process.size:
        message = f"the inputs are over '{process.dim}' ({process.size}), which must be the last dim of '{name}'"
        raise fail(f"{key}.x", f"{message} (got {', '.join(map(str, target[0]))})", "write dims: with it at the end")
    own = {k: v for k, v in given.items() if family.parameters[k].domain not in _OF_PROCESS}
    values = _fitted(family, _evaluated(family, own, scope, key, target), target, key)
    return Plan(name, key, family, *target, values, flags={"process": process}, prior=prior)


def of_values(
    name: str,
    family: str,
    values: Mapping[str, Value],
    dims: Sequence[str | None] = (),
    shape: Sequence[int] = (),
    key: str = "",
) -> Plan:
    """Plan a distribution whose parameters a builder has computed.

    Parameters
    ----------
    name
        Name of the variable.
    family
        Name of its distribution.
    values
        Its parameters.
    dims, shape
        Its axes.
    key
        Config key to report if an engine does not support it.

    Raises
    ------
    UserError
        When a parameter does not fit the axes.
    """
    known = known_family(family)
    target = (tuple(dims), tuple(shape))
    return Plan(name, key or f"model ({name})", known, *target, _fitted(known, values, target, key or "model"))


def _with_parts(this: Plan, raw: Mapping[str, Any], scope: Scope) -> Plan:
    """Add the parameters that are not values: flags, inner distributions and lists of matrices."""
    flags: dict[str, Any] = {}
    inner: dict[str, Plan | tuple[Plan, ...]] = {}
    matrices: dict[str, tuple[Any, ...]] = {}
    for name, given in raw.items():
        domain, key = this.family.parameters[name].domain, f"{this.key}.{name}"
        if domain == "distribution":
            inner[name] = _inner(given, scope, key, *_axes_of_inner(this, name))
        elif domain == "distributions":
            inner[name] = _components(this, given, scope, key)
        elif domain == "matrices":
            matrices[name] = tuple(read(one, scope, f"{key}[{i}]").known for i, one in enumerate(given))
        elif domain != "steps":
            flags[name] = given
    return replace(this, flags=flags, inner=inner, matrices=matrices)


def _with_steps(this: Plan, raw: Mapping[str, Any], scope: Scope) -> Plan:
    """Check the axes of a series, and determine its step lengths."""
    family, key = this.family, f"{this.key}.steps"
    if family.name not in SERIES:
        return this
    if family.name in _ONE_SERIES and len(this.shape) > 1:
        message = f"{family.name} is a single series, which has one axis (got {len(this.shape)})"
        raise fail(this.key, message, "write one of them for each series")
    size = this.shape[-family.event]
    later = scope.learned is not None and scope.learned.of_new_rows  # than those of the fit, of which one may do
    if size < 2 and not later:
        raise fail(this.key, f"{family.name} needs two points or more", "give it a longer dim")
    if "steps" not in raw:
        return this
    given = read(raw["steps"], scope, key, this.dims)
    try:
        lengths = step_lengths(given, size)
    except Fault as fault:
        raise fail(key, fault.message, fault.hint) from None
    if family.name == "GaussianRandomWalk":
        return this if np.all(lengths == 1) else replace(this, steps=lengths)
    if not all_equal(lengths):
        message = f"{family.name} needs equal steps (these are {lengths.min():g} to {lengths.max():g} long)"
        dim = this.dims[-family.event]
        hint = f"steps: arange(n_{dim}) counts each row as one step" if dim else "remove steps to count each row as one"
        raise fail(key, message, hint)
    return this


def _axes_of_inner(this: Plan, name: str) -> tuple[Dims, tuple[int, ...]]:
    if this.family.name == "MixtureSameFamily":
        return (*this.dims, this.values["w"].dims[-1]), component_shape(this)
    if this.family.name == "GaussianRandomWalk":
        return this.dims[:-1], this.shape[:-1]
    if name == "sd_dist":
        return (None,), (int(this.values["n"].known),)
    return (), ()


def component_shape(this: Plan) -> tuple[int, ...]:
    """Return the shape of a mixture's components: that of a draw, and the number of components."""
    return (*this.shape, this.values["w"].shape[-1])


def _inner(prior: Mapping[str, Any], scope: Scope, key: str, dims: Dims, shape: tuple[int, ...]) -> Plan:
    """Plan an unnamed distribution; its axes are those of the enclosing one."""
    this = plan("", {k: v for k, v in prior.items() if k not in ("dims", "shape")}, scope, key, dims, shape)
    if this.truncated and this.family.name != "Normal":
        raise fail(key, f"{this.family.name} can't be truncated inside another distribution", "use TruncatedNormal")
    return this


def _components(this: Plan, given: Sequence[Mapping[str, Any]], scope: Scope, key: str) -> tuple[Plan, ...]:
    """Plan a mixture's components; their parameters are aligned to common axes."""
    plans = [_inner(one, scope, f"{key}[{i}]", this.dims, this.shape) for i, one in enumerate(given)]
    if any(value.ndim for one in plans for value in one.values.values()):
        plans = [replace(one, values={n: _repeated(v, this.shape) for n, v in one.values.items()}) for one in plans]
    return tuple(plans)


def _repeated(value: Value, shape: tuple[int, ...]) -> Value:
    return apply("multiply", [value, np.ones(shape)]).named((None,) * len(shape))


def variables_of(this: Plan) -> dict[str, Value]:
    """Return the values of a planned variable's names in expressions: its own, and those of its parts."""
    name, dim = this.name, _first(this.option("dims"))
    if this.family.support != "matrix":
        return {name: variable(name, this.dims, this.shape)}
    if this.family.name.startswith("LKJ"):
        size = int(this.values["n"].known)
        if this.family.name == "LKJCorr":
            return {name: variable(name, (None,), (size * (size - 1) // 2,))}
        square = {part: variable(part, (dim, None), (size, size)) for part in (name, f"{name}_corr")}
        return {**square, f"{name}_stds": variable(f"{name}_stds", (dim,), (size,))}
    matrix = this.values["V" if "V" in this.values else "S"]
    return {name: variable(name, (None, None), matrix.shape)}


def _first(dims: Any) -> str | None:
    return dims if isinstance(dims, str) or not dims else str(dims[0])


def _parameter(family: Distribution, name: str) -> DistributionParameter | None:
    own = family.parameters.get(name)
    return DistributionParameter(name, "real") if own is None and name in _BOUNDS else own


def axes_of(
    prior: Mapping[str, Any],
    scope: Scope,
    key: str,
    dims: Sequence[str | None] | None = None,
    shape: Sequence[int] | None = None,
) -> tuple[Dims, tuple[int, ...]] | None:
    """Return the dims and sizes that a prior or its builder specifies; None if neither does.

    Raises
    ------
    UserError
        When a dim is unknown, or the prior and its builder disagree.
    """
    own = prior.get("dims")
    own = (own,) if isinstance(own, str) else None if own is None else tuple(own)
    if dims is not None and own is not None and set(own) != set(dims):
        message = f"must be {[d for d in dims]} here (got {list(own)})"
        raise UserError([Problem(f"{key}.dims", message, "leave it out")])
    names = own if dims is None else tuple(dims)
    if names is not None:
        return names, tuple(shape) if shape is not None else _sizes(names, scope, f"{key}.dims")
    given = prior.get("shape")
    if given is None:
        return None
    sizes = tuple(given) if isinstance(given, Sequence) else (int(given),)
    return (None,) * len(sizes), sizes


def _sizes(dims: Sequence[str | None], scope: Scope, key: str) -> tuple[int, ...]:
    unknown = [d for d in dims if d is None or scope.size(d) is None]
    if unknown:
        raise UserError([Problem(key, f"unknown dim '{d}'", did_you_mean(str(d), scope.dims())) for d in unknown])
    return tuple(scope.size(str(d)) or 0 for d in dims)


def _evaluated(
    family: Distribution,
    given: Mapping[str, Any],
    scope: Scope,
    key: str,
    wanted: tuple[Dims, tuple[int, ...]] | None,
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for name, text in given.items():
        try:
            values[name] = read(text, scope, f"{key}.{name}", wanted[0] if wanted else ())
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return values


def _inferred(family: Distribution, values: Mapping[str, Value], key: str) -> tuple[Dims, tuple[int, ...]]:
    """Infer the axes from the parameters: the common axes, without each parameter's own."""
    outside = [_without(v, family.parameters[n].axes if n in family.parameters else 0) for n, v in values.items()]
    try:
        dims, aligned = align([v for v in outside if v.ndim])
    except Fault as fault:
        raise UserError([Problem(key, f"its parameters do not fit: {fault.message}", "write dims:")]) from None
    shape = tuple(max(sizes) for sizes in zip(*[_padded(v.shape, len(dims)) for v in aligned], strict=True))
    return (*dims, *_event(family, values, key)[0]), (*shape, *_event(family, values, key)[1])


def _padded(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - len(shape)) + shape


def _without(value: Value, axes: int) -> Value:
    """Return a value's leading axes, as a value whose shape alone matters."""
    keep = value.ndim - axes
    return Value(value.dims[: max(keep, 0)], value.shape[: max(keep, 0)])


def _event(family: Distribution, values: Mapping[str, Value], key: str) -> tuple[Dims, tuple[int, ...]]:
    if family.event == 0 or family.support == "matrix":
        return (), ()
    if family.name == "BART":
        return values["Y"].dims, values["Y"].shape
    own = [n for n in (*_LIKE_DRAW.get(family.name, ()), "cov", "chol", "tau", "W") if n in values and values[n].ndim]
    if family.event == 1 and own and family.name not in ("AR", "GaussianRandomWalk"):
        return values[own[0]].dims[-1:], values[own[0]].shape[-1:]
    raise UserError([Problem(key, f"{family.name} needs dims or shape", "write dims: [year] or shape: 10")])


def _fitted(
    family: Distribution, values: Mapping[str, Value], target: tuple[Dims, tuple[int, ...]], key: str
) -> dict[str, Value]:
    free = _free_axis(family, values)
    fitted, problems = {}, []
    for name, value in values.items():
        try:
            fitted[name] = _fit(family, name, value, target, free)
        except Fault as fault:
            problems.append(Problem(f"{key}.{name}", fault.message, fault.hint))
    if problems:
        raise UserError(problems)
    return fitted


def _free_axis(family: Distribution, values: Mapping[str, Value]) -> tuple[str | None, int] | None:
    """Return the axis that the parameters have but a draw does not (a mixture's components)."""
    own = [n for n, p in family.parameters.items() if p.axes == 1 and n in values and n not in _like_draw(family)]
    ends = [(values[n].dims[-1], values[n].shape[-1]) for n in own if values[n].ndim]
    named = [end for end in ends if end[0] is not None]
    return (named or ends or [None])[0]  # type: ignore[list-item]


def _like_draw(family: Distribution) -> tuple[str, ...]:
    return _LIKE_DRAW.get(family.name, ())


def _fit(
    family: Distribution,
    name: str,
    value: Value,
    target: tuple[Dims, tuple[int, ...]],
    free: tuple[str | None, int] | None,
) -> Value:
    """Align one parameter with the axes of the variable."""
    dims, shape = target
    axes = family.parameters[name].axes if name in family.parameters else 0
    batch = len(dims) - (0 if family.name in _ALONG_DRAW else family.event)
    if axes == 0:
        return conform(value, dims[: max(batch, 0)], shape[: max(batch, 0)])
    if family.name == "BART":
        return value
    if axes == 2:
        return _matrix(value)
    if name in _like_draw(family):
        return _full_vector(conform(value, dims[-1 - batch :], shape[-1 - batch :]), shape[-1])
    name_of_axis, size = free or (None, 1)
    if name_of_axis is not None and name_of_axis in dims[:batch]:
        raise Fault(f"its last axis must be its own, not the variable's dim '{name_of_axis}'")
    return conform(value, (*dims[:batch], name_of_axis), (*shape[:batch], size))


def _matrix(value: Value) -> Value:
    if value.ndim != 2:
        raise Fault(f"must be a matrix (got {value.ndim} axes)")
    return value


def _full_vector(value: Value, size: int) -> Value:
    """Repeat a scalar along a draw's axis, where PyMC3 requires the full vector."""
    if value.ndim and value.shape[-1] == size:
        return value
    return compute("multiply", [value, constant(np.ones(size))], (*value.dims[:-1], None))
