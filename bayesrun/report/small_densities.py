"""Priors against posteriors as small pictures: one SVG per scalar, drawn in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bayesrun.diagnostics.summary import SAMPLE, in_order, label_texts
from bayesrun.lazy import xr
from bayesrun.report.numbers import plain, signed

MOST = 24
"""Scalars that are drawn."""
_LARGEST = 4_000_000  # numbers of a variable that is read
_WIDTH, _HEIGHT, _FLOOR = 200.0, 74.0, 58.0
_BINS = 256
_POINTS = 72


@dataclass(frozen=True)
class SmallDensity:
    """One picture.

    Parameters
    ----------
    name
        Name of the scalar.
    svg
        The picture.
    note
        How the posterior's spread compares with the prior's.
    """

    name: str
    svg: Markup
    note: str


def small_densities(posterior: xr.Dataset, prior: xr.Dataset | None) -> list[SmallDensity]:
    """Draw the first scalars of a posterior with their priors; imputed values and helpers have none."""
    found: list[SmallDensity] = []
    arrays: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for name, index, label in islice(_scalars(posterior, prior), MOST):
        if name not in arrays:  # a variable is read once
            before = _draws(prior[name]) if prior is not None and name in prior else np.empty(0)
            arrays[name] = _draws(posterior[name]), before
        after, before = (_finite(draws[index] if draws.size else draws) for draws in arrays[name])
        if after.size > 3 and np.ptp(after) > 0:
            found.append(_drawn(label, after, before, posterior[name].dtype.kind in "iu"))
    return found


def _scalars(posterior: xr.Dataset, prior: xr.Dataset | None) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield variable, index and label of scalars: single variables first, then a few of each vector."""
    names = [n for n in in_order(posterior) if posterior[n].size <= _LARGEST and (prior is None or n in prior)]
    singles = [n for n in names if posterior[n].ndim == 2]
    yield from ((name, (), name) for name in singles)
    for name in (n for n in names if n not in singles):
        array = posterior[name]
        dims = [str(dim) for dim in array.dims if dim not in SAMPLE]
        labels = [label_texts(array[dim].values) for dim in dims]
        for index in list(np.ndindex(*(array.sizes[dim] for dim in dims)))[:MOST]:
            yield name, index, f"{name}[{', '.join(labels[axis][at] for axis, at in enumerate(index))}]"


def _draws(array: xr.DataArray) -> NDArray[np.float64]:
    """Return the draws of all chains, over the variable's dims and draws."""
    dims = [dim for dim in array.dims if dim not in SAMPLE]
    values = np.asarray(array.values, dtype=float)
    order = [array.dims.index(dim) for dim in (*dims, *SAMPLE)]
    return values.transpose(order).reshape(*[array.sizes[dim] for dim in dims], -1)


def _finite(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(draws[np.isfinite(draws)])


def _drawn(label: str, after: NDArray[np.float64], before: NDArray[np.float64], whole: bool) -> SmallDensity:
    low, high = _range(after, whole)
    x, y = _density(after, low, high, whole)
    shapes = []
    tallest = float(y.max())
    if before.size:
        at, z = _density(before, low, high, whole)  # a grid of its own: no draw of the prior may be in the range
        tallest = max(tallest, float(z.max()))
        shapes.append(f'<path class="prior" d="{_line(at, z, low, high, tallest)}"/>')
    area = f"{_line(x, y, low, high, tallest)}L{_WIDTH - 4:g} {_FLOOR:g}L4 {_FLOOR:g}Z"
    shapes.insert(0, f'<path class="posterior" d="{area}"/>')
    spoken = Markup.escape(_spoken(label, after, before))
    picture = (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{spoken}">{"".join(shapes)}'
        f'<path class="axis" d="M4 {_FLOOR:g}H{_WIDTH - 4:g}"/>{_ticks(low, high)}</svg>'
    )
    return SmallDensity(label, Markup(picture), _learned(after, before))


def _range(draws: NDArray[np.float64], whole: bool) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.002, 0.998])
    room = max(0.12 * (high - low), 0.5 if whole else 1e-12 * abs(high))
    low, high = float(low - room), float(high + room)
    return (max(low, 0.0), high) if draws.min() >= 0 and low < 0 else (low, high)


