"""Scatter: the response against each predictor, as the data have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure as Canvas

from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import axis_label, series_of
from bayesrun.figures.selection import group_of, title_of

if TYPE_CHECKING:
    import xarray as xr

LIMIT = 9
POINTS = 5000


def draw(subject: Subject) -> Canvas:
    """Draw a panel a predictor: every number of the data over the rows of the response, but the response itself."""
    response = series_of(subject)
    data = group_of(subject, "constant_data")
    names = [str(n) for n, v in data.data_vars.items() if _is_predictor(subject, str(n), v, response)]
    if not names:
        raise NotDrawable("the data have no numeric predictor")
    note = f" (the first {LIMIT} of {len(names)})" if len(names) > LIMIT else ""
    figure, axes = look.panels(title_of(subject, f"data{note}"), min(len(names), LIMIT), columns=2, height=3.0)
    every = max(1, response.size // POINTS)
    for ax, name in zip(axes, names, strict=False):
        ax.plot(data[name].values[::every], response.values[::every], "o", color=look.BLUE, markersize=4, alpha=0.6)
        ax.set(xlabel=name, ylabel=look.shorten(axis_label(subject, str(response.name))))
    return figure


def _is_predictor(subject: Subject, name: str, values: xr.DataArray, response: xr.DataArray) -> bool:
    wanted = (subject.model.get("options") or {}).get("predictors")
    numbers = values.dims == response.dims and values.dtype.kind in "iubf"
    same = numbers and np.array_equal(np.asarray(values, float), np.asarray(response, float), equal_nan=True)
    return bool(numbers and not same and (wanted is None or name in wanted))


FIGURE = Figure(draw=draw)
