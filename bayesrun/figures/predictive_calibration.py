"""Calibration of predictions: reliability of probabilities, LOO-PIT, and Pareto k.

LOO-PIT is the probability integral transform of each observation under its leave-one-out prediction (Gabry et al. 2019,
doi:10.1111/rssa.12378). The values are uniform for a calibrated model; those of counts are randomised between their
lower and upper value. Their empirical distribution function is shown as its difference from that of uniform values,
with a simultaneous band (Säilynoja, Bürkner and Vehtari 2022, doi:10.1007/s11222-022-10090-6).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.diagnostics.calibration import simultaneous_bands
from bayesrun.diagnostics.predictive_accuracy import loo_of, point_names
from bayesrun.diagnostics.summary import names_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import predicted, terms_of
from bayesrun.figures.reliability_panels import POINTS, calibration_panels, smoothed
from bayesrun.figures.selection import Array, group_of, title_of
from bayesrun.large_draws import values_at


def draw_calibration(subject: Subject) -> Canvas:
    """Draw the reliability of predicted probabilities of events, and of levels."""
    panels = [panel for one in predicted(subject, 100) for panel in calibration_panels(one, subject)]
    if not panels:
        raise NotDrawable("no observed variable has events or levels whose predicted probabilities differ")
    figure, axes = look.panels(title_of(subject, "calibration of predicted probabilities"), len(panels), 2, 3.4)
    for ax, (one, draw) in zip(axes, panels, strict=True):
        draw(ax, one)
    look.legend_below(figure, axes)
    return figure


BAND_POINTS = 64


def draw_loo_pit(subject: Subject) -> Canvas:
    """Draw by how much the distribution function of the PIT values differs from the uniform one, with its band."""
    values = np.sort(pit(subject))
    figure, ax = look.panel(title_of(subject, "LOO-PIT"), 3.4)
    bands = simultaneous_bands(len(values), BAND_POINTS - 1, subject.interval)
    at = np.r_[0.0, bands.at, 1.0]
    low, high = (np.r_[0.0, of, 1.0] - at for of in (bands.lower, bands.upper))
    label = f"{100 * subject.interval:g}% simultaneous band if calibrated"
    ax.fill_between(at, low, high, color=look.GREY, alpha=0.25, linewidth=0, label=label)
    ax.axhline(0, color=look.GREY, linewidth=1)
    steps = np.r_[0.0, values, 1.0]
    shares = np.r_[0.0, np.arange(1, len(values) + 1) / len(values), 1.0]
    ax.plot(
        np.repeat(steps, 2)[1:], np.repeat(shares, 2)[:-1] - np.repeat(steps, 2)[1:], color=look.BLUE, label="observed"
    )
    own = np.searchsorted(values, bands.at, side="right") / len(values)
    outside = (own < bands.lower) | (own > bands.upper)
    if outside.any():
        style: dict[str, Any] = {"color": look.VERMILLION, "markersize": 4, "label": "outside the band"}
        ax.plot(bands.at[outside], (own - bands.at)[outside], "o", **style)
    ax.set(xlabel="LOO predictive CDF at the observed value (PIT)", ylabel="ECDF of the PIT − uniform", xlim=(0, 1))
    look.legend_below(figure, ax)
    return figure


def pit(subject: Subject) -> Array:
    """Return the PIT value of each observed point, (point,)."""
    terms, log_weights = leave_one_out(subject)
    observed, predicted = _points(subject, point_names(terms))
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
    return terms, smoothed(np.asarray(ratios, float)).T


def _points(subject: Subject, wanted: list[str]) -> tuple[Array, Array]:
    """Return the observed, (point,), and the predicted values, (sample, point), at the wanted points."""
    predictions, data = group_of(subject, "posterior_predictive"), group_of(subject, "observed_data")
    observed: dict[str, float] = {}
    drawn: dict[str, Array] = {}
    for name in data.data_vars:
        if name not in predictions:
            raise NotDrawable(f"'{name}' has no posterior predictive draws")
        # a single number is stored over a dim of its own among the observed data alone
        own = data[name].squeeze([dim for dim in data[name].dims if dim not in predictions[name].dims], drop=True)
        labels = names_of(own, str(name))
        rows = np.flatnonzero(np.isin(labels, wanted))
        draws = predictions[name].transpose("chain", "draw", *own.dims)
        flat = np.concatenate([values_at(draws, c, np.arange(draws.shape[1]), rows) for c in range(len(draws))])
        observed |= dict(zip(np.array(labels)[rows], np.asarray(own.values, float).ravel()[rows], strict=True))
        drawn |= dict(zip(np.array(labels)[rows], flat.T, strict=True))
    whole = [p for p in wanted if p not in observed]
    if whole:
        raise NotDrawable(f"{whole[0]} is a vector, which has no single predictive distribution function")
    return np.array([observed[p] for p in wanted]), np.column_stack([drawn[p] for p in wanted])


NAMED = 8


def draw_pareto_k(subject: Subject) -> Canvas:
    """Draw k by observation, and label the largest."""
    terms, k = pareto_k(subject)
    figure, ax = look.panel(title_of(subject, "Pareto k of LOO"), 3.6)
    bad = k > GOOD_K
    at = np.arange(len(k))
    ax.axhline(GOOD_K, color=look.INK, linestyle="--", linewidth=1, label="above 0.7: unreliable")
    ax.plot(at[~bad], k[~bad], "o", color=look.BLUE, markersize=3, alpha=0.6)
    ax.plot(at[bad], k[bad], "o", color=look.VERMILLION, markersize=5)
    for i in np.argsort(-k)[:NAMED]:
        if bad[i]:
            ax.annotate(point_names(terms, np.array([i]))[0], (i, k[i]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel="observation", ylabel="Pareto k")
    look.legend_below(figure, ax)
    return figure


def pareto_k(subject: Subject) -> tuple[xr.DataArray, Array]:
    """Return the terms of all observations and the Pareto k of each: as judged by the check `loo`."""
    terms = terms_of(subject)
    found = loo_of(terms, subject.summary, subject.idata.get("loo"))
    return terms, found.judged_k


FIGURES = {
    "ppc_calibration": Figure(draw_calibration),
    "loo_pit": Figure(draw_loo_pit),
    "pareto_k": Figure(draw_pareto_k),
}
