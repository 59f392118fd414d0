"""Draw marginal distributions, as densities or bars by integer, and write intervals as text."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bayesrun.diagnostics.numerics.densities import density, frequencies, is_discrete
from bayesrun.figures.selection import Array

BARS = 60  # integers drawn as one bar each; a wider range is binned


def draw_marginal(
    ax: Axes, draws: Array, colour: str, label: str | None = None, fill: bool = True, part: float = 1.0
) -> None:
    """Draw the distribution of some draws: bars by integer, a density, or a line where they are constant.

    If they are only a `part` of all draws, bars and density have the height they have in the distribution of all.
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
    """Set the limits of axes with distributions, once all of them are drawn (a set limit ends autoscaling).

    The far tails of heavy-tailed draws must not squeeze the rest: the inner `share` of them is shown, with a margin.
    """
    ax.set_ylim(bottom=0)
    if draws.size and draws.min() < draws.max():
        low, high = np.quantile(draws, [(1 - share) / 2, (1 + share) / 2])
        room = margin * (high - low) if high > low else 1.0
        half = 0.6 if is_discrete(draws) else 0.0
        ax.set_xlim(low - room - half, high + room + half)


def number(value: float, width: float) -> str:
    """Write a number to three digits of `width`, the width of its interval."""
    if not (np.isfinite(value) and np.isfinite(width)) or width <= 0:
        return f"{value:g}"
    digits = max(0, 2 - int(np.floor(np.log10(width))))
    return f"{value:.2e}" if digits > 6 or abs(value) >= 1e6 else f"{value:.{digits}f}"


def interval(low: float, high: float, whole: bool) -> str:
    """Write an interval; whole numbers without decimals."""
    ends = [f"{end:.0f}" if whole else number(end, high - low) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def write_beside(ax: Axes, draws: Array, text: str) -> None:
    """Write text into the upper corner away from the distribution of `draws`; the limits must be set."""
    left, right = ax.get_xlim()
    on_left = draws.size == 0 or float(np.median(draws)) < (left + right) / 2
    x, side = (0.99, "right") if on_left else (0.01, "left")
    ax.text(x, 0.97, text, transform=ax.transAxes, ha=side, va="top", fontsize=8, linespacing=1.3)
