"""How well the model predicts the observed data: posterior predictive check, LOO-PIT and Pareto k.

LOO-PIT is the probability integral transform of each observation under its leave-one-out prediction (Gabry et al. 2019,
doi:10.1111/rssa.12378). The values are uniform for a calibrated model; those of counts are randomised between their
lower and upper value.
"""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.ndimage import gaussian_filter1d
from scipy.stats import binom

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.diagnostics.predictive_accuracy import loo_of
from bayesrun.diagnostics.summary import names_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import Observed, predicted, terms_of
from bayesrun.figures.selection import Array, group_of, title_of
from bayesrun.figures.style import BARS

DRAWN = 60  # predicted data sets shown
GRID = 400


def draw_ppc(subject: Subject) -> Canvas:
    """Draw the distribution of each observed variable, and those of predicted data sets, without missing values."""
    shown = predicted(subject, DRAWN)
    figure, axes = look.panels(title_of(subject, "posterior predictive check"), len(shown), columns=2, height=3.4)
    for ax, one in zip(axes, shown, strict=True):
        _draw_bars(ax, one, subject) if one.discrete and np.ptp(one.ends) < BARS else _draw_densities(ax, one)
        ax.set(xlabel=one.axis_label, ylim=(0, None))
    look.legend_below(figure, axes[0])
    return figure


def _draw_bars(ax: Axes, one: Observed, subject: Subject) -> None:
    at = np.arange(one.ends[0], one.ends[1] + 1)
    share = np.stack([_proportions(data, at) for data in one.draws])
    middle, (low, high) = np.median(share, axis=0), hdi(share, subject.interval)
    spread = [np.maximum(0, middle - low), np.maximum(0, high - middle)]
    ax.bar(at, _proportions(one.values, at), width=0.8, color=look.GREY, alpha=0.45, label="observed")
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
    ax.set_ylabel("proportion of observations")
    if len(at) <= 15:
        ax.set_xticks(at)


def _proportions(data: Array, at: Array) -> Array:
    return np.array([np.mean(data == value) for value in at])


def _draw_densities(ax: Axes, one: Observed) -> None:
    grid = np.linspace(*one.ends, GRID)
    curves = np.stack([smooth(data, grid) for data in one.draws])
    label = f"predicted, {len(curves)} draws"
    drawn = ax.plot(grid, curves.T, color=look.BLUE, alpha=0.25, linewidth=0.6)
    drawn[0].set_label(label)
    ax.plot(grid, curves.mean(axis=0), color=look.ORANGE, linestyle="--", linewidth=2, label="mean of the predicted")
    ax.plot(grid, smooth(one.values, grid), color=look.INK, linewidth=2, label="observed")
    ax.set_xlim(*one.ends)
    ax.set_ylabel("density")


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


BINS = 20  # fewer if a bin would have less than six observations
POINTS = 1500  # observations; more are thinned


def draw_loo_pit(subject: Subject) -> Canvas:
    """Draw the histogram of the PIT values, with the interval for uniform ones."""
    values = pit(subject)
    figure, ax = look.panel(title_of(subject, "LOO-PIT"), 3.4)
    bins = min(BINS, max(4, len(values) // 6))
    low, high = binom.interval(subject.interval, len(values), 1 / bins)
    ax.axhspan(
        low,
        high,
        color=look.GREY,
        alpha=0.25,
        linewidth=0,
        label=f"{100 * subject.interval:g}% interval if calibrated",
    )
    ax.hist(values, bins=np.linspace(0, 1, bins + 1).tolist(), color=look.BLUE, alpha=0.8, rwidth=0.92)
    ax.set(xlabel="LOO predictive CDF at the observed value", ylabel="observations", xlim=(0, 1))
    look.legend_below(figure, ax)
    return figure


def pit(subject: Subject) -> Array:
    """Return the PIT value of each observed point, (point,)."""
    terms, log_weights = leave_one_out(subject)
    observed, predicted = _points(subject, [str(p) for p in terms["point"].values])
    weights = np.exp(log_weights - log_weights.max(axis=0))
    weights /= weights.sum(axis=0)
    below = (weights * (predicted < observed)).sum(axis=0)
    equal = (weights * (predicted == observed)).sum(axis=0)
    return np.asarray(below + np.random.default_rng(0).uniform(size=len(observed)) * equal)


def leave_one_out(subject: Subject) -> tuple[xr.DataArray, Array]:
    """Smooth the importance weights of leaving out each observation; of more than 1,500, evenly chosen ones.

    Returns
    -------
    terms : DataArray
        Pointwise log likelihood, (chain, draw, point).
    log_weights : ndarray
        Normalised, (sample, point).
    """
    terms = terms_of(subject)
    terms = terms.isel(point=slice(None, None, -(-terms.sizes["point"] // POINTS)))
    ratios = -terms.stack(sample=("chain", "draw")).transpose("point", "sample").values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights, _ = az.psislw(np.asarray(ratios, float))
    return terms, np.asarray(weights).T


def _points(subject: Subject, wanted: list[str]) -> tuple[Array, Array]:
    """Return the observed, (point,), and the predicted values, (sample, point), at the wanted points."""
    predictions, data = group_of(subject, "posterior_predictive"), group_of(subject, "observed_data")
    observed: dict[str, float] = {}
    drawn: dict[str, Array] = {}
    for name in data.data_vars:
        if name not in predictions:
            raise NotDrawable(f"'{name}' has no posterior predictive draws")
        labels = names_of(data[name], str(name))
        flat = predictions[name].transpose("chain", "draw", *data[name].dims).values.reshape(-1, len(labels))
        observed |= dict(zip(labels, np.asarray(data[name].values, float).ravel(), strict=True))
        drawn |= dict(zip(labels, flat.T, strict=True))
    return np.array([observed[p] for p in wanted]), np.column_stack([drawn[p] for p in wanted])


NAMED = 8


def draw_pareto_k(subject: Subject) -> Canvas:
    """Draw k by observation, and label the largest."""
    labels, k = pareto_k(subject)
    figure, ax = look.panel(title_of(subject, "Pareto k of LOO"), 3.6)
    bad = k > GOOD_K
    at = np.arange(len(k))
    ax.axhline(GOOD_K, color=look.INK, linestyle="--", linewidth=1, label="above 0.7: unreliable")
    ax.plot(at[~bad], k[~bad], "o", color=look.BLUE, markersize=3, alpha=0.6)
    ax.plot(at[bad], k[bad], "o", color=look.VERMILLION, markersize=5)
    for i in np.argsort(-k)[:NAMED]:
        if bad[i]:
            ax.annotate(labels[i], (i, k[i]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel="observation", ylabel="Pareto k")
    look.legend_below(figure, ax)
    return figure


def pareto_k(subject: Subject) -> tuple[list[str], Array]:
    """Return the label and the Pareto k of each observation: as judged by the check `loo`."""
    terms = terms_of(subject)
    found = loo_of(terms, subject.summary, subject.idata.get("loo"))
    return [str(point) for point in terms["point"].values], found.judged_k


FIGURES = {"ppc": Figure(draw_ppc), "loo_pit": Figure(draw_loo_pit), "pareto_k": Figure(draw_pareto_k)}
