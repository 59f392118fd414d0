"""What `task=effects` found: predictions, comparisons and slopes with their intervals, over a predictor and by group.

A number that was set to several values (`effects.at`) is the x axis, with a line and a band; otherwise labels are. What
varies besides has a colour, or a panel of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures import style as look
from bayesrun.figures.drawing import save

Labels = Mapping[str, Any]
Array = NDArray[Any]

PANELS = 9
COLOURS = 8
_LINE = 3  # values of a number from which on a line joins them


@dataclass(frozen=True)
class EstimatedEffect:
    """One effect: what it is of, and its value at every draw (draw,)."""

    labels: Labels
    draws: Array


@dataclass(frozen=True)
class _Plan:
    """Which of the labels are the x axis, the colours and the panels; empty for none."""

    x: str
    colour: str
    panels: tuple[str, ...]
    is_line: bool


def draw_effects(
    title: str, what: str, found: Sequence[EstimatedEffect], interval: float, neutral: float | None, path: Path
) -> Path:
    """Draw effects with the interval and the mean of each.

    Parameters
    ----------
    title
        Title of the figure.
    what
        What the values are.
    found
        The effects, all with the same names of labels.
    interval
        Probability inside each interval; a thicker line holds 50%.
    neutral
        Value of no effect, which is marked; None for predictions.
    path
        Of the PNG file.
    """
    with look.style():
        return save(drawn(title, what, found, interval, neutral), path)


def drawn(title: str, what: str, found: Sequence[EstimatedEffect], interval: float, neutral: float | None) -> Canvas:
    """Return the figure that `draw_effects` writes."""
    plan = _plan([one.labels for one in found])
    cells: dict[tuple[Any, ...], list[EstimatedEffect]] = {}
    for one in found:
        cells.setdefault(tuple(one.labels[name] for name in plan.panels), []).append(one)
    shown = list(cells.items())[:PANELS]
    note = f" (the first {PANELS} of {len(cells)})" if len(cells) > PANELS else ""
    figure, axes = look.panels(title + note, len(shown), columns=min(3, len(shown)), height=3.2)
    for ax, (key, own) in zip(axes, shown, strict=True):
        if neutral is not None:
            ax.axhline(neutral, color=look.GREY, linewidth=1, linestyle="--")
        _draw_panel(ax, plan, own, interval)
        names = ", ".join(f"{name} = {_text(value)}" for name, value in zip(plan.panels, key, strict=True))
        ax.set_title(names, fontsize=9, loc="left")
        ax.set(xlabel=shorten(plan.x), ylabel=shorten(what, 40))
    low, high = min(ax.get_ylim()[0] for ax in axes), max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)  # so that panels can be compared
    look.legend_below(figure, axes)
    return figure


def _plan(labels: Sequence[Labels]) -> _Plan:
    values = {name: list(dict.fromkeys(one[name] for one in labels)) for name in labels[0]}
    varying = [name for name, of in values.items() if len(of) > 1]
    numbers = [n for n in varying if all(isinstance(v, int | float | np.number) for v in values[n]) and n != "level"]
    lines = [name for name in numbers if len(values[name]) >= _LINE]
    x = max(lines, key=lambda name: len(values[name])) if lines else _first(varying, values)
    rest = sorted((name for name in varying if name != x), key=lambda name: len(values[name]))
    colour = next((name for name in reversed(rest) if len(values[name]) <= COLOURS), "")
    return _Plan(x, colour, tuple(name for name in rest if name != colour), bool(lines))


def _first(varying: Sequence[str], values: Mapping[str, Sequence[Any]]) -> str:
    """Choose the labels of the x axis: those with most values, as groups have."""
    return max(varying, key=lambda name: len(values[name])) if varying else ""


def _draw_panel(ax: Axes, plan: _Plan, own: Sequence[EstimatedEffect], interval: float) -> None:
    colours = list(dict.fromkeys(one.labels[plan.colour] if plan.colour else None for one in own))
    places = list(dict.fromkeys(one.labels[plan.x] if plan.x else "" for one in own))
    for index, value in enumerate(colours):
        mine = [one for one in own if not plan.colour or one.labels[plan.colour] == value]
        colour = look.colour(index)
        label = f"{plan.colour} = {_text(value)}" if plan.colour else f"mean and {100 * interval:g}% HDI"
        draws = np.stack([one.draws for one in mine], axis=1)
        middle, (low, high), (inner_low, inner_high) = draws.mean(axis=0), hdi(draws, interval), hdi(draws, 0.5)
        if plan.is_line:
            x = np.array([float(one.labels[plan.x]) for one in mine])
            order = np.argsort(x)
            ax.fill_between(x[order], low[order], high[order], color=colour, alpha=0.2, linewidth=0)
            ax.plot(x[order], middle[order], color=colour, label=label)
            continue
        shift = 0.16 * (index - (len(colours) - 1) / 2)
        at = np.array([places.index(one.labels[plan.x]) if plan.x else 0 for one in mine]) + shift
        ax.vlines(at, low, high, color=colour, linewidth=1.2)
        ax.vlines(at, inner_low, inner_high, color=colour, linewidth=3.5)
        ax.plot(at, middle, "o", color=colour, markersize=5, label=label)
    if not plan.is_line:
        look.label_levels(ax, [_text(place) for place in places])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
