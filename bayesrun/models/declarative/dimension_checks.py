"""The check of a declarative model against its data: names, dims and shapes, before an engine is imported."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bayesrun.data.roles import outside
from bayesrun.errors import Problem, UserError, check
from bayesrun.language.areal_models import AREAL, adjacency_of
from bayesrun.language.expressions import read
from bayesrun.language.hidden_markov import HIDDEN_MARKOV, emitted, read_hidden_markov
from bayesrun.language.incomplete_vectors import SUMMED_OUT
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN, read_linear_gaussian
from bayesrun.language.ode_reader import read_ode, solutions, states_of
from bayesrun.language.plan import Plan, axes_of, plan, variables_of
from bayesrun.language.prior_checks import split
from bayesrun.language.priors import with_modifiers
from bayesrun.language.recurrence_reader import read_recurrence
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import SERIES, times_along
from bayesrun.language.values import Fault, Value, compute, conform, constant, variable
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition, gives, in_order
from bayesrun.models.declarative.filled_series import filled_in, filled_problem

_SCORED = {
    "AdjacentLogistic": "cutpoints",
    "Categorical": "p",
    "CategoricalLogit": "eta",
    "OrderedCloglog": "cutpoints",
    "OrderedLogistic": "cutpoints",
    "OrderedProbit": "cutpoints",
    "SequentialLogistic": "cutpoints",
}
_GAPS = "fill them in, in the file or by data.derive"
# Series whose missing values are imputed from their neighbours.
_GOING_ON = (HIDDEN_MARKOV, LINEAR_GAUSSIAN)
"""Series that go on without their missing values."""
_IMPUTED_SERIES = ("AR", "AR1", "GARCH11", "GaussianRandomWalk")


def data_problems(data: xr.Dataset | None, parts: Sequence[Definition]) -> list[Problem]:
    """Find all errors in a model once its data are known.

    Parameters
    ----------
    data
        The prepared data; None for a model without.
    parts
        Its definitions, which have passed the static check.
    """
    problems = [*_clashes(data, parts), *_missing_in_predictors(data, parts), *_untimely_series(data, parts)]
    problems += _used_vectors(data, parts)
    if problems:
        return problems
    try:
        ordered = in_order(parts, completed(data, parts))
    except UserError as error:
        return list(error.problems)
    return _shape_problems(data, ordered)


def dims_taken(data: xr.Dataset | None, coords: Mapping[str, Sequence[Any]]) -> list[Problem]:
    """Find dims of the model that are called as a dim or a variable of the data."""
    taken = set() if data is None else {str(name) for name in (*data.variables, *data.sizes)}
    hint = "rename it; a dim of the data has its labels from the data"
    return [Problem(f"model.coords.{d}", f"the name '{d}' is taken by the data", hint) for d in coords if d in taken]


def with_coords(data: xr.Dataset | None, coords: Mapping[str, Sequence[Any]]) -> xr.Dataset | None:
    """Return the data with the model's own dims."""
    if not coords:
        return data
    return (xr.Dataset() if data is None else data).assign_coords({dim: list(coords[dim]) for dim in coords})


def explained(parts: Sequence[Definition]) -> frozenset[str]:
    """Return the data variables that likelihoods explain."""
    return frozenset(part.observed for part in parts if isinstance(part.observed, str))


def completed(data: xr.Dataset | None, parts: Sequence[Definition]) -> list[str]:
    """Return the likelihoods that have their data variable's name and complete its missing values."""
    own = [p for p in parts if p.kind == "likelihood" and p.observed == p.name]
    sampled = filled_in(data, parts)
    known = [p for p in own if has_missing(data, p.name) and p.body.get("dist") not in _GOING_ON]
    return [p.name for p in known if p.name not in sampled]


def has_missing(data: xr.Dataset | None, name: str) -> bool:
    """Return whether a data variable has missing values."""
    return data is not None and name in data and bool(data[name].isnull().any())


