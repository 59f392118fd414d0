"""Linear Gaussian state space models with one observation a row: the Kalman filter, its gradient, and draws of states.

With the states `x`, the transition `T`, the sum `Z` of those states that an observation shows, the step `d` into a row,
and the correlations `C` of the states at the first row,

    x_1 ~ Normal(m, p C),    x_t = T x_{t-1} + w_t,    w_t ~ Normal(0, diag(d_t q)),    y_t ~ Normal(Z x_t, h)

The filter predicts each row from those before, `y_t ~ Normal(Z a_t, F_t)` with `F_t = Z P_t Z' + h`; a row that was not
observed changes nothing. Its gradient goes backwards along the rows; states are drawn by the simulation smoother.
Durbin and Koopman 2012, Time Series Analysis by State Space Methods, sections 4.3 to 4.5 (doi:10.1093/acprof:oso/
9780199641178.001.0001), and 2002 (doi:10.1093/biomet/89.3.603). Engines compile filter and gradient; these are the
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.recurrences import AlongRows

Array = NDArray[Any]
_LOG_2_PI = float(np.log(2.0 * np.pi))
RESIDUAL, SEEN, STEP, NOISE, FIRST_STATE = range(5)
"""Inputs of a system: observation minus mean, whether it was observed, step into the row, variance of an observation;
then of each state its mean and variance at the first row and, where it has a disturbance, the variance of that; last
the coefficients of autoregressions."""


@dataclass(frozen=True)
class Component:
    """Consecutive states; the first one is part of the observation.

    Parameters
    ----------
    kind
        `level`: a random walk; `trend`: a level and its slope, which is a random walk, too; `seasonal`: `size` effects
        before they repeat, which sum to 0 but for the disturbance; `ar`: an autoregression of `size` lags.
    start, size
        Number of its first state, and of its states.
    """

    kind: Literal["level", "trend", "seasonal", "ar"]
    start: int
    size: int

    @property
    def disturbed(self) -> tuple[int, ...]:
        """The states that have a disturbance."""
        return (self.start, self.start + 1) if self.kind == "trend" else (self.start,)

    @property
    def correlation(self) -> float:
        """Correlation of its states at the first row: effects of a period sum to 0 and are alike."""
        return -1.0 / self.size if self.kind == "seasonal" else 0.0


@dataclass(frozen=True)
class StateSpace(AlongRows):
    """A state space model of several series that do not depend on each other.

    Parameters
    ----------
    inputs, series, rows
        As of all that goes along rows.
    components
        What the observation is the sum of.
    """

    components: tuple[Component, ...]

    @property
    def size(self) -> int:
        """Number of states."""
        return sum(component.size for component in self.components)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the terms: (*series, row)."""
        return (*self.series, self.rows)

    @property
    def shown(self) -> tuple[int, ...]:
        """The states whose sum is the expected observation."""
        return tuple(component.start for component in self.components)

    @property
    def disturbed(self) -> tuple[int, ...]:
        """The states that have a disturbance."""
        return tuple(state for component in self.components for state in component.disturbed)

    def correlations(self) -> Array:
        """Return the correlation matrix of the states at the first row."""
        found = np.eye(self.size)
        for component in self.components:
            own = slice(component.start, component.start + component.size)
            found[own, own] += component.correlation * (1.0 - np.eye(component.size))
        return found

    def mean_of(self, state: int) -> int:
        """Return the input that holds the mean of a state at the first row."""
        return FIRST_STATE + state

    def variance_of(self, state: int) -> int:
        """Return the input that holds the variance of a state at the first row."""
        return FIRST_STATE + self.size + state

    def disturbance_of(self, state: int) -> int:
        """Return the input that holds the variance of the disturbance of a state."""
        return FIRST_STATE + 2 * self.size + self.disturbed.index(state)

    def coefficients_of(self, component: Component) -> range:
        """Return the inputs that hold the coefficients of an autoregression."""
        before = sum(c.size for c in self.components if c.kind == "ar" and c.start < component.start)
        first = FIRST_STATE + 2 * self.size + len(self.disturbed) + before
        return range(first, first + (component.size if component.kind == "ar" else 0))


