"""The language's own distributions, and its weighted, censored or truncated likelihoods, as distributions of PyMC3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import theano.tensor as tt
from pymc3.distributions import transforms
from pymc3.distributions.distribution import Continuous, Discrete, draw_values

from bayesrun.engines.pymc3.lowering import Lowering
from bayesrun.engines.pymc3.random_draws import Recipe
from bayesrun.language.densities.base import Values
from bayesrun.language.densities.named_densities import declared, log_density, unnamed
from bayesrun.language.distributions import Distribution
from bayesrun.language.modifiers import NONE, draw_modified, log_terms
from bayesrun.language.plan import Plan
from bayesrun.language.values import Value, node_of, variable

_VALUE, _DENSITY = "value", "log_density"
_INSIDE = {"real": 0.0, "positive": 1.0, "nonnegative": 1.0, "unit": 0.5, "unit_or_end": 0.5}


def to_real_line(family: Distribution) -> Any:
    """Return PyMC3's transform of a family's support to the real line; None where it needs none."""
    return {"positive": transforms.log, "unit": transforms.logodds}.get(family.support)


class _Declared:
    """What both classes share.

    Parameters
    ----------
    family
        The distribution.
    parameters
        Numbers, arrays and Theano variables by name.
    shapes
        Shape of each.
    """

    def _set(self, family: Distribution, parameters: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.family = family
        self.parameters = {name: tt.as_tensor_variable(given) for name, given in parameters.items()}
        self._values = {name: variable(name, (None,) * len(shape), shape) for name, shape in shapes.items()}

    def logp(self, value: Any) -> Any:
        """Return the log density of each value."""
        shape = tuple(int(n) for n in np.atleast_1d(self.shape)) if value.ndim else ()  # type: ignore[attr-defined]
        x = variable(_VALUE, (None,) * len(shape), shape)
        return Lowering({**self.parameters, _VALUE: value})(node_of(log_density(self.family, x, self._values)))

    def default(self) -> Any:
        """Return the initial value: what was given, else the mean, else a point inside the support."""
        shape = tuple(np.atleast_1d(self.shape))  # type: ignore[attr-defined]
        given = self.testval  # type: ignore[attr-defined]
        start = np.broadcast_to(self._inside() if given is None else given, shape)
        return np.asarray(np.round(start) if self.family.discrete else start, self.dtype)  # type: ignore[attr-defined]

    def _inside(self) -> Any:
        mean = declared(self.family.name).mean
        if mean is not None:
            known: Values = unnamed({name: self.getattr_value(p) for name, p in self.parameters.items()})  # type: ignore[attr-defined]
            found = mean(known).known
            if np.all(np.isfinite(found)):
                return found
        return _INSIDE.get(self.family.support, 0)

    def recipe(self) -> Recipe:
        """Return how to draw from it."""
        names, draw = list(self.parameters), declared(self.family.name).draw
        return Recipe(
            tuple(self.parameters.values()),
            lambda values, shape, rng: draw(dict(zip(names, values, strict=True)), shape, rng),
        )

    def random(self, point: Any = None, size: Any = None) -> Any:
        """Draw as PyMC3 does, from its own source of randomness."""
        values = draw_values(list(self.parameters.values()), point=point, size=size)
        count = 1 if size is None else int(np.prod(size))
        shape = tuple(int(n) for n in self.shape) if np.ndim(self.shape) else ()  # type: ignore[attr-defined]
        own = {n: _each(v, self._values[n].shape, count) for n, v in zip(self.parameters, values, strict=True)}
        rng = np.random.default_rng(np.random.randint(2**31))
        drawn = np.broadcast_to(declared(self.family.name).draw(own, shape, rng), (count, *shape))
        return drawn[0] if size is None else drawn.reshape(*np.atleast_1d(size), *shape)

    def _distr_parameters_for_repr(self) -> list[str]:
        return []


def _each(values: Any, shape: tuple[int, ...], count: int) -> Any:
    """Bring what PyMC3 drew of a parameter to (draw, ...); it computes once what depends on nothing random."""
    found = np.asarray(values)
    return found[None] if found.shape == shape else found.reshape(count, *found.shape[found.ndim - len(shape) :])


class Softplus(transforms.ElemwiseTransform):  # type: ignore[misc]
    """`x = s log(1 + exp(u))`: as a logarithm where `x` is small beside the scale `s`, and linear beyond it.

    A scale that standard effects are multiplied by has a likelihood that is as steep in its logarithm as the scale is
    large, which makes steps that are right elsewhere diverge there. It is not steep in the scale itself.

    Parameters
    ----------
    scale
        `s`, a number or an array of the variable's shape: mostly that of its prior.
    """

    name = "softplus"

    def __init__(self, scale: Any) -> None:
        self.scale = tt.as_tensor_variable(scale)

    def backward(self, x: Any) -> Any:
        """Return the variable at a point of the real line."""
        return self.scale * tt.nnet.softplus(x)

    def forward(self, x: Any) -> Any:
        """Return the point of the real line of a value: `u = x / s + log(1 - exp(-x / s))`."""
        relative = x / self.scale
        return relative + tt.log(-tt.expm1(-relative))

    def forward_val(self, x: Any, point: Any = None) -> Any:
        """Return the same for numbers."""
        (scale,) = draw_values([self.scale], point=point)
        relative = np.asarray(x) / scale
        return relative + np.log(-np.expm1(-relative))

    def jacobian_det(self, x: Any) -> Any:
        """Return the logarithm of `dx / du = s / (1 + exp(-u))`, of each element."""
        return tt.log(self.scale) - tt.nnet.softplus(-x)


class DeclaredContinuous(_Declared, Continuous):  # type: ignore[misc]  # PyMC3 has no type hints
    """A continuous distribution."""

    def __init__(self, family: Distribution, parameters: Any, shapes: Any, **options: Any) -> None:
        self._set(family, parameters, shapes)
        super().__init__(**options)


class DeclaredDiscrete(_Declared, Discrete):  # type: ignore[misc]
    """A distribution of whole numbers."""

    def __init__(
        self, family: Distribution, parameters: Any, shapes: Any, transform: Any = None, **options: Any
    ) -> None:
        self._set(family, parameters, shapes)
        super().__init__(**options)


def name_of(distribution: Any) -> str:
    """Return the name by which YAML calls the distribution of a variable."""
    family = getattr(distribution, "family", None)
    return family.name if isinstance(family, Distribution) else type(distribution).__name__


class Modified:
    """What both classes share.

    Parameters
    ----------
    base
        PyMC3's distribution, without what modifies it.
    this
        The plan of the likelihood.
    parameters
        Parameters of the distribution by name: numbers, arrays or Theano variables.
    others
        Theano variables of the modifiers' values (`Modifiers.values`).
    """

    def _set(self, base: Any, this: Plan, parameters: Mapping[str, Any], others: Mapping[str, Any]) -> None:
        assert this.modifiers is not None
        self.base, self.family, self._modifiers = base, this.family, this.modifiers
        self._variables = {name: tt.as_tensor_variable(given) for name, given in {**parameters, **others}.items()}
        self._values = {name: _unnamed(name, value) for name, value in this.values.items()}
        self._others = {name: _unnamed(name, value) for name, value in this.modifiers.values().items()}

    def logp(self, value: Any) -> Any:
        """Return the term of each row."""
        made, status = self._modifiers.of(self._others), self._modifiers.status
        seen = value
        if status is not None:
            seen = tt.switch(tt.eq(self._variables["status"], NONE), value, made.inside)
        shape = tuple(int(n) for n in np.atleast_1d(self.shape)) if value.ndim else ()  # type: ignore[attr-defined]
        rows = shape[: max(len(shape) - self.family.event, 0)]
        x, logs = variable(_VALUE, (None,) * len(shape), shape), variable(_DENSITY, (None,) * len(rows), rows)
        terms = log_terms(self.family, logs, x, self._values, made)
        return Lowering({**self._variables, _VALUE: value, _DENSITY: self.base.logp(seen)})(node_of(terms))

    def default(self) -> Any:
        """Return the initial value of the distribution itself."""
        return self.base.default()

    def random(self, point: Any = None, size: Any = None) -> Any:
        """Draw from the distribution itself."""
        return self.base.random(point=point, size=size)

    @property
    def cut(self) -> dict[str, Any]:
        """Theano variables of the limits that truncate or censor draws; empty where there are none."""
        names = [name for name in self._others if name.startswith(("limits", "truncation"))]
        return {name: self._variables[name] for name in [*self._values, *names]} if names else {}

    def draw(self, values: Mapping[str, Any], draw: Callable[[], Any], rng: np.random.Generator) -> Any:
        """Draw within the limits.

        Parameters
        ----------
        values
            What `cut` is at every draw, (draw, ...).
        draw
            Draws (draw, *shape) of the distribution without limits, new ones at each call.
        rng
            Source of randomness.
        """
        return draw_modified(self.family, self._modifiers, values, draw, rng)

    def _distr_parameters_for_repr(self) -> list[str]:
        return []


def _unnamed(name: str, value: Value) -> Value:
    return variable(name, (None,) * value.ndim, value.shape)


class ModifiedContinuous(Modified, Continuous):  # type: ignore[misc]  # PyMC3 has no type hints
    """A likelihood of a continuous quantity."""

    def __init__(self, base: Any, this: Plan, parameters: Any, others: Any, **options: Any) -> None:
        self._set(base, this, parameters, others)
        super().__init__(**options)


class ModifiedDiscrete(Modified, Discrete):  # type: ignore[misc]
    """A likelihood of whole numbers."""

    def __init__(self, base: Any, this: Plan, parameters: Any, others: Any, **options: Any) -> None:
        self._set(base, this, parameters, others)
        super().__init__(**options)
