"""The one style of all pictures: colours that colour-blind readers can tell apart, text legible at 800 px.

Figures are made without pyplot, so that nothing is kept in its global state and no window system is asked for.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette (jfly.uni-koeln.de/color), without its yellow, which is too pale on white.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, INK, GREY = "#D55E00", "#56B4E9", "#222222", "#8A8A8A"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, INK)

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
    "text.parse_math": False,  # a `$` in a user's label is no mathematics
}


@contextmanager
def style() -> Iterator[None]:
    """Draw under bayesrun's style, whatever a user's `matplotlibrc` says; ends with the settings of before."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def colour(index: int) -> str:
    """Colour of the `index`-th chain or element; they repeat after seven."""
    return COLOURS[index % len(COLOURS)]


def canvas(title: str, height: float) -> Canvas:
    """Make an empty figure of the usual width, `height` inches high, with a title; one too long has further lines."""
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
        Title of the whole.
    count
        How many are needed; places of the grid that are left over stay empty.
    columns
        At most this many a row.
    height
        Height of a row, inches.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = canvas(title, max(2.8, 0.5 + rows * height))
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def few_ticks(ax: Axes, x: int = 5, y: int = 5, whole_x: bool = False, whole_y: bool = False) -> None:
    """Limit the ticks of small axes, so that their labels don't run into each other; `whole`: integers only."""
    ax.xaxis.set_major_locator(MaxNLocator(x, min_n_ticks=1 if whole_x else 2, integer=whole_x))
    ax.yaxis.set_major_locator(MaxNLocator(y, min_n_ticks=1 if whole_y else 2, integer=whole_y))


def no_scale(ax: Axes) -> None:
    """Leave out the y axis, where only the shape of a density counts."""
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def legend_below(figure: Canvas, ax: Axes, columns: int = 4) -> None:
    """Put the legend of `ax` below all axes, where it covers no data."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def shorten(text: str, width: int = 28) -> str:
    """Cut a long label in its middle."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Join names for a sentence, the later ones only counted."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def few_ticks_x(ax: Axes, x: int = 6) -> None:
    """Limit the ticks of the x axis alone, where the y axis holds names."""
    ax.xaxis.set_major_locator(MaxNLocator(x, min_n_ticks=2))


def whole_ticks(ax: Axes, x: int = 10) -> None:
    """Put the ticks of the x axis at whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(x, integer=True))