class _Rows:
    """The inputs of a system by row: arrays (draw, series) or, of one draw or series, (1, ...)."""

    def __init__(self, system: StateSpace, inputs: Sequence[Array]) -> None:
        self.system, self.inputs = system, list(inputs)
        self.batch = np.broadcast_shapes(*(array.shape[:2] for array in inputs), (1, system.width))

    def at(self, number: int, row: int) -> Array:
        array = self.inputs[number]
        return np.asarray(array[:, :, row if array.shape[2] > 1 else 0])

    def of_states(self, number: Callable[[int], int], states: Sequence[int], row: int) -> Array:
        """Return an input of each of the given states, 0 of the others: (draw, series, state)."""
        found = np.zeros((*self.batch, self.system.size))
        for state in states:
            found[..., state] = self.at(number(state), row)
        return found

    def start(self) -> tuple[Array, Array]:
        """Return the mean of the states at the first row, and their variances."""
        every = range(self.system.size)
        return self.of_states(self.system.mean_of, every, 0), self.of_states(self.system.variance_of, every, 0)

    def disturbances(self, row: int) -> Array:
        """Return the variances of the disturbances into a row."""
        found = self.of_states(self.system.disturbance_of, self.system.disturbed, row)
        return np.asarray(found * self.at(STEP, row)[..., None])

    def moved(self, x: Array, row: int) -> Array:
        """Return `T x` of states on the last axis but one: (draw, series, state, any)."""
        out = x.copy()
        for component in self.system.components:
            i, stop = component.start, component.start + component.size
            if component.kind == "trend":
                out[..., i, :] = x[..., i, :] + x[..., i + 1, :]
            elif component.kind == "seasonal":
                out[..., i, :] = -x[..., i:stop, :].sum(axis=-2)
            elif component.kind == "ar":
                out[..., i, :] = sum(
                    self.at(number, row)[..., None] * x[..., i + k, :]
                    for k, number in enumerate(self.system.coefficients_of(component))
                )
            if component.kind in ("seasonal", "ar"):
                out[..., i + 1 : stop, :] = x[..., i : stop - 1, :]
        return out

    def moved_back(self, x: Array, row: int) -> Array:
        """Return `T' x`."""
        out = x.copy()
        for component in self.system.components:
            i, stop = component.start, component.start + component.size
            if component.kind == "trend":
                out[..., i + 1, :] = x[..., i + 1, :] + x[..., i, :]
            if component.kind not in ("seasonal", "ar"):
                continue
            out[..., i : stop - 1, :] = x[..., i + 1 : stop, :]
            out[..., stop - 1, :] = 0.0
            if component.kind == "seasonal":
                out[..., i:stop, :] -= x[..., i : i + 1, :]
            else:
                for k, number in enumerate(self.system.coefficients_of(component)):
                    out[..., i + k, :] += self.at(number, row)[..., None] * x[..., i, :]
        return out

    def spread(self, covariance: Array, row: int) -> Array:
        """Return `T P T'`."""
        return self.moved(np.swapaxes(self.moved(covariance, row), -1, -2), row)


@dataclass(frozen=True)
class _Step:
    """What is known at a row: of the states before it, mean `a` and covariance `p`; of the observation, `v`, `f`.

    `gain` is `P Z'`, and `seen` where the row was observed and has a density.
    """

    a: Array
    p: Array
    gain: Array
    v: Array
    f: Array
    seen: Array


def _steps(rows: _Rows, residual: Array | None = None) -> Iterator[_Step]:
    """Yield what the filter knows at each row."""
    system = rows.system
    shown = list(system.shown)
    a, diagonal = rows.start()
    p = diagonal[..., :, None] * system.correlations()
    for row in range(system.rows):
        if row:
            a = rows.moved(a[..., None], row)[..., 0]
            p = rows.spread(p, row) + rows.disturbances(row)[..., :, None] * np.eye(system.size)
        noise = rows.at(NOISE, row)
        gain = p[..., shown].sum(axis=-1)
        f = gain[..., shown].sum(axis=-1) + noise
        y = rows.at(RESIDUAL, row) if residual is None else residual[..., row]
        v = y - a[..., shown].sum(axis=-1)
        seen = np.broadcast_to((rows.at(SEEN, row) != 0) & (f > 0), v.shape)
        yield _Step(a, p, gain, v, f, seen)
        k = np.where(seen[..., None], gain / np.where(seen, f, 1.0)[..., None], 0.0)
        a = a + k * np.where(seen, v, 0.0)[..., None]
        # Joseph's form stays accurate where the states were hardly known before
        less = p - k[..., :, None] * gain[..., None, :]
        left = less[..., shown].sum(axis=-1)
        p = less - left[..., :, None] * k[..., None, :] + noise[..., None, None] * k[..., :, None] * k[..., None, :]
        p = (p + np.swapaxes(p, -1, -2)) / 2.0


