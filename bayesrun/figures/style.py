"""What all figures share: colours that colour-blind readers can tell apart, text legible at 800 px, panels and marks.

Figures are made without pyplot, which would keep them in its global state and ask for a window system.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from bayesrun.diagnostics.base import shorten_all
from bayesrun.diagnostics.numerics.densities import density, frequencies, is_discrete
from bayesrun.figures.light_axes import LightCanvas

Array = NDArray[Any]

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
    with plain_style():
        matplotlib.rcParams.update(_RC)
        yield


@contextmanager
def plain_style() -> Iterator[None]:
    """Apply Matplotlib's own style inside the block.

    Matplotlib takes a `matplotlibrc` of the current folder, which others may have written: with `text.usetex` it would
    hand text and preamble to LaTeX, a program.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def colour(index: int) -> str:
    """Return the colour of the `index`-th chain or element; they repeat after eight."""
    return COLOURS[index % len(COLOURS)]


def canvas(title: str, height: float) -> Canvas:
    """Make an empty figure, `height` inches high, with a title; a long title has several lines."""
    lines = textwrap.wrap(title, TITLE_WIDTH) or [""]
    height += LINE * (len(lines) - 1)
    figure = LightCanvas(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
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


def few_ticks(ax: Axes, x: int = 5, y: int | None = 5, whole_x: bool = False, whole_y: bool = False) -> None:
    """Limit the number of ticks, so that labels do not overlap; `whole`: integers only; `y=None`: x axis only."""
    ax.xaxis.set_major_locator(MaxNLocator(x, min_n_ticks=1 if whole_x else 2, integer=whole_x))
    if y is not None:
        ax.yaxis.set_major_locator(MaxNLocator(y, min_n_ticks=1 if whole_y else 2, integer=whole_y))


def log_scale(ax: Axes, axis: Literal["x", "y"]) -> None:
    """Give an axis a logarithmic scale with plain numbers as labels."""
    (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
    of = ax.xaxis if axis == "x" else ax.yaxis
    low, high = np.log10(of.get_view_interval())
    steps = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0)
    of.set_major_locator(LogLocator(subs=steps))
    of.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    of.set_minor_locator(NullLocator())


def no_scale(ax: Axes) -> None:
    """Hide the y axis, where only the shape of a density matters."""
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def legend_below(figure: Canvas, ax: Axes | Sequence[Axes], columns: int = 4) -> None:
    """Put one legend of some axes below all, so that it covers no data; thin and faint lines are legible in it."""
    found: dict[str, Any] = {}
    for one in [ax] if isinstance(ax, Axes) else ax:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        legend = figure.legend(list(found.values()), list(found), loc="outside lower left", ncols=columns)
        for line in legend.get_lines():
            if line.get_linewidth() < 1.5:
                line.set(alpha=1, linewidth=1.5)


FEW = 50  # observations


def draw_points(ax: Axes, x: Array, y: Array, colour: str = GREY, total: int | None = None) -> None:
    """Draw observations as faint points, larger and darker if they, or `total` with those of other colours, are few."""
    alpha, size = (0.8, 5.0) if (y.size if total is None else total) <= FEW else (0.45, 3.5)
    ax.plot(x, y, "o", color=colour, alpha=alpha, markersize=size, markeredgewidth=0)


LEVELS = 30  # of a factor, as many as fit side by side
MOST_SLANTED = 12  # of them; the labels of more stand upright


def draw_levels(
    ax: Axes, levels: Sequence[Any], codes: Array, y: Array, colour: str = GREY, total: int | None = None
) -> int:
    """Draw observations by level, with horizontal jitter, and label the levels.

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
    total
        Number of points of all colours; by default that of these.

    Returns
    -------
    int
        Number of levels shown.
    """
    shown = min(len(levels), LEVELS)
    kept = (codes >= 0) & (codes < shown)
    jitter = np.random.default_rng(0).uniform(-0.18, 0.18, size=codes.size)
    draw_points(ax, (codes + jitter)[kept], y[kept], colour, total)
    label_levels(ax, levels[:shown])
    return shown


def label_levels(ax: Axes, levels: Sequence[Any]) -> None:
    """Label levels at 0, 1, ... of the x axis; long or many labels are slanted or stand upright."""
    shown = len(levels)
    texts = shorten_all([str(level) for level in levels], 14)
    ax.set_xlim(-0.5, shown - 0.5)
    if shown > MOST_SLANTED:
        ax.set_xticks(range(shown), texts, rotation=90, fontsize=6)
        return
    slanted = max(map(len, texts)) * shown > 40
    ax.set_xticks(range(shown), texts, rotation=35 if slanted else 0, ha="right" if slanted else "center")


BARS = 60  # integers with a bar each; a wider range is binned


def draw_marginal(
    ax: Axes, draws: Array, colour: str, label: str | None = None, fill: bool = True, part: float = 1.0
) -> None:
    """Draw the distribution of draws: a bar per integer, a density, or a line if they are constant.

    If they are only a `part` of all draws, bars and density are scaled to the distribution of all.
    """
    if draws.size == 0:
        ax.text(0.5, 0.5, "no finite draws", transform=ax.transAxes, ha="center")
    elif draws.min() == draws.max():
        ax.axvline(float(draws[0]), color=colour, label=label)
    elif is_discrete(draws):
        _bars(ax, draws, colour, label, part)
    else:
        _curve(ax, draws, colour, label, fill, part)


def _bars(ax: Axes, draws: Array, colour: str, label: str | None, part: float) -> None:
    if int(draws.max()) - int(draws.min()) < BARS:
        at, share = frequencies(draws)
        ax.bar(at, part * share, width=0.8, color=colour, alpha=0.75, label=label)
    else:
        height, edges = np.histogram(draws, BARS, density=True)
        ax.stairs(part * height, edges, fill=True, color=colour, alpha=0.75, label=label)


def _curve(ax: Axes, draws: Array, colour: str, label: str | None, fill: bool, part: float) -> None:
    grid, height = density(draws)
    ax.plot(grid, part * height, color=colour, label=label)
    if fill:
        ax.fill_between(grid, part * height, color=colour, alpha=0.15)


def frame(ax: Axes, draws: Array, share: float = 0.998, margin: float = 0.06) -> None:
    """Set the limits of axes with distributions, after all of them are drawn (a fixed limit ends autoscaling).

    The central `share` of the draws is shown, with a margin, so that heavy tails do not squeeze the rest.
    """
    ax.set_ylim(bottom=0)
    if draws.size and draws.min() < draws.max():
        low, high = np.quantile(draws, [(1 - share) / 2, (1 + share) / 2])
        room = margin * (high - low) if high > low else 1.0
        half = 0.6 if is_discrete(draws) else 0.0
        ax.set_xlim(low - room - half, high + room + half)


def number(value: float, width: float) -> str:
    """Format a number with three significant digits relative to `width`, the width of its interval."""
    if not (np.isfinite(value) and np.isfinite(width)) or width <= 0:
        return f"{value:g}"
    digits = max(0, 2 - int(np.floor(np.log10(width))))
    return f"{value:.2e}" if digits > 6 or abs(value) >= 1e6 else f"{value:.{digits}f}"


def interval(low: float, high: float, whole: bool) -> str:
    """Format an interval, without decimals for integers."""
    ends = [f"{end:.0f}" if whole else number(end, high - low) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def write_beside(ax: Axes, draws: Array, text: str) -> None:
    """Write text into the upper corner that the distribution of `draws` leaves free; the limits must be set."""
    left, right = ax.get_xlim()
    on_left = draws.size == 0 or float(np.median(draws)) < (left + right) / 2
    x, side = (0.99, "right") if on_left else (0.01, "left")
    ax.text(x, 0.97, text, transform=ax.transAxes, ha=side, va="top", fontsize=8, linespacing=1.3)
