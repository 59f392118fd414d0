"""`predictions.csv`: means, standard deviations, intervals and quantiles of predictions, by row and by group."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.factors import row_column
from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import draws_inside, hdi_of_sorted
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.lazy import pd, xr
from bayesrun.predict.forward import Forecast
from bayesrun.predict.new_rows import PreparedRows, forecasts

if TYPE_CHECKING:
    from bayesrun.data.section import PredictSpec
    from bayesrun.predict.fitted_model import FittedModel
    from bayesrun.run_folder import RunFolder

log = logging.getLogger("bayesrun")


class DrawsByName(Protocol):
    """An engine that draws from distributions without a NumPy generator."""

    def draw(
        self, distribution: str, parameters: Mapping[str, NDArray[Any]], shape: tuple[int, ...], seed: int
    ) -> NDArray[Any]:
        """Draw from a distribution without a model (see `Engine.draw`)."""


FILE, BY_GROUP = "predictions.csv", "predictions_by_group.csv"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_AT_ONCE = 1_000_000
"""Number of values that a thread sorts at once."""
_THREADS = 4


def write_predictions(
    predict: PredictSpec,
    interval: float,
    seed: int,
    rows: PreparedRows,
    fitted: FittedModel,
    draws: Mapping[str, NDArray[Any]],
    engine: DrawsByName,
    folder: RunFolder,
) -> None:
    """Predict new rows and write the tables.

    Parameters
    ----------
    predict, interval, seed, rows, fitted, draws, engine
        As in `predicted_tables`.
    folder
        The run folder.
    """
    table, grouped = predicted_tables(predict, interval, seed, rows, fitted, draws, engine)
    folder.write(FILE, lambda path: table.to_csv(path, index=False))
    log.info("%s: %d rows of '%s'", FILE, rows.data.sizes[rows.dim], rows.data.attrs.get("name", ""))
    if grouped is not None:
        by_group = grouped
        folder.write(BY_GROUP, lambda path: by_group.to_csv(path, index=False))


def predicted_tables(
    predict: PredictSpec,
    interval: float,
    seed: int,
    rows: PreparedRows,
    fitted: FittedModel,
    draws: Mapping[str, NDArray[Any]],
    engine: DrawsByName,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Predict new rows.

    Parameters
    ----------
    predict
        The section `predict`.
    interval
        Probability inside the intervals, if `predict.interval` is not set.
    seed
        Seed of the run.
    rows, fitted, draws
        The new rows, what the fit has learned, and posterior draws by name (chain, draw, ...).
    engine
        Draws from distributions without a NumPy generator.

    Returns
    -------
    table : DataFrame
        The content of `predictions.csv`.
    grouped : DataFrame or None
        That of `predictions_by_group.csv`, with `predict.group_by`.
    """
    prob = predict.interval or interval
    labels = group_labels(rows.data, predict.group_by)
    groups = _Groups(labels, rows.dim, rows.levels) if predict.group_by else None
    tables, without = [], dict[str, None]()
    for part, found in forecasts(rows, fitted, draws, seed, engine.draw):
        tables.append(prediction_table(found, prob, rows.levels))
        without |= {name: None for name, of in found.items() if of.expected is None and of.shares is None}
        if groups is not None:
            groups.add(part, found)
    table = pd.concat(tables).sort_values(["variable", "kind"], key=_in_order(tables[0]), kind="stable")
    if without:
        log.info("no expected values of %s: its distribution has none", ", ".join(without))
    return table, None if groups is None else groups.table(prob)


def check_groups(rows: PreparedRows, names: Sequence[str]) -> None:
    """Reject columns of `predict.group_by` that do not exist in the new rows."""
    group_labels(rows.data, names)


