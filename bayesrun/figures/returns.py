"""Returns: the observed series over its dates."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from bayesrun.figures import _style as look
from bayesrun.figures._scalars import title_of
from bayesrun.figures._time import series_of, times
from bayesrun.figures.base import Figure, Subject


def draw(subject: Subject) -> Canvas:
    """Draw the series."""
    series = series_of(subject)
    figure, ax = look.panel(title_of(subject, "observed returns"), 3.4)
    ax.axhline(0, color=look.GREY, linewidth=0.8)
    ax.plot(times(series), series.values, color=look.BLUE, linewidth=0.6)
    ax.set(xlabel=str(series.dims[0]), ylabel=f"{series.name} (log return a day)")
    ax.margins(x=0.01)
    return figure


FIGURE = Figure(draw=draw)
