"""Cross-validation: which rows each fit leaves out, and the model in which their terms of the likelihood weigh nothing.

The rows stay in the model, so that its design (levels, centring, knots, scales of default priors) is that of the whole
fit. What only held-out rows depend on, such as the effects of their groups or later states of a series, keeps its prior
given all else: these rows are predicted as rows of new groups and of the future are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.declaration import Declaration, Item, Likelihood, Potential
from bayesrun.language.functions import index
from bayesrun.language.later_rows import series_coefficients
from bayesrun.language.modifiers import Modifiers
from bayesrun.language.plan import of_values
from bayesrun.language.recurrence_reader import read_recurrence
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import SERIES
from bayesrun.language.values import Value, constant
from bayesrun.lazy import pd

Codes = NDArray[np.int64]

_BINS = 10
"""Quantile bins of a numeric column by which folds are stratified."""


@dataclass(frozen=True)
class HeldOut:
    """One fit.

    Parameters
    ----------
    left_out, predicted
        Over row.
    likelihood
        The only likelihood whose rows are left out and predicted; None for all.
    weight
        What the rows that are left out still weigh, below 1.
    """

    left_out: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    likelihood: str | None = None
    weight: float = 0.0

    def weights(self) -> NDArray[np.float64]:
        """Return the weight of each row (row,)."""
        return np.where(self.left_out, self.weight, 1.0)


def random_folds(rows: int, k: int, seed: int) -> Codes:
    """Return the fold of each row (row,): folds of equal size, up to one row."""
    return _dealt(np.random.default_rng([seed, 6]).permutation(rows), k)


def stratified_folds(column: NDArray[Any], k: int, seed: int) -> Codes:
    """Return the fold of each row, (row,): all folds have the same mix of labels, or of low and high numbers."""
    if column.dtype.kind in "iuf" and len(np.unique(column)) > _BINS:
        levels = pd.qcut(column, _BINS, labels=False, duplicates="drop")
    else:
        levels, _ = pd.factorize(pd.Series(column))
    shuffled = np.random.default_rng([seed, 6]).permutation(len(column))
    return _dealt(shuffled[np.argsort(np.asarray(levels)[shuffled], kind="stable")], k)


def grouped_folds(column: NDArray[Any], k: int, seed: int) -> Codes:
    """Return the fold of each row, (row,): all rows of a group are in one fold; folds are of similar size."""
    codes, labels = pd.factorize(pd.Series(column))
    sizes = np.bincount(codes)
    if k >= len(labels):
        return np.asarray(codes, dtype=np.int64)
    fold, filled = np.zeros(len(labels), dtype=np.int64), np.zeros(k)
    shuffled = np.random.default_rng([seed, 6]).permutation(len(labels))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold[group] = int(np.argmin(filled))
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[codes])


def future_blocks(order: NDArray[Any], k: int, first: float) -> Codes:
    """Return the block of each row, (row,): consecutive in time, with the rows of one time in one block.

    Parameters
    ----------
    order
        Time of each row.
    k
        Number of blocks that are predicted.
    first
        Share of the times that are never left out; their rows have block -1.
    """
    times, place = np.unique(order, return_inverse=True)
    known = int(np.ceil(first * len(times)))
    blocks = np.full(len(times), -1, dtype=np.int64)
    for number, part in enumerate(np.array_split(np.arange(known, len(times)), k)):
        blocks[part] = number
    return np.asarray(blocks[place])


def held_out(folds: Codes, future: bool) -> Iterator[HeldOut]:
    """Yield each fit: without one fold; with `future` without a block and all that is later, predicting the block."""
    for number in range(int(folds.max()) + 1):
        yield HeldOut(folds >= number if future else folds == number, folds == number)


def _dealt(order: NDArray[Any], k: int) -> Codes:
    folds = np.empty(len(order), dtype=np.int64)
    folds[order] = np.arange(len(order)) % k
    return folds


Weights = NDArray[np.float64]

_SERIES = "write it as a recurrence, whose rows have terms of their own: docs/language.md#recurrences"
_SEVERAL = "compare it by LOO, which has a term per row: task=compare"
_OF_ALL_ROWS = "likelihood"
"""Name of the potential in which fast forms of a model have the likelihood of all rows as one number."""


def by_rows(declared: Declaration) -> Declaration:
    """Write autoregressions and GARCH as normal rows given the rows before, so that each row has a term of its own.

    The density is the same. That of an autoregression is of the values after the first ones, which are taken as given.
    """
    items = tuple(_by_rows(item) for item in declared.items)
    reported = None if declared.reported is None else by_rows(declared.reported)
    return replace(declared, items=items, reported=reported)


def _by_rows(item: Item) -> Item:
    if not isinstance(item, Likelihood) or item.plan.family.name not in ("AR", "GARCH11"):
        return item
    if item.observed.missing is not None or len(item.plan.shape) != 1:
        return item
    return _autoregression_by_rows(item) if item.plan.family.name == "AR" else _garch_by_rows(item)


def _garch_by_rows(item: Likelihood) -> Likelihood:
    """Return normal rows whose standard deviations follow GARCH(1, 1) (doi:10.1016/0304-4076(86)90063-1)."""
    this, observed = item.plan, item.observed
    scope = Scope(labels={str(this.dims[0]): range(this.shape[0])})
    for name in ("omega", "alpha_1", "beta_1", "initial_vol"):
        scope.add(name, this.values[name])
    scope.add("y", constant(observed.values.astype(float), this.dims))
    step = "omega + alpha_1 * y[t-1] ** 2 + beta_1 * variance[t-1]"
    body = {"over": this.dims[0], "first": {"variance": "initial_vol ** 2"}, "step": {"variance": step}}
    variance = read_recurrence(body, scope, this.key, frozenset())["variance"]
    rows = {"mu": constant(0.0), "sigma": variance**0.5}
    plan = of_values(this.name, "Normal", rows, this.dims, this.shape, this.key)
    return replace(item, plan=plan, observed=replace(observed, container=None))


def _autoregression_by_rows(item: Likelihood) -> Likelihood:
    this, observed = item.plan, item.observed
    if this.inner:  # the first values have a distribution
        return item
    coefficients = series_coefficients(this)
    mean = index(this.values["rho"], [constant(0)]) if this.flags.get("constant") else constant(0.0)
    for lag, coefficient in enumerate(coefficients, start=1):
        before = np.concatenate([np.zeros(lag), observed.values[:-lag].astype(float)])
        mean = mean + coefficient * constant(before, this.dims)
    sd = this.values["sigma"] if "sigma" in this.values else this.values["tau"] ** -0.5
    kept = np.arange(len(observed.values)) >= len(coefficients)
    plan = of_values(this.name, "Normal", {"mu": mean, "sigma": sd}, this.dims, this.shape, this.key)
    plan = replace(plan, modifiers=Modifiers(kept=kept))
    return replace(item, plan=plan, observed=replace(observed, absent=~kept, container=None))


def rows_of(declared: Declaration) -> tuple[str, int]:
    """Return the dim of the rows that can be held out, and their number.

    Raises
    ------
    UserError
        When the likelihoods are over several dims, or have terms that belong to no single row.
    """
    shown = declared.reported or declared
    likelihoods = [item for item in shown.items if isinstance(item, Likelihood)]
    if not likelihoods:
        raise fail("run", "the model has no likelihood", "there is nothing to hold out")
    found = {(item.observed.dims[:1], item.observed.shape[:1]) for item in likelihoods}
    if len(found) > 1 or not next(iter(found))[0]:
        names = ", ".join(f"{item.name} over {', '.join(item.observed.dims) or 'nothing'}" for item in likelihoods)
        raise fail("run", f"its observations have no common rows ({names})", "hold out rows of a model that has them")
    whole = [item for item in likelihoods if item.plan.family.event]
    if whole:
        family = whole[0].plan.family.name
        message = f"'{whole[0].name}' is {family}, whose rows can't be weighted one by one"
        raise fail("run", message, _SERIES if family in SERIES else _SEVERAL)
    (dim,), (rows,) = found.pop()
    return dim, rows


def holding_out(declared: Declaration, weights: Weights, only: str | None = None) -> Declaration:
    """Return a model that is fitted to some rows only.

    Parameters
    ----------
    declared
        The model of all rows.
    weights
        What each row counts (row,): 0 if it is held out, 1 if not, or a part of it.
    only
        The only likelihood of which rows are held out; None for all.

    Returns
    -------
    Declaration
        In the form in which the model is sampled, if its likelihood has a term for each row there; otherwise in the
        form in which it is reported.
    """
    shown = declared.reported or declared
    own = {item.name: item for item in shown.items if isinstance(item, Likelihood)}
    weighted = {name: _weighted(item, weights) if only in (None, name) else item for name, item in own.items()}
    sampled = {item.name for item in declared.items if isinstance(item, Likelihood)}
    if own.keys() <= sampled:
        return replace(declared, items=_replaced(declared.items, weighted), reported=shown)
    summed = [item for item in declared.items if isinstance(item, Potential) and item.name == _OF_ALL_ROWS]
    if summed and not sampled:
        known = {item.name for item in declared.items}
        missing = [item for item in shown.items if item.name not in known and not isinstance(item, Likelihood)]
        rest = [item for item in declared.items if item not in summed]
        return replace(declared, items=(*rest, *missing, *weighted.values()), reported=shown)
    return replace(shown, items=_replaced(shown.items, weighted), reported=shown)


def _replaced(items: Sequence[Item], by: dict[str, Likelihood]) -> tuple[Item, ...]:
    return tuple(by.get(item.name, item) if isinstance(item, Likelihood) else item for item in items)


def _weighted(item: Likelihood, weights: Weights) -> Likelihood:
    """Multiply the weights of the rows."""
    own = item.plan.modifiers or Modifiers()
    shape = (len(weights), *(1,) * (len(item.observed.shape) - 1))
    of_rows: Value = constant(weights.reshape(shape))
    return replace(item, plan=replace(item.plan, modifiers=replace(own, weights=_times(own.weights, of_rows))))


def _times(own: Value | None, weights: Value) -> Value:
    if own is None:
        return weights
    return constant(np.asarray(own.known, dtype=float) * np.asarray(weights.known))