def group_labels(data: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Return the labels of each row in the columns of `predict.group_by`.

    Raises
    ------
    UserError
        When a column does not exist or is not over the rows.
    """
    dim = str(data.attrs.get("dim", "obs"))
    labels, problems = {}, list[Problem]()
    for name in names:
        column = row_column(data, name) if name in data.variables else None
        if column is None or column.dims != (dim,):
            known = [str(n) for n in data.variables if row_column(data, str(n)).dims == (dim,)]
            problems.append(
                Problem("predict.group_by", f"the new rows have no column '{name}'", did_you_mean(name, known))
            )
        else:
            labels[name] = column.values
    check(problems)
    return pd.DataFrame(labels)


def prediction_table(
    found: Mapping[str, Forecast], prob: float, levels: Mapping[str, Sequence[Any]] = MappingProxyType({})
) -> pd.DataFrame:
    """Return one row per value and, if values are levels, one per level.

    The columns are `kind` (`observation`; `mu`, the expected value; or `probability` of a level), `variable`, labels,
    `level` if there are levels, and statistics.

    Parameters
    ----------
    found
        Forecast of each likelihood.
    prob
        Probability inside the intervals.
    levels
        Labels of the levels by likelihood; codes if there are none.
    """
    parts = []
    for name, forecast in found.items():
        for kind, values, of_levels in _kinds(name, forecast, levels):
            flat = values.reshape(len(values), -1)
            parts.append(_rows(kind, name, _labels(forecast, of_levels), _statistics(flat, prob)))
    table = pd.concat(parts, ignore_index=True)
    return _level_before_statistics(table)


def _kinds(
    name: str, forecast: Forecast, levels: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, NDArray[Any], list[Any] | None]]:
    """Yield the parts of a forecast: kind, values, and the labels of the levels on the last axis."""
    yield "observation", forecast.drawn, None
    if forecast.expected is not None:
        yield "mu", forecast.expected, None
    if forecast.shares is not None:
        count = forecast.shares.shape[-1]
        labels = list(levels.get(name, ()))
        yield "probability", forecast.shares, labels if len(labels) == count else list(range(count))


def _level_before_statistics(table: pd.DataFrame) -> pd.DataFrame:
    if "level" not in table.columns:
        return table
    others = [column for column in table.columns if column != "level"]
    place = others.index("mean")
    return table[[*others[:place], "level", *others[place:]]]


class _Groups:
    """Averages over the rows of each group, accumulated over blocks of rows.

    Parameters
    ----------
    labels
        Group labels of each row.
    dim
        The row dimension.
    levels
        Labels of the levels by likelihood.
    """

    def __init__(self, labels: pd.DataFrame, dim: str, levels: Mapping[str, Sequence[Any]]) -> None:
        self._names, self._dim, self._levels = list(labels.columns), dim, levels
        self._members = labels.groupby(self._names, sort=True, dropna=False).indices
        self._sums: dict[tuple[str, str, Any], NDArray[Any]] = {}
        self._of_levels: dict[str, list[Any]] = {}

    def add(self, part: slice, found: Mapping[str, Forecast]) -> None:
        """Add a block of rows."""
        for name, forecast in found.items():
            if forecast.dims != (self._dim,):
                continue
            for kind, values, of_levels in _kinds(name, forecast, self._levels):
                if of_levels is not None:
                    self._of_levels[name] = of_levels
                for group, members in self._members.items():
                    inside = members[(members >= part.start) & (members < part.stop)] - part.start
                    total = values[:, inside].sum(axis=1)
                    self._sums[name, kind, group] = self._sums.get((name, kind, group), 0.0) + total

    def table(self, prob: float) -> pd.DataFrame:
        """Return the table: `kind`, `variable`, the group's labels, `rows`, and statistics."""
        parts = []
        for (name, kind, group), total in self._sums.items():
            key = group if isinstance(group, tuple) else (group,)
            count = len(self._members[group])
            levels = self._of_levels[name] if kind == "probability" else None
            means = total.reshape(len(total), -1) / count
            shown = pd.DataFrame({n: [k] * means.shape[1] for n, k in zip(self._names, key, strict=True)})
            shown = shown.assign(rows=count, **({} if levels is None else {"level": levels}))
            parts.append(_rows(kind, name, shown, _statistics(means, prob)))
        return _level_before_statistics(pd.concat(parts, ignore_index=True))


def _in_order(table: pd.DataFrame) -> Any:
    """Return a sort key that keeps the values of a column in the order of their first appearance."""
    return lambda column: column.map({value: place for place, value in enumerate(pd.unique(table[column.name]))})


def _labels(forecast: Forecast, levels: Sequence[Any] | None) -> pd.DataFrame:
    axes = {dim: list(forecast.labels[dim]) for dim in forecast.dims} | ({} if levels is None else {"level": levels})
    places = list(itertools.product(*axes.values()))
    return pd.DataFrame({name: [place[i] for place in places] for i, name in enumerate(axes)})


def _rows(kind: str, name: str, labels: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    taken = {"kind", "variable", *statistics.columns}
    labels = labels.rename(columns={dim: f"{dim}_label" for dim in labels.columns if dim in taken})
    table = pd.concat([labels, statistics], axis=1)
    table.insert(0, "kind", kind)
    table.insert(1, "variable", name)
    return table


def _statistics(draws: NDArray[Any], prob: float) -> pd.DataFrame:
    """Summarize draws (draw, value)."""
    step = max(1, _AT_ONCE // max(1, len(draws)))
    columns = ["mean", "sd", *interval_columns(prob), *(f"q{100 * q:g}%" for q in QUANTILES)]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # NumPy releases the GIL while it sorts
        parts = list(pool.map(lambda at: _summary(draws[:, at : at + step], prob), range(0, draws.shape[1], step)))
    return pd.DataFrame(np.concatenate(parts), columns=columns)


def _summary(draws: NDArray[Any], prob: float) -> NDArray[np.float64]:
    values = np.array(draws.T, dtype=float, order="C")  # transpose, so that the draws of each value are contiguous
    spread = values.std(axis=1, ddof=1) if len(draws) > 1 else np.zeros(len(values))
    mean = values.mean(axis=1)
    _sort_what_is_read(values, prob)
    return np.column_stack([mean, spread, *hdi_of_sorted(values, prob), *_quantiles_of_sorted(values)])


def _sort_what_is_read(values: NDArray[np.float64], prob: float) -> None:
    """Sort draws (value, draw) in place where the interval and the quantiles are read: half the time of sorting all."""
    count = values.shape[1]
    inside = draws_inside(count, prob)
    outside = count - inside
    if outside >= inside:
        values.sort(axis=1)
        return
    places = {place for share in QUANTILES for place in _around(share, count)}
    values.partition(sorted(places | {outside, inside}), axis=1)
    values[:, :outside].sort(axis=1)
    values[:, inside:].sort(axis=1)


def _around(share: float, count: int) -> tuple[int, int]:
    """Return the places of sorted draws between which a quantile lies."""
    below = int(share * (count - 1))
    return below, min(below + 1, count - 1)


def _quantiles_of_sorted(ordered: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the quantiles of sorted draws (value, draw), with linear interpolation."""
    found = []
    for share in QUANTILES:
        below, above = _around(share, ordered.shape[1])
        part = share * (ordered.shape[1] - 1) - below
        found.append(ordered[:, below] + part * (ordered[:, above] - ordered[:, below]))
    return found
