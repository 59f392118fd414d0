"""Draws of discrete variables that were summed out, and of what follows from them, at draws of the other variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood
from bayesrun.language.discrete_sums import DRAW, Factor, drawn, given_the_others, summed
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.generators import generator
from bayesrun.language.values import Value, constant, node_of
from bayesrun.models.declarative.marginal_variables import axis_of

Array = NDArray[Any]
_AT_ONCE = 2_000_000
"""Maximum number of terms of a factor that are held at once."""


@dataclass(frozen=True)
class Recovery:
    """Draws what was summed out.

    Parameters
    ----------
    values
        Values of each variable (value).
    factors
        The terms of the log density that depend on the variables.
    sampled
        The model that is sampled.
    reported
        The model as it is written.
    names
        Names of the variables, and of what depends on them.
    """

    values: Mapping[str, Array]
    factors: Sequence[Factor]
    sampled: Declaration
    reported: Declaration
    names: frozenset[str]

    def __call__(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw the variables, and what follows from them, at draws (chain, draw, ...)."""
        size, count, known = _flat(draws)
        sizes = {dim: n for factor in self.factors for dim, n in factor.dims.items()}
        parts: list[dict[str, Array]] = []
        for factors, length in self._in_batches(known, count):
            parts.append(drawn(summed(factors), length, sizes, rng))
        made = {
            name: values[np.concatenate([part[axis_of(name)] for part in parts])]
            for name, values in self.values.items()
        }
        for item in self.reported.items:
            if isinstance(item, Deterministic) and item.name in self.names:
                found = _at(self.reported, [item.value], {**known, **made})[0]
                made[item.name] = np.broadcast_to(found, (count, *found.shape[1:]))
            elif isinstance(item, Likelihood) and item.name in self.names and item.observed.missing is not None:
                made[f"{item.name}_missing"] = self._missing(item, {**known, **made}, count, rng)
        return {name: values.reshape(*size, *values.shape[1:]) for name, values in made.items()}

    def terms(self, draws: Mapping[str, Array]) -> dict[str, Array]:
        """Return the log likelihood of each observation given all others, at draws (chain, draw, ...).

        Variables over dims are summed out of it: of a draw that others than this observation have decided, too, an
        importance weight would be missing wherever this observation alone excludes a value.
        """
        size, count, known = _flat(draws)
        of = {item.name: item for item in self.reported.items if isinstance(item, Likelihood)}
        parts: list[dict[str, Array]] = []
        first = 0
        for factors, length in self._in_batches(known, count):
            rows = slice(first, first + length)
            parts.append(self._terms_of(factors, {name: known[name][rows] for name in self.values}, length, of))
            first += length
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
        for name, terms in found.items():
            observed = of[name].observed
            absent = observed.absent if observed.missing is None else observed.missing.mask
            if absent is not None:
                terms[:, absent] = np.nan
        return {name: terms.reshape(*size, *terms.shape[1:]) for name, terms in found.items()}

    def _terms_of(
        self, factors: Sequence[Factor], places: Mapping[str, Array], count: int, of: Mapping[str, Likelihood]
    ) -> dict[str, Array]:
        """Return the terms; a variable without dims, which all observations decide together, is as it was drawn."""
        fixed = {
            axis_of(name): np.searchsorted(self.values[name], places[name])
            for name in self.values
            if places[name].ndim == 1
        }
        left = [_with_fixed(factor, fixed, count) for factor in factors]
        wanted = [factor.name for factor in left if factor.name in of]
        found = given_the_others(summed([factor for factor in left if factor.variables]), wanted)
        found |= {factor.name: factor.logs for factor in left if factor.name in of and not factor.variables}
        made = {}
        for name, value in found.items():
            dims = (DRAW, *of[name].observed.dims)
            own = [str(dim) for dim in value.dims]
            numbers = np.asarray(value.known).transpose([own.index(dim) for dim in dims if dim in own])
            wide = numbers.reshape([value.shape[own.index(dim)] if dim in own else 1 for dim in dims])
            made[name] = np.array(np.broadcast_to(wide, (count, *of[name].observed.shape)))
        return made

    def _in_batches(self, known: Mapping[str, Array], count: int) -> Iterator[tuple[list[Factor], int]]:
        """Yield the factors at some draws at a time, as known numbers with the axis `draw`."""
        largest = max(int(np.prod(factor.logs.shape)) for factor in self.factors)
        step = max(1, _AT_ONCE // max(1, largest))
        for first in range(0, count, step):
            here = {name: values[first : first + step] for name, values in known.items()}
            length = min(step, count - first)
            logs = _at(self.sampled, [factor.logs for factor in self.factors], here)
            yield (
                [
                    replace(factor, logs=_known(numbers, factor.logs.dims))
                    for factor, numbers in zip(self.factors, logs, strict=True)
                ],
                length,
            )

    def _missing(self, item: Likelihood, known: Mapping[str, Array], count: int, rng: np.random.Generator) -> Array:
        draw = generator(item.plan.family.name)
        if draw is None or item.observed.missing is None:
            raise fail(item.plan.key, f"missing values of a {item.plan.family.name} can't be drawn", "drop them")
        found = _at(self.reported, list(item.plan.values.values()), known)
        named = zip(item.plan.values, found, strict=True)
        parameters = {name: np.broadcast_to(a, (count, *a.shape[1:])) for name, a in named}
        whole = np.broadcast_to(draw(parameters, item.observed.shape, rng), (count, *item.observed.shape))
        return whole[:, item.observed.missing.mask]


def _flat(draws: Mapping[str, Array]) -> tuple[tuple[int, ...], int, dict[str, Array]]:
    """Return the numbers of chains and draws, of all draws, and the draws in one row."""
    size = next(iter(draws.values())).shape[:2]
    count = size[0] * size[1]
    return size, count, {name: np.reshape(v, (count, *v.shape[2:])) for name, v in draws.items()}


def _known(numbers: Array, dims: Sequence[str | None]) -> Value:
    """Return numbers (draw, ...), without the first axis if they are the same at all draws."""
    return constant(numbers[0], tuple(dims)) if len(numbers) == 1 else constant(numbers, (DRAW, *dims))


def _with_fixed(factor: Factor, fixed: Mapping[str, Array], count: int) -> Factor:
    """Return a factor at the drawn places of the variables without dims."""
    logs, variables = factor.logs, dict(factor.variables)
    for axis in [name for name in variables if name in fixed]:
        at = logs.dims.index(axis)
        numbers = np.asarray(logs.known)
        own = tuple(dim for dim in logs.dims if dim not in (axis, DRAW))
        if DRAW in logs.dims:
            wide = np.moveaxis(numbers, (logs.dims.index(DRAW), at), (0, 1))
            logs = constant(wide[np.arange(count), fixed[axis]], (DRAW, *own))
        else:
            logs = constant(np.moveaxis(numbers, at, 0)[fixed[axis]], (DRAW, *own))
        del variables[axis]
    return replace(factor, logs=logs, variables=variables)


def _at(declared: Declaration, values: Sequence[Value], known: Mapping[str, Array]) -> list[Array]:
    containers = {item.name: item.numbers for item in declared.items if isinstance(item, Container)}
    return evaluate_at_draws([node_of(value) for value in values], known.__getitem__, containers)


__all__ = ["Recovery"]
