"""The components of structural time series, drawn given all rows, new series of them, and their continuation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.calendar_dates import to_days
from bayesrun.language.declaration import Container, Declaration, Draft
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.expressions import read
from bayesrun.language.hidden_markov import as_input
from bayesrun.language.kalman_filter import System, simulated_states, smoothed_states
from bayesrun.language.learned import Constant
from bayesrun.language.linear_gaussian import LinearGaussian, SeriesReader, labels_of, placed
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import Times
from bayesrun.language.values import Fault, Value, apply, compute, constant, fixed, node_of, variable

Array = NDArray[Any]

_AT_ONCE = 20_000_000
"""Numbers that are held at once while states are drawn."""
_END = "{}: times of the last rows"


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


def remember_end(scope: Scope, name: str, body: Mapping[str, Any], key: str, times: Times | None, rows: int) -> None:
    """Keep the times of the last rows, from which the steps to later rows are counted."""
    learned = scope.learned
    if learned is None or learned.of_new_rows:
        return
    if body.get("steps") is not None:
        numbers = np.asarray(read(body["steps"], scope, f"{key}.steps").known, dtype=float)
        if len(numbers) == rows:
            learned.constants[_END.format(name)] = Constant((None,), numbers[-3:])
    elif times is not None:
        numbers = to_days(times.values) if times.dates else times.values.astype(float)
        learned.constants[_END.format(name)] = Constant((None,), numbers[-3:], date=times.dates)


def steps_from_end(scope: Scope, name: str, body: Mapping[str, Any], key: str, times: Times | None, rows: int) -> Array:
    """Return the length of the step into each new row, into the first one from the last row of the fit.

    Raises
    ------
    UserError
        When new rows do not come after those of the fit, or their times are unknown.
    """
    assert scope.learned is not None
    kept = scope.learned.constants.get(_END.format(name))
    if body.get("steps") is not None:
        numbers = np.asarray(read(body["steps"], scope, f"{key}.steps").known, dtype=float)
        if kept is None or numbers.shape != (rows,):
            hint = "fit with the times of the rows, such as steps: days(date)"
            raise fail(f"{key}.steps", "are lengths, which do not say where new rows are", hint)
        lengths = np.diff(numbers, prepend=kept.numbers[-1])
        shown = f"{numbers[0]:g} follows {kept.numbers[-1]:g}"
    elif kept is None or len(kept.numbers) < 2 or (times is not None and _counted_anew(times, kept)):
        return np.ones(rows)  # rows without times go on where those of the fit end
    elif times is None:
        message = f"the times of the new rows of '{name}' are unknown, unlike those of the fit"
        raise fail("predict.data", message, "label each row by its time, as in the fit")
    else:
        try:
            lengths, shown = times.steps_from(kept.numbers, kept.date)
        except Fault as fault:
            raise fail("predict.data", fault.message, fault.hint) from None
    if not np.all(lengths > 0):
        message = f"'{name}' is a series, whose new rows must come after those of the fit, in order ({shown})"
        hint = "its components at the rows of the fit are in the posterior, and its predictions in posterior_predictive"
        raise fail("predict.data", message, hint)
    return lengths


def _counted_anew(times: Times, kept: Constant) -> bool:
    """Return whether rows are labelled 0, 1, ... because nothing labels them."""
    return not times.dates and not kept.date and bool(np.array_equal(times.values, np.arange(len(times.values))))


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
    system = System(components, tuple(kinds), sizes[:-1], count)
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    # its axis of the rows has all steps to them; the name makes it one that is drawn anew
    own = (*axes, f"{name}_states")
    standard = of_values(f"{name}_new", "Normal", unit, own, (*sizes[:-1], count - 1, states), key)
    offset = draft.random(standard, own, helper=True)[standard.name]
    end = variable(f"{name}_end", (*axes[:-1], None), (*sizes[:-1], states))
    shown = compute("states_after", [end, offset, *inputs], axes, system, tuple(places[1:].tolist()))
    mu, sigma = reader.whole("mu", body.get("mu", 0)), reader.value("sigma", body["sigma"])
    return of_values(name, "Normal", {"mu": apply("add", [mu, shown]), "sigma": sigma}, axes, sizes, key)
