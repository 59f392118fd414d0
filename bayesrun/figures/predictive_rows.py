"""Posterior predictive checks of single observations and of groups: intervals, residuals, and means by level."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import ObservedAndPredicted, predicted, times
from bayesrun.figures.selection import Array, group_of, title_of
from bayesrun.figures.used_columns import Predictor, label_of, predictors_of

DRAWS = 500  # predicted data sets
ROWS = 400  # observations with an interval each
PANELS = 6


def draw_intervals(subject: Subject) -> Canvas:
    """Draw each observation against the interval of its predictions, in the order of time or of the predictions."""
    shown = [one for one in predicted(subject, DRAWS) if one.kind not in ("binary", "categorical")]
    if not shown:
        raise NotDrawable("no observed variable has values whose intervals are informative")
    figure, axes = look.panels(title_of(subject, "predictive intervals"), len(shown), columns=1, height=3.2)
    for ax, one in zip(axes, shown, strict=True):
        _draw_intervals(ax, one, subject)
    look.legend_below(figure, axes)
    return figure


def _draw_intervals(ax: Axes, one: ObservedAndPredicted, subject: Subject) -> None:
    low, high = hdi(one.draws, subject.interval)
    middle = np.median(one.draws, axis=0)
    inside = (one.values >= low) & (one.values <= high)
    chosen = np.unique(np.linspace(0, len(middle) - 1, min(len(middle), ROWS)).astype(int))
    at, label = _places(one, subject)
    if at is None:
        chosen = np.lexsort((one.values, middle))[chosen]
        at = np.empty(len(middle))
        at[chosen] = np.arange(len(chosen))
    x, width = at[chosen], 2.2 if len(chosen) < 150 else 0.9
    ax.vlines(
        x,
        low[chosen],
        high[chosen],
        color=(look.BLUE, 0.35),  # a legend shows a colour's transparency, not a collection's
        linewidth=width,
        label=f"predicted, {subject.hdi_name}",
    )
    ax.plot(x, middle[chosen], "_", color=look.BLUE, markersize=3, label="predicted, median")
    size = 3.5 if len(chosen) < 150 else 2
    for found, colour, name in ((inside, look.INK, "observed"), (~inside, look.VERMILLION, "observed, outside")):
        rows = found[chosen]
        if rows.any():
            ax.plot(x[rows], one.values[chosen][rows], "o", color=colour, markersize=size, label=name)
    share = f"{np.mean(inside):.1%} of {len(inside):,} observations are inside"
    note = f"; {len(chosen):,} are shown" if len(chosen) < len(inside) else ""
    ax.set_title(share + note, fontsize=8)
    ax.set(xlabel=label, ylabel=one.axis_label)
    if one.kind == "positive":
        look.log_scale(ax, "y")
    if one.levels:
        ax.set_yticks(range(len(one.levels)), [shorten(level, 14) for level in one.levels])


def _places(one: ObservedAndPredicted, subject: Subject) -> tuple[Array | None, str]:
    """Return where the observations of a series are on its axis; None if their rows have no order."""
    series = group_of(subject, "observed_data")[one.name]
    if series.ndim == 1:
        labels = times(series)
        is_order = labels.dtype.kind == "M" or (
            series.dims[0] in series.coords and not np.array_equal(labels, np.arange(len(labels)))
        )
        if is_order and np.all(np.diff(labels).astype(float) > 0):
            return labels[one.rows], str(series.dims[0])
    return None, "observations, by their predicted median"


BINS = 20
POINTS = 2_000


def draw_residuals(subject: Subject) -> Canvas:
    """Draw standardised residuals against predicted means, and their averages with the band of predicted data."""
    shown = [one for one in predicted(subject, DRAWS) if one.kind != "categorical"]
    if not shown:
        raise NotDrawable("no observed variable has residuals")
    figure, axes = look.panels(title_of(subject, "residuals"), len(shown), columns=2, height=3.4)
    for ax, one in zip(axes, shown, strict=True):
        _draw_residuals(ax, one, subject)
    look.legend_below(figure, axes, columns=3)
    return figure


def _draw_residuals(ax: Axes, one: ObservedAndPredicted, subject: Subject) -> None:
    mean, own, drawn = residuals(one)
    every = max(1, len(mean) // POINTS)
    look.draw_points(ax, mean[::every], own[::every])
    edges = np.unique(np.quantile(mean, np.linspace(0, 1, 1 + min(BINS, max(1, len(mean) // 10)))))
    if len(edges) > 1:
        bins = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, len(edges) - 2)
        rows = np.bincount(bins, minlength=len(edges) - 1)
        kept = rows > 0
        at, averages = (np.bincount(bins, of, minlength=len(rows))[kept] / rows[kept] for of in (mean, own))
        predictions = np.stack([np.bincount(bins, of, minlength=len(rows))[kept] / rows[kept] for of in drawn])
        low, high = hdi(predictions, subject.interval)
        label = f"average, {subject.hdi_name} of predicted data"
        ax.fill_between(at, low, high, color=look.BLUE, alpha=0.3, linewidth=0, label=label)
        ax.plot(at, averages, color=look.VERMILLION, marker="o", markersize=4, label="average of the observed")
    ax.axhline(0, color=look.GREY, linewidth=1)
    ax.set(xlabel=f"predicted mean of {one.axis_label}", ylabel="(observed − mean) / sd")


def residuals(one: ObservedAndPredicted) -> tuple[Array, Array, Array]:
    """Return predicted means (row,), and standardised residuals: observed (row,) and predicted ones (draw, row)."""
    mean, sd = one.draws.mean(axis=0), one.draws.std(axis=0)
    scale = np.where(sd > 0, sd, 1.0)
    return mean, (one.values - mean) / scale, (one.draws - mean) / scale


def draw_grouped(subject: Subject) -> Canvas:
    """Draw the observed mean of each level of categorical predictors, and the interval of predicted ones."""
    found = [
        (one, predictor)
        for one in predicted(subject, DRAWS)
        if one.response is None and one.kind != "categorical"
        for predictor in predictors_of(subject, group_of(subject, "observed_data")[one.name])
        if predictor.levels is not None and len(predictor.levels) > 1
    ]
    if not found:
        raise NotDrawable("the model uses no categorical predictor over the rows of an observed variable")
    shown = found[:PANELS]
    note = f" (the first {PANELS} of {len(found)})" if len(found) > PANELS else ""
    figure, axes = look.panels(title_of(subject, f"predicted means by level{note}"), len(shown), columns=2, height=3.2)
    for ax, (one, predictor) in zip(axes, shown, strict=True):
        _draw_grouped(ax, one, predictor, subject)
    look.legend_below(figure, axes, columns=3)
    return figure


def _draw_grouped(ax: Axes, one: ObservedAndPredicted, predictor: Predictor, subject: Subject) -> None:
    levels, own, drawn = means_by_level(one, predictor)
    at = np.arange(len(levels))
    low, high = hdi(drawn, subject.interval)
    ax.vlines(at, low, high, color=(look.BLUE, 0.45), linewidth=4, label=f"predicted mean, {subject.hdi_name}")
    inside = (own >= low) & (own <= high)
    for rows, colour, name in (
        (inside, look.INK, "observed mean"),
        (~inside, look.VERMILLION, "observed mean, outside"),
    ):
        if rows.any():
            ax.plot(at[rows], own[rows], "o", color=colour, markersize=4, label=name)
    look.label_levels(ax, levels)
    ax.set(xlabel=label_of(predictor), ylabel=f"mean of {one.axis_label}")


def means_by_level(one: ObservedAndPredicted, predictor: Predictor) -> tuple[list[str], Array, Array]:
    """Return levels that were observed, the first 30, the observed mean of each, and predicted ones (draw, level)."""
    assert predictor.levels is not None
    codes = predictor.codes[one.rows]
    present = [code for code in range(len(predictor.levels)) if (codes == code).any()][: look.LEVELS]
    own = np.array([one.values[codes == code].mean() for code in present])
    drawn = np.stack([one.draws[:, codes == code].mean(axis=1) for code in present], axis=1)
    return [str(predictor.levels[code]) for code in present], own, drawn


FIGURES = {
    "ppc_intervals": Figure(draw_intervals),
    "ppc_residuals": Figure(draw_residuals),
    "ppc_grouped": Figure(draw_grouped),
}
