"""Hidden Markov chains, whose states are summed out by the forward algorithm.

likelihood:
  y:
    dist: HiddenMarkov
    transition: theta                                # rows sum to 1: from each state to the states
    initial: [0.5, 0.5]                              # of the first row; by default all states are equally likely
    emission: {dist: Normal, mu: mu, sigma: 1}       # parameters over the states
    observed: y

With `f` the probabilities of the states given the rows so far, `T` the transition and `p_k(y)` the emission,

    w_k = sum_j f_j[t-1] T_jk p_k(y_t),    p(y_t | y_1, ..., y_{t-1}) = sum_k w_k,    f_k[t] = w_k / sum_k w_k.

It is a recurrence (`recurrences`), so it is one loop with an exact gradient, and the likelihood has a term per row
(Rabiner 1989, doi:10.1109/5.18626). `hidden_states` draws the states afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.densities.named_densities import written_density, written_families
from bayesrun.language.distributions import Distribution, DistributionParameter, family
from bayesrun.language.expressions import read
from bayesrun.language.functions import exp, index
from bayesrun.language.modifiers import Modifiers
from bayesrun.language.operations import Call
from bayesrun.language.plan import Plan
from bayesrun.language.prior_checks import check_prior, value_problems
from bayesrun.language.recurrences import Instruction, Program, StepVariable
from bayesrun.language.scope import Scope
from bayesrun.language.values import Fault, Value, apply, compute, conform, constant, node_of

Array = NDArray[Any]

HIDDEN_MARKOV = "HiddenMarkov"
_KEYS = ("dist", "transition", "initial", "emission", "dims")
MAX_STATES = 30
ROUNDING = 1e-6
"""How far probabilities may be from adding up to 1."""
_TERMS = Distribution(HIDDEN_MARKOV, "real", 0, {"terms": DistributionParameter("terms", "real")}, (), declared=True)


@dataclass(frozen=True)
class Emission:
    """What a hidden state emits.

    Parameters
    ----------
    family
        Its distribution.
    parameters
        Of each state, by name, over the rows.
    data
        What was observed; None for the likelihood's own data.
    """

    family: str
    parameters: tuple[Mapping[str, Value], ...]
    data: Value | None = None


@dataclass(frozen=True)
class HiddenMarkov:
    """A hidden Markov chain over the last dim of what was observed.

    Parameters
    ----------
    name
        Name of the likelihood; the states are `NAME_state`, the most probable path is `NAME_path`.
    dims, shape
        Axes of what was observed.
    initial
        Probability of each state at the first row.
    transition
        From each state to each state.
    emissions
        The first is that of the likelihood's own data.
    logs
        Log density of all that was observed at each row, by state; 0 where nothing was.
    terms
        Log density of each row given those before.
    kept
        At which rows something was observed.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    initial: tuple[Value, ...]
    transition: tuple[tuple[Value, ...], ...]
    emissions: tuple[Emission, ...]
    logs: tuple[Value, ...]
    terms: Value
    kept: NDArray[np.bool_]

    def plan(self, key: str) -> Plan:
        """Return its distribution, whose density is that of the terms."""
        modifiers = None if self.kept.all() else Modifiers(kept=self.kept)
        return Plan(self.name, key, _TERMS, self.dims, self.shape, {"terms": self.terms}, modifiers=modifiers)


def hidden_markov_problems(key: str, body: Mapping[str, Any]) -> Iterator[Problem]:
    """Find the errors in a hidden Markov chain that can be detected without data."""
    for name in body:
        if name not in _KEYS:
            yield Problem(f"{key}.{name}", f"{HIDDEN_MARKOV} has no key '{name}'", did_you_mean(str(name), _KEYS[1:-1]))
    for name in ("transition", "initial"):
        if body.get(name) is not None:
            yield from value_problems(f"{key}.{name}", body[name], DistributionParameter(name, "unit"))
            if not isinstance(body[name], str):
                yield from _sum_problems(f"{key}.{name}", body[name])
    if body.get("transition") is None:
        hint = "write a matrix, [[0.9, 0.1], [0.2, 0.8]], or a prior over it: dist: Dirichlet, shape: [2, 2]"
        yield Problem(f"{key}.transition", "is required: the probabilities from each state to the states", hint)
    given = body.get("emission")
    if given is None or given == []:
        yield Problem(f"{key}.emission", "is required: what a state emits", "write {dist: Normal, mu: mu, sigma: 1}")
        return
    for where, one in emissions_of(f"{key}.emission", given):
        yield from _emission_problems(where, one, first=where in (f"{key}.emission", f"{key}.emission[0]"))


