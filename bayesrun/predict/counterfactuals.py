"""What a predictor does to the outcome: expected values, comparisons and slopes, averaged over rows, at every draw.

Rows are predicted as they are, and with one predictor changed (counterfactual rows). With m(x) the mean of the expected
values over the rows of a group after a predictor is set to x, at one draw,

    difference = m(b) - m(a),   ratio = m(b) / m(a),   odds ratio = (m(b) / (1 - m(b))) / (m(a) / (1 - m(a)))

and a slope is the mean of (mu(x + h) - mu(x - h)) / (2 h). These are the averages of the marginaleffects package
(Arel-Bundock, Greifer and Heiss 2024, doi:10.18637/jss.v111.i09).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import did_you_mean, fail
from bayesrun.lazy import pd

Array = NDArray[Any]
Kind = Literal["predictions", "comparisons", "slopes"]
Comparison = Literal["difference", "ratio", "odds_ratio"]
Expected = dict[tuple[str, Any], Array]
"""Expected values (draw, row) by likelihood and level; the level is None where values are not levels."""

_STEP = 1e-4
"""Step of a slope, as a share of the predictor's range."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Parameters
    ----------
    kind
        Expected values, their change from one value of a predictor to another, or their slope along it.
    of
        The predictor of comparisons and slopes.
    values
        Values that are compared: the first is the reference. Empty: the levels of a factor, or a number plus 1.
    comparison
        How two means are compared.
    at
        Values to which predictors are set, all combinations of them.
    by
        Columns whose groups are averaged separately.
    typical
        Whether one row with the means of numbers and the most frequent labels takes the place of all rows, of each
        group where there are groups.
    """

    kind: Kind
    of: str | None = None
    values: Sequence[Any] = ()
    comparison: Comparison = "difference"
    at: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    by: Sequence[str] = ()
    typical: bool = False


@dataclass(frozen=True)
class Effect:
    """One row of the table: what it is of, and its value at every draw (draw,)."""

    labels: Mapping[str, Any]
    draws: Array


def effects(
    question: Question,
    rows: pd.DataFrame,
    levels: Mapping[str, Sequence[Any]],
    expected: Callable[[pd.DataFrame], Expected],
) -> list[Effect]:
    """Answer a question about predictors.

    Parameters
    ----------
    question
        What is asked.
    rows
        The rows of the fit, or others, with the columns that predictions need.
    levels
        Levels of the columns that are labels in the fit, also those that are numbers; the reference first.
    expected
        Predicts rows.

    Raises
    ------
    UserError
        When a column does not exist, or can't be changed as asked.
    """
    _check_columns(question, rows)
    found = []
    question = replace(question, values=_values(question, rows, levels))
    half = _half_step(question.of, rows, levels) if question.kind == "slopes" else 0.0
    if question.typical:
        parts = [_typical(rows.iloc[places], levels) for _, places in _groups(rows, question.by)]
        rows = pd.concat(parts, ignore_index=True)
    for setting, base in _settings(question, rows):
        groups = _groups(base, question.by)
        for labels, values in _of_setting(question, base, groups, half, expected):
            found.append(Effect({**labels, **setting}, values))
    return found


def _check_columns(question: Question, rows: pd.DataFrame) -> None:
    named = {"of": [question.of] if question.of else [], "at": list(question.at), "by": list(question.by)}
    for key, names in named.items():
        for name in names:
            if name not in rows.columns:
                raise fail(
                    f"effects.{key}", f"the rows have no column '{name}'", did_you_mean(name, list(rows.columns))
                )


def _typical(rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return one row: means of numbers, and the most frequent label of everything else."""
    numbers = rows.select_dtypes("number").drop(columns=[*levels], errors="ignore").mean()
    others = {name: rows[name].mode().iloc[0] for name in rows.columns if name not in numbers.index}
    return pd.DataFrame({name: [numbers[name] if name in numbers.index else others[name]] for name in rows.columns})


