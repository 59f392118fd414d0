"""The components of structural time series, drawn given all rows, new series of them, and their continuation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem
from bayesrun.language.declaration import Container, Declaration, Draft
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.hidden_markov import as_input
from bayesrun.language.kalman_filter import StateSpace, simulated_states, smoothed_states
from bayesrun.language.linear_gaussian import LinearGaussian, SeriesReader, labels_of, placed
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.values import Value, apply, compute, constant, fixed, node_of, variable

Array = NDArray[Any]

_AT_ONCE = 20_000_000
"""Numbers that are held at once while states are drawn."""


@dataclass(frozen=True)
class DrawnComponents:
    """Draws of the components, and of the observations, of the structural time series of a model.

    Parameters
    ----------
    series
        The series.
    declared
        The model.
    """

    series: tuple[LinearGaussian, ...]
    declared: Declaration

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Names of the likelihoods."""
        return tuple(one.name for one in self.series)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dims of what is drawn afterwards."""
        found: dict[str, tuple[str, ...]] = {name: one.dims for one in self.series for name in one.parts}
        return found | {f"{one.name}_end": (*one.dims[:-1], f"{one.name}_states") for one in self.series}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is drawn afterwards."""
        found: dict[str, tuple[int, ...]] = {name: one.shape for one in self.series for name in one.parts}
        return found | {f"{one.name}_end": (*one.shape[:-1], one.system.size) for one in self.series}

    @property
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dims that only they have."""
        return {f"{one.name}_states": labels_of(one.system) for one in self.series}

    def problems_at(self, draws: Mapping[str, Array]) -> tuple[Problem, ...]:
        """Return none: variances are checked as parameters."""
        return ()

    def recover(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw the components given all rows, at draws (chain, draw, ...)."""
        size: tuple[int, ...] = next(iter(draws.values())).shape[:2]
        flat = {name: np.reshape(values, (size[0] * size[1], *values.shape[2:])) for name, values in draws.items()}
        found: dict[str, Array] = {}
        for one in self.series:
            made: dict[str, list[Array]] = {}
            for some in self._batches(one, flat):
                states = smoothed_states(one.system, self._inputs(one, some), rng)
                for name, values in self._named(one, states).items():
                    made.setdefault(name, []).append(values)
            found |= {n: np.concatenate(parts).reshape(*size, *self.shapes[n]) for n, parts in made.items()}
        return found

    def draw(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw each likelihood at draws (draw, ...), about their components, or about new ones where they have none."""
        found: dict[str, Array] = {}
        for one in self.series:
            found[one.name] = np.concatenate([self._observations(one, some, rng) for some in self._batches(one, draws)])
        return found

    def _observations(self, one: LinearGaussian, draws: Mapping[str, Array], rng: np.random.Generator) -> Array:
        count = len(next(iter(draws.values())))
        components = draws
        if not all(name in draws for name in one.parts):
            states = simulated_states(one.system, self._inputs(one, draws), rng)
            components = {n: v.reshape(-1, *self.shapes[n]) for n, v in self._named(one, states).items()}
        shown = [name for name, state in one.parts.items() if state in one.system.shown]
        mu, sigma = (_over(values, one.shape) for values in self._values([one.mu, one.sigma], draws))
        total = mu + sum(components[name] for name in shown)
        return np.asarray(total + sigma * rng.standard_normal((count, *one.shape)))

    def _named(self, one: LinearGaussian, states: Array) -> dict[str, Array]:
        """Return the components at the rows, and the states at the last one, of (draw, series, step, state)."""
        found = {name: states[:, :, one.places, state] for name, state in one.parts.items()}
        return {**found, f"{one.name}_end": states[:, :, -1]}

    def _batches(self, one: LinearGaussian, draws: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        count = len(next(iter(draws.values())))
        step = max(1, _AT_ONCE // (4 * one.system.size * one.system.rows * one.system.width))
        for begin in range(0, count, step):
            yield {name: values[begin : begin + step] for name, values in draws.items()}

    def _inputs(self, one: LinearGaussian, draws: Mapping[str, Array]) -> list[Array]:
        """Return the inputs of the system at draws (draw, series, row)."""
        found = self._values(one.inputs, draws)
        count = len(next(iter(draws.values())))
        flat = one.system.flat(found, [True] * len(found))
        flat[0] = np.broadcast_to(flat[0], (count, *flat[0].shape[1:]))
        return flat

    def _values(self, values: Sequence[Value], draws: Mapping[str, Array]) -> list[Array]:
        containers = {i.name: i.numbers for i in self.declared.items if isinstance(i, Container)}
        return evaluate_at_draws([node_of(value) for value in values], draws.__getitem__, containers)


def _over(values: Array, shape: tuple[int, ...]) -> Array:
    return np.reshape(values, (len(values), *(1,) * (len(shape) + 1 - values.ndim), *values.shape[1:]))


# ---------------------------------------------------------------- later rows


def linear_gaussian_at_rows(
    draft: Draft, name: str, body: Mapping[str, Any], key: str, dims: Sequence[str], shape: Sequence[int], steps: Array
) -> Plan:
    """Add the components at rows after the last one of the fit, and return the distribution of the observations.

    Parameters
    ----------
    draft
        The model of the new rows.
    name, body, key
        The likelihood.
    dims, shape
        Its axes over the new rows.
    steps
        Length of the step into each row; into the first one from the last row of the fit.
    """
    axes, sizes = tuple(dims), tuple(shape)
    reader = SeriesReader(body, draft.scope, key, axes, sizes)
    components = reader.components()
    places, lengths = placed(steps, components, f"{key}.steps")
    count = int(places[-1]) + 1
    changes = reader.disturbances(components, by_row=False)
    coefficients = reader.coefficients() if any(c.kind == "ar" for c in components) else []
    states = sum(component.size for component in components)
    # observations and first rows play no part here
    values = [fixed(0.0), fixed(0.0), constant(lengths), *[fixed(0.0)] * (1 + 2 * states), *changes, *coefficients]
    inputs, kinds = zip(*[as_input(value, axes, (*sizes[:-1], count)) for value in values], strict=True)
    system = StateSpace(tuple(kinds), sizes[:-1], count, components)
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    # its axis of the rows has all steps to them; the name makes it one that is drawn anew
    own = (*axes, f"{name}_states")
    standard = of_values(f"{name}_new", "Normal", unit, own, (*sizes[:-1], count - 1, states), key)
    offset = draft.random(standard, own, helper=True)[standard.name]
    end = variable(f"{name}_end", (*axes[:-1], None), (*sizes[:-1], states))
    shown = compute("states_after", [end, offset, *inputs], axes, system, tuple(places[1:].tolist()))
    mu, sigma = reader.whole("mu", body.get("mu", 0)), reader.value("sigma", body["sigma"])
    return of_values(name, "Normal", {"mu": apply("add", [mu, shown]), "sigma": sigma}, axes, sizes, key)
