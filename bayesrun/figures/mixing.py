"""How well the chains mix: ranks (doi:10.1214/20-BA1221), autocorrelation, and energy of NUTS (arXiv:1604.00695)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.stats import binom

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.convergence import bfmi
from bayesrun.diagnostics.numerics.densities import density
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.selection import Array, Scalar, group_of, pick, title_of

LIMIT = 12
BINS = 20


def draw_rank(subject: Subject) -> Canvas:
    """Draw the rank histograms of each scalar's chains."""
    picked = pick(subject, LIMIT)
    if len(picked.shown[0].values) < 2:
        raise NotDrawable("ranks compare chains, and there is only one")
    figure, axes = look.panels(title_of(subject, f"ranks by chain{picked.note}"), len(picked.shown), height=2.0)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_ranks(ax, scalar, subject.interval)
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


def _draw_ranks(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.values.shape[1]
    edges = np.linspace(0, scalar.values.size, BINS + 1)
    low, high = binom.interval(prob, draws, 1 / BINS)
    ax.axhspan(low, high, color=look.GREY, alpha=0.2, label=f"{100 * prob:g}% of bars, if all draws were independent")
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


LAGS = 60


def draw_autocorrelation(subject: Subject) -> Canvas:
    """Draw the autocorrelation up to lag 60."""
    picked = pick(subject, LIMIT)
    if picked.shown[0].values.shape[1] < 4:
        raise NotDrawable("there are too few draws for an autocorrelation")
    figure, axes = look.panels(title_of(subject, f"autocorrelation{picked.note}"), len(picked.shown))
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_lags(ax, scalar)
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


def _draw_lags(ax: Axes, scalar: Scalar) -> None:
    ax.axhline(0, color=look.GREY, linewidth=0.8)
    for chain, values in enumerate(scalar.values):
        found = autocorrelation(values, LAGS)
        ax.plot(np.arange(len(found)), found, color=look.colour(chain), linewidth=1, alpha=0.8, label=f"chain {chain}")
    ax.set(ylim=(-0.35, 1.05), xlim=(0, LAGS), title=shorten(scalar.name))
    ax.set_yticks([0, 0.5, 1])


def draw_energy(subject: Subject) -> Canvas:
    """Draw both distributions, all chains together, and each chain's BFMI."""
    energy = _energy(subject)
    figure, (left, right) = look.panels(title_of(subject, "energy"), 2, columns=2, height=3.0)
    _draw_densities(left, energy)
    _draw_bfmi(right, bfmi(energy))
    return figure


def _energy(subject: Subject) -> Array:
    stats = group_of(subject, "sample_stats")
    if "energy" not in stats:
        raise NotDrawable("no variable was sampled by NUTS, so there is no energy")
    energy = np.asarray(stats["energy"].transpose("chain", "draw").values, float)
    if energy.shape[1] < 3 or not np.isfinite(energy).all() or np.ptp(energy) == 0:
        raise NotDrawable("the energy of the draws is constant or not finite")
    return energy


def _draw_densities(ax: Axes, energy: Array) -> None:
    spread = (energy - energy.mean(axis=1, keepdims=True)).ravel()
    change = np.diff(energy, axis=1).ravel()
    for values, colour, label in ((spread, look.BLUE, "energy"), (change, look.ORANGE, "change by draw")):
        grid, height = density(values)
        ax.plot(grid, height, color=colour, label=label)
        ax.fill_between(grid, height, color=colour, alpha=0.25)
    ax.set(xlabel="energy, centred (nats)", ylim=(0, None), title="both should look alike")
    look.no_scale(ax)
    ax.legend(loc="upper right")


def _draw_bfmi(ax: Axes, values: Array) -> None:
    ax.bar(np.arange(len(values)), values, width=0.6, color=[look.colour(i) for i in range(len(values))])
    ax.axhline(0.3, color=look.INK, linestyle="--", linewidth=1)
    ax.set(xlabel="chain", ylabel="BFMI", title="below 0.3: slow in the tails", xticks=np.arange(len(values)))


FIGURES = {
    "rank": Figure(draw_rank),
    "autocorrelation": Figure(draw_autocorrelation),
    "energy": Figure(draw_energy),
}
