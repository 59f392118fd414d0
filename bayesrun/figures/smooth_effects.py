"""Smooth and monotonic effects of a regression: what each adds to the linear predictor, against its input.

Each term has a panel with its posterior mean and interval; a term of two inputs a map of the mean. A smooth that varies
with a factor has a curve for each level, and one that multiplies numbers is drawn as their coefficient. The terms are
those of the formula, computed from the stored data as in the fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from bayesrun.data.factors import formula_column, row_column
from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.errors import UserError
from bayesrun.figures import style as look
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.figures.selection import title_of
from bayesrun.models.regression.by_variable import By
from bayesrun.models.regression.gaussian_process_term import FittedProcess, GaussianProcess
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.monotonic_term import FittedMonotonic, MonotonicTerm
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.several_responses import plans_of
from bayesrun.models.regression.smooth_term import FittedSmooth, SmoothTerm

Array = NDArray[Any]
FittedCurve = FittedSmooth | FittedProcess | FittedMonotonic

PANELS = 12
DRAWS = 400
GRID = 100
MAP = 40  # points of a map along each input
CURVES = 5


@dataclass(frozen=True)
class Panel:
    """One term of one parameter.

    Parameters
    ----------
    parameter
        The parameter that it predicts.
    term
        The fitted term.
    data
        The rows of the fit.
    posterior
        Some draws.
    """

    parameter: str
    term: FittedCurve
    data: xr.Dataset
    posterior: xr.Dataset

    @property
    def text(self) -> str:
        """The term as the user wrote it."""
        return self.term.term.call.text

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it takes."""
        return self.term.term.call.inputs

    def values(self, name: str) -> Array:
        """Return a column as numbers, over the rows."""
        return np.asarray(formula_column(self.data, name, False), dtype=float)

    def at(self, settings: Mapping[str, Any]) -> Array:
        """Return the effect at settings of its columns, over (draw, setting); others are as in the first row."""
        count = len(next(iter(settings.values())))
        dim = str(self.data.attrs["dim"])
        row = {str(n): of.values[[0]] for n, of in self.data.data_vars.items() if of.dims == (dim,)}
        columns = {name: np.repeat(value, count) for name, value in row.items()} | dict(settings)
        rows = xr.Dataset({n: (dim, v) for n, v in columns.items()}, {dim: np.arange(count)})
        made = self.term.columns(Rows(rows, dim, "figure"))
        curve = self.term.curve(made, self.posterior)
        return np.asarray(curve.transpose("chain", "draw", dim).values.reshape(-1, count))


def has_smooths(spec: RegressionSpec) -> bool:
    """Return whether a regression has a smooth or monotonic term."""
    predictors = [one for this in plans_of(spec).values() for one in this.predictors.values()]
    return any(isinstance(t, SmoothTerm | GaussianProcess | MonotonicTerm) for one in predictors for t in one.terms)


def draw_smooths(subject: Subject, spec: RegressionSpec) -> Canvas:
    """Draw one panel for each smooth or monotonic term."""
    found = list(_panels(subject, spec))
    title = title_of(subject, f"smooth effects on the linear predictor, mean and {subject.hdi_name}")
    title += f" (the first {PANELS} of {len(found)})" if len(found) > PANELS else ""
    figure, axes = look.panels(title, min(len(found), PANELS), columns=2, height=3.0)
    for ax, panel in zip(axes, found, strict=False):
        _draw(ax, panel, subject)
        label = panel.text if len({one.parameter for one in found}) == 1 else f"{panel.parameter}: {panel.text}"
        ax.set_title(shorten(label, 44), fontsize=9)
    return figure


