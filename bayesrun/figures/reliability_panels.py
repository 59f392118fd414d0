"""Panels with reliability curves of an outcome's predicted probabilities, leave-one-out where that is possible."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from bayesrun.diagnostics.numerics.reliability import Reliability, reliability
from bayesrun.figures import style as look
from bayesrun.figures.base import Subject
from bayesrun.figures.observations import ObservedAndPredicted, thinned
from bayesrun.figures.selection import Array, group_of
from bayesrun.lazy import az

Panel = tuple[ObservedAndPredicted, Callable[[Axes, ObservedAndPredicted], None]]
"""An outcome, and what draws it."""

POINTS = 1500  # observations; more are thinned
THRESHOLDS = 6  # panels of an outcome with levels
DRAWS = 4_000  # predicted data sets that probabilities are taken of


def calibration_panels(one: ObservedAndPredicted, subject: Subject) -> list[Panel]:
    """Return a panel per event of an outcome: of ordered levels, that the outcome is at or above one of them."""
    if one.kind not in ("binary", "ordinal", "categorical"):
        return []
    found: list[Panel] = []
    for name, curve in reliability_curves(one, subject).items():
        found.append((one, _Curve(name, curve, subject.interval)))
    return found[:THRESHOLDS]


def reliability_curves(one: ObservedAndPredicted, subject: Subject) -> dict[str, Reliability]:
    """Return the reliability curve of each event of an outcome, unless it is predicted alike in all rows.

    Predicted probabilities are those without the row itself, by importance sampling, if its pointwise terms are stored.
    """
    at = {} if one.response is None else {"response": one.response}
    rows = np.unique(np.linspace(0, len(one.rows) - 1, min(len(one.rows), POINTS)).astype(int))
    every = thinned(group_of(subject, "posterior_predictive")[one.name].sel(at), DRAWS, one.rows[rows])
    weights, own = _weights(one, subject, len(every)), one.values[rows]
    weights = None if weights is None else weights[:, rows]
    codes = range(1, 2) if one.kind == "binary" else range(one.kind == "ordinal", len(one.levels))
    curves = {}
    for code in codes:
        happens, happened = (every >= code, own >= code) if one.kind != "categorical" else (every == code, own == code)
        predictions = happens.mean(axis=0) if weights is None else (weights * happens).sum(axis=0)
        if np.ptp(predictions) > 0.02:
            sign = "=" if one.kind == "categorical" else "≥"
            name = one.axis_label if one.kind == "binary" else f"{one.axis_label} {sign} {one.levels[code]}"
            curves[name] = reliability(np.clip(predictions, 0.0, 1.0), happened, subject.interval)
    return curves


def _weights(one: ObservedAndPredicted, subject: Subject, draws: int) -> Array | None:
    """Return the weights of the draws that leave each row out, (draw, row)."""
    terms = subject.idata.get("log_likelihood")
    if terms is None or one.name not in terms or one.response is not None or one.rows.size > POINTS:
        return None
    if one.rows.max() >= math.prod(terms[one.name].shape[2:]):
        return None
    values = thinned(terms[one.name], DRAWS, one.rows)
    if len(values) != draws or not np.isfinite(values).all():
        return None
    log_weights = smoothed(-values.T.astype(float)).T
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


class _Curve:
    """Draws a reliability curve with its consistency band, and how many predictions there are."""

    def __init__(self, name: str, curve: Reliability, interval: float) -> None:
        self._name, self._curve, self._interval = name, curve, interval

    def __call__(self, ax: Axes, one: ObservedAndPredicted) -> None:
        curve = self._curve
        label = f"{100 * self._interval:g}% band if calibrated"
        ax.fill_between(
            curve.predicted, curve.lower, curve.upper, color=look.BLUE, alpha=0.25, linewidth=0, label=label
        )
        ax.plot([0, 1], [0, 1], color=look.GREY, linewidth=1, linestyle="--")
        ax.plot(curve.predicted, curve.calibrated, color=look.VERMILLION, label="calibrated probability")
        bins = np.linspace(0, 1, 41)
        heights, _ = np.histogram(curve.predicted, bins, weights=curve.rows)
        ax.bar(
            bins[:-1], 0.14 * heights / heights.max(), 0.025, -0.16, align="edge", color=look.GREY, label="predictions"
        )
        ax.set(
            xlim=(0, 1),
            ylim=(-0.17, 1.02),
            xlabel=f"predicted probability of {self._name}",
            ylabel="observed frequency",
        )
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        parts = f"miscalibration {curve.miscalibration:.3f}, discrimination {curve.discrimination:.3f}"
        ax.set_title(f"{parts}, uncertainty {curve.uncertainty:.3f}", fontsize=7)


def smoothed(log_ratios: Array) -> Array:
    """Smooth importance weights, (point, sample)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(az.psislw(log_ratios)[0])