def log_terms(*rest: Any) -> Array:
    """Return the log density of each row given those before, 0 where nothing was observed.

    Parameters
    ----------
    rest
        The inputs, each of any shape with as many elements as its series times its rows; then the `StateSpace`.

    Returns
    -------
    ndarray
        Over (*series, row); minus infinity where the variance of the forecast is not positive.
    """
    *inputs, system = rest
    rows = _Rows(system, system.flat(inputs))
    terms = np.empty((system.width, system.rows))
    with np.errstate(all="ignore"):
        for row, one in enumerate(_steps(rows)):
            observed = rows.at(SEEN, row) != 0
            density = -0.5 * (_LOG_2_PI + np.log(one.f) + one.v**2 / one.f)
            terms[:, row] = np.where(observed, np.where(one.f > 0, density, -np.inf), 0.0)[0]
    return terms.reshape(system.shape)


def gradients(system: StateSpace, inputs: Sequence[Any], slopes: Array) -> list[Array]:
    """Return the gradient of the terms, weighted by `slopes` (*series, row), by each input."""
    flat = system.flat(inputs)
    rows, slope = _Rows(system, flat), np.reshape(slopes, (system.width, system.rows))
    found = [np.zeros_like(array) for array in flat]

    def add(number: int, row: int, amount: Array) -> None:
        target = found[number]
        wide = np.broadcast_to(amount, (1, system.width))
        part = wide if target.shape[1] > 1 or system.width == 1 else wide.sum(axis=1, keepdims=True)
        target[:, :, row if target.shape[2] > 1 else 0] += part

    shown, size = list(system.shown), system.size
    z = np.zeros(size)
    z[shown] = 1.0
    steps = list(_steps(rows))
    to_a, to_p = np.zeros((1, system.width, size)), np.zeros((1, system.width, size, size))
    for row in reversed(range(system.rows)):
        one = steps[row]
        if row + 1 < system.rows:
            to_a, to_p = _through_move(rows, row + 1, one, to_a, to_p, add)
        g = np.where(one.seen, slope[:, row], 0.0)
        f, v = np.where(one.seen, one.f, 1.0), np.where(one.seen, one.v, 0.0)
        gain = np.where(one.seen[..., None], one.gain, 0.0)
        along = (gain * to_a).sum(axis=-1)
        bent = np.einsum("...ij,...j->...i", to_p, gain)
        to_v = -g * v / f + along / f
        to_f = -0.5 * g * (1.0 / f - v**2 / f**2) - v * along / f**2 + (gain * bent).sum(axis=-1) / f**2
        to_gain = to_a * (v / f)[..., None] - 2.0 * bent / f[..., None] + to_f[..., None] * z
        to_gain = np.where(one.seen[..., None], to_gain, 0.0)
        to_v, to_f = np.where(one.seen, to_v, 0.0), np.where(one.seen, to_f, 0.0)
        add(RESIDUAL, row, to_v)
        add(NOISE, row, to_f)
        to_a = to_a - to_v[..., None] * z
        outer = to_gain[..., :, None] * z
        to_p = to_p + (outer + np.swapaxes(outer, -1, -2)) / 2.0
    to_variance = (to_p * system.correlations()).sum(axis=-1)
    for state in range(size):
        add(system.mean_of(state), 0, to_a[..., state])
        add(system.variance_of(state), 0, to_variance[..., state])
    return found


def _through_move(
    rows: _Rows, row: int, before: _Step, to_a: Array, to_p: Array, add: Callable[[int, int, Array], None]
) -> tuple[Array, Array]:
    """Return the gradient by the states after the row before, given that by those predicted for this row."""
    system = rows.system
    for state in system.disturbed:
        add(system.disturbance_of(state), row, to_p[..., state, state] * rows.at(STEP, row))
    for component in system.components:
        if component.kind != "ar":
            continue
        f = np.where(before.seen, before.f, 1.0)
        k = np.where(before.seen[..., None], before.gain / f[..., None], 0.0)
        a = before.a + k * np.where(before.seen, before.v, 0.0)[..., None]
        p = before.p - k[..., :, None] * before.gain[..., None, :]
        slope = 2.0 * np.einsum("...j,...jk->...k", to_p[..., component.start, :], rows.moved(p, row))
        slope = slope + to_a[..., component.start, None] * a
        for lag, number in enumerate(system.coefficients_of(component)):
            add(number, row, slope[..., component.start + lag])
    back = rows.moved_back(np.swapaxes(rows.moved_back(to_p, row), -1, -2), row)
    return rows.moved_back(to_a[..., None], row)[..., 0], back


