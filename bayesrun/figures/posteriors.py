"""Posterior distributions: of each scalar with its interval, beside its prior, and of imputed values."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.densities import hdi, is_discrete
from bayesrun.diagnostics.summary import names_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.selection import Array, Scalar, draws_of, group_of, pick, title_of
from bayesrun.figures.style import draw_marginal, frame, interval, number, write_beside

POSTERIORS = 18
HEADROOM = 1.3  # for mean and interval as text above the distribution


def draw_posterior(subject: Subject) -> Canvas:
    """Draw the marginal posterior of each scalar."""
    picked = pick(subject, POSTERIORS)
    title = title_of(subject, f"posterior, mean and {subject.hdi_name}{picked.note}")
    figure, axes = look.panels(title, len(picked.shown), height=1.7)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        _draw_with_interval(ax, scalar, subject.interval)
    return figure


def _draw_with_interval(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.pooled
    draw_marginal(ax, draws, look.BLUE)
    frame(ax, draws)
    look.few_ticks(ax, x=4, whole_x=scalar.discrete)
    look.no_scale(ax)
    ax.set_title(scalar.label)
    if draws.size > 1:
        _mark_interval(ax, scalar, prob)


def _mark_interval(ax: Axes, scalar: Scalar, prob: float) -> None:
    draws = scalar.pooled
    mean, (low, high) = float(draws.mean()), hdi(draws, prob)
    ax.plot([low, high], [0, 0], color=look.INK, linewidth=4, solid_capstyle="butt", clip_on=False, zorder=3)
    ax.plot(mean, 0, "o", color="white", markeredgecolor=look.INK, markersize=6, clip_on=False, zorder=4)
    ax.set_ylim(top=HEADROOM * ax.get_ylim()[1])
    write_beside(ax, draws, f"{number(mean, high - low)}\n{interval(low, high, scalar.discrete)}")


COMPARED = 12
COLUMNS = 3
MIN_NEAR = 25  # prior draws near the posterior that make a density
PEAKS = 2.5  # a prior's peak is cut off at this multiple of the posterior's, which would look flat otherwise


def draw_prior_posterior(subject: Subject) -> Canvas:
    """Draw prior and posterior of each scalar near the posterior; below, both intervals on the prior's scale."""
    prior = group_of(subject, "prior")
    picked = pick(subject, 4 * COMPARED)
    shown = [s for s in picked.shown if s.variable in prior][:COMPARED]
    if not shown:
        raise NotDrawable("no variable of the posterior has prior draws")
    note = f" ({len(shown)} of {picked.total:,} scalars)" if len(shown) < picked.total else ""
    rows = -(-len(shown) // COLUMNS)
    title = title_of(subject, f"prior and posterior; bars: {subject.hdi_name}{note}")
    figure = look.canvas(title, max(3.2, 0.7 + 2.5 * rows))
    grid = figure.add_gridspec(2 * rows, min(COLUMNS, len(shown)), height_ratios=[6, 1] * rows)
    for place, scalar in enumerate(shown):
        row, column = divmod(place, COLUMNS)
        near, whole = figure.add_subplot(grid[2 * row, column]), figure.add_subplot(grid[2 * row + 1, column])
        draws = draws_of(prior[scalar.variable])[..., scalar.index].ravel()
        draws = draws[np.isfinite(draws)]
        _draw_densities(near, scalar, draws)
        _draw_intervals(whole, scalar, draws, subject.interval)
    look.legend_below(figure, figure.axes[0])
    return figure


def _draw_densities(ax: Axes, scalar: Scalar, prior: Array) -> None:
    low, high = _neighbourhood(prior, scalar.pooled)
    near = prior[(prior >= low) & (prior <= high)]
    draw_marginal(ax, scalar.pooled, look.BLUE, "posterior")
    for artist in (*ax.lines, *ax.collections, *ax.patches):
        artist.set_zorder(3)  # in front of the prior's, which is drawn later
    top = PEAKS * ax.get_ylim()[1]
    if near.size >= MIN_NEAR:
        draw_marginal(ax, near, look.GREY, "prior", part=near.size / prior.size)
    elif prior.size and high > low:
        _draw_level(ax, near.size / prior.size / (high - low), prior)
        near = near[:0]
    frame(ax, np.concatenate([near, scalar.pooled]))
    ax.set_ylim(top=min(top, ax.get_ylim()[1]))
    look.few_ticks(ax, x=4, whole_x=scalar.discrete)
    look.no_scale(ax)
    ax.set_title(scalar.label)


def _draw_level(ax: Axes, height: float, prior: Array) -> None:
    """Draw the mean density of the prior near the posterior, where too few of its draws are to show a shape."""
    inside = np.array([prior.min(), prior.max()])
    ax.plot(inside, [height, height], color=look.GREY, label="prior", clip_on=height > 0)


def _draw_intervals(ax: Axes, scalar: Scalar, prior: Array, prob: float) -> None:
    """Draw the intervals of prior and posterior as bars on a common axis."""
    for height, draws, colour in ((1, prior, look.GREY), (0, scalar.pooled, look.BLUE)):
        if draws.size > 1:
            low, high = hdi(draws, prob)
            ax.plot([low, high], [height, height], color=colour, linewidth=5, solid_capstyle="butt")
            ax.plot([(low + high) / 2], [height], "|", color=colour, markersize=6, markeredgewidth=1.5)
    ax.set_ylim(-0.8, 1.8)
    ax.margins(x=0.06)
    look.few_ticks(ax, x=3, whole_x=scalar.discrete)
    look.no_scale(ax)


def _neighbourhood(prior: Array, posterior: Array) -> tuple[float, float]:
    """Return an interval ten times as wide as the posterior, so that a vague prior does not squeeze it to a spike."""
    if not posterior.size:
        return (float(prior.min()), float(prior.max())) if prior.size else (0.0, 0.0)
    low, middle, high = np.quantile(posterior, [0.03, 0.5, 0.97])
    return middle - 5 * (high - low), middle + 5 * (high - low)


IMPUTED = 12


def draw_imputed(subject: Subject) -> Canvas:
    """Draw the distribution of each imputed value, twelve at most."""
    names = [f"{name}_missing" for name in group_of(subject, "observed_data").data_vars]
    found = [subject.idata.posterior[name] for name in names if name in subject.idata.posterior]
    values = [(n, draws_of(v)[..., i]) for v in found for i, n in enumerate(names_of(v, str(v.name)))]
    if not values:
        raise NotDrawable("there are no imputed values")
    note = f" (the first {IMPUTED} of {len(values)})" if len(values) > IMPUTED else ""
    figure, axes = look.panels(title_of(subject, f"imputed values{note}"), min(len(values), IMPUTED), height=2.4)
    for ax, (name, draws) in zip(axes, values, strict=False):
        draw_marginal(ax, draws.ravel(), look.GREEN)
        frame(ax, draws.ravel())
        ax.set(
            title=shorten(name, 34), xlabel="imputed value", ylabel="probability" if is_discrete(draws) else "density"
        )
        look.few_ticks(ax, whole_x=is_discrete(draws))
    return figure


FIGURES = {
    "posterior": Figure(draw_posterior),
    "prior_posterior": Figure(draw_prior_posterior),
    "imputed": Figure(draw_imputed),
}
