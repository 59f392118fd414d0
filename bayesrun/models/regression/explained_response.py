"""The response of a regression over the rows, with its additions and categories, checked against the family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bayesrun.data.arrays import places, shown_values
from bayesrun.data.factors import as_levels, codes_of, levels_of
from bayesrun.errors import fail
from bayesrun.language.expressions import evaluate
from bayesrun.language.learned import Learned
from bayesrun.language.modifiers import STATUSES
from bayesrun.lazy import xr
from bayesrun.models.regression.design_matrix import response_values
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.regression_plan import KEY, RegressionPlan
from bayesrun.models.regression.response_terms import Response, names_of

NEEDED_OF_NEW_ROWS = ("trials", "failures", "error", "at_least", "at_most")
"""Additions to the response that determine how it is drawn."""
_SHOWN_LEVELS = 12
_WORDS = {
    "positive": "above 0",
    "nonnegative": "0 or above",
    "unit": "between 0 and 1, both excluded",
    "unit_closed": "between 0 and 1",
    "binary": "0 or 1",
    "count": "counts",
    "trials": "counts from 0 to the number of trials",
    "angle": "angles from -pi to pi",
}


@dataclass(frozen=True)
class Explained:
    """The response and its additions, over the rows.

    Parameters
    ----------
    name
        Name of the response's variable.
    columns
        The response, and further variables that the likelihood uses.
    levels
        Its categories; empty for a numeric response.
    """

    name: str
    columns: xr.Dataset
    levels: tuple[Any, ...] = ()


def explain(rows: Rows, this: RegressionPlan, levels: tuple[Any, ...], observed: bool = True) -> Explained:
    """Evaluate the response and its additions."""
    response, family = this.response, this.family
    name, dim = response.names(KEY)[0], rows.dim
    labels = {dim: rows.data[dim].values} if dim in rows.data.coords else {}
    columns = xr.Dataset(coords=labels, attrs=rows.data.attrs)
    learned = Learned(dim)
    found: dict[str, xr.DataArray] = {
        part: _beside(rows, part, text, learned)
        for part, text in response.others().items()
        if observed or part in NEEDED_OF_NEW_ROWS
    }
    if response.counts:
        return _counted(rows, response, columns, learned, observed)
    if "upper" in found:
        start = response_values(rows.data, response.text, KEY, learned)
        found["upper"] = _upper_ends(found["upper"], found["censored"], start, str(response.upper))
    if observed:
        values = response_values(rows.data, response.text, KEY, learned)
        if family.categories:
            values, levels = _coded(values, name, ordered=family.categories == "thresholds")
        if "failures" in found:
            found["trials"] = (values + found.pop("failures")).astype(int)
        _check_values(values, this, found)
        columns = columns.assign({name: (dim, values.values)})
    elif "failures" in found:
        successes = response_values(rows.data, response.text, KEY, learned)
        found["trials"] = (successes + found.pop("failures")).astype(int)
    for part, array in found.items():
        columns = columns.assign({part: (dim, array.values)})
    if family.categories == "thresholds":
        between = [f"{a}|{b}" for a, b in pairwise(levels)]
        columns = columns.assign_coords(cutpoint=between)
    return Explained(name, columns, levels)


def _beside(rows: Rows, part: str, text: str, learned: Learned) -> xr.DataArray:
    """Evaluate the additions to the response: one number per row, possibly the same for all."""
    if part == "censored" and text.isidentifier() and rows.data[text].dtype.kind in "OUS":
        return _status_of(rows.data[text])
    if text.isidentifier() or names_of(text, KEY):
        found = response_values(rows.data, text, KEY, learned)
    else:
        number = float(evaluate(text, rows.data, KEY).values)
        found = rows.data[rows.dim].copy(data=np.full(rows.size, number))
    if part != "upper" and found.isnull().any():
        raise fail(KEY, f"'{text}' is missing in {int(found.isnull().sum())} rows", "set data.drop_missing=rows")
    if part == "censored" and not (known := np.isin(found.values, list(STATUSES.values()))).all():
        got = shown_values(found, found.copy(data=~known))
        raise fail(KEY, f"cens({text}) must be 0, -1, 1 or 2 (got {got})", "or none, left, right, interval")
    low = {"weights": 0.0, "error": 0.0, "trials": 0.0}.get(part)
    if low is not None and (found.values < low).any():
        got = shown_values(found, found.copy(data=found.values < low))
        raise fail(KEY, f"'{text}' must be {low:g} or above (got {got})", "correct the rows")
    return found.astype(int) if part in ("trials", "censored") else found


def _upper_ends(ends: xr.DataArray, status: xr.DataArray, start: xr.DataArray, text: str) -> xr.DataArray:
    """Fill in the upper ends of rows that are no intervals, which the likelihood does not use.

    Raises
    ------
    UserError
        For an interval without an upper end.
    """
    lacking = ends.isnull().values & (status.values == STATUSES["interval"])
    if lacking.any():
        where = places(status.copy(data=lacking))
        message = f"'{text}' is missing in rows that are censored as intervals: {where}"
        raise fail(KEY, message, "fill in where they end, or censor them as right")
    return ends.copy(data=np.where(ends.isnull(), start.values, ends.values))


def _status_of(column: xr.DataArray) -> xr.DataArray:
    """Encode how rows are censored."""
    texts = [str(value).strip().lower() for value in column.values]
    strange = np.array([text not in STATUSES for text in texts])
    if strange.any():
        got = shown_values(column, column.copy(data=strange))
        raise fail(KEY, f"'{column.name}' must be none, left, right or interval (got {got})", "or 0, -1, 1, 2")
    return column.copy(data=np.array([STATUSES[text] for text in texts]))


def _counted(rows: Rows, response: Response, columns: xr.Dataset, learned: Learned, observed: bool) -> Explained:
    """Stack the counts of all levels as columns."""
    levels = response.counts
    columns = columns.assign_coords(level=list(levels))
    counts = [response_values(rows.data, text, KEY, learned) for text in levels]
    values = np.stack([count.values for count in counts], axis=1)
    if np.isnan(values.astype(float)).any():
        raise fail(KEY, "counts of levels are missing", "set data.drop_missing=rows")
    for count in counts:
        bad = (count.values < 0) | (count.values != np.round(count.values))
        if bad.any():
            raise fail(KEY, f"'{count.name}' must be counts (got {shown_values(count, count.copy(data=bad))})")
    columns = columns.assign(trials=(rows.dim, values.sum(axis=1).astype(int)))
    if observed:
        columns = columns.assign(counts=((rows.dim, "level"), values.astype(int)))
    return Explained("counts", columns, levels)


def _coded(values: xr.DataArray, name: str, ordered: bool) -> tuple[xr.DataArray, tuple[Any, ...]]:
    """Encode the categories of a response as codes from 0; those of an ordered one must have an order."""
    given = values.attrs.get("levels")
    if ordered and given is None and values.dtype.kind in "OUS":
        known = ", ".join(map(str, levels_of(values.values)[0][:_SHOWN_LEVELS]))
        hint = f"give it, from the lowest to the highest: data.levels={{{name}: [{known}]}}"
        raise fail(KEY, f"the labels of the response '{name}' have no order", hint)
    levels = as_levels(np.atleast_1d(given).tolist()) if given is not None else levels_of(values.values)[0]
    codes = codes_of(values.values, levels)[0]
    missing = codes < 0
    coded = np.where(missing, np.nan, codes) if missing.any() else codes
    if len(levels) < 2:
        raise fail(KEY, f"every row of the response is '{levels[0]}'", "the data hold no information about it")
    return values.copy(data=coded), tuple(levels.tolist())


def _check_values(values: xr.DataArray, this: RegressionPlan, beside: Mapping[str, xr.DataArray]) -> None:
    """Reject responses outside the family's domain."""
    kind = this.family.values
    if kind in ("real", "level"):
        return
    y = values.values.astype(float)
    with np.errstate(invalid="ignore"):
        whole = y == np.round(y)
        trials = beside["trials"].values if "trials" in beside else np.ones_like(y)
        right = {
            "positive": y > 0,
            "nonnegative": y >= 0,
            "unit": (y > 0) & (y < 1),
            "unit_closed": (y >= 0) & (y <= 1),
            "binary": (y == 0) | (y == 1),
            "count": (y >= 0) & whole,
            "trials": (y >= 0) & whole & (y <= trials),
            "angle": np.abs(y) <= np.pi,
        }[kind]
    bad = ~right & ~np.isnan(y)
    if bad.any():
        got = shown_values(values, values.copy(data=bad))
        hint = "give the left side a condition (y > 0), trials (y | trials(n)), or choose another family"
        raise fail(KEY, f"the response of this family must be {_WORDS[kind]} (got {got})", hint)
