"""Forest: each scalar's mean with its 50% and its wider highest-density interval, and the means of its chains.

Variables in the same unit share an axis, so that they can be compared. Two variables are in the same unit if one is
the location or the scale of the other's distribution, or if they have the same prior; in a GLM, the intercept, the
differences between levels and `sigma` are. Group effects and their sds share an axis effect by effect: intercepts with
intercepts, slopes of `x` with slopes of `x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import regression_of
from bayesrun.figures.selection import Picked, Scalar, pick_of_each, title_of
from bayesrun.language.distributions import family
from bayesrun.language.formulas import INTERCEPT
from bayesrun.models.regression.regression_plan import plan

VARIABLES = 12
ELEMENTS = 25
NARROWEST = 0.02  # of a shared axis; a variable with narrower intervals gets an axis of its own
NEAR_ZERO = 0.12  # of an axis that includes zero; the intervals must fill as much
INNER = 0.5
CHAIN_MEAN: dict[str, Any] = {"marker": "|", "color": look.ORANGE, "markersize": 6, "markeredgewidth": 1.2}


def draw(subject: Subject) -> Canvas:
    """Draw one panel per unit, with a line at zero."""
    variables, total = pick_of_each(subject, VARIABLES, ELEMENTS)
    panels = list(_panels(variables, subject))
    more = f" (the first {len(variables)} of {total} variables)" if total > len(variables) else ""
    rows = [0.45 + 0.24 * sum(len(picked.shown) for picked in panel) for panel in panels]
    title = title_of(subject, f"forest: mean, {100 * INNER:g}% and {subject.hdi_name}{more}")
    figure = look.canvas(title, 0.95 + 1.25 * sum(rows))
    grid = figure.add_gridspec(len(panels), 1, height_ratios=rows)
    for index, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(grid[index]), panel, subject.interval)
    chains = Line2D([], [], linestyle="", label="mean of each chain", **CHAIN_MEAN)
    figure.legend(handles=[chains], loc="outside lower left")
    return figure


def _panels(variables: Sequence[Picked], subject: Subject) -> Iterator[list[Picked]]:
    """Yield the variables that share an axis, in the order of the first of each."""
    units = nx.Graph([*_same_unit(subject.model), *_unit_of_response(subject)])
    waiting = {}
    for picked in variables:
        for effect, part in _by_effect(picked, subject):
            name = picked.shown[0].variable
            waiting[name, effect] = part
            if effect:
                units.add_edge((re.sub("^(sd|r)_", "", name), effect), (name, effect))
    for key, picked in list(waiting.items()):
        if key not in waiting:
            continue
        node = key if key[1] else key[0]
        own = nx.node_connected_component(units, node) if node in units else {node}
        shared = {other: one for other, one in waiting.items() if (other if other[1] else other[0]) in own}
        panel = shared if _readable([*shared.values()], subject.interval) else {key: picked}
        for other in panel:
            del waiting[other]
        yield [*panel.values()]


def _by_effect(picked: Picked, subject: Subject) -> list[tuple[str, Picked]]:
    """Split effects of groups, or their sds, by effect: each has a unit of its own."""
    posterior = subject.idata.posterior[picked.shown[0].variable]
    dim = str(posterior.dims[-1])
    if not dim.endswith("_effect") or regression_of(subject.model) is None or posterior.sizes[dim] < 2:
        return [("", picked)]
    effects = [str(label) for label in posterior[dim].values]
    total = picked.total // len(effects)
    parts = [[one for one in picked.shown if one.index % len(effects) == place] for place in range(len(effects))]
    return [(effect, Picked(part, total)) for effect, part in zip(effects, parts, strict=True) if part]


def _same_unit(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield pairs of variables that are in the same unit."""
    priors = {n: p for n, p in (model.get("priors") or {}).items() if isinstance(p, Mapping)}
    seen: dict[str, str] = {}
    for name, body in (*priors.items(), *(model.get("likelihood") or {}).items()):
        known = family(str(body.get("dist")))
        for parameter in (known.location_scale or ()) if known else ():
            if parameter and str(body.get(parameter)) in priors:
                yield str(body[parameter]), name
    for name, body in priors.items():
        same = seen.setdefault(repr({k: v for k, v in sorted(body.items()) if k not in ("dims", "shape")}), name)
        # coefficients of a regression share a prior, but each has its predictor's unit
        if same != name and regression_of(model) is None:
            yield same, name


def _unit_of_response(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield pairs of a GLM's intercept and what is in its unit: differences between levels, and `sigma`."""
    regression = regression_of(subject.model)
    population = None if regression is None else plan(regression).main.population
    if regression is None or population is None:
        return
    formula = population.formula
    data = subject.idata.get("constant_data", {})
    numeric = [name for name in formula.variables if name not in data or data[name].dtype.kind in "iuf"]
    for term in formula.terms:
        if not any(
            name in formula.variables_of(term)
            for name in numeric
            if not re.search(rf"(C|factor)\({re.escape(name)}\b", term)
        ):
            yield INTERCEPT, term
    if plan(regression).main.link == "identity":
        yield INTERCEPT, "sigma"


def _readable(panel: Sequence[Picked], prob: float) -> bool:
    """Return whether no variable's widest interval would be lost on a shared axis."""
    ends = [np.array([hdi(s.pooled, prob) for s in picked.shown if s.pooled.size > 1]) for picked in panel]
    ends = [pairs for pairs in ends if pairs.size]
    if len(ends) < 2:
        return True
    span = max(pairs[:, 1].max() for pairs in ends) - min(pairs[:, 0].min() for pairs in ends)
    return all(np.diff(pairs, axis=1).max() >= NARROWEST * span for pairs in ends)


def _draw_panel(ax: Axes, panel: Sequence[Picked], prob: float) -> None:
    scalars = [scalar for picked in panel for scalar in picked.shown]
    for row, scalar in enumerate(scalars):
        _draw_scalar(ax, row, scalar, prob)
    low, high = ax.dataLim.intervalx
    if high - low >= NEAR_ZERO * (max(high, 0) - min(low, 0)):
        ax.axvline(0, color=look.GREY, linewidth=0.9, zorder=0)
    ax.set_yticks(range(len(scalars)), [s.label for s in scalars])
    ax.set_ylim(len(scalars) - 0.4, -0.6)
    ax.margins(x=0.05)
    look.few_ticks(ax, x=6, y=None)
    notes = [f"{picked.shown[0].variable}{picked.note}" for picked in panel if picked.note]
    if notes:
        ax.set_title(", ".join(notes))


def _draw_scalar(ax: Axes, row: int, scalar: Scalar, prob: float) -> None:
    draws = scalar.pooled
    if draws.size < 2:
        return
    ax.plot(hdi(draws, prob), [row, row], color=look.BLUE, linewidth=1.5)
    ax.plot(hdi(draws, INNER), [row, row], color=look.BLUE, linewidth=4.5, solid_capstyle="butt")
    ax.plot(draws.mean(), row, "o", color="white", markeredgecolor=look.INK, markersize=5)
    means = scalar.values.mean(axis=1)
    ax.plot(means, [row - 0.25] * len(means), linestyle="", **CHAIN_MEAN)


FIGURE = Figure(draw=draw)
