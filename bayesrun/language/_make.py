"""Make the PyMC3 variable of a plan, inside the model in context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesrun.errors import fail
from bayesrun.language._numbers import number
from bayesrun.language._read import read
from bayesrun.language._transforms import transform_of
from bayesrun.language.initial_values import starting_value
from bayesrun.language.plan import Plan, plan
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, compute, constant, theano_of

_WHOLE = ("count", "size", "integer")


@dataclass(frozen=True)
class Made:
    """A variable and what its name means in expressions.

    Parameters
    ----------
    variable
        What PyMC3 made.
    names
        Name to `(Theano variable, dims)`, as expressions see it.
    """

    variable: Any
    names: Mapping[str, tuple[Any, Sequence[str | None]]]


def make(this: Plan, scope: Scope, observed: Any = None) -> Made:
    """Make the variable of a plan.

    Parameters
    ----------
    this
        The plan.
    scope
        What names mean; also gives the labels of dims.
    observed
        Observed values; masked ones are imputed.
    """
    special = {"LKJCholeskyCov": _cholesky, "WishartBartlett": _bartlett, "BART": _bart}.get(this.family.name)
    if special is not None:
        return special(this, scope)
    arguments = parameters_of(this, scope)
    arguments |= _extras(this, scope, observed)
    if this.option("lower") is not None or this.option("upper") is not None:
        maker, arguments = truncated(this, arguments)
    else:
        maker = maker_of(this.family.name)
    variable = maker(this.name, **arguments, **_axes(this, scope))
    dims = (None, None) if this.family.name == "Wishart" else this.dims
    return Made(variable, {this.name: (variable, dims)})


def maker_of(name: str) -> Any:
    """Return the class of a distribution: PyMC3's, or our own where that is faster."""
    if name == "GARCH11":
        from bayesrun.language import _recurrence

        return _recurrence.GARCH11
    import pymc3 as pm

    return getattr(pm, name)


def parameters_of(this: Plan, scope: Scope) -> dict[str, Any]:
    """Return the parameters as PyMC3 takes them: numbers where they are known, Theano variables, distributions."""
    arguments = {name: _argument(this, name, value) for name, value in this.values.items()}
    for name, given in this.raw.items():
        arguments[name] = _raw_argument(this, name, given, scope)
    return arguments


def _argument(this: Plan, name: str, value: Value) -> Any:
    if value.known is None or value.graph is not None:
        return _at_least_row(this, name, value.graph)
    parameter = this.family.parameters.get(name)
    domain = parameter.domain if parameter else "real"
    if domain in _WHOLE:
        return _at_least_row(this, name, value.known.astype(np.int64))
    if value.known.size > 256:
        return theano_of(value)
    return _at_least_row(this, name, number(value.known) if value.ndim == 0 else value.known.astype(float))


def _at_least_row(this: Plan, name: str, argument: Any) -> Any:
    """Give a vector parameter its axis where a single number was given (`rho` of an AR with one lag)."""
    parameter = this.family.parameters.get(name)
    if parameter is None or parameter.axes != 1 or np.ndim(argument) or getattr(argument, "ndim", 0):
        return argument
    if hasattr(argument, "dimshuffle"):
        return argument.dimshuffle("x")
    return np.reshape(argument, (1,))


def _raw_argument(this: Plan, name: str, given: Any, scope: Scope) -> Any:
    domain, key = this.family.parameters[name].domain, f"{this.key}.{name}"
    if domain == "distribution":
        shared = this.family.name == "MixtureSameFamily"
        shape = _component_shape(this) if shared else ()
        return inner(given, scope, key, (*this.dims, this.values["w"].dims[-1]) if shared else (), shape)
    if domain == "distributions":
        return _components(this, given, scope, key)
    if domain == "matrices":
        return [np.asarray(theano_constant(read(one, scope, f"{key}[{i}]"))) for i, one in enumerate(given)]
    return given


def _components(this: Plan, given: Sequence[Mapping[str, Any]], scope: Scope, key: str) -> list[Any]:
    """Make a mixture's components; PyMC3 wants the parameters of all to have the same axes."""
    plans = [inner_plan(one, scope, f"{key}[{i}]", this.dims, this.shape) for i, one in enumerate(given)]
    if any(value.ndim for one in plans for value in one.values.values()):
        plans = [replace(one, values={n: _repeated(v, this.shape) for n, v in one.values.items()}) for one in plans]
    return [_distribution(one, scope) for one in plans]


def _repeated(value: Value, shape: tuple[int, ...]) -> Value:
    ones = constant(np.ones(shape))
    return compute(lambda x, w: x * w, lambda x, w: x * w, [value, ones], (None,) * len(shape))


def theano_constant(value: Value) -> Any:
    """Return known numbers as they are, and anything else as a Theano variable."""
    return value.known if value.graph is None else value.graph


def inner(prior: Mapping[str, Any], scope: Scope, key: str, dims: Sequence[str | None], shape: Sequence[int]) -> Any:
    """Make a distribution without a name, for use inside another one."""
    return _distribution(inner_plan(prior, scope, key, dims, shape), scope)


