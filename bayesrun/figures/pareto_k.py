"""Pareto k of each observation: where leave-one-out by importance sampling is not to be trusted (above 0.7)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas

from bayesrun.figures import _style as look
from bayesrun.figures._loo import leave_one_out
from bayesrun.figures._scalars import label_text, title_of
from bayesrun.figures.base import Figure, Subject

GOOD = 0.7
NAMED = 8


def draw(subject: Subject) -> Canvas:
    """Draw k against the observations in their order; the worst ones are named."""
    terms, _, k = leave_one_out(subject)
    figure, ax = look.panel(title_of(subject, "Pareto k of leave-one-out"), 3.6)
    bad = k > GOOD
    at = np.arange(len(k))
    ax.axhline(GOOD, color=look.INK, linestyle="--", linewidth=1, label="0.7: not to be trusted above")
    ax.plot(at[~bad], k[~bad], "o", color=look.BLUE, markersize=3, alpha=0.6)
    ax.plot(at[bad], k[bad], "o", color=look.VERMILLION, markersize=5)
    for i in np.argsort(-k)[:NAMED]:
        if bad[i]:
            ax.annotate(label_text(terms["point"].values[i]), (i, k[i]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel="observation, in its order", ylabel="Pareto k")
    look.legend_below(figure, ax)
    return figure


FIGURE = Figure(draw=draw)