def simulated_states(
    system: StateSpace, inputs: Sequence[Array], rng: np.random.Generator, centred: bool = False
) -> Array:
    """Draw new paths of the states.

    Parameters
    ----------
    system
        The model.
    inputs
        Over (draw, series, row), as `StateSpace.flat` returns them.
    rng
        Source of randomness.
    centred
        Whether the states begin at mean 0.

    Returns
    -------
    ndarray
        Over (draw, series, row, state).
    """
    rows = _Rows(system, inputs)
    mean, variance = rows.start()
    found = np.empty((*rows.batch, system.rows, system.size))
    x = np.sqrt(variance) * (rng.standard_normal(variance.shape) @ np.linalg.cholesky(system.correlations()).T)
    x = x if centred else x + mean
    for row in range(system.rows):
        if row:
            noise = np.sqrt(rows.disturbances(row)) * rng.standard_normal(x.shape)
            x = rows.moved(x[..., None], row)[..., 0] + noise
        found[:, :, row] = x
    return found


def smoothed_states(system: StateSpace, inputs: Sequence[Array], rng: np.random.Generator) -> Array:
    """Draw the path of the states given all observations.

    The mean correction of Durbin and Koopman 2002: a path and its observations are drawn from the model, and the
    expected states, given the difference between the observations and the drawn ones, are added to the drawn path.

    Returns
    -------
    ndarray
        Over (draw, series, row, state).
    """
    rows, shown = _Rows(system, inputs), list(system.shown)
    drawn = simulated_states(system, inputs, rng, centred=True)
    noise = np.stack([np.broadcast_to(rows.at(NOISE, row), rows.batch) for row in range(system.rows)], axis=-1)
    seen = np.stack([np.broadcast_to(rows.at(RESIDUAL, row), rows.batch) for row in range(system.rows)], axis=-1)
    made = drawn[..., shown].sum(axis=-1) + np.sqrt(noise) * rng.standard_normal(noise.shape)
    return drawn + _expected_states(rows, seen - made)


def _expected_states(rows: _Rows, residual: Array) -> Array:
    """Return the expected states given all observations (draw, series, row, state)."""
    system = rows.system
    shown, size = list(system.shown), system.size
    z = np.zeros(size)
    z[shown] = 1.0
    # only what the sweep backwards needs is kept: v / F, and the gain K
    shares = np.empty((*rows.batch, system.rows))
    gains = np.empty((*rows.batch, system.rows, size))
    for row, one in enumerate(_steps(rows, residual)):
        f = np.where(one.seen, one.f, 1.0)
        shares[:, :, row] = np.where(one.seen, one.v / f, 0.0)
        gains[:, :, row] = np.where(one.seen[..., None], one.gain / f[..., None], 0.0)
    # r_{t-1} = Z' v / F + (I - K Z)' T' r_t
    weights = np.zeros((*rows.batch, size))
    after = np.empty((*rows.batch, system.rows, size))
    for row in reversed(range(system.rows)):
        after[:, :, row] = weights
        back = weights if row + 1 == system.rows else rows.moved_back(weights[..., None], row + 1)[..., 0]
        lost = (gains[:, :, row] * back).sum(axis=-1)
        weights = back + (shares[:, :, row] - lost)[..., None] * z
    mean, variance = rows.start()
    found = np.empty((*rows.batch, system.rows, size))
    x = mean + variance * (weights @ system.correlations())
    for row in range(system.rows):
        if row:
            x = rows.moved(x[..., None], row)[..., 0] + rows.disturbances(row) * after[:, :, row - 1]
        found[:, :, row] = x
    return found


def states_after(end: Any, standard: Any, *rest: Any) -> Array:
    """Return what the states add up to at later rows.

    Parameters
    ----------
    end
        The states at the row before the first (*series, state).
    standard
        Standard normal numbers (*series, row, state), which decide the draw.
    rest
        The inputs, of which the first row is that of `end`; then the `StateSpace`, and the rows that are wanted.

    Returns
    -------
    ndarray
        Over (*series, row).
    """
    *inputs, system, wanted = rest
    rows = _Rows(system, system.flat(inputs))
    x = np.reshape(end, (1, system.width, system.size))
    noise = np.reshape(standard, (1, system.width, system.rows - 1, system.size))
    found = np.empty((system.width, system.rows))
    for row in range(1, system.rows):
        x = rows.moved(x[..., None], row)[..., 0] + np.sqrt(rows.disturbances(row)) * noise[:, :, row - 1]
        found[:, row] = x[0][:, list(system.shown)].sum(axis=-1)
    return found[:, list(wanted)].reshape(*system.series, len(wanted))