def emitted(key: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield the key, the data variable (None: the likelihood's own) and the distribution of each emission."""
    for where, one in emissions_of(f"{key}.emission", body.get("emission")):
        if isinstance(one, Mapping):
            yield where, one.get("observed"), str(one.get("dist"))


def emissions_of(key: str, given: Any) -> list[tuple[str, Any]]:
    """Return the key and the distribution of each variable that a state emits."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [(f"{key}[{i}]", one) for i, one in enumerate(given)]
    return [(key, given)]


def _sum_problems(key: str, given: Any) -> Iterator[Problem]:
    rows = given if isinstance(given, Sequence) and given and isinstance(given[0], Sequence) else [given]
    for row in rows:
        numbers = [n for n in row if isinstance(n, (int, float))] if isinstance(row, Sequence) else []
        if not isinstance(row, str) and numbers and len(numbers) == len(row) and abs(sum(numbers) - 1) > 1e-6:
            yield Problem(key, f"must sum to 1 (sums to {sum(numbers):g})", "the row of a state has its probabilities")


def _emission_problems(key: str, one: Any, first: bool) -> Iterator[Problem]:
    if not isinstance(one, Mapping):
        yield Problem(key, f"must be a distribution (got {one!r})", "write {dist: Normal, mu: mu, sigma: 1}")
        return
    own = {name: given for name, given in one.items() if name != "observed"}
    yield from check_prior(key, own, observed=True)
    known = family(str(one.get("dist")))
    if known is not None and (known.event or known.composed or written_density(known.name) is None):
        able = ", ".join(written_families())
        yield Problem(f"{key}.dist", f"a state can't emit a {known.name}", f"one of {able}, or of docs/language.md")
    elif one.get("lower") is not None or one.get("upper") is not None:
        yield Problem(key, "what a state emits can't be truncated", "remove lower and upper")
    if first and one.get("observed") is not None:
        yield Problem(f"{key}.observed", "is that of the likelihood", "write observed beside dist: HiddenMarkov")
    if not first and not isinstance(one.get("observed"), str):
        yield Problem(f"{key}.observed", "is required: the data variable that is emitted, too", "write observed: v")


def read_hidden_markov(
    name: str,
    body: Mapping[str, Any],
    scope: Scope,
    key: str,
    observed: Value,
) -> HiddenMarkov:
    """Compute the terms of a hidden Markov chain.

    Parameters
    ----------
    name
        Name of the likelihood.
    body
        The likelihood in YAML, checked by `hidden_markov_problems`.
    scope
        Values of the names in its expressions.
    key
        Its config key.
    observed
        What was observed, over named dims, NaN where missing; the chain runs along the last.

    Raises
    ------
    UserError
        When a parameter does not fit.
    """
    dims, shape = tuple(map(str, observed.dims)), observed.shape
    initial, transition = chain_of(body, scope, key, dims, shape)
    size = len(initial)
    emissions, logs, problems = [], [constant(np.zeros(shape), dims)] * size, list[Problem]()
    kept = np.zeros(shape, dtype=bool)
    for where, one in emissions_of(f"{key}.emission", body["emission"]):
        try:
            made = emission_of(one, scope, where, observed.dims, shape, size)
        except UserError as error:
            problems += error.problems
            continue
        emissions.append(made)
        x, seen = _filled(observed if made.data is None else made.data)
        kept |= seen
        values = [_log_density(made, k, x, seen) for k in range(size)]
        logs = [apply("add", [total, value.named(dims)]) for total, value in zip(logs, values, strict=True)]
    check(problems)
    if not kept.any():
        raise fail(f"{key}.observed", "has no value: all are missing", "observe another variable")
    terms = _terms(initial, transition, logs, dims, shape)
    return HiddenMarkov(
        name, dims, shape, tuple(initial), tuple(map(tuple, transition)), tuple(emissions), tuple(logs), terms, kept
    )


def _filled(data: Value) -> tuple[Value, NDArray[np.bool_]]:
    """Return data with one of the observed values in the place of each missing one, and which were observed."""
    numbers = np.asarray(data.known)
    seen = ~np.isnan(numbers.astype(float))
    if seen.all() or not seen.any():
        return (data if seen.all() else constant(np.ones(numbers.shape), data.dims)), seen
    return constant(np.where(seen, numbers, numbers[seen][0]), data.dims), seen


def _log_density(emission: Emission, state: int, x: Value, seen: NDArray[np.bool_]) -> Value:
    """Return the log density of what a state emits, 0 where nothing was observed."""
    density = written_density(emission.family)
    assert density is not None
    value = _unnamed(density, x, emission.parameters[state])
    return value if seen.all() else apply("where", [constant(seen), value, 0.0])


def chain_of(
    body: Mapping[str, Any], scope: Scope, key: str, dims: Any, shape: Any
) -> tuple[list[Value], list[list[Value]]]:
    """Return the initial probabilities and the transition."""
    matrix = _rows_first(read(body["transition"], scope, f"{key}.transition", tuple(scope.dims())), dims)
    if matrix.ndim > 1 and set(matrix.dims[:-1]) <= set(dims) and dims[-1] in matrix.dims[:-1]:
        matrix = _from_every_state(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        message = f"must be a square matrix, one row per state (its shape is {matrix.shape})"
        raise fail(f"{key}.transition", message, "transition[i, j] is the probability from state i to state j")
    size = matrix.shape[-1]
    if not 2 <= size <= MAX_STATES:
        raise fail(f"{key}.transition", f"has {size} states", f"2 to {MAX_STATES} are possible")
    transition = [[_picked(matrix, (j, k), dims, shape, f"{key}.transition") for k in range(size)] for j in range(size)]
    initial = [constant(1.0 / size)] * size
    if body.get("initial") is not None:
        vector = read(body["initial"], scope, f"{key}.initial")
        if not vector.ndim or vector.shape[-1] != size or dims[-1] in vector.dims:
            message = f"must have one probability for each of the {size} states (its shape is {vector.shape})"
            raise fail(f"{key}.initial", message)
        initial = [_picked(vector, (k,), dims, shape, f"{key}.initial") for k in range(size)]
    return initial, transition


def _rows_first(value: Value, dims: Any) -> Value:
    """Return a value with the axes of the rows before those of the states, whatever their order was."""
    before = [axis for dim in dims for axis, name in enumerate(value.dims) if name == dim]
    order = (*before, *(axis for axis in range(value.ndim) if axis not in before))
    if order == tuple(range(value.ndim)):
        return value
    return compute("rearrange", [value], tuple(value.dims[axis] for axis in order), order, ())


def _from_every_state(shares: Value) -> Value:
    """Return the same row of a transition for each state before (..., from, to)."""
    size, last = shares.shape[-1], shares.ndim - 1
    wide = compute("rearrange", [shares], (*shares.dims[:-1], None, shares.dims[-1]), (*range(last), None, last), ())
    return compute("multiply", [wide, constant(np.ones((size, 1)))], wide.dims)


def _picked(value: Value, places: tuple[int, ...], dims: Any, shape: Any, key: str) -> Value:
    """Return an element of the last axes, aligned with the rows."""
    before = [slice(None)] * (value.ndim - len(places))
    element = index(value, [*before, *(constant(place) for place in places)])
    try:
        return conform(element, dims, shape)
    except Fault as fault:
        raise UserError([Problem(key, fault.message, fault.hint)]) from None


def emission_of(one: Mapping[str, Any], scope: Scope, key: str, dims: Any, shape: Any, size: int) -> Emission:
    """Return what a state emits.

    Parameters
    ----------
    one
        The distribution in YAML.
    scope
        Values of the names in its expressions.
    key
        Its config key.
    dims, shape
        Axes of the rows.
    size
        Number of states.

    Raises
    ------
    UserError
        When a parameter does not fit.
    """
    known = family(one["dist"])
    assert known is not None
    data = None
    if one.get("observed") is not None:
        data = scope.lookup(one["observed"]) if scope.knows(one["observed"]) else None
        if data is None or data.dims != dims:
            raise fail(f"{key}.observed", f"must be a data variable over ({', '.join(map(str, dims))})")
    each: list[dict[str, Value]] = [{} for _ in range(size)]
    for name, parameter in known.parameters.items():
        if one.get(name) is None:
            continue
        value = _rows_first(read(one[name], scope, f"{key}.{name}", tuple(scope.dims())), dims)
        axis = value.ndim - 1 - parameter.axes
        by_state = axis >= 0 and value.shape[axis] == size and value.dims[axis] not in dims
        for k in range(size):
            part = value
            if by_state:
                part = index(value, [*[slice(None)] * axis, constant(k)])
            own = part.dims[part.ndim - parameter.axes :] if parameter.axes else ()
            sizes = part.shape[part.ndim - parameter.axes :] if parameter.axes else ()
            try:
                each[k][name] = conform(part, (*dims, *own), (*shape, *sizes))
            except Fault as fault:
                hint = f"a parameter over the {size} states has them on its last axis"
                raise UserError([Problem(f"{key}.{name}", fault.message, hint)]) from None
    return Emission(known.name, tuple(each), data)


def _unnamed(density: Any, x: Value, parameters: Mapping[str, Value]) -> Value:
    plain = {name: value.named((None,) * value.ndim) for name, value in parameters.items()}
    value: Value = density(x.named((None,) * x.ndim), plain)
    if value.shape != x.shape:
        value = compute("add", [value, constant(np.zeros(x.shape))], (None,) * x.ndim)
    return value


# ---------------------------------------------------------------- the forward algorithm


def _terms(
    initial: Sequence[Value], transition: Sequence[Sequence[Value]], logs: Sequence[Value], dims: Any, shape: Any
) -> Value:
    size = len(initial)
    largest = logs[0]
    for one in logs[1:]:
        largest = apply("maximum", [largest, one])
    # a shift by a value of any size cancels: it carries no derivative of its own
    relative = [exp(one - largest) for one in logs]
    named = [*initial, *(cell for row in transition for cell in row), *relative]
    inputs, kinds = zip(*[as_input(value, dims, shape) for value in named], strict=True)
    series, rows = tuple(shape[:-1]), shape[-1]
    program = Program(tuple(kinds), series, rows, tuple(_variables(size)))
    whole = Call("recurrence", tuple(map(node_of, inputs)), (program,))
    total = Value(dims, shape, node=Call("index", (whole,), ((size,),)))
    return apply("log", [total]) + largest


def as_input(value: Value, dims: Any, shape: Any) -> tuple[Value, tuple[bool, bool, bool]]:
    """Return a value as an input of what goes along the last dim, and what `AlongRows.inputs` says of it."""
    sizes = (1,) * (len(shape) - value.ndim) + value.shape
    by_row = sizes[-1] == shape[-1] and shape[-1] > 1
    if all(n == 1 for n in sizes[:-1]):
        return value, (False, by_row, value.known is None)
    if sizes[:-1] != tuple(shape[:-1]):
        value = compute("multiply", [value, constant(np.ones((*shape[:-1], 1)))], tuple(dims))
    return value, (True, by_row, value.known is None)


def _variables(size: int) -> Iterator[StepVariable]:
    """Yield what is known of each state before the row, the density of the row, and what is known after it.

    Inputs are the initial probabilities, the transition row by row, and the densities of the row.
    """

    def call(block: list[Instruction], operation: str, *of: int) -> int:
        block.append(Instruction("call", of=of, operation=operation))
        return len(block) - 1

    def product(block: list[Instruction], left: Instruction, right: Instruction) -> int:
        block.extend([left, right])
        return call(block, "multiply", len(block) - 2, len(block) - 1)

    def total(block: list[Instruction], parts: Sequence[int]) -> None:
        made = parts[0]
        for part in parts[1:]:
            made = call(block, "add", made, part)

    densities = size + size * size
    for k in range(size):
        block: list[Instruction] = []
        cells = [Instruction("input", of=(size + j * size + k,)) for j in range(size)]
        earlier = [Instruction("lag", of=(size + 1 + j,), lag=1) for j in range(size)]
        total(block, [product(block, *pair) for pair in zip(earlier, cells, strict=True)])
        yield StepVariable(f"expected_{k}", tuple(block), first=(k,))
    weights = [(Instruction("now", of=(k,)), Instruction("input", of=(densities + k,))) for k in range(size)]
    block = []
    total(block, [product(block, *pair) for pair in weights])
    yield StepVariable("total", tuple(block))
    for k in range(size):
        block = []
        weight = product(block, *weights[k])
        block.append(Instruction("now", of=(size,)))
        call(block, "divide", weight, len(block) - 1)
        yield StepVariable(f"share_{k}", tuple(block))
