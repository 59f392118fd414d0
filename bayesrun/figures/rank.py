"""Rank: where each chain's draws rank among all draws. Chains that mix have flat histograms.

Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021), doi:10.1214/20-BA1221.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.stats import binom

from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.selection import Array, Scalar, pick, title_of

LIMIT = 12
BINS = 20


def draw(subject: Subject) -> Canvas:
    """Draw the rank histograms of each scalar's chains."""
    picked = pick(subject, LIMIT)
    if len(picked.shown[0].values) < 2:
        raise NotDrawable("ranks compare chains, and there is only one")
    figure, axes = look.panels(title_of(subject, f"ranks by chain{picked.note}"), len(picked.shown), height=2.0)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_scalar(ax, scalar, subject.interval)
        ax.set_xlabel("rank of all draws")
    look.legend_below(figure, axes[0], columns=6)
    return figure


def ranks(values: Array) -> Array:
    """Return the ranks 0..n-1 of all draws, (chain, draw); ties of discrete draws are broken at random (fixed seed)."""
    tiebreak = np.random.default_rng(0).permutation(values.size)
    order = np.lexsort((tiebreak, values.ravel()))
    result = np.empty(values.size, np.int64)
    result[order] = np.arange(values.size)
    return result.reshape(values.shape)


def _draw_scalar(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.values.shape[1]
    edges = np.linspace(0, scalar.values.size, BINS + 1)
    low, high = binom.interval(prob, draws, 1 / BINS)
    ax.axhspan(low, high, color=look.GREY, alpha=0.2, label=f"{100 * prob:g} % of bars, if all draws were independent")
    for chain, own in enumerate(ranks(scalar.values)):
        ax.stairs(
            np.histogram(own, edges)[0],
            edges,
            color=look.colour(chain),
            linewidth=1.4,
            baseline=None,
            label=f"chain {chain}",
        )
    ax.set(xlim=(0, scalar.values.size), ylim=(0, None), title=shorten(scalar.name))
    look.few_ticks(ax, x=3, y=4)
    place = ax.get_subplotspec()
    if place is not None and place.is_first_col():
        ax.set_ylabel("draws")


FIGURE = Figure(draw=draw)
