"""Forest: each scalar's mean with its 50 % and 94 % highest-density intervals, by chain and together."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.selection import Picked, Scalar, pick_of_each, title_of

VARIABLES = 12
ELEMENTS = 25


def draw(subject: Subject) -> Canvas:
    """Draw one panel a variable, so that each has a scale of its own."""
    groups, total = pick_of_each(subject, VARIABLES, ELEMENTS)
    more = f" (the first {len(groups)} of {total} variables)" if total > len(groups) else ""
    rows = [0.45 + 0.24 * len(group.shown) for group in groups]
    figure = look.canvas(title_of(subject, f"forest: mean, 50 % and 94 % HDI{more}"), 0.6 + 1.25 * sum(rows))
    grid = figure.add_gridspec(len(groups), 1, height_ratios=rows)
    for index, group in enumerate(groups):
        _draw_group(figure.add_subplot(grid[index]), group)
    return figure


def _draw_group(ax: Axes, group: Picked) -> None:
    for row, scalar in enumerate(group.shown):
        _draw_scalar(ax, row, scalar)
    ax.set_yticks(range(len(group.shown)), [look.shorten(s.name, 30) for s in group.shown])
    ax.set_ylim(len(group.shown) - 0.4, -0.6)
    look.few_ticks_x(ax)
    if group.note:
        ax.set_title(f"{group.shown[0].variable}{group.note}")


def _draw_scalar(ax: Axes, row: int, scalar: Scalar) -> None:
    draws = scalar.pooled
    if draws.size < 2:
        return
    wide, narrow = hdi(draws, 0.94), hdi(draws, 0.5)
    ax.plot(wide, [row, row], color=look.BLUE, linewidth=1.5)
    ax.plot(narrow, [row, row], color=look.BLUE, linewidth=4.5, solid_capstyle="butt")
    ax.plot(draws.mean(), row, "o", color="white", markeredgecolor=look.INK, markersize=5)
    means = scalar.values.mean(axis=1)
    ax.plot(means, [row - 0.25] * len(means), "|", color=look.ORANGE, markersize=6, markeredgewidth=1.2)


FIGURE = Figure(draw=draw)
