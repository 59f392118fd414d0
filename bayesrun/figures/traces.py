"""Traces: the draws of a chain in their order, and where NUTS diverged."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesrun.figures import style as look
from bayesrun.figures.base import Subject

Array = NDArray[Any]

POINTS = 1000  # as many as a picture 1200 px wide can show side by side


def draw_chain(ax: Axes, values: Array, colour: str, alpha: float, label: str | None = None) -> None:
    """Draw the values of a chain, (draw,), in their order, thinned where there are more than can be seen."""
    every = max(1, len(values) // POINTS)
    at = np.arange(len(values))[::every]
    ax.plot(at, values[::every], color=colour, alpha=alpha, linewidth=0.6, label=label)


def divergent(subject: Subject) -> Array | None:
    """Return the indices of draws at which some chain diverged; None if the sampler does not report them."""
    if "sample_stats" not in subject.idata.groups() or "diverging" not in subject.idata.sample_stats:
        return None
    stats = subject.idata.sample_stats
    return np.flatnonzero(stats["diverging"].transpose("draw", ...).values.reshape(stats.sizes["draw"], -1).any(1))


def draw_rug(ax: Axes, where: Array | None) -> None:
    """Mark divergent draws with ticks along the bottom of a trace."""
    if where is not None and len(where):
        bottom = np.zeros(len(where))
        ax.plot(where, bottom, "|", color=look.INK, markersize=7, transform=ax.get_xaxis_transform(), clip_on=False)
