"""Weighted, censored and truncated likelihoods: each row's term of the log likelihood.

With distribution function `F` and truncation limits `l`, `u`, an uncensored row contributes `f(y) / (F(u) - F(l))`;
a row left-censored at `y` has `F(y) - F(l)` in place of `f(y)`, a right-censored row `F(u) - F(y)`, and one in an
interval `F(end) - F(y)`. A weight multiplies the logarithm. Rows of a multivariate distribution are its
vectors: each has one weight, and is observed or not as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.densities.algebra import at_most, equals, only_where, where
from bayesrun.language.densities.base import Values, spread
from bayesrun.language.densities.tails import draw_within, log_between, tails
from bayesrun.language.distributions import Distribution, distributions, known_family
from bayesrun.language.expressions import read
from bayesrun.language.scope import Scope
from bayesrun.language.values import Dims, Fault, Value, apply, conform, constant

NONE, LEFT, RIGHT, INTERVAL = 0, -1, 1, 2
STATUSES = {"none": NONE, "left": LEFT, "right": RIGHT, "interval": INTERVAL}
"""How a row is censored, in words and as a number."""
Side = Literal["lower", "upper"]


@dataclass(frozen=True)
class Modifiers:
    """The modifiers of a likelihood; arrays are over its dims, or broadcast to them from the right.

    Parameters
    ----------
    weights
        Weight of each row; None for 1.
    status
        How each row is censored (`NONE`, `LEFT`, `RIGHT`, `INTERVAL`); None if no row is censored.
    end
        Upper ends of the intervals of interval-censored rows.
    limits
        Limits of the instrument's range; values beyond a limit are recorded as the limit.
    truncation
        Limits beyond which a row would not be observed.
    inside
        An uncensored value, used in place of censored ones when the density is evaluated.
    kept
        Which rows are observed, over the likelihood's dims; None if all are.
    """

    weights: Value | None = None
    status: NDArray[np.int64] | None = None
    end: Value | None = None
    limits: Mapping[Side, Value] | None = None
    truncation: Mapping[Side, Value] | None = None
    inside: float = 0.0
    kept: NDArray[np.bool_] | None = None

    def values(self) -> dict[str, Value]:
        """Return the values that an engine has to compute, by name."""
        named = {"weights": self.weights, "end": self.end}
        named["status"] = None if self.status is None else constant(self.status)
        for kind, pair in (("limits", self.limits), ("truncation", self.truncation)):
            named |= {f"{kind}_{side}": value for side, value in (pair or {}).items()}
        return {name: value for name, value in named.items() if value is not None}

    def of(self, values: Mapping[str, Value]) -> Modifiers:
        """Return a copy with other values of these names."""
        pairs = {
            kind: None if pair is None else {side: values[f"{kind}_{side}"] for side in pair}
            for kind, pair in (("limits", self.limits), ("truncation", self.truncation))
        }
        return replace(self, weights=values.get("weights"), end=values.get("end"), **pairs)  # type: ignore[arg-type]


def plan_modifiers(
    family: Distribution,
    given: Mapping[str, Any],
    scope: Scope,
    key: str,
    dims: Dims,
    observed: NDArray[Any],
    new_rows: bool = False,
) -> Modifiers | None:
    """Evaluate the modifiers of a likelihood.

    Parameters
    ----------
    family
        Its distribution.
    given
        The modifiers in YAML, already checked by `modifier_problems`.
    scope
        Values of the names in its expressions.
    key
        Config key of the likelihood.
    dims
        Its dims.
    observed
        Observed values over the dims; for new rows only the shape matters.
    new_rows
        Whether new rows are to be drawn: weights and censoring status are then ignored.

    Raises
    ------
    UserError
        When the distribution does not support the modifier, an expression does not fit, or observed values are beyond
        the limits.
    """
    if not given:
        return None
    check([*_unable(family, given, key)])
    event = family.event
    reader = _Reader(scope, key, dims[: len(dims) - event], observed.shape[: observed.ndim - event])
    censored = dict(given.get("censored") or {})
    by_row = censored.get("status") is not None
    made = Modifiers(
        limits=None if by_row or not censored else reader.pair("censored", censored),
        truncation=reader.pair("truncated", given["truncated"]) if given.get("truncated") else None,
    )
    if new_rows:
        return made
    kept = observed_rows(given, scope, key, dims, observed, event)
    if kept is not None:
        made = replace(made, kept=kept)
        observed = only_rows(observed, kept)
    if given.get("weights") is not None:
        made = replace(made, weights=_weights(reader.value("weights", given["weights"]), key))
    if by_row:
        made = _censored_by_row(made, censored, reader, observed)
    elif made.limits is not None:
        made = replace(made, status=_status_at_limits(made.limits, observed, f"{key}.censored"))
    check(_beyond(made, observed, key))
    return replace(made, inside=_inside(made, family, observed))


def observed_rows(
    given: Mapping[str, Any], scope: Scope, key: str, dims: Dims, observed: NDArray[Any], event: int = 0
) -> NDArray[np.bool_] | None:
    """Return which rows of a likelihood are observed, over its dims without the last `event`; None if all are.

    Raises
    ------
    UserError
        When the condition depends on a random variable, holds nowhere, or holds for a row without a value.
    """
    if given.get("observed_if") is None:
        return None
    rows, shape = dims[: len(dims) - event], observed.shape[: observed.ndim - event]
    reader, where = _Reader(scope, key, rows, shape), f"{key}.observed_if"
    found = reader.known("observed_if", reader.value("observed_if", given["observed_if"]))
    kept = np.asarray((found != 0) & ~np.isnan(found))
    if not kept.any():
        raise fail(where, "is true for no row: nothing is observed", "correct the condition")
    missing = kept & np.isnan(np.asarray(observed, dtype=float)).reshape(*shape, -1).any(axis=-1)
    if missing.any():
        raise fail(where, f"holds for {missing.sum()} rows whose value is missing", "make it false for these rows")
    return kept


def only_rows(values: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Put an observed row in the place of each row that is not."""
    chosen = kept.reshape(*kept.shape, *(1,) * (values.ndim - kept.ndim))
    return np.where(chosen, values, values[kept][0])


