"""One chain's draws in their order, thinned where there are more than can be seen."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bayesrun.figures._arrays import Array

POINTS = 1000  # as many as a picture 1200 px wide can show beside each other


def draw_chain(ax: Axes, values: Array, colour: str, alpha: float, label: str | None = None) -> None:
    """Draw the values of a chain, (draw,), against their number."""
    every = max(1, len(values) // POINTS)
    at = np.arange(len(values))[::every]
    ax.plot(at, values[::every], color=colour, alpha=alpha, linewidth=0.6, label=label)