def _used_vectors(data: xr.Dataset | None, parts: Sequence[Definition]) -> Iterator[Problem]:
    """Find completed vectors that other definitions use: their missing elements are known only afterwards."""
    for part in parts:
        if part.body.get("dist") in SUMMED_OUT and part.name in completed(data, [part]):
            users = [other.key for other in parts if part.name in other.names]
            if users:
                message = f"has missing values, which are summed out, but {users[0]} uses '{part.name}'"
                yield Problem(
                    part.key, message, "set data.drop_missing=rows, or give each of its elements a likelihood"
                )


def _clashes(data: xr.Dataset | None, parts: Sequence[Definition]) -> list[Problem]:
    """Find names of the model that are also names of data variables or dims."""
    if data is None:
        return []
    taken = {str(n) for n in (*data.variables, *data.sizes)}
    hint = "rename one of them; only a likelihood may have the name of the variable that it explains"
    named = [(name, p) for p in parts for name in (gives(p) if p.kind == "recurrence" else (p.name,))]
    own = [(name, p) for name, p in named if name in taken and p.observed != name]
    return [Problem(_key_of(name, p), f"the name '{name}' is taken by the data", hint) for name, p in own]


def _key_of(name: str, part: Definition) -> str:
    return f"{part.key}.step.{name}" if part.kind == "recurrence" else part.key


def _ends_of_intervals(part: Definition) -> frozenset[str]:
    """Return the variable that holds the ends of censoring intervals; only interval-censored rows need one."""
    censored = part.body.get("censored") if part.kind == "likelihood" else None
    end = censored.get("upper") if isinstance(censored, Mapping) and censored.get("status") is not None else None
    return frozenset([end]) if isinstance(end, str) else frozenset()


def _emitted(part: Definition) -> frozenset[str]:
    """Return the variables that hidden states emit besides the observed one."""
    if part.body.get("dist") != HIDDEN_MARKOV:
        return frozenset()
    return frozenset(str(name) for _, name, _ in emitted(part.key, part.body) if name is not None)


def _missing_in_predictors(data: xr.Dataset | None, parts: Sequence[Definition]) -> list[Problem]:
    problems, filled = [], filled_in(data, parts)
    for part in parts:
        for name in sorted(part.names - _ends_of_intervals(part) - _emitted(part)):
            if not has_missing(data, name) or name in filled:
                continue
            assert data is not None
            own = next((p for p in parts if p.kind == "likelihood" and p.observed == name), None)
            if part.kind == "recurrence" and own is not None and _depends(own, part, parts):
                problem = filled_problem(own, data[name])
                problems += [] if problem is None else [problem]
                continue
            if name not in completed(data, parts):
                count = int(data[name].isnull().sum())
                if part.kind == "recurrence":
                    message = f"'{name}' has {count} missing values, but each row of a recurrence needs the rows before"
                    problems.append(Problem(part.key, message, _GAPS))
                    continue
                hint = f"give it a likelihood: {name}: {{dist: ..., observed: {name}}}"
                hint = hint if _has_series(parts) else f"set data.drop_missing=rows, or {hint}"
                problems.append(Problem(part.key, f"the predictor '{name}' has {count} missing values", hint))
    return problems


def _depends(part: Definition, other: Definition, parts: Sequence[Definition]) -> bool:
    """Return whether a definition depends on what another one provides, directly or through others."""
    owner = {name: each for each in parts for name in gives(each) if each.kind != "likelihood"}
    todo, seen = [part], set[str]()
    while todo:
        one = todo.pop()
        if one is other:
            return True
        needed = [owner[name] for name in one.names if name in owner and owner[name].name not in seen]
        seen |= {each.name for each in needed}
        todo += needed
    return False


def _has_series(parts: Sequence[Definition]) -> bool:
    """Return whether a model depends on consecutive rows, so that rows can't be dropped."""
    return any(part.kind == "recurrence" or part.body.get("dist") in (*SERIES, LINEAR_GAUSSIAN) for part in parts)