def _unable(family: Distribution, given: Mapping[str, Any], key: str) -> list[Problem]:
    if family.event and not family.vector:
        hint = "its values depend on each other, so that no row has a term of its own"
        return [Problem(f"{key}.{name}", f"{family.name} takes no {name}", hint) for name in given]
    names = [name for name in ("censored", "truncated") if given.get(name)]
    if not names or tails(family) is not None:
        return []
    message = f"{family.name} can't be {' or '.join(names)}: its distribution function is not known exactly"
    if family.event:
        hint = "a vector has no limits of its own; weights and observed_if are possible"
        return [Problem(f"{key}.{name}", f"{family.name} can't be {name}", hint) for name in names]
    able = [name for name in distributions() if tails(known_family(name)) is not None]
    return [Problem(f"{key}.{names[0]}", message, f"possible for {', '.join(able)}")]


class _Reader:
    """Evaluates expressions of a likelihood and aligns them with its dims."""

    def __init__(self, scope: Scope, key: str, dims: Dims, shape: tuple[int, ...]) -> None:
        self.scope, self.key = scope, key
        self.dims, self.shape = dims, shape

    def value(self, where: str, text: Any) -> Value:
        key = f"{self.key}.{where}"
        found = read(text, self.scope, key, self.dims)
        try:
            return conform(found, self.dims, self.shape)
        except Fault as fault:
            raise UserError([Problem(key, fault.message, fault.hint)]) from None

    def pair(self, modifier: str, given: Mapping[str, Any]) -> dict[Side, Value]:
        sides: tuple[Side, Side] = ("lower", "upper")
        return {side: self.value(f"{modifier}.{side}", given[side]) for side in sides if given.get(side) is not None}

    def known(self, where: str, value: Value) -> NDArray[Any]:
        if value.known is None:
            raise fail(f"{self.key}.{where}", "must not depend on a random variable", "give numbers or data")
        return np.broadcast_to(np.asarray(value.known, dtype=float), self.shape)


