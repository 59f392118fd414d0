"""Scatter: the observed response against each predictor of the model.

The predictors are those columns, over the rows of the response, that the model's formula or expressions use.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import axis_label, series_of
from bayesrun.figures.selection import Array, title_of
from bayesrun.figures.used_columns import Predictor, label_of, predictors_of

LIMIT = 9
POINTS = 5000


def draw(subject: Subject) -> Canvas:
    """Draw one panel per column that the model's formula or expressions use."""
    response = series_of(subject)
    found = predictors_of(subject, response)
    if not found:
        raise NotDrawable("the model uses no predictor over the rows of its response")
    note = f" (the first {LIMIT} of {len(found)})" if len(found) > LIMIT else ""
    figure, axes = look.panels(title_of(subject, f"observed data{note}"), min(len(found), LIMIT), columns=2, height=3.0)
    for ax, predictor in zip(axes, found, strict=False):
        _draw_predictor(ax, predictor, response)
        ax.set(
            xlabel=label_of(predictor),
            ylabel=shorten(axis_label(subject, str(response.name))),
        )
    look.legend_below(figure, next((ax for ax in axes if ax.get_legend_handles_labels()[0]), axes[0]))
    return figure


def _draw_predictor(ax: Axes, predictor: Predictor, response: xr.DataArray) -> None:
    every = max(1, response.size // POINTS)
    y = np.asarray(response.values, float)
    if predictor.levels is None:
        look.draw_points(ax, predictor.values[::every], y[::every])
        look.few_ticks(ax, x=6, y=None)
    else:
        shown = look.draw_levels(ax, predictor.levels, predictor.codes[::every], y[::every])
        _mark_means(ax, predictor, y, shown)


def _mark_means(ax: Axes, predictor: Predictor, y: Array, shown: int) -> None:
    rows = [y[(predictor.codes == code) & np.isfinite(y)] for code in range(shown)]
    means = [row.mean() if row.size else np.nan for row in rows]
    at = np.arange(shown)
    ax.hlines(means, at - 0.3, at + 0.3, color=look.VERMILLION, linewidth=2, label="mean of each level")


FIGURE = Figure(draw)
