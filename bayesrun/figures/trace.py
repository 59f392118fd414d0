"""Trace, compact: one row a variable, its distribution at the left, its draws in their order at the right."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.marginals import draw_marginal, frame
from bayesrun.figures.selection import Array, Picked, Scalar, pick_of_each, title_of
from bayesrun.figures.traces import divergent, draw_chain, draw_rug

VARIABLES = 10
ELEMENTS = 8
KEYED = 4  # elements whose labels fit beside their curves


def draw(subject: Subject) -> Canvas:
    """Draw the distribution and the trace of each variable; a vector's elements share a row."""
    rows, total = pick_of_each(subject, VARIABLES, ELEMENTS)
    more = f" (the first {len(rows)} of {total} variables)" if total > len(rows) else ""
    figure, axes = look.panels(title_of(subject, f"trace{more}"), 2 * len(rows), columns=2, height=1.35)
    where = divergent(subject)
    for left, right, picked in zip(axes[::2], axes[1::2], rows, strict=True):
        _draw_row(left, right, picked, where)
    marked = "" if where is None or not len(where) else "; ticks below: divergences"
    axes[-2].set_xlabel("value")
    axes[-1].set_xlabel(f"draw, chains overlaid{marked}")
    return figure


def _draw_row(left: Axes, right: Axes, picked: Picked, where: Array | None) -> None:
    single = len(picked.shown) == 1
    for index, scalar in enumerate(picked.shown):
        draw_marginal(left, scalar.pooled, look.colour(index), scalar.name, fill=single)
        for chain, values in enumerate(scalar.values):
            draw_chain(right, values, look.colour(chain if single else index), alpha=0.6)
    frame(left, np.concatenate([s.pooled for s in picked.shown]))
    draw_rug(right, where)
    _label(left, right, picked)


def _label(left: Axes, right: Axes, picked: Picked) -> None:
    first: Scalar = picked.shown[0]
    left.set_title(look.shorten(first.name if picked.total == 1 else f"{first.variable}{picked.note}", 60))
    look.few_ticks(left, whole_x=first.discrete)
    look.no_scale(left)
    look.few_ticks(right, x=6, y=4, whole_y=first.discrete)
    if 1 < len(picked.shown) <= KEYED:
        left.legend(*_elements(left, picked), loc="upper right", fontsize=7, handlelength=1, borderpad=0)
    right.margins(x=0.01)


def _elements(ax: Axes, picked: Picked) -> tuple[list[Artist], list[str]]:
    """Legend of a vector's elements by their labels alone: the name of the vector is the title."""
    handles, names = ax.get_legend_handles_labels()
    start = len(picked.shown[0].variable) + 1
    return handles, [look.shorten(name[start:-1], 16) for name in names]


FIGURE = Figure(draw=draw)