def _weights(weights: Value, key: str) -> Value:
    if weights.known is None:
        raise fail(f"{key}.weights", "must not depend on a random variable", "give numbers or data")
    wrong = np.asarray(weights.known)[~(np.asarray(weights.known) >= 0)]
    if wrong.size:
        raise fail(f"{key}.weights", f"must be 0 or above (got {wrong.ravel()[0]:g})", "fix the values")
    return weights


def _censored_by_row(made: Modifiers, given: Mapping[str, Any], reader: _Reader, observed: NDArray[Any]) -> Modifiers:
    status = _codes(given["status"], reader)
    intervals = status == INTERVAL
    if given.get("upper") is None:
        if intervals.any():
            raise fail(f"{reader.key}.censored.upper", "is required: some rows are censored in an interval", "name it")
        return replace(made, status=status)
    ends = reader.known("censored.upper", reader.value("censored.upper", given["upper"]))
    wrong = intervals & ~(ends > observed)
    if wrong.any():
        got = f"from {observed[wrong].ravel()[0]:g} to {ends[wrong].ravel()[0]:g}"
        raise fail(f"{reader.key}.censored.upper", f"must be above the observed value in an interval (got {got})")
    return replace(made, status=status, end=constant(np.where(intervals, ends, observed + 1.0), reader.dims))


def _codes(text: Any, reader: _Reader) -> NDArray[np.int64]:
    """Return the censoring status of each row, given as words or numbers."""
    key, cells = f"{reader.key}.censored.status", None
    if isinstance(text, str) and text.isidentifier():
        cells = reader.scope.cells(text)
    if cells is not None and np.asarray(cells[0]).dtype.kind in "OUS":
        return np.broadcast_to(_of_words(np.asarray(cells[0]), key), reader.shape)
    codes = reader.known("censored.status", reader.value("censored.status", text))
    wrong = codes[~np.isin(codes, list(STATUSES.values()))]
    if wrong.size:
        allowed = "0 (none), 1 (right), -1 (left) or 2 (interval)"
        raise fail(key, f"must be {allowed} (got {wrong[0]:g})", "write such codes, or the words")
    return codes.astype(np.int64)


def _of_words(words: NDArray[Any], key: str) -> NDArray[np.int64]:
    wrong = [word for word in words.ravel().tolist() if word not in STATUSES]
    if wrong:
        hint = did_you_mean(str(wrong[0]), STATUSES)
        raise fail(key, f"must be none, left, right or interval (got {wrong[0]!r})", hint)
    codes: NDArray[np.int64] = np.vectorize(STATUSES.get, otypes=[np.int64])(words)
    return codes


def _status_at_limits(limits: Mapping[Side, Value], observed: NDArray[Any], key: str) -> NDArray[np.int64]:
    status = np.zeros(observed.shape, dtype=np.int64)
    for side, value in limits.items():
        if value.known is None:
            raise fail(f"{key}.{side}", "must not depend on a random variable", "give numbers or data")
        message = _beyond_limit(side, value.known, observed)
        if message:
            raise fail(f"{key}.{side}", message, "what is censored is set to the limit; use truncated or status")
        status[np.broadcast_to(observed == value.known, status.shape)] = LEFT if side == "lower" else RIGHT
    return status


def _beyond_limit(side: Side, limit: NDArray[Any], observed: NDArray[Any]) -> str:
    """Describe the first observed value beyond a limit; empty when there is none."""
    beyond = observed < limit if side == "lower" else observed > limit
    if not beyond.any():
        return ""
    word = "below" if side == "lower" else "above"
    return f"the observed value {observed[beyond].ravel()[0]:g} lies {word} the limit"


