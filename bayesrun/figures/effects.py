"""Effects of a GLM: the predicted mean against each predictor, the others held at their mean or commonest level.

Ribbons and bars are the central 89 % of the posterior of the mean; they say how well the mean is known, not where
single observations lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from bayesrun.errors import UserError
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.language.formulas import Formula, parse
from bayesrun.models.regression.design_matrix import Prepared, prepare
from bayesrun.models.regression.response_families import FAMILIES, mean

Array = NDArray[Any]

PREDICTORS = 12  # panels at most
DRAWS = 1_000
POINTS = 1_000
GRID = 80
LEVELS = 30
INTERVAL = (5.5, 94.5)


@dataclass(frozen=True)
class Fitted:
    """A fitted GLM: its formula, data, link, and coefficients over (draw, column)."""

    formula: Formula
    variables: Mapping[str, Array]
    prepared: Prepared
    link: str
    coefficients: Array

    def mean_at(self, rows: Mapping[str, Array]) -> Array:
        """Return the 5.5 % quantile, mean and 94.5 % quantile of the mean at new rows, over (which, row)."""
        offset = 0.0 if self.prepared.offset is None else float(self.prepared.offset.mean())
        predictor = self.coefficients @ self.prepared.design.at(rows).T + offset
        means = mean(self.link, predictor)
        low, high = np.percentile(means, INTERVAL, axis=0)
        return np.stack([low, means.mean(axis=0), high])


def draw(subject: Subject) -> Canvas:
    """Draw one panel a predictor: observed data faint, the predicted mean with its 89 % interval."""
    fitted = _fitted(subject)
    names = list(fitted.formula.variables)
    if not names:
        raise NotDrawable("the formula has no predictor")
    shown = names[:PREDICTORS]
    title = f"{subject.model['name']}: effects, the other predictors held at their mean or commonest level"
    title += f" (first {PREDICTORS} of {len(names)} predictors)" if len(names) > PREDICTORS else ""
    figure, axes = look.panels(title, len(shown), columns=2 if len(shown) < 5 else 3, height=3.0)
    for ax, name in zip(axes, shown, strict=True):
        _panel(ax, name, fitted, _observed(fitted, subject))
        ax.set(xlabel=look.shorten(name), ylabel=_axis_label(subject, fitted))
    look.legend_below(figure, axes[0])
    return figure


def _fitted(subject: Subject) -> Fitted:
    model = subject.model
    if model.get("type") != "glm" or "constant_data" not in subject.idata.groups():
        raise NotDrawable("effects are drawn of models of type glm whose data are kept (store.groups: constant_data)")
    options = model.get("options") or {}
    data = subject.idata.constant_data
    formula = parse(str(model["formula"]), "model.formula")
    try:
        prepared = prepare(data, formula, options.get("offset"), options.get("trials"))
    except (UserError, KeyError) as error:
        raise NotDrawable(f"the formula can't be computed from the data that were kept: {error}") from error
    link = options.get("link") or FAMILIES[model["family"]].links[0]
    variables = {name: np.asarray(data[name].values) for name in formula.variables}
    return Fitted(formula, variables, prepared, str(link), _coefficients(subject.idata.posterior, prepared))


def _coefficients(posterior: xr.Dataset, prepared: Prepared) -> Array:
    absent = [t.name for t in prepared.design.terms if t.name not in posterior]
    if absent:
        raise NotDrawable(f"posterior.nc does not hold {look.listed(absent)}")
    parts = [
        posterior[t.name].values.reshape(posterior.sizes["chain"] * posterior.sizes["draw"], -1)
        for t in prepared.design.terms
    ]
    every = max(1, len(parts[0]) // DRAWS)
    return np.concatenate([part[::every] for part in parts], axis=1)


def _observed(fitted: Fitted, subject: Subject) -> Array:
    values = fitted.prepared.response.values.astype(float)
    return values if fitted.prepared.trials is None else values / np.maximum(fitted.prepared.trials, 1)


def _panel(ax: Axes, name: str, fitted: Fitted, response: Array) -> None:
    values = fitted.variables[name]
    if _is_categorical(name, fitted):
        _draw_levels(ax, name, fitted, values, response)
        return
    grid = np.linspace(values.min(), values.max(), GRID)
    low, middle, high = fitted.mean_at(_rows(fitted, name, grid))
    _scatter(ax, values.astype(float), response)
    ax.fill_between(grid, low, high, color=look.ORANGE, alpha=0.35, label="89 % of the posterior of the mean")
    ax.plot(grid, middle, color=look.VERMILLION, label="predicted mean")
    look.few_ticks(ax)


def _draw_levels(ax: Axes, name: str, fitted: Fitted, values: Array, response: Array) -> None:
    levels, codes = np.unique(values, return_inverse=True)
    levels = levels[:LEVELS]
    low, middle, high = fitted.mean_at(_rows(fitted, name, levels))
    kept = codes < len(levels)
    nudge = np.random.default_rng(0).uniform(-0.15, 0.15, size=codes.size)
    _scatter(ax, (codes + nudge)[kept], response[kept])
    ax.errorbar(
        range(len(levels)),
        middle,
        [middle - low, high - middle],
        fmt="o",
        color=look.VERMILLION,
        markersize=4,
        capsize=5,
        label="predicted mean and 89 %",
    )
    ax.set_xlim(-0.5, len(levels) - 0.5)
    labels = [look.shorten(str(level), 12) for level in levels]
    ax.set_xticks(range(len(levels)), labels, rotation=90 if len("".join(labels)) > 40 else 0)


def _scatter(ax: Axes, x: Array, y: Array) -> None:
    some = np.arange(x.size)
    if x.size > POINTS:
        some = np.random.default_rng(0).choice(x.size, POINTS, replace=False)
    label = "observed" if x.size <= POINTS else f"observed, {POINTS:,} of {x.size:,}"
    ax.plot(x[some], y[some], "o", color=look.GREY, alpha=0.45, markersize=3, markeredgewidth=0, label=label)


def _is_categorical(name: str, fitted: Fitted) -> bool:
    if fitted.variables[name].dtype.kind not in "biuf":
        return True
    in_factor = [t for t in fitted.formula.terms if f"C({name}" in t.replace(" ", "")]
    return bool(in_factor) and name in fitted.formula.categorical and name not in fitted.formula.terms


def _rows(fitted: Fitted, name: str, values: Array) -> dict[str, Array]:
    """Make rows where one predictor takes the given values and the others stay where they usually are."""
    return {
        other: values if other == name else np.repeat(_usual(other, fitted), len(values))
        for other in fitted.formula.variables
    }


def _usual(name: str, fitted: Fitted) -> Any:
    values = fitted.variables[name]
    if _is_categorical(name, fitted):
        levels, counts = np.unique(values, return_counts=True)
        return levels[counts.argmax()]
    return float(values.mean())


def _axis_label(subject: Subject, fitted: Fitted) -> str:
    response = look.shorten(fitted.formula.response, 24)
    if subject.model["family"] == "binomial":
        return f"share of {response}" if fitted.prepared.trials is not None else f"probability of {response}"
    return f"mean of {response}"


FIGURE = Figure(draw=draw)
