"""Switchpoint: posterior probability of each year to be the last one at the early rate."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.marginals import counts
from bayesrun.figures.observations import posterior_of, series_of
from bayesrun.figures.selection import title_of


def draw(subject: Subject) -> Canvas:
    """Draw a bar per year, darker inside the interval."""
    draws = np.asarray(posterior_of(subject, "switchpoint").values).ravel()
    years, share = counts(draws)
    low, high = hdi(draws, subject.interval)
    figure, ax = look.panel(title_of(subject, "switchpoint by year"), 3.4)
    inside = (years >= low) & (years <= high)
    ax.bar(years, share, width=0.8, color=[look.BLUE if i else look.SKY for i in inside])
    mode = int(years[np.argmax(share)])
    ax.annotate(f"{mode}: {share.max():.2f}", (mode, share.max()), (0, 3), textcoords="offset points", ha="center")
    time = str(series_of(subject).dims[0])
    ax.set(xlabel=f"{time} (dark: {subject.hdi_name} {int(low)} to {int(high)})", ylabel="posterior probability")
    shown = years[share > 0.0005]
    ax.set_xlim(shown.min() - 1, shown.max() + 1)
    look.whole_ticks(ax)
    return figure


FIGURE = Figure(draw=draw)
