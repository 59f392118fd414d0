"""Volatility: returns, and the posterior mean and highest-density interval of their scale, over dates."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import axis_label, posterior_of, series_of, times
from bayesrun.figures.selection import draws_of, title_of

DRAWS = 1000  # enough for an interval; thousands of days times all draws would take long


def draw(subject: Subject) -> Canvas:
    """Draw the returns with the interval of the volatility on both sides of zero."""
    series, volatility = series_of(subject), posterior_of(subject, "volatility_process")
    draws = draws_of(volatility)
    draws = draws.reshape(-1, draws.shape[-1])
    mean, some = draws.mean(axis=0), draws[:: max(1, len(draws) // DRAWS)]
    low, high = hdi(some, subject.interval)
    figure, ax = look.panel(title_of(subject, "returns and volatility"), 4.2)
    at = times(series)
    ax.plot(at, series.values, color=look.GREY, linewidth=0.5, alpha=0.55, label="observed")
    for sign in (1, -1):
        label = "volatility: posterior mean" if sign == 1 else None
        ax.fill_between(at, sign * low, sign * high, color=look.ORANGE, alpha=0.6, linewidth=0,
                        label=subject.hdi_name if sign == 1 else None)  # fmt: skip
        ax.plot(at, sign * mean, color=look.VERMILLION, linewidth=0.9, label=label)
    limit = 1.05 * float(max(np.nanmax(np.abs(series.values)), high.max()))
    ax.set(
        xlabel=str(series.dims[0]),
        ylabel=f"{axis_label(subject, str(series.name))} and scale",
        ylim=(-limit, limit),
    )
    ax.margins(x=0.01)
    look.legend_below(figure, ax)
    return figure


FIGURE = Figure(draw=draw)
