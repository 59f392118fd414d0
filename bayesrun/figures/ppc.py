"""Posterior predictive check: data drawn from the fitted model against the data observed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.ndimage import gaussian_filter1d

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.marginals import BARS
from bayesrun.figures.observations import Observed, predicted
from bayesrun.figures.selection import Array, title_of

DRAWN = 60  # predicted data sets shown
GRID = 400


def draw(subject: Subject) -> Canvas:
    """Draw the distribution of each observed variable over those of predicted data sets, without missing values."""
    shown = predicted(subject, DRAWN)
    figure, axes = look.panels(title_of(subject, "posterior predictive check"), len(shown), columns=2, height=3.4)
    for ax, one in zip(axes, shown, strict=True):
        _draw_bars(ax, one, subject) if one.discrete and np.ptp(one.ends) < BARS else _draw_densities(ax, one)
        ax.set(xlabel=one.axis_label, ylim=(0, None))
    look.legend_below(figure, axes[0])
    return figure


def _draw_bars(ax: Axes, one: Observed, subject: Subject) -> None:
    at = np.arange(one.ends[0], one.ends[1] + 1)
    share = np.stack([_shares(data, at) for data in one.draws])
    middle, (low, high) = np.median(share, axis=0), hdi(share, subject.interval)
    spread = [np.maximum(0, middle - low), np.maximum(0, high - middle)]
    ax.bar(at, _shares(one.values, at), width=0.8, color=look.GREY, alpha=0.45, label="observed")
    ax.errorbar(
        at,
        middle,
        spread,
        fmt="o",
        color=look.BLUE,
        markersize=4,
        capsize=3,
        label=f"predicted, median and {subject.hdi_name}",
    )
    ax.set_ylabel("share of rows")
    if len(at) <= 15:
        ax.set_xticks(at)


def _shares(data: Array, at: Array) -> Array:
    return np.array([np.mean(data == value) for value in at])


def _draw_densities(ax: Axes, one: Observed) -> None:
    grid = np.linspace(*one.ends, GRID)
    curves = np.stack([smooth(data, grid) for data in one.draws])
    label = f"predicted, {len(curves)} draws"
    ax.plot(grid, curves.T, color=look.BLUE, alpha=0.25, linewidth=0.6)
    ax.plot([], [], color=look.BLUE, linewidth=1.5, label=label)  # a faint line can hardly be seen in a legend
    ax.plot(grid, curves.mean(axis=0), color=look.ORANGE, linestyle="--", linewidth=2, label="mean of predicted")
    ax.plot(grid, smooth(one.values, grid), color=look.INK, linewidth=2, label="observed")
    ax.set_xlim(*one.ends)
    ax.set_ylabel("density")


def smooth(data: Array, grid: Array) -> Array:
    """Density of `data` on an even grid: a histogram under a Gaussian of Silverman's width, `0.9 s n^(-1/5)`.

    `s` is the lesser of the standard deviation and the interquartile range / 1.349 (Silverman 1986, eq. 3.31).
    Values beyond the grid count for the height, not for the picture.
    """
    step = grid[1] - grid[0]
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    quartiles = np.quantile(data, [0.25, 0.75])
    spread = min(s for s in (data.std(), np.ptp(quartiles) / 1.349, grid[-1] - grid[0]) if s > 0)
    width = 0.9 * spread * len(data) ** -0.2
    height = np.histogram(data, edges)[0] / (len(data) * step)
    return np.asarray(gaussian_filter1d(height, width / step, mode="constant"))


FIGURE = Figure(draw=draw)
