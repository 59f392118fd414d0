"""`predictions.csv`: means, standard deviations, intervals and quantiles of predictions, by row and by group."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from bayesrun.data.factors import row_column
from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.predict.forward import Forecast
from bayesrun.predict.new_rows import PreparedRows, forecasts

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from bayesrun.data.section import PredictSpec
    from bayesrun.predict.fitted_model import FittedModel
    from bayesrun.run_folder import RunFolder

log = logging.getLogger("bayesrun")


class DrawsByName(Protocol):
    """What draws from distributions that NumPy has not: an engine."""

    def draw(
        self, distribution: str, parameters: Mapping[str, NDArray[Any]], shape: tuple[int, ...], seed: int
    ) -> NDArray[Any]:
        """Draw from a distribution without a model (see `Engine.draw`)."""


FILE, BY_GROUP = "predictions.csv", "predictions_by_group.csv"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_AT_ONCE = 2_000_000
"""Numbers that are sorted at once."""


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
    predict
        The section `predict`.
    interval
        Probability inside the intervals, where `predict.interval` does not say.
    seed
        Seed of the run.
    rows, fitted, draws
        The new rows, what the fit teaches, and posterior draws by name (chain, draw, ...).
    engine
        Draws from distributions that NumPy has not.
    folder
        The run folder.
    """
    prob = predict.interval or interval
    groups = _Groups(group_labels(rows.data, predict.group_by), rows.dim) if predict.group_by else None
    tables, without = [], dict[str, None]()
    for part, found in forecasts(rows, fitted, draws, seed, engine.draw):
        tables.append(prediction_table(found, prob))
        without |= dict.fromkeys(name for name, forecast in found.items() if forecast.expected is None)
        if groups is not None:
            groups.add(part, found)
    table = pd.concat(tables).sort_values(["variable", "kind"], key=_in_order(tables[0]), kind="stable")
    folder.write(FILE, lambda path: table.to_csv(path, index=False))
    log.info("%s: %d rows of '%s'", FILE, rows.data.sizes[rows.dim], rows.data.attrs.get("name", ""))
    if without:
        log.info("no expected values of %s: its distribution has none", ", ".join(without))
    if groups is not None:
        grouped = groups.table(prob)
        folder.write(BY_GROUP, lambda path: grouped.to_csv(path, index=False))


def check_groups(rows: PreparedRows, names: Sequence[str]) -> None:
    """Refuse columns of `predict.group_by` that the new rows do not have."""
    group_labels(rows.data, names)


def group_labels(data: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Return the labels of each row in the columns of `predict.group_by`.

    Raises
    ------
    UserError
        When a column is not there, or is not over the rows.
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


def prediction_table(found: Mapping[str, Forecast], prob: float) -> pd.DataFrame:
    """Return a row per value: `kind` (`observation`, or `mu`: the expected value), `variable`, labels, statistics."""
    parts = []
    for name, forecast in found.items():
        labels = _labels(forecast)
        for kind, values in (("observation", forecast.drawn), ("mu", forecast.expected)):
            if values is not None:
                flat = values.reshape(len(values), -1)
                parts.append(_rows(kind, name, labels, _statistics(flat, prob)))
    return pd.concat(parts, ignore_index=True)


class _Groups:
    """Averages over the rows of each group, of rows that come in blocks.

    Parameters
    ----------
    labels
        The groups' labels of each row.
    dim
        The row dimension.
    """

    def __init__(self, labels: pd.DataFrame, dim: str) -> None:
        self._names, self._dim = list(labels.columns), dim
        self._members = labels.groupby(self._names, sort=True, dropna=False).indices
        self._sums: dict[tuple[str, str, Any], NDArray[Any]] = {}

    def add(self, part: slice, found: Mapping[str, Forecast]) -> None:
        """Add a block of rows."""
        for name, forecast in found.items():
            if forecast.dims != (self._dim,):
                continue
            for kind, values in (("observation", forecast.drawn), ("mu", forecast.expected)):
                if values is None:
                    continue
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
            shown = pd.DataFrame({n: [k] for n, k in zip(self._names, key, strict=True)}).assign(rows=count)
            parts.append(_rows(kind, name, shown, _statistics(total[:, None] / count, prob)))
        return pd.concat(parts, ignore_index=True)


def _in_order(table: pd.DataFrame) -> Any:
    """Return a sort key: values of a column in the order in which they appear in a table."""
    return lambda column: column.map({value: place for place, value in enumerate(pd.unique(table[column.name]))})


def _labels(forecast: Forecast) -> pd.DataFrame:
    places = list(itertools.product(*(list(forecast.labels[d]) for d in forecast.dims)))
    return pd.DataFrame({d: [place[i] for place in places] for i, d in enumerate(forecast.dims)})


def _rows(kind: str, name: str, labels: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat([labels, statistics], axis=1)
    table.insert(0, "kind", kind)
    table.insert(1, "variable", name)
    return table


def _statistics(draws: NDArray[Any], prob: float) -> pd.DataFrame:
    """Summarize draws (draw, value)."""
    step = max(1, _AT_ONCE // max(1, len(draws)))
    columns = ["mean", "sd", *interval_columns(prob), *(f"q{100 * q:g}%" for q in QUANTILES)]
    parts = [_summary(draws[:, at : at + step], prob) for at in range(0, draws.shape[1], step)]
    return pd.DataFrame(np.concatenate(parts), columns=columns)


def _summary(draws: NDArray[Any], prob: float) -> NDArray[np.float64]:
    values = np.asarray(draws, dtype=float)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return np.column_stack([values.mean(axis=0), spread, *hdi(values, prob), *np.quantile(values, QUANTILES, axis=0)])
