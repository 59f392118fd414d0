"""Returns, or any other observed series, over its dates."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import axis_label, series_of, times
from bayesrun.figures.selection import title_of


def draw(subject: Subject) -> Canvas:
    """Draw the series."""
    series = series_of(subject)
    label = axis_label(subject, str(series.name))
    figure, ax = look.panel(title_of(subject, f"observed {label} over {series.dims[0]}"), 3.4)
    ax.axhline(0, color=look.GREY, linewidth=0.8)
    ax.plot(times(series), series.values, color=look.BLUE, linewidth=0.6)
    ax.set(xlabel=str(series.dims[0]), ylabel=label)
    ax.margins(x=0.01)
    return figure


FIGURE = Figure(draw=draw)