def _untimely_series(data: xr.Dataset | None, parts: Sequence[Definition]) -> Iterator[Problem]:
    """Find series whose steps between rows are not time steps: unsorted, or of unequal lengths."""
    yield from _untimely_recurrences(data, parts)
    for part in parts:
        name = str(part.body.get("dist"))
        if data is None or name not in (*SERIES, HIDDEN_MARKOV, LINEAR_GAUSSIAN):
            continue
        given = part.body.get("dims") or (data[part.observed].dims if part.observed in data else ())
        dims = [given] if isinstance(given, str) else [str(d) for d in given]
        along = dims[-2:-1] if name.startswith("Mv") else dims[-1:]
        for dim in dims:
            times = times_along(data, dim) if dim in data.sizes else None
            if times is None or (not times.dates and dim not in along):
                continue
            if dim not in along:
                message = f"it goes along '{along[0]}', but '{dim}' holds dates"
                yield Problem(part.key, message, f"write dims: [{', '.join([d for d in dims if d != dim] + [dim])}]")
            elif not times.in_order:
                message = f"its steps go from row to row, but the rows are not in the order of '{times.name}'"
                yield Problem(part.key, message, f"sort the rows of the file by {times.name}")
            elif part.body.get("steps") is None and not times.equally_spaced:
                message = f"its steps go from row to row, but the rows are {times.spacing} by '{times.name}'"
                yield Problem(part.key, message, times.instead(name))


def _untimely_recurrences(data: xr.Dataset | None, parts: Sequence[Definition]) -> Iterator[Problem]:
    for part in parts:
        if part.kind != "recurrence" or data is None or part.body["over"] not in data.sizes:
            continue
        times = times_along(data, str(part.body["over"]))
        if times is not None and not times.in_order:
            message = f"it goes from row to row, but the rows are not in the order of '{times.name}'"
            yield Problem(f"{part.key}.over", message, f"sort the rows of the file by {times.name}")
        elif times is not None and part.body.get("steps") is None and not times.equally_spaced:
            message = f"it goes from row to row, but the rows are {times.spacing} by '{times.name}'"
            hint = f"steps: arange(n_{times.dim}) counts each row as one step"
            yield Problem(f"{part.key}.over", message, hint)


def _shape_problems(data: xr.Dataset | None, ordered: Sequence[Definition]) -> list[Problem]:
    scope, fed, filled = Scope(data), explained(ordered), filled_in(data, ordered)
    for name in filled:
        assert data is not None
        scope.add(name, variable(name, tuple(map(str, data[name].dims)), data[name].shape), replace=True)
    problems: list[Problem] = []
    broken: set[str] = set()
    for part in ordered:
        if part.names & broken:
            broken |= {part.name, *gives(part)}
            continue
        try:
            _trace(part, data, scope, fed, filled)
        except UserError as error:
            problems += error.problems
            broken |= {part.name, *gives(part)}
    return problems


def _trace(
    part: Definition, data: xr.Dataset | None, scope: Scope, fed: frozenset[str], filled: Collection[str]
) -> None:
    """Infer the shape of one definition, and register its name."""
    if part.kind == "likelihood":
        _trace_likelihood(part, data, scope, filled)
    elif part.kind == "prior":
        this = plan(part.name, part.body, scope, part.key)
        if this.family.name in AREAL:
            adjacency_of(this)
        for name, value in variables_of(this).items():
            scope.add(name, value)
    elif part.kind == "recurrence":
        for name, value in read_recurrence(part.body, scope, part.key, fed).items():
            known = Value(value.dims, value.shape, value.known)
            scope.add(name, known if value.known is not None else variable(name, value.dims, value.shape))
    else:
        value = expression_value(part, scope)
        known = Value(value.dims, value.shape, value.known)
        made = known if value.known is not None else variable(part.name, value.dims, value.shape)
        scope.add(part.name, made)
        add_parts(part, made, scope)


