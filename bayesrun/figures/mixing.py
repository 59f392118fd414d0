"""Draws of the chains and how well they mix: traces, ranks, autocorrelation, and the energy of NUTS.

Ranks: Vehtari et al. 2021, doi:10.1214/20-BA1221. Energy: Betancourt 2016, arXiv:1604.00695.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from scipy.stats import binom

from bayesrun.diagnostics.base import shorten, shorten_all
from bayesrun.diagnostics.numerics.convergence import bfmi
from bayesrun.diagnostics.numerics.densities import density
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.selection import ELEMENT, Array, Picked, Scalar, group_of, pick, pick_of_each, title_of
from bayesrun.figures.style import draw_marginal, frame

VARIABLES = 10
ELEMENTS = 8
SCALARS = 12


def draw_trace(subject: Subject) -> Canvas:
    """Draw the distribution and the trace of each variable; the elements of a vector share a row."""
    rows, total = pick_of_each(subject, VARIABLES, ELEMENTS)
    more = f" (the first {len(rows)} of {total} variables)" if total > len(rows) else ""
    figure, axes = look.panels(title_of(subject, f"trace{more}"), 2 * len(rows), columns=2, height=1.45)
    where = divergent(subject)
    for left, right, picked in zip(axes[::2], axes[1::2], rows, strict=True):
        _draw_variable(left, right, picked, where)
    axes[-2].set_xlabel("value (all chains)")
    axes[-1].set_xlabel("draw (chains overlaid)")
    _legend(figure, rows, where)
    return figure


def _draw_variable(left: Axes, right: Axes, picked: Picked, where: Array | None) -> None:
    single = len(picked.shown) == 1
    labels = _elements(picked)
    for index, scalar in enumerate(picked.shown):
        draw_marginal(left, scalar.pooled, look.INK if single else look.colour(index), labels[index], fill=single)
        for chain, values in enumerate(scalar.values):
            draw_chain(right, values, look.colour(chain if single else index), alpha=0.6)
    frame(left, np.concatenate([s.pooled for s in picked.shown]))
    draw_rug(right, where)
    first = picked.shown[0]
    left.set_title(shorten(first.name if picked.total == 1 else f"{first.variable}{picked.note}", 60))
    look.few_ticks(left, whole_x=first.discrete)
    look.no_scale(left)
    look.few_ticks(right, x=6, y=4, whole_y=first.discrete)
    right.margins(x=0.01)
    if not single:
        handles = [Line2D([], [], color=look.colour(i)) for i in range(len(picked.shown))]
        columns = 1 if len(handles) <= 4 else 2
        left.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.1), ncols=columns, fontsize=7,
                    handlelength=0.8, borderpad=0, labelspacing=0.25, columnspacing=0.6)  # fmt: skip


def _elements(picked: Picked) -> list[str]:
    """Return the labels of a vector's elements; the vector's name is the title of its row."""
    return shorten_all([s.name[len(s.variable) + 1 : -1] or s.name for s in picked.shown], ELEMENT)


def _legend(figure: Canvas, rows: list[Picked], where: Array | None) -> None:
    """Add a legend of the chains' colours, in rows with a single scalar, and of the ticks of divergences."""
    chains = [len(picked.shown[0].values) for picked in rows if len(picked.shown) == 1]
    handles = [Line2D([], [], color=look.colour(i), label=f"chain {i}") for i in range(max(chains, default=0))]
    if where is not None and len(where):
        handles.append(Line2D([], [], color=look.INK, marker="|", linestyle="", label="divergence"))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=6)


def draw_by_chain(subject: Subject) -> Canvas:
    """Draw each chain of each scalar, in a panel per scalar."""
    picked = pick(subject, SCALARS)
    figure, axes = look.panels(title_of(subject, f"trace by chain{picked.note}"), len(picked.shown), columns=2)
    where = divergent(subject)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        for chain, values in enumerate(scalar.values):
            draw_chain(ax, values, look.colour(chain), alpha=0.7, label=f"chain {chain}")
        draw_rug(ax, where)
        ax.set_title(scalar.label)
        ax.margins(x=0.01)
        look.few_ticks(ax, x=6, y=4, whole_y=scalar.discrete)
    for ax in axes[-2:]:
        ax.set_xlabel("draw")
    look.legend_below(figure, axes[0])
    return figure


POINTS = 1000  # about as many as a figure 1200 px wide can show


def draw_chain(ax: Axes, values: Array, colour: str, alpha: float, label: str | None = None) -> None:
    """Draw the trace of a chain, (draw,), thinned if it has more draws than can be seen."""
    every = max(1, len(values) // POINTS)
    at = np.arange(len(values))[::every]
    ax.plot(at, values[::every], color=colour, alpha=alpha, linewidth=0.6, label=label)


def divergent(subject: Subject) -> Array | None:
    """Return the indices of draws at which some chain diverged; None if the sampler does not report them."""
    if "sample_stats" not in subject.idata.groups() or "diverging" not in subject.idata.sample_stats:
        return None
    stats = subject.idata.sample_stats
    return np.flatnonzero(stats["diverging"].transpose("draw", ...).values.reshape(stats.sizes["draw"], -1).any(1))


def draw_rug(ax: Axes, where: Array | None) -> None:
    """Mark divergent draws with ticks along the bottom of a trace."""
    if where is not None and len(where):
        bottom = np.zeros(len(where))
        ax.plot(where, bottom, "|", color=look.INK, markersize=7, transform=ax.get_xaxis_transform(), clip_on=False)


BINS = 20


def draw_rank(subject: Subject) -> Canvas:
    """Draw the rank histograms of each scalar's chains."""
    picked = pick(subject, SCALARS)
    if len(picked.shown[0].values) < 2:
        raise NotDrawable("ranks compare chains, and there is only one")
    figure, axes = look.panels(title_of(subject, f"ranks by chain{picked.note}"), len(picked.shown), height=2.0)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_ranks(ax, scalar, subject.interval)
        ax.set_xlabel("rank among all draws")
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
    ax.axhspan(low, high, color=look.GREY, alpha=0.2, label=f"{100 * prob:g}% interval for independent draws")
    for chain, own in enumerate(ranks(scalar.values)):
        ax.stairs(
            np.histogram(own, edges)[0],
            edges,
            color=look.colour(chain),
            linewidth=1.4,
            baseline=None,
            label=f"chain {chain}",
        )
    ax.set(xlim=(0, scalar.values.size), ylim=(0, None), title=scalar.label)
    look.few_ticks(ax, x=3, y=4)
    place = ax.get_subplotspec()
    if place is not None and place.is_first_col():
        ax.set_ylabel("draws per bin")


LAGS = 60


def draw_autocorrelation(subject: Subject) -> Canvas:
    """Draw the autocorrelation up to lag 60."""
    picked = pick(subject, SCALARS)
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
    ax.set(ylim=(-0.35, 1.05), xlim=(0, LAGS), title=scalar.label)
    ax.set_yticks([0, 0.5, 1])


def draw_energy(subject: Subject) -> Canvas:
    """Draw the marginal energy and the energy transitions of all chains, and the BFMI of each chain."""
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
    for values, colour, label in ((spread, look.BLUE, "marginal energy"), (change, look.ORANGE, "energy transition")):
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
    "trace": Figure(draw_trace),
    "trace_chains": Figure(draw_by_chain),
    "rank": Figure(draw_rank),
    "autocorrelation": Figure(draw_autocorrelation),
    "energy": Figure(draw_energy),
}
