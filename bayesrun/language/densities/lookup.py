"""A declared distribution by its name, and its log density within its support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bayesrun.language.densities import categories, continuous, inflated
from bayesrun.language.densities.algebra import at_most, less, only_where
from bayesrun.language.densities.base import DENSITIES, Declared, Values
from bayesrun.language.distributions import Family
from bayesrun.language.values import Value, constant


def _no_draws(p: Mapping[str, Any], shape: tuple[int, ...], rng: Any) -> Any:
    raise ValueError("the rows of a series with hidden states are drawn together")


_OWN: Mapping[str, Declared] = {
    **{name: one for module in (categories, continuous, inflated) for name, one in module.DISTRIBUTIONS.items()},
    # their terms are computed by the forward algorithm and the Kalman filter, from the data
    "HiddenMarkov": Declared(lambda x, p: p["terms"], _no_draws),
    "LinearGaussian": Declared(lambda x, p: p["terms"], _no_draws),
}


def declared(name: str) -> Declared:
    """Return the definition of a declared distribution (`Family.declared`)."""
    return _OWN[name] if name in _OWN else DENSITIES.load(name, f"dist: {name}")


def log_density(family: Family, x: Value, parameters: Values) -> Value:
    """Return the log density of a declared distribution.

    Parameters
    ----------
    family
        The distribution.
    x
        Points at which to evaluate it, with unnamed axes.
    parameters
        Its parameters, with unnamed axes, which broadcast against `x` from the right.

    Returns
    -------
    Value
        Over the axes of `x` without those of one draw; minus infinity outside of the support and of the parameters'
        domains.
    """
    logs = declared(family.name).log_density(x, parameters)
    return only_where(logs, *_in_domains(family, parameters), *_in_support(family, x))


def _in_domains(family: Family, parameters: Values) -> Iterator[Value]:
    for name, value in parameters.items():
        known = family.parameters[name]
        if known.axes == 0:
            yield from _within(known.domain, value)


def _in_support(family: Family, x: Value) -> Iterator[Value]:
    if family.event == 0:
        yield from _within({"unit": "open_unit"}.get(family.support, family.support), x)


def _within(domain: str, value: Value) -> Iterator[Value]:
    zero, one = constant(0.0), constant(1.0)
    if domain in ("positive", "open_unit"):
        yield less(zero, value)
    elif domain in ("nonnegative", "count", "unit", "unit_or_end"):
        yield at_most(zero, value)
    if domain in ("unit", "unit_or_end"):
        yield at_most(value, one)
    elif domain == "open_unit":
        yield less(value, one)


def known_log_density(family: Family, x: Any, parameters: Mapping[str, Any]) -> Any:
    """Return the log density of a declared distribution of known parameters at known values, both as arrays."""
    return log_density(family, constant(x), unnamed(parameters)).known


def unnamed(arrays: Mapping[str, Any]) -> dict[str, Value]:
    """Return known arrays as values with unnamed axes."""
    return {name: constant(array) for name, array in arrays.items()}
