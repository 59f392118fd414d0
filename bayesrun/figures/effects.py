"""Effects of a GLM: the predicted mean against each predictor, averaged over the other predictors as observed.

Each predictor is set to a value in every row of the data while the other predictors keep theirs, and the predicted
means are averaged over the rows (average predictions; Gelman and Pardoe 2007,
doi:10.1111/j.1467-9531.2007.00181.x). A predictor of an interaction has a curve for each of some values of the
other one. Intervals are for the mean, not for single observations.

Points are partial residuals: the residual of each row is added to the curve at its value, or multiplied by it for a
log link. With other links they are the observations themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bayesrun.data.factors import row_column
from bayesrun.diagnostics.base import listed, shorten
from bayesrun.diagnostics.numerics.densities import hdi, is_discrete
from bayesrun.errors import UserError
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.linear_predictors import evenly
from bayesrun.figures.observations import codes_of, regression_of, without_back_ticks
from bayesrun.figures.regression_means import ROWS, RegressionMeans, regression_means, shown_levels
from bayesrun.figures.selection import title_of
from bayesrun.figures.smooth_effects import draw_smooths, has_smooths
from bayesrun.language.formulas import Formula, parse
from bayesrun.models.regression.design_matrix import Prepared, prepare
from bayesrun.models.regression.regression_model import as_glm
from bayesrun.models.regression.response_families import mean

Array = NDArray[Any]

PREDICTORS = 12  # panels at most
DRAWS = 400  # of the posterior
POINTS = 1_000  # observations shown
GRID = 40
ACROSS = 62  # characters of a legend above a panel
CURVES = 5  # values of the other predictor of an interaction


@dataclass(frozen=True)
class Fitted:
    """A fitted GLM.

    Parameters
    ----------
    formula
        Its formula.
    variables
        Columns of the data that the formula uses, (row,).
    prepared
        Response, design, offset and trials.
    family, link
        Names of the family and of the link function.
    coefficients
        Posterior draws, (draw, column).
    response
        Observed values, proportions for counts of trials, (row,); NaN where missing.
    known
        Levels in the order of the data, of the columns that have one.
    """

    formula: Formula
    variables: Mapping[str, Array]
    prepared: Prepared
    family: str
    link: str
    coefficients: Array
    response: Array
    known: Mapping[str, Sequence[Any]]

    def average(self, settings: Mapping[str, Array]) -> Array:
        """Return the predicted mean averaged over rows of the data, (draw, setting).

        Parameters
        ----------
        settings
            Values of the predictors that are set in all rows, (setting,); the others are as observed.
        """
        count, rows = len(next(iter(settings.values()))), self._rows()
        repeated = {name: np.tile(values[rows], count) for name, values in self.variables.items()}
        repeated |= {name: np.repeat(values, len(rows)) for name, values in settings.items()}
        means = self._means(repeated, np.tile(rows, count))
        return np.asarray(means.reshape(len(means), count, len(rows)).mean(axis=2))

    def at_rows(self, rows: Array) -> Array:
        """Return the posterior mean of the predicted mean at some rows of the data, (row,)."""
        means = self._means({name: values[rows] for name, values in self.variables.items()}, rows)
        return np.asarray(means.mean(axis=0))

    @property
    def points(self) -> str:
        """Name of the points that are drawn beside the curves."""
        return "partial residuals" if self.link in ("identity", "log") else "observed"

    @property
    def mean_label(self) -> str:
        """What the curves show."""
        response = shorten(without_back_ticks(self.formula.response), 24)
        if self.family == "binomial":
            return f"proportion of {response}" if self.prepared.trials is not None else f"probability of {response}"
        return f"mean of {response}"

    def _rows(self) -> Array:
        return evenly(len(self.response), ROWS)

    def _means(self, columns: Mapping[str, Array], rows: Array) -> Array:
        offset = 0.0 if self.prepared.offset is None else self.prepared.offset[rows]
        return np.asarray(mean(self.link, self.coefficients @ self.prepared.design.at(columns).T + offset))

    def levels(self, name: str) -> list[Any] | None:
        """Return the levels of a categorical predictor that are shown; None for a numeric one."""
        return shown_levels(name, self.variables[name], self.formula, self.known)


def draw(subject: Subject) -> Canvas:
    """Draw one panel per predictor: partial residuals, the predicted mean and its interval.

    Of a regression with smooth or monotonic terms those are drawn instead (`smooth_effects`).
    """
    regression = regression_of(subject.model)
    stored = "constant_data" in subject.idata.groups()
    fits: Sequence[Fitted | RegressionMeans]
    if regression is not None and stored and as_glm(regression) is None:
        if has_smooths(regression):
            return draw_smooths(subject, regression)
        fits = regression_means(subject, regression)
    else:
        fits = [_fitted(subject)]
    found = [(fitted, name) for fitted in fits for name in fitted.formula.variables]
    if not found:
        raise NotDrawable("the formula has no predictor")
    shown = found[:PREDICTORS]
    figure, axes = look.panels(_title(subject, fits[0], len(found)), len(shown), columns=2, height=3.0)
    for ax, (fitted, name) in zip(axes, shown, strict=True):
        _draw_panel(ax, name, fitted, subject)
        ax.set(xlabel=shorten(name), ylabel=shorten(fitted.mean_label, 40))
    figure.legend(handles=_legend(fits, subject), loc="outside lower left", ncols=3)
    return figure


def _legend(fits: Sequence[Fitted | RegressionMeans], subject: Subject) -> list[Line2D]:
    style: dict[str, Any] = {"color": look.GREY, "linestyle": "", "markeredgewidth": 0}
    # curves have the colours of the other predictor's values if there is one
    alone = any(_moderator(name, one.formula) is None for one in fits for name in one.formula.variables)
    colour = look.VERMILLION if alone else look.GREY
    return [
        Line2D([], [], color=colour, label="predicted mean"),
        Line2D([], [], color=colour, alpha=0.25, linewidth=6, label=f"{subject.hdi_name} of the mean"),
        Line2D([], [], marker="o", markersize=4, label=" or ".join(sorted({one.points for one in fits})), **style),
    ]


def _title(subject: Subject, fitted: Fitted | RegressionMeans, predictors: int) -> str:
    rows = len(fitted.response)
    notes = ["averaged over the other predictors as observed"] if predictors > 1 else []
    notes += [f"{ROWS} of {rows:,} rows"] if rows > ROWS else []
    notes += [f"first {PREDICTORS} of {predictors} predictors"] if predictors > PREDICTORS else []
    return title_of(subject, "effects" + (f" ({', '.join(notes)})" if notes else ""))


def _fitted(subject: Subject) -> Fitted:
    model = subject.model
    regression = regression_of(model)
    plain = None if regression is None else as_glm(regression)
    if plain is None or "constant_data" not in subject.idata.groups():
        raise NotDrawable("effects need a regression, and its data (store.groups: constant_data)")
    options = model.get("options") or {}
    data = subject.idata.constant_data
    formula = parse(str(model["formula"]), "model.formula")
    try:
        prepared = prepare(data, formula, options.get("offset"), options.get("trials"))
    except (UserError, KeyError) as error:
        raise NotDrawable(f"the formula can't be computed from the stored data: {error}") from error
    columns = {name: row_column(data, name) for name in formula.variables}
    known = {n: np.atleast_1d(c.attrs["levels"]).tolist() for n, c in columns.items() if "levels" in c.attrs}
    variables = {name: np.asarray(column.values) for name, column in columns.items()}
    response = prepared.response.values.astype(float)
    if prepared.trials is not None:
        response = response / np.maximum(prepared.trials, 1)
    coefficients = _coefficients(subject.idata.posterior, prepared)
    return Fitted(formula, variables, prepared, plain.family, plain.link(), coefficients, response, known)


def _coefficients(posterior: xr.Dataset, prepared: Prepared) -> Array:
    absent = [t.name for t in prepared.design.terms if t.name not in posterior]
    if absent:
        raise NotDrawable(f"posterior.nc does not hold {listed(absent)}")
    draws = posterior.sizes["chain"] * posterior.sizes["draw"]
    parts = [posterior[t.name].values.reshape(draws, -1) for t in prepared.design.terms]
    return np.concatenate([part[evenly(draws, DRAWS)] for part in parts], axis=1)


def _draw_panel(ax: Axes, name: str, fitted: Fitted | RegressionMeans, subject: Subject) -> None:
    levels = fitted.levels(name)
    values = fitted.variables[name]
    grid = np.linspace(values.min(), values.max(), GRID) if levels is None else np.array(levels, dtype=values.dtype)
    other = _moderator(name, fitted.formula)
    others = [None] if other is None else _values_of(other, fitted)
    curves = []
    for index, value in enumerate(others):
        settings = {name: grid} if other is None else {name: grid, other: np.repeat(value, len(grid))}
        curve = fitted.average(settings)
        curves.append(curve.mean(axis=0))
        label = None if other is None else f"{shorten(other, 14)} = {_format(value)}"
        colour = look.VERMILLION if other is None else look.colour(index)
        at = np.arange(len(grid)) + 0.16 * (index - (len(others) - 1) / 2) if levels is not None else grid
        low, high = hdi(curve, subject.interval)
        _draw_curve(ax, at, (low, curves[-1], high), colour, label, joined=levels is None)
    _draw_points(ax, name, fitted, grid, np.stack(curves), _curve_of_rows(other, others, fitted))
    if other is not None:
        longest = max(map(len, ax.get_legend_handles_labels()[1]))
        columns = min(len(others), max(1, ACROSS // (longest + 5)))
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "borderpad": 0}
        ax.legend(fontsize=7, handlelength=1.2, title=_chosen(other, fitted), title_fontsize=7, **above)


def _moderator(name: str, formula: Formula) -> str | None:
    """Return the first predictor that interacts with another one: they are named by the same term."""
    for term in formula.terms:
        inside = formula.variables_of(term)
        if name in inside and len(inside) > 1:
            return next(v for v in inside if v != name)
    return None


def _values_of(name: str, fitted: Fitted | RegressionMeans) -> Sequence[Any]:
    """Choose values of a predictor: its most frequent levels, or its 10%, 50% and 90% quantiles."""
    levels = fitted.levels(name)
    if levels is None:
        return list(np.unique(np.quantile(fitted.variables[name], [0.1, 0.5, 0.9])))
    frequent = pd.Series(fitted.variables[name]).value_counts().index[:CURVES]
    return [level for level in levels if level in frequent]


def _chosen(other: str, fitted: Fitted | RegressionMeans) -> str | None:
    """Describe which values of the other predictor have a curve, if not all do."""
    if fitted.levels(other) is None:
        return f"{shorten(other, 14)} at its 10, 50, 90% quantiles" if len(_values_of(other, fitted)) == 3 else None
    return f"the {CURVES} most frequent levels" if len(np.unique(fitted.variables[other])) > CURVES else None


def _curve_of_rows(other: str | None, others: Sequence[Any], fitted: Fitted | RegressionMeans) -> Array:
    """Return the index of the curve that each row belongs to, (row,); -1 for a level without a curve."""
    if other is None:
        return np.zeros(len(fitted.response), int)
    values = fitted.variables[other]
    if fitted.levels(other) is None:
        return np.asarray(np.abs(values[:, None] - np.asarray(others, float)).argmin(axis=1))
    return codes_of(values, others)


def _draw_curve(
    ax: Axes, at: Array, band: tuple[Array, Array, Array], colour: str, label: str | None, joined: bool
) -> None:
    """Draw a mean between the ends of its interval, joined by lines for a numeric predictor."""
    low, middle, high = band
    if joined:
        ax.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.plot(at, middle, color=colour, label=label)
        return
    spread = [np.maximum(0, middle - low), np.maximum(0, high - middle)]
    ax.errorbar(at, middle, spread, fmt="o", color=colour, markersize=4, capsize=4, zorder=4, label=label)


def _draw_points(
    ax: Axes, name: str, fitted: Fitted | RegressionMeans, grid: Array, curves: Array, nearest: Array
) -> None:
    """Draw partial residuals, or the observations if the link has none, in the colours of their curves."""
    rows = evenly(len(fitted.response), POINTS)
    rows = rows[(nearest[rows] >= 0) & np.isfinite(fitted.response[rows])]
    x, own, y = fitted.variables[name][rows], nearest[rows], fitted.response[rows]
    levels = fitted.levels(name)
    codes = None if levels is None else codes_of(x, levels)
    if fitted.points == "partial residuals":
        y = _partial_residuals(fitted, rows, _curve_at(x if codes is None else codes, own, grid, curves, codes is None))
    for index in range(len(curves)):
        mine, colour = own == index, look.GREY if len(curves) == 1 else look.colour(index)
        if codes is None or levels is None:
            look.draw_points(ax, x[mine], y[mine], colour, len(rows))
        else:
            look.draw_levels(ax, levels, codes[mine], y[mine], colour, len(rows))
    if codes is None:
        look.few_ticks(ax, whole_x=is_discrete(fitted.variables[name]))


def _curve_at(x: Array, own: Array, grid: Array, curves: Array, numeric: bool) -> Array:
    """Return the height of each row's curve at its value, (row,); `x` holds codes of levels if not numeric."""
    if not numeric:
        return np.asarray(curves[own, x])
    heights = np.stack([np.interp(x, grid, curve) for curve in curves])
    return np.asarray(heights[own, np.arange(len(x))])


def _partial_residuals(fitted: Fitted | RegressionMeans, rows: Array, curve: Array) -> Array:
    y, at_rows = fitted.response[rows], fitted.at_rows(rows)
    return np.asarray(y - at_rows + curve if fitted.link == "identity" else y / at_rows * curve)


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shorten(str(value), 16)


FIGURE = Figure(draw=draw)
