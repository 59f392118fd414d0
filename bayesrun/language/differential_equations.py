"""Ordinary differential equations: a system, and its solution at given times with derivatives by its inputs.

The solver is the pair of Dormand and Prince, of order 5 with an error estimate of order 4 (1980,
doi:10.1016/0771-050X(80)90013-3), with steps chosen as by SciPy's `RK45` and the continuous solution of order 4 by
Shampine (1986, doi:10.1090/S0025-5718-1986-0815836-3). Sensitivities, the derivatives of the solution by the inputs,
are solved along with the states by the same steps, so that they are the derivatives of what the solver returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import UserError, fail
from bayesrun.language.derivatives import derivative
from bayesrun.language.operations import OPERATIONS, Call, Constant, Node, Variable, in_order

Array = NDArray[Any]

RTOL, ATOL, MAX_STEPS = 1e-7, 1e-9, 100_000
"""Relative and absolute tolerance of a step's error, and the number of steps after which the solver gives up."""

C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
E = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
P = (
    (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
    (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
)
SAFETY, SLOWEST, FASTEST = 0.9, 0.2, 10.0
"""Nodes, weights, error weights and continuous weights of the stages, and factors of the choice of steps."""
_TOGETHER = 2_000
"""Steps that many solutions take together, at most."""


def parameter_name(number: int) -> str:
    """Return the name of an input that is no state, in the nodes of a `OdeSystem`."""
    return f"input {number}"


@dataclass(frozen=True, eq=False)
class OdeSystem:
    """A system of differential equations with its times and the settings of the solver.

    Parameters
    ----------
    key
        Its config key.
    states
        Names of the states.
    time
        Name of the time in the right-hand sides.
    rates
        Right-hand sides, of the states, the time and the inputs (`parameter_name`).
    inputs
        Number of inputs besides the initial values of the states.
    active
        Whether a derivative by each initial value and each input is needed, in this order.
    begin
        Time at which the states have their initial values.
    times
        Increasing times of the solution.
    places
        Number among `times` of each time that was asked for.
    rtol, atol, max_steps
        Of the solver.
    """

    key: str
    states: tuple[str, ...]
    time: str
    rates: tuple[Node, ...]
    inputs: int
    active: tuple[bool, ...]
    begin: float
    times: tuple[float, ...]
    places: tuple[int, ...]
    rtol: float
    atol: float
    max_steps: int
    _compiled: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can't be stored: Theano keeps operations beside what it compiled of them."""
        return {**self.__dict__, "_compiled": {}}

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the solution: (time, state)."""
        return len(self.places), len(self.states)

    def solution(self, inputs: Sequence[Any]) -> Array:
        """Return the solution (..., time, state) of initial values and inputs (...); NaN where there is none."""
        return Solution(self).at(inputs)

    def slopes(self) -> tuple[list[list[Node | None]], list[list[Node | None]]]:
        """Return the derivatives of the right-hand sides by the states, and by the inputs that need one."""
        names = [parameter_name(i) for i in range(self.inputs) if self.active[len(self.states) + i]]
        by_state = [[derivative(rate, name) for name in self.states] for rate in self.rates]
        return by_state, [[derivative(rate, name) for name in names] for rate in self.rates]

    def failure(self, reason: str) -> UserError:
        """Return the error of a solution that could not be found."""
        hint = "set an `initval` of the priors, tighter priors, or solver: {rtol: , atol: , max_steps: }"
        return fail(self.key, f"can't be solved at the initial values of its parameters: {reason}", hint)


class Solution:
    """The solver in NumPy, for one value of each input or many at once: the reference of what engines compile.

    Parameters
    ----------
    system
        The system.
    """

    def __init__(self, system: OdeSystem) -> None:
        self.system = system
        if "rates" not in system._compiled:
            by_state, by_input = system.slopes()
            system._compiled["rates"] = _function(system.rates)
            system._compiled["slopes"] = [_function([n or Constant(np.asarray(0.0)) for n in row]) for row in by_state]
            system._compiled["inputs"] = [_function([n or Constant(np.asarray(0.0)) for n in row]) for row in by_input]
        self._rates = system._compiled["rates"]

    def at(self, given: Sequence[Any]) -> Array:
        """Return the solution (..., time, state) of initial values and inputs (...); NaN where there is none."""
        return self._solved(given, False)[0]

    def with_slopes(self, given: Sequence[Any], most: int | None = None) -> tuple[Array, Array]:
        """Return the solution (time, state) and its derivatives (time, state, active input), in so many steps."""
        values, slopes, _ = self._solved(given, True, most)
        assert slopes is not None
        return values, slopes

    def reason(self, given: Sequence[Any]) -> str:
        """Return why there is no solution; empty where there is one."""
        return self._solved(given, False)[2]

    def _names(self, given: Sequence[Any]) -> dict[str, Any]:
        count = len(self.system.states)
        return {parameter_name(i): value for i, value in enumerate(given[count:])}

    def _solved(self, given: Sequence[Any], slopes: bool, most: int | None = None) -> tuple[Array, Array | None, str]:
        system = self.system
        arrays = [np.asarray(one, dtype=float) for one in given]
        batch = np.broadcast_shapes(*(one.shape for one in arrays))
        arrays = [np.broadcast_to(one, batch) for one in arrays]
        count, columns = len(system.states), int(sum(system.active))
        times = np.asarray(system.times)
        found = np.full((len(times), count, *batch), np.nan)
        of = np.full((len(times), count, columns), np.nan)
        with np.errstate(all="ignore"):
            if slopes or not batch:
                reason = self._steps(arrays, times, found, of if slopes else None, most or system.max_steps)
            else:
                reason = self._together([one.ravel() for one in arrays], times, found.reshape(len(times), count, -1))
        places = list(system.places)
        values = np.moveaxis(found[places], (0, 1), (-2, -1))
        return values, of[places] if slopes else None, reason

    def _together(self, arrays: Sequence[Array], times: Array, found: Array) -> str:
        """Fill in solutions that share their steps; one that needs many, or that has none, is solved apart."""
        size = found.shape[2]
        most = self.system.max_steps if size == 1 else min(_TOGETHER, self.system.max_steps)
        reason = self._steps(arrays, times, found, None, most)
        if not reason or size <= 1:
            return reason
        found[:] = np.nan
        halves = (slice(None, size // 2), slice(size // 2, None))
        reasons = [self._together([one[half] for one in arrays], times, found[:, :, half]) for half in halves]
        return reasons[0] or reasons[1]

    def _steps(self, arrays: Sequence[Array], times: Array, found: Array, of: Array | None, most: int) -> str:
        """Fill the solution in, step by step; return why it ended before the last time."""
        system = self.system
        count = len(system.states)
        names = self._names(arrays)

        def rates(t: float, y: Array) -> Array:
            values = self._rates({**names, system.time: t, **dict(zip(system.states, y, strict=True))})
            return np.stack([np.broadcast_to(np.asarray(v, dtype=float), y.shape[1:]) for v in values])

        y, t, end = np.stack(arrays[:count]), system.begin, float(times[-1])
        s = _first_slopes(system) if of is not None else None
        done = 0
        while done < len(times) and times[done] <= t:
            found[done] = y
            if of is not None:
                of[done] = s
            done += 1
        if done == len(times):
            return ""
        first = rates(t, y)
        if not np.isfinite(first).all() or not np.isfinite(y).all():
            return "the rates of change are not finite at t0"
        h = _first_step(system, rates, t, y, first, end)
        stiff = 0
        for _ in range(most):
            h = min(h, end - t)
            k, inner = [first], [y]
            for i in range(1, 7):
                inner.append(y + h * sum(a * one for a, one in zip(A[i], k, strict=True) if a))
                k.append(rates(t + C[i] * h, inner[i]))
            new = inner[6]
            scale = system.atol + np.maximum(np.abs(y), np.abs(new)) * system.rtol
            error = h * sum(e * one for e, one in zip(E, k, strict=True) if e) / scale
            norm = float(np.max(np.sqrt(np.mean(error**2, axis=0))))
            if not norm < 1.0:
                h *= max(SLOWEST, SAFETY * norm**-0.2) if np.isfinite(norm) else SLOWEST
                if t + h == t:
                    return _ended(t, stiff)
                continue
            stages = None if s is None else self._slope_stages(names, t, h, inner, s)
            after = end if end - (t + h) < 1e-14 * abs(end) else t + h
            while done < len(times) and times[done] <= after:
                x = (times[done] - t) / h
                powers = [sum(p * x**d for d, p in enumerate(row, start=1)) for row in P]
                found[done] = y + h * sum(b * one for b, one in zip(powers, k, strict=True))
                if of is not None and s is not None and stages is not None:
                    of[done] = s + h * sum(b * one for b, one in zip(powers, stages, strict=True))
                done += 1
            # Hairer and Wanner (1996), Solving Ordinary Differential Equations II, equation IV.2.8
            apart = np.sqrt(np.sum((new - inner[5]) ** 2, axis=0))
            bend = np.sqrt(np.sum((k[6] - k[5]) ** 2, axis=0))
            stiff = stiff + 1 if np.any(h * bend > 3.25 * apart) else max(stiff - 1, 0)
            if stages is not None and s is not None:
                s = s + h * sum(a * one for a, one in zip(A[6], stages, strict=False) if a)
            t, y, first = after, new, k[6]
            if done == len(times):
                return ""
            h *= FASTEST if norm == 0.0 else min(FASTEST, SAFETY * norm**-0.2)
        return _ended(t, stiff)

    def _slope_stages(
        self, names: Mapping[str, Any], t: float, h: float, inner: Sequence[Array], s: Array
    ) -> list[Array]:
        """Return the rates of change of the sensitivities at each stage (state, active input)."""
        system = self.system
        count = len(system.states)
        initial = sum(system.active[:count])
        stages: list[Array] = []
        for i in range(7):
            known = {**names, system.time: t + C[i] * h, **dict(zip(system.states, inner[i], strict=True))}
            by_state = np.array([row(known) for row in system._compiled["slopes"]], dtype=float)
            by_input = np.array([row(known) for row in system._compiled["inputs"]], dtype=float).reshape(count, -1)
            at = s + h * sum((a * one for a, one in zip(A[i], stages, strict=True) if a), np.zeros_like(s))
            rate = by_state @ at
            rate[:, initial:] += by_input
            stages.append(rate)
        return stages


def _first_slopes(system: OdeSystem) -> Array:
    """Return the derivatives of the initial states by the inputs."""
    count = len(system.states)
    rows = [i for i in range(count) if system.active[i]]
    made = np.zeros((count, sum(system.active)))
    made[rows, range(len(rows))] = 1.0
    return made


def _first_step(
    system: OdeSystem, rates: Callable[[float, Array], Array], t: float, y: Array, first: Array, end: float
) -> float:
    """Choose the first step (Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, II.4)."""
    scale = system.atol + np.abs(y) * system.rtol
    size, speed = _norm(y / scale), _norm(first / scale)
    h = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
    h = min(h, end - t)
    change = _norm((rates(t + h, y + h * first) - first) / scale) / h
    largest = max(speed, change)
    next_h = max(1e-6, h * 1e-3) if not largest > 1e-15 else (0.01 / largest) ** 0.2
    return min(100 * h, next_h, end - t)


def _norm(x: Array) -> float:
    return float(np.max(np.sqrt(np.mean(x**2, axis=0))))


def _ended(t: float, stiff: int) -> str:
    if stiff > 15:
        return f"it is stiff (the solver gave up at {t:g}): rates of change differ by orders of magnitude"
    return f"the solver gave up at {t:g}, where the solution may be infinite"


def _function(nodes: Sequence[Node]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return a function from the values of names to those of nodes."""
    order = list({id(part): part for node in nodes for part in in_order(node)}.values())
    steps = [(id(p), OPERATIONS[p.operation], [id(one) for one in p.inputs]) for p in order if isinstance(p, Call)]
    fixed = {id(p): p.numbers for p in order if isinstance(p, Constant)}
    names = [(id(p), p.name) for p in order if isinstance(p, Variable)]

    def values(known: Mapping[str, Any]) -> list[Any]:
        found = dict(fixed)
        for place, name in names:
            found[place] = known[name]
        for place, operation, of in steps:
            found[place] = operation(*(found[one] for one in of))
        return [found[id(node)] for node in nodes]

    return values