def _beyond(made: Modifiers, observed: NDArray[Any], key: str) -> list[Problem]:
    """Find observed values beyond the truncation limits, which are impossible."""
    problems = []
    for side, value in (made.truncation or {}).items():
        if value.known is None:
            continue
        message = _beyond_limit(side, value.known, observed)
        if message:
            hint = "remove such rows; where a value is cut to the limit use censored"
            problems.append(Problem(f"{key}.truncated.{side}", message, hint))
    return problems


def _inside(made: Modifiers, family: Distribution, observed: NDArray[Any]) -> float:
    """Return an uncensored observed value, or else any value in the distribution's support."""
    seen = observed if made.status is None else observed[made.status == NONE]
    if seen.size:
        return float(seen.ravel()[0])
    return {"positive": 1.0, "unit": 0.5}.get(family.support, 1.0)


def log_terms(family: Distribution, logs: Value, x: Value, parameters: Values, made: Modifiers) -> Value:
    """Return each row's term of the log likelihood.

    Parameters
    ----------
    family
        The distribution.
    logs
        Its log density at uncensored rows; any finite value at others.
    x
        The observed values.
    parameters
        Of the distribution.
    made
        Its modifiers, as values in the same form as `x` and the parameters, with unnamed axes.
    """
    low, high = _truncation(family, made)
    known = tails(family)
    if made.status is not None:
        assert known is not None
        end = _floor(made.end) if family.discrete and made.end is not None else made.end
        of_status = {LEFT: (low, x), RIGHT: (_below_right(family, x, made), high), INTERVAL: (x, end)}
        for code in np.unique(made.status[made.status != NONE]).tolist():
            chosen = equals(constant(made.status), code)
            logs = where(chosen, log_between(known, *of_status[code], parameters), logs)
    if made.truncation is not None:
        assert known is not None
        logs = only_where(logs - log_between(known, low, high, parameters), *_inside_of(made.truncation, x))
    logs = logs if made.weights is None else made.weights * logs
    return logs if made.kept is None else where(constant(made.kept), logs, 0.0)


def _truncation(family: Distribution, made: Modifiers) -> tuple[Value | None, Value | None]:
    """Return the limits at which `F` is evaluated; for whole numbers the lower limit is included."""
    low, high = (made.truncation or {}).get("lower"), (made.truncation or {}).get("upper")
    if not family.discrete:
        return low, high
    # the largest whole number below the lower limit, and the largest one not above the upper limit
    return None if low is None else -_floor(-low) - 1.0, None if high is None else _floor(high)


def _floor(x: Value) -> Value:
    return apply("floor_divide", [x, 1.0])


def _below_right(family: Distribution, x: Value, made: Modifiers) -> Value:
    """Return the lower bound of a right-censored value: exclusive, except at an instrument's limit."""
    return x - 1.0 if family.discrete and made.limits is not None else x


def _inside_of(limits: Mapping[Side, Value], x: Value) -> list[Value]:
    return [at_most(value, x) if side == "lower" else at_most(x, value) for side, value in limits.items()]


def draw_modified(
    family: Distribution,
    made: Modifiers,
    values: Mapping[str, NDArray[Any]],
    draw: Callable[[], NDArray[Any]],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Draw from a likelihood's predictive distribution, truncated to its limits and clipped to those of its instrument.

    Weights and the status of a row are properties of the rows that were observed; draws are of the distribution.

    Parameters
    ----------
    family
        The distribution.
    made
        Its modifiers.
    values
        Its parameters and the values of the modifiers by name, (draw, ...).
    draw
        Draws (draw, *shape) of the unmodified distribution, new ones at each call.
    rng
        Source of randomness.
    """
    if made.truncation is None:
        drawn = draw()
    else:
        own = {name: values[name] for name in values if name in family.parameters}
        drawn = draw_within(family, own, {side: values[f"truncation_{side}"] for side in made.truncation}, draw, rng)
    for side in made.limits or {}:
        limit = spread(values[f"limits_{side}"], shape=drawn.shape[1:])[0]
        drawn = np.maximum(drawn, limit) if side == "lower" else np.minimum(drawn, limit)
    return drawn.astype(np.int64) if family.discrete else drawn
