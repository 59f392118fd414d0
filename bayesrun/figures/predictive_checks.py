"""Posterior predictive checks of the distribution of an outcome: observed data against data that the fit predicts.

`ppc` shows each outcome in the form that suits its values (Säilynoja, Johnson, Martin and Vehtari 2025,
doi:10.48550/arXiv.2503.01509): events and levels by their calibration, counts by a rootogram, others by their density.
The other figures of this module show every outcome in one form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.ndimage import gaussian_filter1d

from bayesrun.diagnostics.numerics.densities import envelope, hdi, is_discrete
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import ObservedAndPredicted, predicted
from bayesrun.figures.reliability_panels import Panel, calibration_panels
from bayesrun.figures.selection import Array, title_of
from bayesrun.figures.style import BARS

DRAWN = 60  # predicted data sets whose curves are shown
MANY = 400  # predicted data sets of intervals and bands
GRID = 400
POINTS = 120  # of a band


def draw_ppc(subject: Subject) -> Canvas:
    """Draw each observed variable in the form that suits its values, without missing ones."""
    panels = [panel for one in predicted(subject, MANY) for panel in _suitable(one, subject)]
    return _draw(subject, "posterior predictive check", panels)


def draw_density(subject: Subject) -> Canvas:
    """Draw the density of each observed variable, and those of predicted data sets."""
    return _draw(subject, "predictive densities", [(one, _densities) for one in predicted(subject, MANY)])


def draw_ecdf(subject: Subject) -> Canvas:
    """Draw the distribution function of each observed variable, and the simultaneous band of predicted ones."""
    panels: list[Panel] = [(one, lambda ax, one: _ecdf(ax, one, subject)) for one in predicted(subject, MANY)]
    return _draw(subject, "predictive distribution functions", panels)


def draw_rootogram(subject: Subject) -> Canvas:
    """Draw how often each count was observed, and is predicted, on the scale of square roots."""
    counts = [one for one in predicted(subject, MANY) if one.kind in ("count", "binary") and np.ptp(one.values) > 0]
    if not counts:
        raise NotDrawable("no observed variable is a count")
    return _draw(subject, "rootogram", [(one, lambda ax, one: _rootogram(ax, one, subject)) for one in counts])


def draw_statistics(subject: Subject) -> Canvas:
    """Draw statistics of each observed variable against those of predicted data sets."""
    panels = [panel for one in predicted(subject, MANY) for panel in _statistic_panels(one)]
    shown = panels[:STATISTICS]
    note = f" (the first {len(shown)} of {len(panels)})" if len(panels) > len(shown) else ""
    return _draw(subject, f"predictive statistics{note}", shown, columns=3, height=2.5)


def _draw(subject: Subject, what: str, panels: Sequence[Panel], columns: int = 2, height: float = 3.4) -> Canvas:
    figure, axes = look.panels(title_of(subject, what), len(panels), columns, height)
    for ax, (one, draw) in zip(axes, panels, strict=True):
        draw(ax, one)
    look.legend_below(figure, axes, columns=3)
    return figure


def _suitable(one: ObservedAndPredicted, subject: Subject) -> Iterator[Panel]:
    def rootogram(ax: Axes, one: ObservedAndPredicted) -> None:
        _rootogram(ax, one, subject)

    def bars(ax: Axes, one: ObservedAndPredicted) -> None:
        _bars(ax, one, subject)

    if one.kind in ("binary", "ordinal", "categorical"):
        calibration = calibration_panels(one, subject)
        yield from [(one, bars)] if one.levels or not calibration else []
        yield from calibration
    elif one.kind == "count":
        yield one, rootogram
    elif one.discrete and np.ptp(one.ends) < BARS:
        yield one, bars
    else:
        yield one, _densities


def _bars(ax: Axes, one: ObservedAndPredicted, subject: Subject) -> None:
    """Draw the observed share of each value as a bar, and the interval of predicted shares."""
    at = np.arange(len(one.levels)) if one.levels else np.arange(one.ends[0], one.ends[1] + 1)
    share = np.stack([_shares(data, at) for data in one.draws])
    middle, (low, high) = np.median(share, axis=0), hdi(share, subject.interval)
    spread = [np.maximum(0, middle - low), np.maximum(0, high - middle)]
    ax.bar(at, _shares(one.values, at), width=0.8, color=look.GREY, alpha=0.45, label="observed")
    style: dict[str, Any] = {"fmt": "o", "color": look.BLUE, "markersize": 4, "capsize": 3}
    ax.errorbar(at, middle, spread, label=f"predicted, median and {subject.hdi_name}", **style)
    ax.set(xlabel=one.axis_label, ylabel="proportion of observations", ylim=(0, None))
    if one.levels:
        look.label_levels(ax, one.levels)
    elif len(at) <= 15:
        ax.set_xticks(at)


def _shares(data: Array, at: Array) -> Array:
    return np.array([np.mean(data == value) for value in at])


def _densities(ax: Axes, one: ObservedAndPredicted) -> None:
    """Draw the densities of the observed and some predicted data sets; over logarithms for a wide positive range."""
    log = one.kind == "positive"
    take: Callable[[Array], Array] = np.log if log else np.asarray
    low, high = _positive_ends(one) if log else one.ends
    if low == high:
        low, high = low - 0.5, high + 0.5
    grid = np.linspace(np.log(low), np.log(high), GRID) if log else np.linspace(low, high, GRID)
    x = np.exp(grid) if log else grid
    draws = one.draws[:: max(1, len(one.draws) // DRAWN)]
    curves = np.stack([smooth(take(data), grid) for data in draws])
    drawn = ax.plot(x, curves.T, color=look.BLUE, alpha=0.25, linewidth=0.6)
    drawn[0].set_label(f"predicted, {len(curves)} draws")
    ax.plot(x, curves.mean(axis=0), color=look.ORANGE, linestyle="--", linewidth=2, label="mean of the predicted")
    ax.plot(x, smooth(take(one.values), grid), color=look.INK, linewidth=2, label="observed")
    ax.set(
        xlim=(x[0], x[-1]),
        ylim=(0, None),
        xlabel=one.axis_label,
        ylabel="density of the logarithm" if log else "density",
    )
    if log:
        look.log_scale(ax, "x")


def _positive_ends(one: ObservedAndPredicted) -> tuple[float, float]:
    low, high = np.quantile(one.draws, [0.002, 0.998])
    return 0.9 * min(low, float(one.values.min())), 1.1 * max(high, float(one.values.max()))


def smooth(data: Array, grid: Array) -> Array:
    """Density of `data` on an even grid: a histogram under a Gaussian of Silverman's width, `0.9 s n^(-1/5)`.

    `s` is the lesser of the standard deviation and the interquartile range / 1.349 (Silverman 1986, eq. 3.31).
    Values beyond the grid count in the height, but are not shown.
    """
    step = grid[1] - grid[0]
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    quartiles = np.quantile(data, [0.25, 0.75])
    spread = min(s for s in (data.std(), np.ptp(quartiles) / 1.349, grid[-1] - grid[0]) if s > 0)
    width = 0.9 * spread * len(data) ** -0.2
    height = np.histogram(data, edges)[0] / (len(data) * step)
    return np.asarray(gaussian_filter1d(height, width / step, mode="constant"))


def _ecdf(ax: Axes, one: ObservedAndPredicted, subject: Subject) -> None:
    log = one.kind == "positive"
    low, high = _positive_ends(one) if log else one.ends
    if one.discrete:
        grid = np.unique(np.round(np.linspace(low - 1, high + 1, POINTS)))
    else:
        grid = np.geomspace(low, high, num=POINTS) if log else np.linspace(low, high, POINTS)
    own, curves = ecdf(one.values, grid), np.stack([ecdf(data, grid) for data in one.draws])
    lower, upper = (np.clip(of, 0, 1) for of in envelope(curves, own, subject.interval))
    style: dict[str, Any] = {"color": look.BLUE, "alpha": 0.3, "linewidth": 0, "step": "post" if one.discrete else None}
    ax.fill_between(
        grid, lower, upper, label=f"{100 * subject.interval:g}% simultaneous band of predicted data", **style
    )
    outside = (own < lower) | (own > upper)
    ax.plot(grid, own, color=look.INK, drawstyle="steps-post" if one.discrete else "default", label="observed")
    if outside.any():
        ax.plot(
            grid[outside], own[outside], "o", color=look.VERMILLION, markersize=3, label="observed, outside the band"
        )
    ax.set(xlabel=one.axis_label, ylabel="share of values up to x", ylim=(-0.02, 1.02), xlim=(grid[0], grid[-1]))
    if log:
        look.log_scale(ax, "x")


def ecdf(data: Array, grid: Array) -> Array:
    """Return the share of the data up to each point of a grid."""
    return np.asarray(np.searchsorted(np.sort(data), grid, side="right") / len(data))


def _rootogram(ax: Axes, one: ObservedAndPredicted, subject: Subject) -> None:
    """Draw square roots of frequencies, whose spread is about the same for all (doi:10.1080/00031305.2016.1173590)."""
    at, own, predictions = rootogram(one)
    middle, (low, high) = np.sqrt(np.median(predictions, axis=0)), np.sqrt(hdi(predictions, subject.interval))
    root = np.sqrt(own)
    spread = [np.maximum(0, middle - low), np.maximum(0, high - middle)]
    style: dict[str, Any] = {"fmt": "_", "color": look.BLUE, "markersize": 5, "elinewidth": 2.5, "alpha": 0.6}
    ax.errorbar(at, middle, spread, label=f"predicted, median and {subject.hdi_name}", **style)
    inside = (root >= low) & (root <= high)
    for found, colour, label in ((inside, look.INK, "observed"), (~inside, look.VERMILLION, "observed, outside")):
        if found.any():
            ax.plot(at[found], root[found], "o", color=colour, markersize=3.5, label=label)
    most = max(root.max(), high.max())
    ticks = np.unique(np.round(np.linspace(0, most, 5) ** 2))
    ax.set_yticks(np.sqrt(ticks), [f"{tick:,.0f}" for tick in ticks])
    pooled = bool(max(one.values.max(), one.draws.max()) > at[-1])
    last = f" ({at[-1]:g}: {at[-1]:g} or more)" if pooled else ""
    ax.set(xlabel=f"{one.axis_label}{last}", ylabel="observations (square-root scale)", ylim=(-0.03 * most, None))
    look.few_ticks(ax, x=8, y=None, whole_x=True)


def rootogram(one: ObservedAndPredicted) -> tuple[Array, Array, Array]:
    """Count the values of an outcome.

    Parameters
    ----------
    one
        An outcome of whole numbers.

    Returns
    -------
    at : ndarray
        The values, at most 60; the last one stands for all that are larger, too.
    own : ndarray
        Number of observations of each value.
    predictions : ndarray
        Number of predicted ones, (draw, value).
    """
    low = int(min(one.values.min(), one.draws.min()))
    high = int(max(one.values.max(), np.quantile(one.draws, 0.998)))
    at = np.arange(low, min(high, low + BARS - 1) + 1)

    def counts(data: Array) -> Array:
        return np.bincount(np.minimum(np.asarray(data, np.int64), at[-1]) - low, minlength=len(at))

    return at, counts(one.values), np.stack([counts(data) for data in one.draws])


STATISTICS = 12  # panels
BINS = 25


def _share(values: Array, code: int) -> Array:
    return np.asarray(np.mean(values == code, axis=-1))


_Statistic = Callable[[Array], Array]
_OF_NUMBERS: Mapping[str, _Statistic] = {
    "mean": lambda values: values.mean(axis=-1),
    "sd": lambda values: values.std(axis=-1),
    "min": lambda values: values.min(axis=-1),
    "max": lambda values: values.max(axis=-1),
}
_ZEROS: Mapping[str, _Statistic] = {"share of zeros": partial(_share, code=0)}


def statistics(one: ObservedAndPredicted) -> dict[str, tuple[float, Array]]:
    """Return statistics by name: of the observed values, and of predicted data sets (draw,)."""
    if one.levels:
        names: Mapping[str, _Statistic] = {
            f"share of {level}": partial(_share, code=code) for code, level in enumerate(one.levels)
        }
    elif one.kind == "binary":
        names = {"mean": _OF_NUMBERS["mean"]}
    else:
        zeros = bool((one.values == 0).any() or (one.draws == 0).any())
        names = {**_OF_NUMBERS, **(_ZEROS if zeros else {})}
    values, draws = one.values.astype(float), one.draws.astype(float)
    return {name: (float(of(values)), np.asarray(of(draws))) for name, of in names.items()}


def _statistic_panels(one: ObservedAndPredicted) -> list[Panel]:
    return [(one, _Histogram(name, *found)) for name, found in statistics(one).items()]


class _Histogram:
    """Draws a statistic of the observed values against those of predicted data sets."""

    def __init__(self, name: str, own: float, predictions: Array) -> None:
        self._name, self._own, self._predictions = name, own, predictions

    def __call__(self, ax: Axes, one: ObservedAndPredicted) -> None:
        low, high = np.quantile(self._predictions, [0.005, 0.995])
        low, high = min(low, self._own), max(high, self._own)
        if is_discrete(self._predictions) and high - low <= 2 * BINS:
            bins = np.arange(low - 0.5, high + 1)
            ax.set_xlim(low - 2, high + 2)
        else:
            margin = 0.04 * (high - low) or 0.5
            bins = np.linspace(low - margin, high + margin, BINS + 1)
        ax.hist(self._predictions, bins.tolist(), color=look.BLUE, alpha=0.6, label="predicted data sets")
        ax.axvline(self._own, color=look.INK, linewidth=2, label="observed")
        above = float(np.mean(self._predictions >= self._own))
        ax.set_title(f"P(predicted ≥ observed) = {above:.2f}", fontsize=8)
        ax.set_xlabel(f"{one.axis_label}: {self._name}")
        look.few_ticks(ax, x=4)
        look.no_scale(ax)


FIGURES = {
    "ppc": Figure(draw_ppc),
    "ppc_density": Figure(draw_density),
    "ppc_ecdf": Figure(draw_ecdf),
    "ppc_rootogram": Figure(draw_rootogram),
    "ppc_statistics": Figure(draw_statistics),
}
