"""The style of all figures: colours that colour-blind readers can tell apart, text legible at 800 px.

Figures are made without pyplot, which would keep them in its global state and ask for a window system.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesrun.diagnostics.base import shorten

# Okabe and Ito's palette (jfly.uni-koeln.de/color), without its yellow, which is too pale on white.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, INK, GREY = "#D55E00", "#56B4E9", "#222222", "#8A8A8A"
WINE = "#882255"  # of Tol's palette
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, INK, WINE)

WIDTH = 8.0  # inches
DPI = 150  # a width of 1200 px; at 800 px the text of 10 points is 14 px high

TITLE_WIDTH = 70  # characters of a bold title that `WIDTH` holds, wide ones too
LINE = 0.2  # inches that a further line of the title takes

_RC: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "figure.titlesize": 12,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "axes.unicode_minus": False,
    "lines.linewidth": 1.5,
    "patch.linewidth": 0.0,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.hspace": 0.02,
    "figure.constrained_layout.wspace": 0.03,
    "agg.path.chunksize": 10000,
    "text.usetex": False,
    "text.parse_math": False,  # a `$` in a user's label is plain text
}


@contextmanager
def style() -> Iterator[None]:
    """Apply bayesrun's style instead of the user's `matplotlibrc` inside the block."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def colour(index: int) -> str:
    """Return the colour of the `index`-th chain or element; they repeat after eight."""
    return COLOURS[index % len(COLOURS)]


def canvas(title: str, height: float) -> Canvas:
    """Make an empty figure, `height` inches high, with a title; a long title has several lines."""
    lines = textwrap.wrap(title, TITLE_WIDTH) or [""]
    height += LINE * (len(lines) - 1)
    figure = Canvas(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontweight="bold")
    return figure


def panel(title: str, height: float = 4.0) -> tuple[Canvas, Axes]:
    """Make a figure with one pair of axes."""
    figure = canvas(title, height)
    return figure, figure.add_subplot()


def panels(title: str, count: int, columns: int = 3, height: float = 2.1) -> tuple[Canvas, list[Axes]]:
    """Make a figure with `count` pairs of axes in a grid.

    Parameters
    ----------
    title
        Title of the figure.
    count
        Number of axes.
    columns
        Largest number of axes in a row.
    height
        Height of a row, inches.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = canvas(title, max(2.8, 0.5 + rows * height))
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def few_ticks(ax: Axes, x: int = 5, y: int = 5, whole_x: bool = False, whole_y: bool = False) -> None:
    """Limit the ticks of small axes, so that their labels do not overlap; `whole`: integers only."""
    ax.xaxis.set_major_locator(MaxNLocator(x, min_n_ticks=1 if whole_x else 2, integer=whole_x))
    ax.yaxis.set_major_locator(MaxNLocator(y, min_n_ticks=1 if whole_y else 2, integer=whole_y))


def no_scale(ax: Axes) -> None:
    """Leave out the y axis if only the shape of a density matters."""
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def legend_below(figure: Canvas, ax: Axes, columns: int = 4) -> None:
    """Put the legend of `ax` below all axes, so that it covers no data; thin and faint lines are legible in it."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        legend = figure.legend(handles, labels, loc="outside lower left", ncols=columns)
        for line in legend.get_lines():
            line.set_alpha(1)
            line.set_linewidth(max(1.5, line.get_linewidth()))


def few_ticks_x(ax: Axes, x: int = 6) -> None:
    """Limit the ticks of the x axis alone: the y axis may hold names."""
    ax.xaxis.set_major_locator(MaxNLocator(x, min_n_ticks=2))


def whole_ticks(ax: Axes, x: int = 10) -> None:
    """Put the ticks of the x axis at whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(x, integer=True))


FEW = 50  # observations


def draw_points(ax: Axes, x: NDArray[Any], y: NDArray[Any], colour: str = GREY) -> None:
    """Draw observations as faint points; few of them larger and darker."""
    alpha, size = (0.8, 5.0) if y.size <= FEW else (0.45, 3.5)
    ax.plot(x, y, "o", color=colour, alpha=alpha, markersize=size, markeredgewidth=0)


LEVELS = 30  # levels of a factor that have room beside each other


def draw_levels(ax: Axes, levels: Sequence[Any], codes: NDArray[Any], y: NDArray[Any], colour: str = GREY) -> int:
    """Draw observations by level, spread sideways so that they do not hide each other, and name the levels.

    Parameters
    ----------
    ax
        Axes to draw in.
    levels
        The levels in their order; the first 30 are shown.
    codes
        Index of the level of each observation, -1 for none; over row.
    y
        Values, over row.
    colour
        Colour of the points.

    Returns
    -------
    int
        Number of levels that are shown.
    """
    shown = min(len(levels), LEVELS)
    kept = (codes >= 0) & (codes < shown)
    sideways = np.random.default_rng(0).uniform(-0.18, 0.18, size=codes.size)
    draw_points(ax, (codes + sideways)[kept], y[kept], colour)
    texts = [shorten(str(level), 14) for level in levels[:shown]]
    ax.set_xlim(-0.5, shown - 0.5)
    slanted = max(map(len, texts)) * shown > 40
    ax.set_xticks(range(shown), texts, rotation=35 if slanted else 0, ha="right" if slanted else "center")
    return shown
