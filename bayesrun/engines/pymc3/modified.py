"""One class for all likelihoods that are weighted, censored or truncated, around the distribution that is modified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import theano.tensor as tt
from pymc3.distributions.distribution import Continuous, Discrete

from bayesrun.engines.pymc3.operations import Lowering
from bayesrun.language.modifiers import NONE, draw_modified, log_terms
from bayesrun.language.plan import Plan
from bayesrun.language.values import Value, node_of, variable

_VALUE, _DENSITY = "value", "log_density"


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
        x, logs = (variable(name, (None,) * len(shape), shape) for name in (_VALUE, _DENSITY))
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
