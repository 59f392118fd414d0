"""Trace by chain: one panel per scalar, each chain in its own colour, divergences marked below."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.selection import pick, title_of
from bayesrun.figures.traces import divergent, draw_chain, draw_rug

LIMIT = 12


def draw(subject: Subject) -> Canvas:
    """Draw the draws of each chain in their order."""
    picked = pick(subject, LIMIT)
    figure, axes = look.panels(title_of(subject, f"trace by chain{picked.note}"), len(picked.shown), columns=2)
    where = divergent(subject)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        for chain, values in enumerate(scalar.values):
            draw_chain(ax, values, look.colour(chain), alpha=0.7, label=f"chain {chain}")
        draw_rug(ax, where)
        ax.set_title(shorten(scalar.name, 40))
        ax.margins(x=0.01)
        look.few_ticks(ax, x=6, y=4, whole_y=scalar.discrete)
    for ax in axes[-2:]:
        ax.set_xlabel("draw")
    look.legend_below(figure, axes[0])
    return figure


FIGURE = Figure(draw=draw)
