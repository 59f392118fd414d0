"""The sweep's pictures: every setting over the others, as intervals and as densities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayesrun.diagnostics.base import find_interval_columns, interval_probability, shorten
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures.drawing import save
from bayesrun.figures.style import plain_style
from bayesrun.jobs.local_workers import beside
from bayesrun.sweeps.table import SweptSetting, density_at, is_counted

MAX_PARAMETERS = 4
MAX_SETTINGS = 20
_WIDTH = 9.0
_DPI = 130
_INNER = 0.5  # probability of the thick interval
_LABEL = 44  # characters of a setting beside the intervals


def draw_overlays(
    settings: Sequence[SweptSetting], table: pd.DataFrame, parameters: Sequence[str], folder: Path
) -> list[Path]:
    """Draw `forest.png` and `density.png`.

    Parameters
    ----------
    settings
        The sweep's settings.
    table
        Parameter by setting.
    parameters
        Parameters, those that moved most first; the first few whose draws are known are drawn.
    folder
        Where the pictures go.

    Returns
    -------
    list of Path
        What was drawn.
    """
    shown = [s for s in settings if s.draws][:MAX_SETTINGS]
    drawn = [p for p in parameters if any(p in s.draws for s in shown)][:MAX_PARAMETERS]
    if not drawn:
        return []
    folder.mkdir(exist_ok=True)
    with plain_style(), beside(lambda: save(_densities(shown, drawn), folder / "density.png")) as densities:
        forest = save(_forest(shown, table, drawn), folder / "forest.png")
        return [forest, densities()]


def _new(rows: int, columns: int, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, constrained_layout=True)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _colours(count: int) -> list[Any]:
    return [matplotlib.colormaps["viridis"](i / max(1, count - 0.4)) for i in range(count)]


def _grid(count: int) -> tuple[int, int]:
    columns = min(count, 2)
    return -(-count // columns), columns


def _forest(shown: Sequence[SweptSetting], table: pd.DataFrame, parameters: Sequence[str]) -> Figure:
    rows, columns = _grid(len(parameters))
    figure, axes = _new(rows, columns, rows * (0.9 + 0.26 * len(shown)))
    colours = _colours(len(shown))
    for place, (axis, parameter) in enumerate(zip(axes.flat, parameters, strict=False)):
        own = table[table["parameter"] == parameter].set_index("setting")
        for height, (setting, colour) in enumerate(zip(shown, colours, strict=True)):
            if setting.name in own.index:
                _interval(axis, own.loc[setting.name], setting.draws.get(parameter), height, colour)
        names = [shorten(s.name, _LABEL) if place % columns == 0 else "" for s in shown]  # the rows are those beside
        axis.set_yticks(range(len(shown)), names, fontsize=8)
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_title(parameter, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    _hide_unused(axes, len(parameters))
    prob = interval_probability(table.columns)
    interval = "HDI" if prob is None else f"{100 * prob:g}% HDI"
    figure.suptitle(f"Posterior mean, {100 * _INNER:g}% HDI (thick) and {interval} (thin) by setting", fontsize=11)
    return figure


def _interval(axis: Any, row: Any, draws: Any, height: int, colour: Any) -> None:
    axis.plot(row[list(find_interval_columns(row.index))].astype(float), [height, height], color=colour, lw=1.2)
    if draws is not None:
        axis.plot(hdi(draws, _INNER), [height, height], color=colour, lw=3.5, solid_capstyle="butt")
    axis.plot(row["mean"], height, "o", color="white", mec=colour, mew=1.6, ms=6)


def _densities(shown: Sequence[SweptSetting], parameters: Sequence[str]) -> Figure:
    rows, columns = _grid(len(parameters))
    figure, axes = _new(rows, columns, 2.6 * rows + 0.25 * len(shown))
    for axis, parameter in zip(axes.flat, parameters, strict=False):
        for setting, colour in zip(shown, _colours(len(shown)), strict=True):
            if parameter in setting.draws:
                _curve(axis, setting.draws[parameter], colour, setting.name)
        axis.set_xlabel(parameter)
        axis.set_ylabel("share" if _counts(shown, parameter) else "density")
        axis.set_ylim(bottom=0)
    _hide_unused(axes, len(parameters))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(shown) > 3 else 1, fontsize=8)
    figure.suptitle("Posterior densities by setting", fontsize=11)
    return figure


def _counts(shown: Sequence[SweptSetting], parameter: str) -> bool:
    return all(is_counted(s.draws[parameter]) for s in shown if parameter in s.draws)


def _curve(axis: Any, draws: Any, colour: Any, name: str) -> None:
    if is_counted(draws):
        values, counts = np.unique(draws, return_counts=True)
        axis.plot(values, counts / counts.sum(), "o-", ms=3, lw=1, color=colour, label=name)
    else:
        grid = np.linspace(draws.min(), draws.max(), 400)
        axis.plot(grid, density_at(draws, grid), color=colour, lw=1.6, label=name)


def _hide_unused(axes: Any, used: int) -> None:
    for axis in axes.flat[used:]:
        axis.set_visible(False)
