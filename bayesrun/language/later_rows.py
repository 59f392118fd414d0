"""Rows after the last one of the fit: how many steps away they are, and the distributions of series that go on there.

A hidden Markov chain goes on from the state drawn for the last row, a random walk from its last point, a recurrence
from its last values: what comes next is drawn from the model, at each draw of the posterior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.calendar_dates import to_days
from bayesrun.language.declaration import Draft
from bayesrun.language.expressions import read
from bayesrun.language.functions import index
from bayesrun.language.hidden_markov import chain_of, emission_of, emissions_of
from bayesrun.language.learned import LearnedValue
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.recurrence_checks import lags_in
from bayesrun.language.recurrence_reader import read_recurrence
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import Times
from bayesrun.language.values import Fault, Value, apply, compute, conform, constant, fixed

Array = NDArray[Any]

_END = "{}: times of the last rows"


def remember_end(scope: Scope, name: str, body: Mapping[str, Any], key: str, times: Times | None, rows: int) -> None:
    """Keep the times of the last rows, from which the steps to later rows are counted."""
    learned = scope.learned
    if learned is None or learned.of_new_rows:
        return
    if body.get("steps") is not None:
        numbers = np.asarray(read(body["steps"], scope, f"{key}.steps").known, dtype=float)
        if len(numbers) == rows:
            learned.constants[_END.format(name)] = LearnedValue((None,), numbers[-3:])
    elif times is not None:
        numbers = to_days(times.values) if times.dates else times.values.astype(float)
        learned.constants[_END.format(name)] = LearnedValue((None,), numbers[-3:], date=times.dates)


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
        hint = "what it is at the rows of the fit is in the posterior, and its predictions in posterior_predictive"
        raise fail("predict.data", message, hint)
    return lengths


def _counted_anew(times: Times, kept: LearnedValue) -> bool:
    """Return whether rows are labelled 0, 1, ... because nothing labels them."""
    return not times.dates and not kept.date and bool(np.array_equal(times.values, np.arange(len(times.values))))


def whole_steps(steps: Array, name: str) -> tuple[int, ...]:
    """Return the lengths of steps that are counted.

    Raises
    ------
    UserError
        When one is no whole number.
    """
    whole = np.round(steps)
    if not np.all(np.abs(steps - whole) < 1e-6):
        message = (
            f"'{name}' goes from row to row, but new rows are {steps[np.abs(steps - whole).argmax()]:g} steps apart"
        )
        raise fail("predict.data", message, "give the new rows the same spacing as those of the fit")
    return tuple(int(n) for n in whole)


def hidden_markov_at_rows(
    draft: Draft,
    name: str,
    body: Mapping[str, Any],
    key: str,
    dims: Sequence[str],
    shape: Sequence[int],
    steps: Array,
    states: Value,
) -> Plan:
    """Draw the states at rows after the last one of the fit, and return the distribution of what they emit.

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
    states
        The states at the rows of the fit.
    """
    axes, sizes, lengths = tuple(dims), tuple(shape), whole_steps(steps, name)
    _, transition = chain_of({**body, "initial": None}, draft.scope, key, axes, sizes)
    cells = [cell.named((None,) * cell.ndim) for row in transition for cell in row]
    if max(lengths) > 1 and any(cell.ndim and cell.shape[-1] > 1 for cell in cells):
        message = "differs from row to row, but rows are left out before those that are predicted"
        raise fail(f"{key}.transition", message, "predict all rows from the last one of the fit on")
    unit = {"lower": fixed(0.0), "upper": fixed(1.0)}
    uniform = draft.random(of_values(f"{name}_new", "Uniform", unit, axes, sizes, key), axes, helper=True)[
        f"{name}_new"
    ]
    last = index(states, [*[slice(None)] * (states.ndim - 1), constant(states.shape[-1] - 1)])
    inputs = [last.named((None,) * last.ndim), uniform.named((None,) * len(axes)), *cells]
    state = compute("state_path", inputs, (None,) * len(axes), len(transition), lengths).named(axes)
    where, one = emissions_of(f"{key}.emission", body["emission"])[0]
    emission = emission_of(one, draft.scope, where, axes, sizes, len(transition))
    chosen: dict[str, Value] = {}
    for parameter, value in emission.parameters[0].items():
        own = tuple(f"{parameter}_{axis}" for axis in range(max(0, value.ndim - len(axes))))
        full = conform(state, (*axes, *own), (*sizes, *value.shape[len(axes) :])) if own else state
        full = full.named((None,) * full.ndim)
        made = value.named((None,) * value.ndim)
        for k in range(1, len(transition)):
            other = emission.parameters[k][parameter]
            made = apply("where", [apply("equal", [full, float(k)]), other.named((None,) * other.ndim), made])
        chosen[parameter] = made.named((*axes, *(None,) * len(own)))
    return of_values(name, emission.family, chosen, axes, sizes, key)


# ---------------------------------------------------------------- random walks


def walk_at_rows(draft: Draft, this: Plan, steps: Array, fitted: Value) -> None:
    """Continue a Gaussian random walk, a prior, from its last point of the fit.

    Parameters
    ----------
    draft
        The model of the new rows.
    this
        The plan of the walk over them.
    steps
        Length of the step into each row; into the first one from the last row of the fit.
    fitted
        The walk at the rows of the fit.
    """
    dims = draft.name_axes(this.name, this.dims, this.shape, draft.scope)
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    standard = of_values(f"{this.name}_new", "Normal", unit, this.dims, this.shape, this.key)
    offset = draft.random(standard, dims, helper=True)[standard.name].named(this.dims)
    mean, sd = _moments(this, steps)
    moves = apply("add", [mean, apply("multiply", [sd, offset])])
    moved = compute("cumsum", [moves.named((None,) * moves.ndim)], (None,) * moves.ndim, moves.ndim - 1)
    last = index(fitted, [*[slice(None)] * (fitted.ndim - 1), constant([fitted.shape[-1] - 1])])
    total = apply("add", [last.named((None,) * last.ndim), moved]).named(this.dims)
    draft.scope.add(this.name, draft.deterministic(this.name, total, dims))


def _moments(this: Plan, steps: Array) -> tuple[Value, Value]:
    """Return mean and sd of each step of a random walk, aligned with its axes."""
    sd = this.values["sigma"] if "sigma" in this.values else this.values["tau"] ** -0.5
    mean = this.values.get("mu", fixed(0.0))
    lengths = constant(steps, (this.dims[-1],))
    return apply("multiply", [mean, lengths]), apply("multiply", [sd, apply("sqrt", [lengths])])


# ---------------------------------------------------------------- recurrences, and series that are written as such

_LAST = "{}: last rows"
_PLACES = "{}: places of missing last rows"


def remember_last(draft: Draft, name: str, value: Value, count: int) -> None:
    """Keep the last values of a series: in the fitted design if they are known, else in the posterior as `NAME_end`."""
    learned = draft.scope.learned
    if learned is None or learned.of_new_rows or value.shape[-1] < count:
        return
    before = [slice(None)] * (value.ndim - 1)
    if value.known is not None:
        learned.constants[_LAST.format(name)] = LearnedValue(
            (None,) * value.ndim, value.known[..., -count:].astype(float)
        )
        return
    last = index(value, [*before, constant(np.arange(value.shape[-1] - count, value.shape[-1]))])
    dims = draft.name_axes(f"{name}_end", (*value.dims[:-1], None), last.shape, draft.scope)
    draft.deterministic(f"{name}_end", last.named(dims), dims)


def remember_observed(draft: Draft, name: str, numbers: Array, count: int) -> None:
    """Keep the last observed values of a series, and which of its imputed values stand for those that are missing."""
    learned = draft.scope.learned
    if learned is None or learned.of_new_rows or numbers.shape[-1] < count:
        return
    missing = np.isnan(numbers)
    places = np.zeros(numbers.shape)
    places[missing] = np.arange(missing.sum())
    last, at = numbers[..., -count:], places[..., -count:]
    learned.constants[_LAST.format(name)] = LearnedValue((None,) * numbers.ndim, last)
    if missing[..., -count:].any():
        learned.constants[_PLACES.format(name)] = LearnedValue((None,) * numbers.ndim, at)


def last_values(
    scope: Scope, name: str, dims: Sequence[str], fitted: Mapping[str, Value], imputed: str
) -> Value | None:
    """Return the last values of a series of the fit, over its other dims and, last, its last rows.

    Parameters
    ----------
    scope
        The model of the new rows.
    name
        The series.
    dims
        Its dims before that of the rows.
    fitted
        The model's variables as the posterior has them.
    imputed
        The variable that holds its imputed values.
    """
    own = (*dims, None)
    if f"{name}_end" in fitted:
        return fitted[f"{name}_end"].named(own)
    learned = scope.learned
    kept = None if learned is None else learned.constants.get(_LAST.format(name))
    if learned is None or kept is None:
        return None
    numbers = np.asarray(kept.numbers, dtype=float)
    names = own[-numbers.ndim :]
    places = learned.constants.get(_PLACES.format(name))
    if places is None:
        return constant(numbers, names)
    missing = np.isnan(numbers)
    values = index(fitted[imputed].named((None,)), [constant(np.asarray(places.numbers, dtype=np.int64), names)])
    return apply("where", [constant(missing, names), values, constant(np.where(missing, 0.0, numbers), names)])


def recurrence_at_rows(
    draft: Draft,
    body: Mapping[str, Any],
    key: str,
    fed: Mapping[str, str],
    steps: Array,
    fitted: Mapping[str, Value],
    series: Sequence[str],
) -> None:
    """Continue a recurrence from its last rows of the fit.

    Parameters
    ----------
    draft
        The model of the new rows, which has the data that likelihoods explain as blanks.
    body, key
        The recurrence.
    fed
        The likelihood of each data variable that the model explains.
    steps
        Length of the step into each row; into the first one from the last row of the fit.
    fitted
        The model's variables as the posterior has them.
    series
        Its dims besides that along which it runs.

    Raises
    ------
    UserError
        When rows are left out, or the fit has kept no values to go on from.
    """
    what = ", ".join(map(str, body["step"]))
    if not np.all(np.abs(steps - 1) < 1e-6):
        message = f"rows are left out before those that are predicted, but '{what}' follows from row to row"
        raise fail("predict.data", message, "predict all rows from the last one of the fit on")
    scope, state = draft.scope, dict[str, list[str]]()
    for name, count in lags_in(body).items():
        last = last_values(scope, name, series, fitted, f"{fed.get(name, name)}_missing")
        if last is None or last.shape[-1] < count:
            message = f"the run has not kept the last values of '{name}', from which '{what}' goes on"
            raise fail("predict.data", message, "fit again: the run is of an older version, or has too few rows")
        own = f"{name}_end"
        scope.add(own, last)
        colons = ":, " * (last.ndim - 1)
        state[name] = [f"{own}[{colons}{i}]" for i in range(last.shape[-1])]
    later = {"over": body["over"], "step": body["step"], "state": state}
    for name, value in read_recurrence(later, scope, key, frozenset(fed)).items():
        scope.add(name, value)


CONTINUED = ("AR", "AR1", "GaussianRandomWalk")
"""Series that can be continued as likelihoods."""


def series_coefficients(this: Plan) -> list[Value]:
    """Return the coefficients of the rows before, the nearest first, of a series of `CONTINUED`."""
    if this.family.name == "GaussianRandomWalk":
        return [constant(1.0)]
    if this.family.name == "AR1":
        return [this.values["k"]]
    rho = this.values["rho"]
    if not rho.ndim:
        return [rho]
    return [index(rho, [constant(i)]) for i in range(1 if this.flags.get("constant") else 0, rho.shape[0])]


def _precision(this: Plan) -> Value:
    return this.values["tau_e" if this.family.name == "AR1" else "tau"]


def autoregression_at_rows(
    draft: Draft, this: Plan, steps: Array, last: Value, coefficients: Sequence[Value], observed: str
) -> Plan:
    """Return the distribution of a series at later rows given those before, of an `AR`, an `AR1` or a random walk.

    Parameters
    ----------
    draft
        The model of the new rows, which has `observed` as blanks.
    this
        The plan of the series over them.
    steps
        Length of the step into each row; into the first one from the last row of the fit.
    last
        Its last values, over its other dims and, last, its last rows.
    coefficients
        Of the rows before, the nearest first.
    observed
        The data variable.
    """
    name, dims = this.name, this.dims
    walk = this.family.name == "GaussianRandomWalk"
    if not walk and not np.all(np.abs(steps - 1) < 1e-6):
        message = f"rows are left out before those that are predicted, but '{name}' follows from row to row"
        raise fail("predict.data", message, "predict all rows from the last one of the fit on")
    if walk:
        shift, sd = _moments(this, steps)
    else:
        shift, sd = fixed(0.0), this.values["sigma"] if "sigma" in this.values else _precision(this) ** -0.5
        if this.flags.get("constant"):
            shift = index(this.values["rho"], [constant(0)])
    names = {f"{name}_shift": shift, f"{name}_end": last}
    names |= {f"{name}_lag{i}": value for i, value in enumerate(coefficients, start=1)}
    terms = [f"{name}_shift", *(f"{name}_lag{i} * {observed}[t-{i}]" for i in range(1, len(coefficients) + 1))]
    colons = ":, " * (last.ndim - 1)
    body = {
        "over": dims[-1],
        "state": {observed: [f"{name}_end[{colons}{i}]" for i in range(last.shape[-1])]},
        "step": {f"{name}_mean": " + ".join(terms)},
    }
    mean = read_recurrence(body, draft.scope.extended(names), this.key, frozenset({observed}))[f"{name}_mean"]
    return of_values(name, "Normal", {"mu": mean, "sigma": sd}, dims, this.shape, this.key)
