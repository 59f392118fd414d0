"""The log density of a declaration, term by term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood, Potential, Random
from bayesrun.language.operations import evaluate
from bayesrun.language.plan import Plan
from bayesrun.language.values import Value, constant, node_of
from tests.contract.numpy_engine.densities import log_density

Point = Mapping[str, Any]


def log_densities(declared: Declaration, point: Point) -> dict[str, float]:
    """Evaluate each term of the log density, without Jacobians.

    Parameters
    ----------
    declared
        The model.
    point
        Values of all random variables on their own scale, and of missing values as `NAME_missing`; of
        `LKJCholeskyCov` the whole factor.

    Returns
    -------
    dict
        Name of each random variable, likelihood and potential to its term.
    """
    known: dict[str, Any] = {}
    terms: dict[str, float] = {}
    for item in declared.items:
        if isinstance(item, Container):
            known[item.name] = item.numbers
        elif isinstance(item, Deterministic):
            known[item.name] = _numbers(item.value, known)
        elif isinstance(item, Potential):
            terms[item.name] = _potential(item, known)
        elif isinstance(item, Random):
            known |= _parts(item.plan, point[item.name])
            terms[item.name] = _density(item.plan, point[item.name], known)
        else:
            known[item.name] = _completed(item, point)
            terms[item.name] = _density(item.plan, known[item.name], known)
    return terms


def _numbers(value: Value, known: Mapping[str, Any]) -> Any:
    return evaluate(node_of(value), known.__getitem__)


def _potential(item: Potential, known: Mapping[str, Any]) -> float:
    total = 0.0 if item.value is None else float(np.sum(_numbers(item.value, known)))
    return total + sum(d.sign * _density(d.plan, _numbers(d.value, known), known) for d in item.densities)


def _density(plan: Plan, x: Any, known: Mapping[str, Any]) -> float:
    logs = log_density(_resolved(plan, known), np.asarray(x))
    missing_axes = len(plan.shape) - plan.family.event - np.ndim(logs)
    assert missing_axes <= 0 or np.ndim(logs) == 0, "a term per draw"
    return float(np.sum(logs))


def _resolved(plan: Plan, known: Mapping[str, Any]) -> Plan:
    """Replace what is random in a plan's parameters by numbers."""
    values = {name: constant(_numbers(value, known)) for name, value in plan.values.items()}
    inner = {
        name: tuple(_resolved(p, known) for p in part) if isinstance(part, tuple) else _resolved(part, known)
        for name, part in plan.inner.items()
    }
    modifiers = plan.modifiers
    if modifiers is not None:
        modifiers = modifiers.of({n: constant(_numbers(value, known)) for n, value in modifiers.values().items()})
    return replace(plan, values=values, inner=inner, modifiers=modifiers)


def _parts(plan: Plan, value: Any) -> dict[str, Any]:
    if plan.family.name != "LKJCholeskyCov":
        return {plan.name: value}
    scales = np.sqrt((value**2).sum(axis=1))
    correlations = value @ value.T / np.outer(scales, scales)
    return {plan.name: value, f"{plan.name}_corr": correlations, f"{plan.name}_stds": scales}


def _completed(item: Likelihood, point: Point) -> Any:
    """Fill the missing values of a likelihood in."""
    if item.observed.missing is None:
        return item.observed.values
    values = item.observed.values.astype(float)
    values[item.observed.missing.mask] = point[f"{item.name}_missing"]
    return values
