"""Pareto k of each observation: above 0.7, leave-one-out by importance sampling is unreliable."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.diagnostics.pointwise import loo_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import terms_of
from bayesrun.figures.selection import Array, title_of

NAMED = 8


def draw(subject: Subject) -> Canvas:
    """Draw k against the observations in their order, and name the worst."""
    labels, k = pareto_k(subject)
    figure, ax = look.panel(title_of(subject, "Pareto k of leave-one-out"), 3.6)
    bad = k > GOOD_K
    at = np.arange(len(k))
    ax.axhline(GOOD_K, color=look.INK, linestyle="--", linewidth=1, label="above 0.7: unreliable")
    ax.plot(at[~bad], k[~bad], "o", color=look.BLUE, markersize=3, alpha=0.6)
    ax.plot(at[bad], k[bad], "o", color=look.VERMILLION, markersize=5)
    for i in np.argsort(-k)[:NAMED]:
        if bad[i]:
            ax.annotate(labels[i], (i, k[i]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel="observation, in the order of the data", ylabel="Pareto k")
    look.legend_below(figure, ax)
    return figure


def pareto_k(subject: Subject) -> tuple[list[str], Array]:
    """Return the label and the Pareto k of each observation: as judged by the check `loo`."""
    terms = terms_of(subject)
    found = loo_of(terms, subject.summary)
    return [str(point) for point in terms["point"].values], found.judged_k


FIGURE = Figure(draw=draw)