def _density(draws: NDArray[np.float64], low: float, high: float, whole: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a density on a grid: a smoothed histogram, or shares of whole numbers as steps."""
    if whole and high - low < 80:
        at = np.arange(math.ceil(low), math.floor(high) + 1)
        shares = np.array([np.count_nonzero(draws == value) for value in at]) / draws.size
        edges = np.repeat(np.concatenate([at - 0.5, at[-1:] + 0.5]), 2)[1:-1]
        return np.clip(edges, low, high), np.repeat(shares, 2)
    inside = draws[(draws >= low) & (draws <= high)]
    if not inside.size:
        return np.array([low, high]), np.zeros(2)
    counts, edges = np.histogram(inside, bins=_BINS, range=(low, high))
    step = (high - low) / _BINS
    spread = min(inside.std(), float(np.subtract(*np.quantile(inside, [0.75, 0.25]))) / 1.34 or inside.std())
    width = max(0.9 * spread * inside.size**-0.2 / step, 1.0)  # Silverman's rule, in bins
    reach = np.arange(-math.ceil(3 * width), math.ceil(3 * width) + 1)
    kernel = np.exp(-0.5 * (reach / width) ** 2)
    # mirrored at the ends, where a density that ends at 0 would fall off
    mirrored = np.concatenate([counts[::-1], counts, counts[::-1]])
    smooth = np.convolve(mirrored, kernel / kernel.sum(), mode="same")[_BINS : 2 * _BINS]
    chosen = np.linspace(0, _BINS - 1, _POINTS).round().astype(int)
    return (edges[:-1] + step / 2)[chosen], smooth[chosen] / (draws.size * step)


def _line(x: NDArray[Any], y: NDArray[Any], low: float, high: float, tallest: float) -> str:
    across = 4 + (_WIDTH - 8) * (x - low) / (high - low)
    up = _FLOOR - (_FLOOR - 6) * y / (tallest or 1.0)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, up, strict=True))


def _ticks(low: float, high: float) -> str:
    """Label two or three round numbers of the axis."""
    width = (high - low) / 2.2
    step = 10 ** math.floor(math.log10(width))
    step *= next(factor for factor in (5, 2, 1) if factor * step <= width)
    first = math.ceil(low / step - 1e-9)
    labels = []
    for at in (k * step for k in range(first, first + 4)):
        across = 4 + (_WIDTH - 8) * (at - low) / (high - low)
        if 14 <= across <= _WIDTH - 14:
            labels.append(f'<text x="{across:.1f}" y="{_HEIGHT - 3:g}">{signed(f"{at:.6g}")}</text>')
    return "".join(labels)


def _learned(after: NDArray[np.float64], before: NDArray[np.float64]) -> str:
    """Say how far the posterior is narrower than the prior."""
    if before.size < 20:
        return ""
    spreads = [float(np.subtract(*np.quantile(draws, [0.75, 0.25]))) for draws in (before, after)]
    if not spreads[1] > 0 or not spreads[0] > 0:
        return ""
    ratio = spreads[0] / spreads[1]
    if ratio < 0.95:
        return f"{1 / ratio:.2g}× as wide as the prior"
    if ratio < 1.1:
        return "as wide as the prior"
    return f"prior {float(f'{ratio:.2g}'):g}× as wide" if ratio < 1000 else "prior over 1,000× as wide"


def _spoken(label: str, after: NDArray[np.float64], before: NDArray[np.float64]) -> str:
    text = f"{label}: posterior mean {plain(float(after.mean()))}, sd {plain(float(after.std()))}"
    return f"{text}; prior mean {plain(float(before.mean()))}, sd {plain(float(before.std()))}" if before.size else text
