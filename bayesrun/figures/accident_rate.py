"""Accident rate: counts by year, the mean rate before and after the switch, and the imputed counts (the tutorial's)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.intervals import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import posterior_of, series_of, times
from bayesrun.figures.selection import Array, draws_of, title_of


def draw(subject: Subject) -> Canvas:
    """Draw the data, the posterior mean of the rate in each year, and the switchpoint's mean and interval."""
    series = series_of(subject)
    figure, ax = look.panel(title_of(subject, "accident rate"), 4.4)
    ax.plot(times(series), series.values, "o", color=look.INK, markersize=3.5, alpha=0.6, label="observed")
    _draw_rate(ax, subject, series)
    _draw_switchpoint(ax, subject)
    _draw_imputed(ax, subject, series)
    ax.set(xlabel=str(series.dims[0]), ylabel=f"{series.name} per {series.dims[0]}")
    look.legend_below(figure, ax, columns=3)
    return figure


def _draw_rate(ax: Axes, subject: Subject, series: xr.DataArray) -> None:
    """Draw the rate of each year over the draws: the early rate in draws whose switch is not before the year."""
    switch, early, late = (_draws(subject, name) for name in ("switchpoint", "early_rate", "late_rate"))
    rates = np.where(switch[:, None] >= times(series)[None, :], early[:, None], late[:, None])
    low, high = hdi(rates, subject.interval)
    label = f"rate, {subject.hdi_name}"
    ax.fill_between(times(series), low, high, color=look.BLUE, alpha=0.2, linewidth=0, label=label)
    ax.plot(times(series), rates.mean(axis=0), color=look.BLUE, linewidth=2, label="rate, posterior mean")


def _draw_switchpoint(ax: Axes, subject: Subject) -> None:
    draws = _draws(subject, "switchpoint")
    ax.axvline(float(draws.mean()), color=look.VERMILLION, label="switchpoint, mean")
    for index, end in enumerate(hdi(draws, subject.interval)):
        label = f"switchpoint, {subject.hdi_name}" if index == 0 else None
        ax.axvline(float(end), color=look.VERMILLION, linestyle="--", linewidth=1, label=label)


def _draws(subject: Subject, name: str) -> Array:
    return np.asarray(posterior_of(subject, name).values).ravel()


def _draw_imputed(ax: Axes, subject: Subject, series: xr.DataArray) -> None:
    name = f"{series.name}_missing"
    if name not in subject.idata.posterior:
        return
    values = draws_of(subject.idata.posterior[name])
    flat = values.reshape(-1, values.shape[-1])
    at = times(series)[np.isnan(np.asarray(series.values, float))]
    low, high = hdi(flat, subject.interval)
    mean = flat.mean(axis=0)
    spread = [np.maximum(0, mean - low), np.maximum(0, high - mean)]
    label = f"imputed, mean and {subject.hdi_name}"
    ax.errorbar(at, mean, spread, fmt="s", color=look.GREEN, markersize=5, capsize=3, label=label)


FIGURE = Figure(draw=draw)
