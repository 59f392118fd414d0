"""The ranks of true values among posterior draws: their empirical distribution function less that of uniform ranks.

A curve inside the band is one of uniform ranks. True values above the draws, because the posterior is too low, bend it
down; a posterior that is too narrow lifts it on the left and lowers it on the right; one that is too wide the reverse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.calibration import Bands, simultaneous_bands
from bayesrun.figures import style as look
from bayesrun.figures.drawing import save

_PROBABILITY = 0.95
_TITLE = 26


def draw_rank_ecdf(model: str, ranks: pd.DataFrame, among: int, table: pd.DataFrame, path: Path, most: int) -> Path:
    """Draw the ranks of each quantity with simultaneous bands.

    Parameters
    ----------
    model
        Name of the model.
    ranks
        Ranks (fit, quantity).
    among
        Number of draws among which they are.
    table
        `quantity` and `p_adjusted`, the least first.
    path
        Of the PNG file.
    most
        Number of quantities that are shown: those of the least p-values.
    """
    with look.style():
        return save(_drawn(model, ranks, among, table.head(most), len(table)), path)


def _drawn(model: str, ranks: pd.DataFrame, among: int, shown: pd.DataFrame, total: int) -> Canvas:
    what = "ECDF of ranks less that of uniform ranks"
    if total > len(shown):
        what += f" ({len(shown)} of {total} quantities, the least uniform)"
    figure, axes = look.panels(f"{model}: {what}", len(shown), columns=4, height=1.9)
    bands = simultaneous_bands(len(ranks), among, _PROBABILITY)
    for ax, quantity, p in zip(axes, shown["quantity"], shown["p_adjusted"], strict=True):
        _draw(ax, ranks[quantity].to_numpy(), among, bands)
        ax.set_title(f"{shorten(str(quantity), _TITLE)}\np = {p:.2g}")
    look.legend_below(figure, axes[0])
    return figure


def _draw(ax: Axes, ranks: NDArray[np.int64], among: int, bands: Bands) -> None:
    at = np.pad(bands.at, 1, constant_values=(0.0, 1.0))
    lower, upper = np.pad(bands.lower - bands.at, 1), np.pad(bands.upper - bands.at, 1)
    edges = np.arange(among + 2)
    below = np.searchsorted(np.sort(ranks), edges, side="left") / len(ranks)
    shares = edges / (among + 1)
    ax.fill_between(at, lower, upper, color=look.SKY, alpha=0.35, label=f"{100 * _PROBABILITY:g}% simultaneous band")
    ax.axhline(0.0, color=look.GREY, linewidth=0.8)
    ax.plot(shares, below - shares, color=look.BLUE, label="ranks of true values")
    ax.set(xlim=(0, 1), xlabel="rank")
    look.few_ticks(ax, 3, 4)