def inner_plan(
    prior: Mapping[str, Any], scope: Scope, key: str, dims: Sequence[str | None], shape: Sequence[int]
) -> Plan:
    """Plan a distribution without a name; its axes are those of the one that it is inside of."""
    this = plan("", {k: v for k, v in prior.items() if k not in ("dims", "shape")}, scope, key, dims, shape)
    if this.values.keys() - this.family.parameters.keys() and this.family.name != "Normal":
        raise fail(key, f"{this.family.name} can't be truncated inside another distribution", "use TruncatedNormal")
    return this


def _distribution(this: Plan, scope: Scope) -> Any:
    name = "TruncatedNormal" if this.values.keys() - this.family.parameters.keys() else this.family.name
    shape = {"shape": this.shape} if this.shape else {}
    return maker_of(name).dist(**parameters_of(this, scope), **shape)


def _component_shape(this: Plan) -> tuple[int, ...]:
    return (*this.shape, this.values["w"].shape[-1])


def _extras(this: Plan, scope: Scope, observed: Any) -> dict[str, Any]:
    """Return what PyMC3 wants beside the parameters: start, transform, observed values, shape of components."""
    extras: dict[str, Any] = {}
    if observed is not None:
        extras["observed"] = observed
    else:
        start = starting_value(this, scope)
        extras |= {} if start is None else {"testval": start}
    name = this.option("transform")
    if name is not None and observed is None:
        extras["transform"] = transform_of(name, this)
    if this.family.name == "NormalMixture":
        wide = len(this.shape) > 1 or any(v.ndim > 1 for v in this.values.values())
        extras["comp_shape"] = _component_shape(this) if wide else _component_shape(this)[-1:]
    return extras


def _axes(this: Plan, scope: Scope) -> dict[str, Any]:
    """Return `dims=` for PyMC3; an axis without a name gets one, with labels 0, 1, ..."""
    if this.family.name == "Wishart":
        return {"shape": this.values["V"].shape}
    if this.family.support == "matrix" or not this.dims:
        # MixtureSameFamily insists on being told
        return {"shape": this.shape} if this.shape or this.family.name == "MixtureSameFamily" else {}
    return {"dims": register_dims(this.name, this.dims, this.shape, scope)}


def register_dims(name: str, dims: Sequence[str | None], shape: Sequence[int], scope: Scope) -> tuple[str, ...]:
    """Make the dims of a variable known to the model in context, with their labels.

    Returns
    -------
    tuple of str
        Names of all axes; `theta_dim_0` for one that has none.
    """
    import pymc3 as pm

    model = pm.modelcontext(None)
    names = tuple(d or f"{name}_dim_{axis}" for axis, d in enumerate(dims))
    for dim, size in zip(names, shape, strict=True):
        if dim not in model.coords:
            labels = scope.labels(dim)
            model.add_coords({dim: np.arange(size) if labels is None else labels})
    return names


def truncated(this: Plan, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the maker of a distribution that is cut off at `lower` and `upper`.

    A normal one is normalized, whatever its parameters. The density of others is cut but not scaled, which is the
    same posterior only where nothing random is in their parameters; else it is refused.
    """
    import pymc3 as pm

    family = this.family
    if "lower" in family.parameters:
        return getattr(pm, family.name), arguments
    if family.name == "Normal":
        return pm.TruncatedNormal, arguments
    if "observed" in arguments:
        raise fail(this.key, f"an observed {family.name} can't be truncated", "use TruncatedNormal")
    if family.parameters and any(value.known is None for value in this.values.values()):
        hint = "use TruncatedNormal, or give it fixed parameters and bounds"
        raise fail(this.key, f"a truncated {family.name} with random parameters has no known scale", hint)
    bounds = {name: arguments.pop(name) for name in ("lower", "upper") if name in arguments}
    return pm.Bound(getattr(pm, family.name), **bounds), arguments


def _cholesky(this: Plan, scope: Scope) -> Made:
    """The Cholesky factor of a covariance; its name means the whole factor in expressions."""
    import pymc3 as pm

    size = int(this.values["n"].known)
    spread = inner(this.raw["sd_dist"], scope, f"{this.key}.sd_dist", (None,), (size,))
    factor, correlations, scales = pm.LKJCholeskyCov(
        this.name,
        eta=parameters_of(this_without(this, "sd_dist"), scope)["eta"],
        n=size,
        sd_dist=spread,
        compute_corr=True,
    )
    dim = this.option("dims")
    dim = dim if isinstance(dim, str) else dim[0] if dim else None
    names = {
        this.name: (factor, (dim, None)),
        f"{this.name}_corr": (correlations, (dim, None)),
        f"{this.name}_stds": (scales, (dim,)),
    }
    return Made(factor, names)


def this_without(this: Plan, name: str) -> Plan:
    """Return the plan without one of its inner distributions."""
    return replace(this, raw={k: v for k, v in this.raw.items() if k != name})


def _bartlett(this: Plan, scope: Scope) -> Made:
    import pymc3 as pm

    arguments = parameters_of(this, scope)
    matrix = pm.WishartBartlett(this.name, **arguments)
    return Made(matrix, {this.name: (matrix, (None, None))})


def _bart(this: Plan, scope: Scope) -> Made:
    import pymc3 as pm

    arguments: dict[str, Any] = {**this.raw}
    for name, value in this.values.items():
        if value.known is None:
            raise fail(f"{this.key}.{name}", "BART takes data here, nothing random")
        arguments[name] = value.known if name != "m" else int(value.known)
    variable = pm.BART(this.name, **arguments)
    return Made(variable, {this.name: (variable, this.values["Y"].dims)})
