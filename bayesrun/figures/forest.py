"""Forest: each scalar's mean with its 50% and its wider highest-density interval, and the means of its chains.

Variables in the same unit share an axis, so that they can be compared. Two variables are in the same unit if one is
the location or the scale of the other's distribution, or if they have the same prior. In a regression the intercept,
the differences between levels, coefficients of standardized predictors and `sigma` are in the unit of the response;
coefficients of `x`, of `center(x)` and of interactions of `x` with levels are all per unit of `x`, and so are the
effects of groups on the slope of `x` and their sds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

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
from bayesrun.language.formulas import INTERCEPT, Formula, split_interaction
from bayesrun.models.regression.group_effects import GroupEffects
from bayesrun.models.regression.regression_plan import plan

VARIABLES = 12
ELEMENTS = 25
NARROWEST = 0.01  # of a shared axis; a variable with narrower intervals gets an axis of its own
NEAR_ZERO = 0.12  # of an axis that includes zero; the intervals must fill as much
INNER = 0.5
_WITHOUT_UNIT = re.compile(r"(C|factor|standardize|scale|zscore|trend)\(")
_CENTRED = re.compile(r"center\((.*)\)")
Node = str | tuple[str, str]
"""A variable, an effect of groups `(name, effect)`, or a unit `("per", predictors)`."""
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
    pairs: list[tuple[Node, Node]] = [*_same_unit(subject.model), *_units_of_coefficients(subject)]
    waiting = {}
    for picked in variables:
        for effect, part in _by_effect(picked, subject):
            name = picked.shown[0].variable
            waiting[name, effect] = part
            if effect:
                pairs.append(((re.sub("^(sd|r)_", "", name), effect), (name, effect)))
    same = _connected(pairs)
    for key, picked in list(waiting.items()):
        if key not in waiting:
            continue
        node = key if key[1] else key[0]
        own = same.get(node, {node})
        shared = {other: one for other, one in waiting.items() if (other if other[1] else other[0]) in own}
        panel = shared if _readable([*shared.values()], subject.interval) else {key: picked}
        for other in panel:
            del waiting[other]
        yield [*panel.values()]


def _connected(pairs: Iterable[tuple[Node, Node]]) -> dict[Node, set[Node]]:
    """Return all nodes that each node is connected with, itself among them."""
    found: dict[Node, set[Node]] = {}
    for pair in pairs:
        joined = set(pair).union(*(found.get(node, ()) for node in pair))
        found.update(dict.fromkeys(joined, joined))
    return found


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


def _units_of_coefficients(subject: Subject) -> Iterator[tuple[Node, Node]]:
    """Yield what is in the unit of what: coefficients, effects of groups and `sigma` of a regression."""
    regression = regression_of(subject.model)
    if regression is None:
        return
    main = plan(regression).main
    data = subject.idata.get("constant_data", {})
    if main.population is not None:
        formula = main.population.formula
        for term in formula.terms:
            yield term, ("per", _predictors_of(term, formula, data))
    for one in main.terms:
        if not isinstance(one, GroupEffects):
            continue
        formula, name = one.term.effects, f"{main.prefix}{one.term.name}"
        for effect in formula.terms:
            unit = ("per", _predictors_of(effect, formula, data))
            yield (name, effect), unit
            if len(formula.terms) == 1:  # such effects have no dim of their own
                yield from ((f"{start}_{name}", unit) for start in ("sd", "r"))
    if main.link == "identity":
        yield "sigma", ("per", "")


def _predictors_of(term: str, formula: Formula, data: Mapping[str, Any]) -> str:
    """Return the predictors by whose units a coefficient is divided, `x:log(z)`; those without a unit are left out."""
    if term == INTERCEPT:
        return ""
    factors = []
    for written in split_interaction(term):
        inside = [
            name for name in formula.variables_of(term) if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", written)
        ]
        if _WITHOUT_UNIT.match(written) or not any(_has_unit(name, data) for name in inside):
            continue
        centred = _CENTRED.fullmatch(written)
        factors.append(centred[1].strip() if centred else written)
    return ":".join(sorted(factors))


def _has_unit(name: str, data: Mapping[str, Any]) -> bool:
    """Return whether a column is a number other than an indicator, 0 or 1."""
    if name not in data:
        return True
    values = np.asarray(data[name].values)
    return values.dtype.kind in "iuf" and not np.isin(values[np.isfinite(values)], (0, 1)).all()


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
