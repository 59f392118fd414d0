"""Traces: the draws of each chain in their order, compact beside the distribution, or one panel per scalar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.marginals import draw_marginal, frame
from bayesrun.figures.selection import Array, Picked, Scalar, pick, pick_of_each, title_of

VARIABLES = 10
ELEMENTS = 8


def draw_trace(subject: Subject) -> Canvas:
    """Draw the distribution and the trace of each variable; a vector's elements share a row."""
    rows, total = pick_of_each(subject, VARIABLES, ELEMENTS)
    more = f" (the first {len(rows)} of {total} variables)" if total > len(rows) else ""
    figure, axes = look.panels(title_of(subject, f"trace{more}"), 2 * len(rows), columns=2, height=1.45)
    where = divergent(subject)
    for left, right, picked in zip(axes[::2], axes[1::2], rows, strict=True):
        _draw_variable(left, right, picked, where)
    axes[-2].set_xlabel("value, all chains")
    axes[-1].set_xlabel("draw, chains overlaid")
    _legend(figure, rows, where)
    return figure


def _draw_variable(left: Axes, right: Axes, picked: Picked, where: Array | None) -> None:
    single = len(picked.shown) == 1
    for index, scalar in enumerate(picked.shown):
        draw_marginal(left, scalar.pooled, look.INK if single else look.colour(index), _element(scalar), fill=single)
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
        names = [_element(scalar) for scalar in picked.shown]
        left.legend(handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.1), ncols=columns, fontsize=7,
                    handlelength=0.8, borderpad=0, labelspacing=0.25, columnspacing=0.6)  # fmt: skip


def _element(scalar: Scalar) -> str:
    """Return the label of a vector's element; the vector's name is the title of its row."""
    return shorten(scalar.name[len(scalar.variable) + 1 : -1] or scalar.name, 12)


def _legend(figure: Canvas, rows: list[Picked], where: Array | None) -> None:
    """Explain colours of rows with one scalar, which are those of the chains, and the ticks of divergences."""
    chains = [len(picked.shown[0].values) for picked in rows if len(picked.shown) == 1]
    handles = [Line2D([], [], color=look.colour(i), label=f"chain {i}") for i in range(max(chains, default=0))]
    if where is not None and len(where):
        handles.append(Line2D([], [], color=look.INK, marker="|", linestyle="", label="divergence"))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=6)


SCALARS = 12


def draw_by_chain(subject: Subject) -> Canvas:
    """Draw the draws of each chain in their order."""
    picked = pick(subject, SCALARS)
    figure, axes = look.panels(title_of(subject, f"trace by chain{picked.note}"), len(picked.shown), columns=2)
    where = divergent(subject)
    for ax, scalar in zip(axes, picked.shown, strict=True):
        for chain, values in enumerate(scalar.values):
            draw_chain(ax, values, look.colour(chain), alpha=0.7, label=f"chain {chain}")
        draw_rug(ax, where)
        ax.set_title(shorten(scalar.name, 40))
        ax.margins(x=0.01)
        look.few_ticks(ax, x=6, y=4, whole_y=scalar.discrete)
    for ax in axes[-2:]:
        ax.set_xlabel("draw")
    look.legend_below(figure, axes[0])
    return figure


POINTS = 1000  # as many as a picture 1200 px wide can show side by side


def draw_chain(ax: Axes, values: Array, colour: str, alpha: float, label: str | None = None) -> None:
    """Draw the values of a chain, (draw,), in their order, thinned where there are more than can be seen."""
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


FIGURES = {"trace": Figure(draw_trace), "trace_chains": Figure(draw_by_chain)}
