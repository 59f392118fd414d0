"""Prior against posterior: what the data taught about each scalar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.marginals import draw_marginal, frame, interval
from bayesrun.figures.selection import Array, Scalar, draws_of, group_of, pick, title_of

LIMIT = 12
FEWEST = 25  # prior draws near the posterior that a density is made of
PEAKS = 2.5  # a prior's peak is cut off above so many of the posterior's, which would look flat


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
        _draw_scalar(ax, scalar, draws_of(prior[scalar.variable])[..., scalar.index].ravel())
    look.legend_below(figure, axes[0])
    return figure


def _draw_scalar(ax: Axes, scalar: Scalar, prior: Array) -> None:
    prior = prior[np.isfinite(prior)]
    low, high = _reach(prior, scalar.pooled)
    near = prior[(prior >= low) & (prior <= high)]
    draw_marginal(ax, scalar.pooled, look.BLUE, "posterior")
    for artist in (*ax.lines, *ax.collections, *ax.patches):
        artist.set_zorder(3)  # before the prior's, which is drawn later
    top = PEAKS * ax.get_ylim()[1]
    if near.size >= FEWEST:
        draw_marginal(ax, near, look.GREY, "prior", part=near.size / prior.size)
    elif prior.size and high > low:
        _draw_level(ax, near.size / prior.size / (high - low), prior)
        near = near[:0]
    frame(ax, np.concatenate([near, scalar.pooled]))
    ax.set_ylim(top=min(top, ax.get_ylim()[1]))
    look.few_ticks(ax, x=4, whole_x=scalar.discrete)
    look.no_scale(ax)
    _head(ax, scalar, prior)


def _draw_level(ax: Axes, height: float, prior: Array) -> None:
    """Draw the mean density near the posterior where too few prior draws are to have a shape: a few are no spikes."""
    inside = np.array([prior.min(), prior.max()])
    ax.plot(inside, [height, height], color=look.GREY, label="prior", clip_on=height > 0)


def _head(ax: Axes, scalar: Scalar, prior: Array) -> None:
    """Name the scalar, and below it the prior's interval, where no curve is."""
    ax.set_title(look.shorten(scalar.name), pad=16)
    if prior.size > 1:
        low, high = hdi(prior, 0.94)
        text = f"prior 94 %: {interval(low, high, scalar.discrete)}"
        ax.text(0, 1.03, text, transform=ax.transAxes, fontsize=8, va="bottom")


def _reach(prior: Array, posterior: Array) -> tuple[float, float]:
    """Return the ends of what is ten times as wide as the posterior: a vague prior must not make a spike of that."""
    if not posterior.size:
        return (float(prior.min()), float(prior.max())) if prior.size else (0.0, 0.0)
    low, middle, high = np.quantile(posterior, [0.03, 0.5, 0.97])
    return middle - 5 * (high - low), middle + 5 * (high - low)


FIGURE = Figure(draw=draw)
