"""The interface of a distribution defined by expressions, and its log density with the support's conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.registry import TableRegistry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bayesrun.language.values import Value

    Array = NDArray[Any]

Values = Mapping[str, "Value"]
Density = Callable[["Value", Values], "Value"]
"""`(value, parameters) -> log density`, or log probability, of each value."""
Mean = Callable[[Values], "Value"]
Draw = Callable[[Mapping[str, "Array"], "tuple[int, ...]", "np.random.Generator"], "Array"]
"""`(parameters (draw, ...), shape of one draw, rng) -> draws (draw, *shape)`; the axes of a parameter behind the first
meet those of one draw from the right, and its own axes come last."""


@dataclass(frozen=True)
class Declared:
    """A distribution defined by expressions, which needs no support from engines.

    Parameters are arrays that broadcast against the value from the right; a parameter's own axes (`cutpoints[]`) are
    its last. Outside the support, or a parameter's domain, the log density is set to minus infinity
    automatically, so an expression only must not fail there.

    Parameters
    ----------
    log_density
        Logarithm of the density, or of the probability of a whole number.
    draw
        Random draws at many values of the parameters at once, in NumPy.
    mean
        Expected value; None if it does not exist.
    log_cdf
        Logarithm of the probability of at most a value; None if it has no exact form.
    log_survival
        Logarithm of the probability of more than a value.
    shares
        Probabilities of the categories 0, 1, ... (draw, ..., category) at many values of the parameters at once; None
        if the values are not categories.
    line
        Its line of the table of distributions (`bayesrun.language.distributions`); a plug-in's needs it.
    """

    log_density: Density
    draw: Draw
    mean: Mean | None = None
    log_cdf: Density | None = None
    log_survival: Density | None = None
    shares: Callable[[Mapping[str, Array]], Array] | None = None
    line: str = ""


DENSITIES: TableRegistry[Declared] = TableRegistry("distribution", "bayesrun.distributions", "DISTRIBUTION", Declared)
"""Distributions of plug-ins, under the names by which YAML calls them; bayesrun's own are text (`distributions`)."""
