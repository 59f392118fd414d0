"""Posterior: each scalar's distribution with its mean and highest-density interval."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.marginals import draw_marginal, frame, interval, number, write_beside
from bayesrun.figures.selection import Scalar, pick, title_of

LIMIT = 18


def draw(subject: Subject) -> Canvas:
    """Draw the marginal posterior of each scalar."""
    picked = pick(subject, LIMIT)
    title = title_of(subject, f"posterior, mean and {subject.hdi_name}{picked.note}")
    figure, axes = look.panels(title, len(picked.shown), height=1.7)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_scalar(ax, scalar, subject.interval)
    return figure


def _draw_scalar(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.pooled
    draw_marginal(ax, draws, look.BLUE)
    frame(ax, draws)
    look.few_ticks(ax, x=4, whole_x=scalar.discrete)
    look.no_scale(ax)
    ax.set_title(shorten(scalar.name))
    if draws.size > 1:
        _mark_interval(ax, scalar, prob)


def _mark_interval(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.pooled
    mean, (low, high) = float(draws.mean()), hdi(draws, prob)
    ax.plot([low, high], [0, 0], color=look.INK, linewidth=4, solid_capstyle="butt", clip_on=False, zorder=3)
    ax.plot(mean, 0, "o", color="white", markeredgecolor=look.INK, markersize=6, clip_on=False, zorder=4)
    write_beside(ax, draws, f"{number(mean, high - low)}\n{interval(low, high, scalar.discrete)}")


FIGURE = Figure(draw=draw)
