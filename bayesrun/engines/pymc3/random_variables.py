"""From a planned distribution to PyMC3's: parameters, bounds, transforms, and distributions that are made in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pymc3 as pm
from pymc3.distributions import transforms

from bayesrun.engines.pymc3.compiled_functions import replaceable_number
from bayesrun.engines.pymc3.declared_distributions import (
    DeclaredContinuous,
    DeclaredDiscrete,
    ModifiedContinuous,
    ModifiedDiscrete,
    Softplus,
    to_real_line,
)
from bayesrun.engines.pymc3.replaced_distributions import (
    GARCH11,
    BetaBinomial,
    DirichletMultinomial,
    GaussianRandomWalk,
    Multinomial,
    OrderedLogistic,
    VonMises,
    covariance_factor,
    ordered,
)
from bayesrun.engines.pymc3.vector_distributions import MvNormal, MvStudentT
from bayesrun.errors import fail
from bayesrun.language.distributions import Distribution
from bayesrun.language.operations import Constant, Node
from bayesrun.language.plan import Plan, component_shape
from bayesrun.language.prior_checks import SOFTPLUS_SCALES
from bayesrun.language.values import Value, node_of

Lower = Callable[[Node], Any]
_WHOLE = ("count", "size", "integer")
# Arrays of parameters up to this size are given to PyMC3 as numbers.
_MAX_CONSTANT_LENGTH = 256
_OUR_OWN = {
    "BetaBinomial": BetaBinomial,
    "DirichletMultinomial": DirichletMultinomial,
    "GARCH11": GARCH11,
    "GaussianRandomWalk": GaussianRandomWalk,
    "Multinomial": Multinomial,
    "MvNormal": MvNormal,
    "MvStudentT": MvStudentT,
    "OrderedLogistic": OrderedLogistic,
    "VonMises": VonMises,
}


def make_variable(this: Plan, dims: tuple[str, ...], lower: Lower, initial: Any, observed: Any = None) -> Any:
    """Make the variable of a plan in the model in context.

    Parameters
    ----------
    this
        The plan.
    dims
        Name of each of its axes in the model.
    lower
        Turns nodes into Theano variables.
    initial
        Its initial value; None for the distribution's own.
    observed
        Observed values; masked ones are imputed.

    Returns
    -------
    variable
        PyMC3's variable; for `LKJCholeskyCov` the whole Cholesky factor.
    """
    special = {"LKJCholeskyCov": _cholesky, "WishartBartlett": _bartlett, "BART": _bart}.get(this.family.name)
    if special is not None:
        return special(this, lower)
    parameters, options = parameters_of(this, lower), _options(this, lower, initial, observed)
    if this.modifiers is not None:
        of_base = _component_shape(this)  # the base has it
        maker, arguments = _modified(this, lower, parameters), {n: v for n, v in options.items() if n not in of_base}
    elif this.truncated:
        maker, arguments = _truncated(this, {**parameters, **options})
    else:
        maker, arguments = _class_of(this.family), {**_given(this, parameters), **options}
    if this.option("transform") == "ordered" and observed is None and isinstance(maker, type):
        maker = ordered(maker, _is_exchangeable(this))
    return maker(this.name, **arguments, **_axes(this, dims))


def _is_exchangeable(this: Plan) -> bool:
    """Return whether the numbers along the last axis have the same distribution."""
    return all(value.ndim == 0 or value.shape[-1] == 1 for value in this.values.values())


def _modified(this: Plan, lower: Lower, parameters: dict[str, Any]) -> Any:
    """Return the maker of a likelihood that is weighted, censored or truncated."""
    assert this.modifiers is not None
    base = make_distribution(replace(this, modifiers=None), lower)
    others = {name: lower(node_of(value)) for name, value in this.modifiers.values().items()}
    # only the base has parameters that are distributions
    own = {name: parameters[name] for name in this.values}
    made = ModifiedDiscrete if this.discrete else ModifiedContinuous
    return partial(made, base=base, this=this, parameters=own, others=others)


def make_distribution(this: Plan, lower: Lower) -> Any:
    """Make a distribution without a name."""
    shape = {"shape": this.shape} if this.shape else {}
    parameters = parameters_of(this, lower)
    if this.truncated:
        return pm.TruncatedNormal.dist(**parameters, **shape)
    return _class_of(this.family).dist(**_given(this, parameters), **_component_shape(this), **shape)


def parameters_of(this: Plan, lower: Lower) -> dict[str, Any]:
    """Return the parameters as PyMC3 takes them: numbers where they are known, Theano variables, distributions."""
    arguments = {name: _argument(this, name, value, lower) for name, value in this.values.items()}
    for name, inner in this.inner.items():
        made = [make_distribution(one, lower) for one in (inner if isinstance(inner, tuple) else (inner,))]
        arguments[name] = made if isinstance(inner, tuple) else made[0]
    arguments |= {name: [np.asarray(matrix) for matrix in given] for name, given in this.matrices.items()}
    return {**arguments, **this.flags}


def _argument(this: Plan, name: str, value: Value, lower: Lower) -> Any:
    if isinstance(value.node, Constant) and not value.node.replaceable and not value.ndim:
        return float(value.node.numbers)
    if value.node is not None:
        return _at_least_row(this, name, lower(value.node))
    parameter = this.family.parameters.get(name)
    if parameter is not None and parameter.domain in _WHOLE:
        return _at_least_row(this, name, value.known.astype(np.int64))
    if value.known.size > _MAX_CONSTANT_LENGTH:
        return lower(node_of(value))
    known = replaceable_number(value.known) if value.ndim == 0 else value.known.astype(float)
    return _at_least_row(this, name, known)


def _at_least_row(this: Plan, name: str, argument: Any) -> Any:
    """Give a vector parameter its axis where a single number was given (`rho` of an AR with one lag)."""
    parameter = this.family.parameters.get(name)
    if parameter is None or parameter.axes != 1 or np.ndim(argument) or getattr(argument, "ndim", 0):
        return argument
    if hasattr(argument, "dimshuffle"):
        return argument.dimshuffle("x")
    return np.reshape(argument, (1,))


def _class_of(family: Distribution) -> Any:
    """Return the class of a distribution: PyMC3's, our own where PyMC3's is slow or wrong, or that of declared ones."""
    if family.declared:
        return DeclaredDiscrete if family.discrete else DeclaredContinuous
    return _OUR_OWN.get(family.name) or getattr(pm, family.name)


def _given(this: Plan, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as the class of a distribution takes them."""
    if not this.family.declared:
        return parameters
    shapes = {name: value.shape for name, value in this.values.items()}
    return {"family": this.family, "parameters": parameters, "shapes": shapes, "transform": to_real_line(this.family)}


