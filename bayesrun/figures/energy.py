"""Energy: the distribution of NUTS's energy against that of its changes, and BFMI by chain (arXiv:1604.00695).

If the changes are much smaller, the tails are explored slowly.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.convergence import bfmi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.marginals import density
from bayesrun.figures.selection import Array, group_of, title_of


def draw(subject: Subject) -> Canvas:
    """Draw both distributions, all chains together, and each chain's BFMI."""
    energy = _energy(subject)
    figure, (left, right) = look.panels(title_of(subject, "energy"), 2, columns=2, height=3.0)
    _draw_densities(left, energy)
    _draw_bfmi(right, bfmi(energy))
    return figure


def _energy(subject: Subject) -> Array:
    stats = group_of(subject, "sample_stats")
    if "energy" not in stats:
        raise NotDrawable("no variable was sampled by NUTS, so there is no energy")
    energy = np.asarray(stats["energy"].transpose("chain", "draw").values, float)
    if energy.shape[1] < 3 or not np.isfinite(energy).all() or np.ptp(energy) == 0:
        raise NotDrawable("the energy of the draws is constant or not finite")
    return energy


def _draw_densities(ax: Axes, energy: Array) -> None:
    spread = (energy - energy.mean(axis=1, keepdims=True)).ravel()
    change = np.diff(energy, axis=1).ravel()
    for values, colour, label in ((spread, look.BLUE, "energy"), (change, look.ORANGE, "change by draw")):
        grid, height = density(values)
        ax.plot(grid, height, color=colour, label=label)
        ax.fill_between(grid, height, color=colour, alpha=0.25)
    ax.set(xlabel="energy, centred (nats)", ylim=(0, None), title="both should look alike")
    look.no_scale(ax)
    ax.legend(loc="upper right")


def _draw_bfmi(ax: Axes, values: Array) -> None:
    ax.bar(np.arange(len(values)), values, width=0.6, color=[look.colour(i) for i in range(len(values))])
    ax.axhline(0.3, color=look.INK, linestyle="--", linewidth=1)
    ax.set(xlabel="chain", ylabel="BFMI", title="below 0.3: slow in the tails", xticks=np.arange(len(values)))


FIGURE = Figure(draw=draw)
