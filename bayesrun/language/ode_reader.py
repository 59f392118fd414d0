"""From differential equations in YAML to a system, whose inputs are values of the model.

deterministics:
  z:
    ode:
      state: {u: u_0, v: v_0}                                   # values at the time t0
      rhs: {u: (a - b * v) * u, v: (d * u - c) * v}             # rates of change
      times: time
      t0: 0
      solver: {rtol: 1.0e-7, atol: 1.0e-9}

`z` is over the times and the states, and the name of a state stands for its solution at the times. Right-hand sides are
expressions of single numbers: states, the time `t`, parameters. What does not depend on states and time is computed
once, as an input of the solver; the rest is differentiated symbolically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, did_you_mean, fail
from bayesrun.language.derivatives import DIFFERENTIABLE
from bayesrun.language.differential_equations import ATOL, MAX_STEPS, RTOL, OdeSystem, Solution, parameter_name
from bayesrun.language.expressions import read
from bayesrun.language.functions import index
from bayesrun.language.grammar import parse
from bayesrun.language.operations import OPERATIONS, Call, Constant, Data, Node, Variable, in_order
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, constant, node_of, variable

_KEYS = ("state", "rhs", "times", "t0", "time", "solver")
_SOLVER = ("rtol", "atol", "max_steps")
_EXAMPLE = "write {state: {u: u_0}, rhs: {u: -k * u}, times: time}"


def ode_problems(key: str, given: Any) -> Iterator[Problem]:
    """Find the errors in a system of equations that can be detected without data."""
    if not isinstance(given, Mapping):
        yield Problem(key, f"must be a mapping (got {given!r})", _EXAMPLE)
        return
    for name in given:
        if name not in _KEYS:
            yield Problem(f"{key}.{name}", f"ode has no key '{name}'", did_you_mean(str(name), _KEYS))
    for name in ("state", "rhs", "times"):
        if given.get(name) is None:
            yield Problem(f"{key}.{name}", "is required but missing", _EXAMPLE)
    for name in ("state", "rhs"):
        body = given.get(name)
        if body is not None and (not isinstance(body, Mapping) or not body):
            yield Problem(f"{key}.{name}", f"must hold an expression for each state (got {body!r})", _EXAMPLE)
            return
    state, rhs = given.get("state") or {}, given.get("rhs") or {}
    for name in [n for n in state if n not in rhs] if rhs else []:
        yield Problem(f"{key}.rhs.{name}", f"is missing: '{name}' is a state", "write its rate of change")
    for name in [n for n in rhs if n not in state] if state else []:
        yield Problem(f"{key}.state.{name}", f"is missing: '{name}' has a rate of change", "write its value at t0")
    time = given.get("time", "t")
    for name in (*state, time):
        if not str(name).isidentifier() or "__" in str(name):
            yield Problem(f"{key}.state.{name}", f"'{name}' is not a valid name", "use letters, digits, underscores")
    if time in state:
        yield Problem(f"{key}.state.{time}", f"'{time}' is the time", "rename the state, or set time: to another name")
    yield from _expression_problems(key, given)
    yield from _solver_problems(f"{key}.solver", given.get("solver"))


def _expression_problems(key: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    texts = {
        f"{section}.{name}": text for section in ("state", "rhs") for name, text in (given.get(section) or {}).items()
    }
    for where, text in {**texts, "times": given.get("times"), "t0": given.get("t0")}.items():
        if text is None or (where == "times" and isinstance(text, Sequence) and not isinstance(text, str)):
            continue
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            yield Problem(f"{key}.{where}", f"must be an expression (got {text!r})", "write a number or a formula")
            continue
        try:
            parse(str(text), f"{key}.{where}")
        except UserError as error:
            yield from error.problems


def _solver_problems(key: str, given: Any) -> Iterator[Problem]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield Problem(key, f"must be a mapping (got {given!r})", "write {rtol: 1.0e-7, atol: 1.0e-9}")
        return
    for name, value in given.items():
        if name not in _SOLVER:
            yield Problem(f"{key}.{name}", f"the solver has no key '{name}'", did_you_mean(str(name), _SOLVER))
            continue
        least = 10 if name == "max_steps" else 1e-13
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            yield Problem(f"{key}.{name}", f"must be a number, {least:g} or above (got {value!r})")


def ode_names(given: Any) -> frozenset[str]:
    """Return the names that a system uses besides its own states and time."""
    if not isinstance(given, Mapping):
        return frozenset()
    rhs, state = given.get("rhs") or {}, given.get("state") or {}
    own = {*state, given.get("time", "t")} if isinstance(state, Mapping) else set()
    outside = [*(state.values() if isinstance(state, Mapping) else ()), given.get("times"), given.get("t0")]
    inside = list(rhs.values()) if isinstance(rhs, Mapping) else []
    return frozenset(_names(outside) | (_names(inside) - own))


def _names(texts: Sequence[Any]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        if isinstance(text, list | tuple):
            found |= _names(text)
        elif isinstance(text, str):
            try:
                found |= parse(text, "").names
            except UserError:
                continue
    return found


def states_of(given: Any) -> tuple[str, ...]:
    """Return the names of the states of a system."""
    state = given.get("state") if isinstance(given, Mapping) else None
    return tuple(map(str, state)) if isinstance(state, Mapping) else ()


def read_ode(name: str, given: Mapping[str, Any], scope: Scope, key: str) -> Value:
    """Return the solution of a system over (time, state).

    Parameters
    ----------
    name
        Name of the solution.
    given
        Its body in YAML, which has passed `ode_problems`.
    scope
        Values of the names in its expressions.
    key
        Its config key.

    Raises
    ------
    UserError
        When an expression does not fit.
    """
    states, time = states_of(given), str(given.get("time", "t"))
    times, begin = _times(given, scope, key)
    initial = [_single(read(given["state"][n], scope, f"{key}.state.{n}"), f"{key}.state.{n}") for n in states]
    inner = scope.extended({n: variable(n, (), ()) for n in (*states, time)})
    reader = _Hoisted((*states, time))
    rates = []
    for n in states:
        where = f"{key}.rhs.{n}"
        rates.append(reader.rate(_single(read(given["rhs"][n], inner, where), where), where))
    values = [*initial, *reader.inputs]
    solver = {"rtol": RTOL, "atol": ATOL, "max_steps": MAX_STEPS, **(given.get("solver") or {})}
    different, places = np.unique(times.known, return_inverse=True)
    system = OdeSystem(
        key,
        states,
        time,
        tuple(rates),
        len(reader.inputs),
        tuple(value.known is None and _is_random(node_of(value)) for value in values),
        begin,
        tuple(different.tolist()),
        tuple(places.ravel().tolist()),
        float(solver["rtol"]),
        float(solver["atol"]),
        int(solver["max_steps"]),
    )
    dims = (*times.dims, f"{name}_state")
    if all(value.known is not None for value in values):
        found = OPERATIONS["ode"](*(value.known for value in values), system)
        if not np.isfinite(found).all():
            raise fail(key, f"can't be solved: {Solution(system).reason([v.known for v in values])}")
        return constant(found, dims)
    return Value(dims, system.shape, node=Call("ode", tuple(map(node_of, values)), (system,)))


def solutions(value: Value, states: Sequence[str]) -> dict[str, Value]:
    """Return the solution of each state, over the times."""
    return {name: index(value, [slice(None), constant(i)]) for i, name in enumerate(states)}


def _times(given: Mapping[str, Any], scope: Scope, key: str) -> tuple[Value, float]:
    times = read(given["times"], scope, f"{key}.times")
    begin = read(given.get("t0", 0), scope, f"{key}.t0")
    if times.known is None or begin.known is None:
        raise fail(f"{key}.times", "must not depend on a random variable", "give numbers or data")
    if times.ndim != 1 or begin.ndim:
        raise fail(f"{key}.times", f"must be over one dim (got {times.ndim})", "name a column; t0 is one number")
    if not np.isfinite(times.known).all():
        raise fail(f"{key}.times", "has missing values", "set data.drop_missing=rows")
    if times.known.min() < begin.known:
        message = f"must not be before t0 = {float(begin.known):g} (got {times.known.min():g})"
        raise fail(f"{key}.times", message, "set t0 to the time of the initial values")
    return times, float(begin.known)


def _single(value: Value, key: str) -> Value:
    if value.ndim:
        axes = ", ".join(str(dim or "unnamed") for dim in value.dims)
        raise fail(key, f"must be a single number (it is over {axes})", "index it, as in theta[0]")
    return value


def _is_random(node: Node) -> bool:
    return any(isinstance(part, Variable) for part in in_order(node))


class _Hoisted:
    """Splits right-hand sides: what does not depend on states or time becomes an input of the solver."""

    def __init__(self, moving: Sequence[str]) -> None:
        self._moving = frozenset(moving)
        self._numbers: dict[int, int] = {}
        self._kept: list[Node] = []
        self._by_name: dict[str, Node] = {}
        self.inputs: list[Value] = []

    def rate(self, value: Value, key: str) -> Node:
        made: dict[int, Node] = {}
        node = node_of(value)
        moves: dict[int, bool] = {}
        for part in in_order(node):
            if isinstance(part, Call):
                moves[id(part)] = any(moves[id(given)] for given in part.inputs)
            else:
                moves[id(part)] = isinstance(part, Variable) and part.name in self._moving
        for part in in_order(node):
            if isinstance(part, Call) and moves[id(part)]:
                if part.operation not in DIFFERENTIABLE:
                    message = f"can't have '{part.operation}' of a state or of the time"
                    raise fail(key, message, "write it by operations on single numbers")
                made[id(part)] = Call(
                    part.operation, tuple(made[id(one)] if moves[id(one)] else self._still(one) for one in part.inputs)
                )
            elif moves[id(part)]:
                made[id(part)] = self._named(part.name)  # type: ignore[union-attr]
        return made[id(node)] if moves[id(node)] else self._still(node)

    def _named(self, name: str) -> Node:
        return self._by_name.setdefault(name, Variable(name))

    def _still(self, node: Node) -> Node:
        """Return a number that does not move: a constant, or an input of the solver."""
        if isinstance(node, Constant) and not node.replaceable:
            return node
        place = next((i for i, old in enumerate(self._kept) if old is node or _same_name(old, node)), None)
        if place is None:
            place = len(self._kept)
            self._kept.append(node)
            self.inputs.append(Value((), (), node=node))
        return self._named(parameter_name(place))


def _same_name(a: Node, b: Node) -> bool:
    return isinstance(a, Variable | Data) and type(a) is type(b) and a.name == b.name  # type: ignore[union-attr]