def _options(this: Plan, lower: Lower, initial: Any, observed: Any) -> dict[str, Any]:
    """Return what PyMC3 needs besides the parameters: initial value, transform, observed values, shape."""
    options: dict[str, Any] = {}
    if observed is not None:
        options["observed"] = observed
    elif initial is not None:
        options["testval"] = initial
    name = this.option("transform")
    if name is not None and observed is None:
        options["transform"] = _transform_of(name, this, lower)
    return {**options, **_component_shape(this)}


def _component_shape(this: Plan) -> dict[str, tuple[int, ...]]:
    """Return the shape of all components as `NormalMixture` takes it; nothing for other distributions."""
    if this.family.name != "NormalMixture":
        return {}
    wide = len(this.shape) > 1 or any(v.ndim > 1 for v in this.values.values())
    return {"comp_shape": component_shape(this) if wide else component_shape(this)[-1:]}


def _axes(this: Plan, dims: tuple[str, ...]) -> dict[str, Any]:
    if this.family.name == "Wishart":
        return {"shape": this.values["V"].shape}
    if dims and this.family.support != "matrix":
        return {"dims": dims}
    # MixtureSameFamily requires it
    return {"shape": this.shape} if this.shape or this.family.name == "MixtureSameFamily" else {}


def _truncated(this: Plan, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the maker of a distribution that is cut off at `lower` and `upper`; a normal one is normalized."""
    if this.family.name == "Normal":
        return pm.TruncatedNormal, arguments
    bounds = {name: arguments.pop(name) for name in ("lower", "upper") if name in arguments}
    return pm.Bound(_class_of(this.family), **bounds), arguments


def _transform_of(name: str, this: Plan, lower: Lower) -> Any:
    """Return PyMC3's transform; `ordered` keeps the support of the distribution as well."""
    if name == "none":
        return None
    if name == "softplus":
        parameter = SOFTPLUS_SCALES[this.family.name]
        scale = _argument(this, parameter, this.values[parameter], lower)
        return Softplus(1.0 / scale if parameter == "lam" else scale)
    if name != "ordered":
        return getattr(transforms, name)
    inner = _to_real_line(this, lower)
    return transforms.ordered if inner is None else transforms.Chain([inner, transforms.ordered])


def _to_real_line(this: Plan, lower: Lower) -> Any:
    """Return the transform of one number of the support to the real line, None where it is the real line."""
    bounds = {name: lower(node_of(this.values[name])) for name in ("lower", "upper") if name in this.values}
    if len(bounds) == 2:
        return transforms.interval(bounds["lower"], bounds["upper"])
    if this.family.support == "real" and "lower" in bounds:  # PyMC3's transform of an upper bound decreases
        return transforms.lowerbound(bounds["lower"])
    return to_real_line(this.family)


def _cholesky(this: Plan, lower: Lower) -> Any:
    """Make the Cholesky factor of a covariance; correlations and scales are deterministics of their own."""
    arguments = parameters_of(this, lower)
    return covariance_factor(this.name, arguments["eta"], int(this.values["n"].known), arguments["sd_dist"])


def _bartlett(this: Plan, lower: Lower) -> Any:
    return pm.WishartBartlett(this.name, **parameters_of(this, lower))


def _bart(this: Plan, lower: Lower) -> Any:
    arguments: dict[str, Any] = {**this.flags}
    for name, value in this.values.items():
        if value.known is None:
            raise fail(f"{this.key}.{name}", "BART takes data here, not random variables")
        arguments[name] = value.known if name != "m" else int(value.known)
    return pm.BART(this.name, **arguments)


def names_of(this: Plan, variable: Any, model: Any) -> Mapping[str, Any]:
    """Return the Theano variables that the names of a plan mean (`plan.variables_of`)."""
    if this.family.name != "LKJCholeskyCov":
        return {this.name: variable}
    parts = {f"{this.name}_{part}": model[f"{this.name}_{part}"] for part in ("corr", "stds")}
    return {this.name: variable, **parts}
