"""Where NUTS diverged, and a rug that shows it below a trace."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bayesrun.figures import _style as look
from bayesrun.figures._arrays import Array
from bayesrun.figures.base import Subject


def divergent(subject: Subject) -> Array | None:
    """Numbers of the draws at which some chain diverged; None where the sampler does not say."""
    if "sample_stats" not in subject.idata.groups() or "diverging" not in subject.idata.sample_stats:
        return None
    stats = subject.idata.sample_stats
    return np.flatnonzero(stats["diverging"].transpose("draw", ...).values.reshape(stats.sizes["draw"], -1).any(1))


def draw_rug(ax: Axes, where: Array | None) -> None:
    """Mark divergent draws by ticks along the bottom of a trace."""
    if where is not None and len(where):
        bottom = np.zeros(len(where))
        ax.plot(where, bottom, "|", color=look.INK, markersize=7, transform=ax.get_xaxis_transform(), clip_on=False)