def _trace_likelihood(part: Definition, data: xr.Dataset | None, scope: Scope, filled: Collection[str]) -> None:
    if data is None or part.observed not in data:
        names = [] if data is None else sorted(map(str, data.data_vars))
        message = f"the data have no variable '{part.observed}'"
        raise UserError([Problem(f"{part.key}.observed", message, f"they have: {', '.join(names) or 'nothing'}")])
    array = data[part.observed]
    dims = tuple(map(str, array.dims))
    if part.body.get("dist") == HIDDEN_MARKOV:
        read_hidden_markov(part.name, part.body, scope, part.key, constant(array.values, dims))
        return
    if part.body.get("dist") == LINEAR_GAUSSIAN:
        read_linear_gaussian(part.name, part.body, scope, part.key, array.values, dims)
        return
    prior, modifiers = split(part.body)
    this = plan(part.name, prior, scope, part.key, dims, array.shape)
    check(_out_of_range(this, array, f"{part.key}.observed"))
    missing = has_missing(data, str(part.observed)) and modifiers.get("observed_if") is None
    missing = missing and part.observed not in filled
    if missing and modifiers:
        message = f"'{part.observed}' has missing values, which can't be imputed with {' and '.join(modifiers)}"
        raise UserError([Problem(part.key, message, "set data.drop_missing=rows")])
    with_modifiers(this, modifiers, scope, array.values)
    if missing:
        series = this.family.name in _IMPUTED_SERIES and len(dims) == 1
        if this.family.name in SUMMED_OUT:
            return
        if (this.family.event and not series) or this.family.name in ("Mixture", "NormalMixture", "MixtureSameFamily"):
            message = f"'{part.observed}' has missing values, which can't be imputed in a {this.family.name}"
            hint = "set data.drop_missing=rows"
            if _has_series([part]):
                hint = "fill them in, or model each series by a GaussianRandomWalk of its own, which imputes them"
            raise UserError([Problem(part.key, message, hint)])
        scope.add(part.name, variable(part.name, dims, array.shape), replace=True)


def _out_of_range(this: Plan, array: xr.DataArray, key: str) -> list[Problem]:
    """Find codes beyond the last category, and counts above the number of trials."""
    values, name = this.values, this.family.name
    if array.dtype.kind not in "biuf":
        return []
    if name in _SCORED:
        # K categories have K probabilities, or K - 1 cutpoints or scores
        scores = values[_SCORED[name]].shape[-1]
        return outside(array, 0, scores - 1 if name == "Categorical" else scores, "codes", key)
    low, high = (values.get("lower"), values.get("upper")) if name in ("DiscreteUniform", "Uniform") else (None, None)
    if (
        name in ("Binomial", "BetaBinomial", "ZeroInflatedBetaBinomial", "ZeroInflatedBinomial")
        and values["n"].known is not None
    ):
        return outside(array, 0, values["n"].known, "counts", key)
    if low is not None and high is not None and low.known is not None and high.known is not None:
        return outside(array, low.known, high.known, "numbers", key)
    return []


def expression_value(part: Definition, scope: Scope) -> Value:
    """Compute a deterministic or a potential, aligned with its declared dims.

    Raises
    ------
    UserError
        When its dims are unknown or incompatible.
    """
    if part.system is not None:
        solved = read_ode(part.name, part.system, scope, f"{part.key}.ode")
        scope.add_labels(f"{part.name}_state", list(states_of(part.system)))
        return solved
    wanted = axes_of({"dims": part.body.get("dims")}, scope, part.key)
    value = read(part.body["expr"], scope, part.key, wanted[0] if wanted else ())
    if wanted is None:
        return value
    try:
        return conform(value, *wanted).named(wanted[0]) if value.ndim == len(wanted[0]) else _wider(value, *wanted)
    except Fault as fault:
        raise UserError([Problem(f"{part.key}.dims", fault.message, fault.hint)]) from None


def add_parts(part: Definition, value: Value, scope: Scope) -> None:
    """Register the names of the parts of a deterministic: the states of a system of equations."""
    for name, own in solutions(value, states_of(part.system)).items():
        scope.add(name, own)


def _wider(value: Value, dims: Sequence[str | None], shape: Sequence[int]) -> Value:
    """Broadcast a value along its missing axes."""
    fitted = conform(value, tuple(dims), shape)
    return compute("multiply", [fitted, constant(np.ones(tuple(shape)))], tuple(dims))