def _panels(subject: Subject, spec: RegressionSpec) -> Iterator[Panel]:
    data = subject.idata.constant_data
    data = data.assign_attrs(dim=str(data.attrs.get("dim", next(iter(data.dims)))))
    try:
        expansion = expansion_of(data, spec)
    except (UserError, KeyError) as error:
        raise NotDrawable(f"the formula can't be computed from the stored data: {error}") from error
    draws = subject.idata.posterior.sizes["draw"]
    posterior = subject.idata.posterior.isel(draw=slice(None, None, max(1, draws * 2 // DRAWS)))
    for parameter, terms in expansion.terms.items():
        for term in terms:
            if isinstance(term, FittedSmooth | FittedProcess | FittedMonotonic):
                yield Panel(parameter, term, data, posterior)


def _draw(ax: Axes, panel: Panel, subject: Subject) -> None:
    if isinstance(panel.term, FittedMonotonic):
        _draw_steps(ax, panel, panel.term, subject)
    elif len(panel.inputs) == 1:
        _draw_curves(ax, panel, panel.term.by, subject)
    else:
        means = panel.posterior.mean(("chain", "draw")).expand_dims(chain=1, draw=1)
        _draw_map(ax, replace(panel, posterior=means), panel.term.by)


def _draw_curves(ax: Axes, panel: Panel, by: By, subject: Subject) -> None:
    """Draw a curve, or one for each level of a factor."""
    (name,) = panel.inputs
    values = panel.values(name)
    grid = np.linspace(values.min(), values.max(), GRID)
    levels = [None] if by.levels is None else _frequent(panel.data, str(by.column), by.levels)
    for index, level in enumerate(levels):
        settings: dict[str, Any] = {name: grid}
        if by.column is not None:
            settings[by.column] = np.full(GRID, 1.0) if level is None else np.array([level] * GRID)
        colour = look.VERMILLION if level is None else look.colour(index)
        _band(ax, grid, panel.at(settings), subject, colour, None if level is None else shorten(str(level), 16))
    if by.levels is not None:
        title = str(by.column) + (f", {CURVES} of {len(by.levels)}" if len(by.levels) > CURVES else "")
        ax.legend(fontsize=7, handlelength=1.2, loc="best", title=shorten(title, 24), title_fontsize=7)
    _rug(ax, values)
    ax.set(xlabel=shorten(name), ylabel=f"coefficient of {shorten(str(by.column))}" if by.is_numeric else "effect")


def _band(ax: Axes, at: Array, draws: Array, subject: Subject, colour: str, label: str | None) -> None:
    low, high = hdi(draws, subject.interval)
    ax.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
    ax.plot(at, draws.mean(axis=0), color=colour, label=label)


def _rug(ax: Axes, values: Array) -> None:
    """Mark the values of the rows along the axis."""
    ax.plot(
        values,
        np.zeros(len(values)),
        "|",
        color=look.GREY,
        markersize=5,
        transform=ax.get_xaxis_transform(),
        clip_on=False,
    )


def _draw_map(ax: Axes, panel: Panel, by: By) -> None:
    """Draw the mean over two inputs as a map; further inputs are at their medians."""
    first, second = panel.inputs[:2]
    x, z = (panel.values(name) for name in (first, second))
    grid = [np.linspace(of.min(), of.max(), MAP) for of in (x, z)]
    across, along = np.meshgrid(*grid)
    settings: dict[str, Any] = {first: across.ravel(), second: along.ravel()}
    settings |= {name: np.full(MAP**2, np.median(panel.values(name))) for name in panel.inputs[2:]}
    level: Any = None
    if by.column is not None:
        level = 1.0 if by.levels is None else _frequent(panel.data, by.column, by.levels)[0]
        settings[by.column] = np.array([level] * MAP**2)
    mean = panel.at(settings).mean(axis=0).reshape(MAP, MAP)
    limit = float(np.abs(mean).max()) or 1.0
    shown = ax.contourf(*grid, mean, levels=np.linspace(-limit, limit, 13), cmap="RdBu_r")
    ax.plot(x, z, ".", color="black", markersize=2, alpha=0.5)
    figure = ax.get_figure()
    assert isinstance(figure, Canvas)
    bar = figure.colorbar(shown, ax=ax, format="%.2g")
    bar.ax.tick_params(labelsize=7)
    shared = f" ({by.column} = {level})" if by.levels is not None else ""
    ax.set(xlabel=shorten(first) + shared, ylabel=shorten(second))


def _draw_steps(ax: Axes, panel: Panel, term: FittedMonotonic, subject: Subject) -> None:
    """Draw a monotonic effect at its levels; of an interaction for some values of the other column."""
    (name,), levels = panel.inputs, term.levels
    others = [n for n in term.term.formula.variables]
    values: Sequence[Any] = [None]
    if others:
        column = row_column(panel.data, others[0]).values
        numeric = others[0] not in term.term.formula.categorical or column.dtype.kind in "iuf"
        if numeric and not any(t.labels for t in term.design.terms):
            values = list(np.unique(np.quantile(column.astype(float), [0.1, 0.5, 0.9])))
        else:
            values = _frequent(panel.data, others[0], sorted(pd.unique(column), key=str))
    at = np.arange(len(levels))
    for index, value in enumerate(values):
        settings: dict[str, Any] = {name: np.array(levels)}
        settings |= {} if value is None else {others[0]: np.array([value] * len(levels))}
        draws = panel.at(settings)
        low, high = hdi(draws, subject.interval)
        mean = draws.mean(axis=0)
        where = at + 0.12 * (index - (len(values) - 1) / 2)
        colour = look.VERMILLION if value is None else look.colour(index)
        spread = [np.maximum(0, mean - low), np.maximum(0, high - mean)]
        label = None if value is None else f"{value:.3g}" if isinstance(value, float) else shorten(str(value), 16)
        ax.errorbar(where, mean, spread, fmt="o-", color=colour, markersize=4, capsize=3, linewidth=1, label=label)
    ax.set_xticks(at, [shorten(str(level), 12) for level in levels])
    if values != [None]:
        ax.legend(fontsize=7, handlelength=1.2, loc="best", title=shorten(others[0], 24), title_fontsize=7)
    ax.set(xlabel=shorten(name), ylabel="effect, against the first level")


def _frequent(data: xr.Dataset, name: str, levels: Sequence[Any]) -> list[Any]:
    """Return the most frequent levels, in their order."""
    counts = pd.Series(list(map(str, row_column(data, name).values))).value_counts()
    frequent = set(counts.index[:CURVES])
    return [level for level in levels if str(level) in frequent] or list(levels[:CURVES])
