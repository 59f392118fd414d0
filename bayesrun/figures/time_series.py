"""Time series and what the model infers about them: accident rate and switchpoint, returns and volatility."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.numerics.densities import frequencies, hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.observations import axis_label, posterior_of, series_of, times
from bayesrun.figures.selection import Array, draws_of, title_of


def draw_accident_rate(subject: Subject) -> Canvas:
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
    """Draw the rate of each year; in draws whose switchpoint is not before the year this is the early rate."""
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


def draw_switchpoint(subject: Subject) -> Canvas:
    """Draw the posterior probability of each year, darker inside the interval."""
    draws = np.asarray(posterior_of(subject, "switchpoint").values).ravel()
    years, share = frequencies(draws)
    low, high = hdi(draws, subject.interval)
    figure, ax = look.panel(title_of(subject, "switchpoint by year"), 3.4)
    inside = (years >= low) & (years <= high)
    ax.bar(years, share, width=0.8, color=[look.BLUE if i else look.SKY for i in inside])
    mode = int(years[np.argmax(share)])
    ax.annotate(f"{mode}: {share.max():.2f}", (mode, share.max()), (0, 3), textcoords="offset points", ha="center")
    time = str(series_of(subject).dims[0])
    ax.set(xlabel=f"{time} (dark: {subject.hdi_name} {int(low)} to {int(high)})", ylabel="posterior probability")
    shown = years[share > 0.0005]
    ax.set_xlim(shown.min() - 1, shown.max() + 1)
    look.few_ticks(ax, x=10, y=None, whole_x=True)
    return figure


def draw_returns(subject: Subject) -> Canvas:
    """Draw the observed series."""
    series = series_of(subject)
    label = axis_label(subject, str(series.name))
    figure, ax = look.panel(title_of(subject, f"observed {label} over {series.dims[0]}"), 3.4)
    ax.plot(times(series), series.values, color=look.BLUE, linewidth=0.6)
    if np.nanmin(series.values) < 0 < np.nanmax(series.values):
        ax.axhline(0, color=look.GREY, linewidth=0.8, zorder=0)
    ax.set(xlabel=str(series.dims[0]), ylabel=label)
    ax.margins(x=0.01)
    return figure


DRAWS = 1000  # enough for an interval; all draws of thousands of days would take long


def draw_volatility(subject: Subject) -> Canvas:
    """Draw the returns with the interval of the volatility on both sides of zero."""
    series, volatility = series_of(subject), posterior_of(subject, "volatility_process")
    draws = draws_of(volatility)
    draws = draws.reshape(-1, draws.shape[-1])
    mean, some = draws.mean(axis=0), draws[:: max(1, len(draws) // DRAWS)]
    low, high = hdi(some, subject.interval)
    figure, ax = look.panel(title_of(subject, "returns and volatility"), 4.2)
    at = times(series)
    ax.plot(at, series.values, color=look.GREY, linewidth=0.5, alpha=0.55, label="observed")
    for sign in (1, -1):
        label = "volatility: posterior mean" if sign == 1 else None
        ax.fill_between(at, sign * low, sign * high, color=look.ORANGE, alpha=0.6, linewidth=0,
                        label=subject.hdi_name if sign == 1 else None)  # fmt: skip
        ax.plot(at, sign * mean, color=look.VERMILLION, linewidth=0.9, label=label)
    limit = 1.05 * float(max(np.nanmax(np.abs(series.values)), high.max()))
    ax.set(
        xlabel=str(series.dims[0]),
        ylabel=f"{axis_label(subject, str(series.name))} and volatility",
        ylim=(-limit, limit),
    )
    ax.margins(x=0.01)
    look.legend_below(figure, ax)
    return figure


FIGURES = {
    "accident_rate": Figure(draw_accident_rate),
    "switchpoint": Figure(draw_switchpoint),
    "returns": Figure(draw_returns),
    "volatility": Figure(draw_volatility),
}
