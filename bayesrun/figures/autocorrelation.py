"""Autocorrelation of each scalar by chain, up to lag 60."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.selection import Array, Scalar, pick, title_of

LIMIT = 12
LAGS = 60


def draw(subject: Subject) -> Canvas:
    """Draw the autocorrelation up to lag 60."""
    picked = pick(subject, LIMIT)
    if picked.shown[0].values.shape[1] < 4:
        raise NotDrawable("there are too few draws for an autocorrelation")
    figure, axes = look.panels(title_of(subject, f"autocorrelation{picked.note}"), len(picked.shown))
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_scalar(ax, scalar)
    for ax in axes[-3:]:
        ax.set_xlabel("lag (draws)")
    look.legend_below(figure, axes[0])
    return figure


def autocorrelation(values: Array, lags: int) -> Array:
    """Return the autocorrelation of a chain, (draw,), at lags 0 to `lags`; NaN if the chain is constant."""
    centred = np.asarray(values, float) - np.mean(values)
    count = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    covariance = np.fft.irfft(spectrum)[: min(lags + 1, count)]
    if covariance[0] <= 0:
        return np.full(len(covariance), np.nan)
    return np.asarray(covariance / covariance[0])


def _draw_scalar(ax: Axes, scalar: Scalar) -> None:
    ax.axhline(0, color=look.GREY, linewidth=0.8)
    for chain, values in enumerate(scalar.values):
        found = autocorrelation(values, LAGS)
        ax.plot(np.arange(len(found)), found, color=look.colour(chain), linewidth=1, alpha=0.8, label=f"chain {chain}")
    ax.set(ylim=(-0.35, 1.05), xlim=(0, LAGS), title=shorten(scalar.name))
    ax.set_yticks([0, 0.5, 1])


FIGURE = Figure(draw=draw)