def _settings(question: Question, rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield every combination of the values of `at`, and the rows with them."""
    if not question.at:
        yield {}, rows
        return
    grid = pd.MultiIndex.from_product(list(question.at.values()), names=list(question.at))
    for place in grid:
        setting = dict(zip(question.at, place, strict=True))
        yield setting, rows.assign(**setting)


def _groups(rows: pd.DataFrame, by: Sequence[str]) -> list[tuple[dict[str, Any], Array]]:
    """Return the labels of each group, and the places of its rows."""
    if not by:
        return [({}, np.arange(len(rows)))]
    found = rows.groupby(list(by), sort=True, dropna=False).indices
    keys = [key if isinstance(key, tuple) else (key,) for key in found]
    return [
        (dict(zip(by, key, strict=True)), np.asarray(places)) for key, places in zip(keys, found.values(), strict=True)
    ]


def _of_setting(
    question: Question,
    rows: pd.DataFrame,
    groups: list[tuple[dict[str, Any], Array]],
    half: float,
    expected: Callable[[pd.DataFrame], Expected],
) -> Iterator[tuple[dict[str, Any], Array]]:
    if question.kind == "predictions":
        for labels, of_one in _by_group(expected(rows), groups):
            yield labels, of_one
        return
    assert question.of is not None
    if question.kind == "slopes":
        yield from _slopes(question.of, rows, groups, half, expected)
        return
    low, *others = _compared(question, rows)
    before = dict(_keyed(_by_group(expected(low[1]), groups)))
    for name, changed in others:
        after = dict(_keyed(_by_group(expected(changed), groups)))
        _check_effect(question.of, before, after)
        for key, values in after.items():
            labels = {"contrast": _contrast(name, low[0], question.comparison), **dict(key)}
            yield labels, _compare(values, before[key], question.comparison)


def _keyed(found: Iterator[tuple[dict[str, Any], Array]]) -> Iterator[tuple[tuple[tuple[str, Any], ...], Array]]:
    for labels, values in found:
        yield tuple(labels.items()), values


def _by_group(found: Expected, groups: list[tuple[dict[str, Any], Array]]) -> Iterator[tuple[dict[str, Any], Array]]:
    """Average over the rows of each group."""
    for (name, level), values in found.items():
        of = {"variable": name} if level is None else {"variable": name, "level": level}
        for labels, places in groups:
            yield {**of, **labels}, values[:, places].mean(axis=1)


def _values(question: Question, rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Return the values that are compared, the reference first; none for a number that is raised by 1."""
    name = question.of
    if name is None or question.kind != "comparisons":
        return []
    column = rows[name]
    if question.values:
        values = list(question.values)
    elif name in levels:
        values = list(levels[name])
    elif column.dtype.kind == "b":
        values = [False, True]
    else:
        values = [] if column.dtype.kind in "iuf" else sorted(column.dropna().unique())
    if len(values) == 1:
        hint = "give the reference as well: effects.values=[0,1]"
        raise fail("effects.values", f"a comparison of '{name}' needs two values (got {values})", hint)
    return values


def _compared(question: Question, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows with each of the values that are compared, and the name of the value."""
    name = str(question.of)
    if not question.values:
        return [("x", rows), ("x + 1", rows.assign(**{name: rows[name] + 1}))]
    return [(f"{value}", rows.assign(**{name: value})) for value in question.values]


def _contrast(name: str, reference: str, comparison: Comparison) -> str:
    if comparison == "difference":
        return "+1" if name == "x + 1" else f"{name} - {reference}"
    return f"({name}) / ({reference})" if name == "x + 1" else f"{name} / {reference}"


def _compare(after: Array, before: Array, comparison: Comparison) -> Array:
    if comparison == "difference":
        return after - before
    if comparison == "ratio":
        return after / before
    if not ((after > 0) & (after < 1) & (before > 0) & (before < 1)).all():
        hint = "use ratio; for counts of trials, compare their probability: effects.parameter=p"
        raise fail("effects.comparison", "an odds ratio needs probabilities, and expected values are not", hint)
    odds: Array = after / (1 - after) / (before / (1 - before))
    return odds


def _half_step(name: str | None, rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]]) -> float:
    """Return half the step of a slope, a small share of the predictor's range over all rows."""
    assert name is not None
    column = rows[name]
    if name in levels or column.dtype.kind not in "iuf":
        raise fail(
            "effects.of", f"'{name}' is not a number, so there is no slope along it", "use effects.kind=comparisons"
        )
    return _STEP * (float(column.max() - column.min()) or float(abs(column.iloc[0])) or 1.0)


def _slopes(
    name: str,
    rows: pd.DataFrame,
    groups: list[tuple[dict[str, Any], Array]],
    half: float,
    expected: Callable[[pd.DataFrame], Expected],
) -> Iterator[tuple[dict[str, Any], Array]]:
    column = rows[name].astype(float)
    sides = [expected(rows.assign(**{name: column + sign * half})) for sign in (1.0, -1.0)]
    above, below = (dict(_keyed(_by_group(side, groups))) for side in sides)
    _check_effect(name, below, above)
    for key, values in above.items():
        yield {"contrast": "slope", **dict(key)}, np.asarray((values - below[key]) / (2 * half))


def _check_effect(name: str, before: Mapping[Any, Array], after: Mapping[Any, Array]) -> None:
    if all(np.array_equal(after[key], before[key]) for key in after):
        hint = "name a predictor of the model, as it is called in the data"
        raise fail("effects.of", f"'{name}' changes no expected value: the model does not use it", hint)
