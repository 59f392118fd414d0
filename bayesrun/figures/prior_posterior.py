"""Prior against posterior: what the data taught about each scalar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.figures import _style as look
from bayesrun.figures._arrays import Array
from bayesrun.figures._scalars import Scalar, draws_of, group_of, pick, title_of
from bayesrun.figures._shapes import draw_marginal, frame, hdi, interval, write_beside
from bayesrun.figures.base import Figure, NotDrawable, Subject

LIMIT = 12


def draw(subject: Subject) -> Canvas:
    """Draw both distributions of each scalar that has prior draws."""
    prior = group_of(subject, "prior")
    picked = pick(subject, 4 * LIMIT)
    shown = [s for s in picked.shown if s.variable in prior][:LIMIT]
    if not shown:
        raise NotDrawable("no variable of the posterior has prior draws")
    note = f" ({len(shown)} of {picked.total:,} scalars)" if len(shown) < picked.total else ""
    figure, axes = look.panels(title_of(subject, f"prior and posterior{note}"), len(shown))
    for ax, scalar in zip(axes, shown, strict=True):
        _draw_scalar(ax, scalar, draws_of(prior[scalar.variable])[..., scalar.place].ravel())
    look.legend_below(figure, axes[0])
    return figure


def _draw_scalar(ax: Axes, scalar: Scalar, prior: Array) -> None:
    prior = prior[np.isfinite(prior)]
    near = _in_reach(prior, scalar.pooled)
    if near.size:
        draw_marginal(ax, near, look.GREY, "prior", part=near.size / prior.size)
    draw_marginal(ax, scalar.pooled, look.BLUE, "posterior")
    frame(ax, np.concatenate([near, scalar.pooled]))
    ax.set_title(look.shorten(scalar.name))
    look.few_ticks(ax, x=4, whole_x=scalar.discrete)
    look.no_scale(ax)
    if prior.size > 1:
        low, high = hdi(prior, 0.94)
        write_beside(ax, scalar.pooled, f"prior 94 %:\n{interval(low, high, scalar.discrete)}")


def _in_reach(prior: Array, posterior: Array) -> Array:
    """Prior draws no farther from the posterior than it is wide ten times: a vague prior must not make it a spike."""
    if not posterior.size:
        return prior
    low, middle, high = np.quantile(posterior, [0.03, 0.5, 0.97])
    return np.asarray(prior[np.abs(prior - middle) <= 10 * (high - low) / 2])


FIGURE = Figure(draw=draw)
