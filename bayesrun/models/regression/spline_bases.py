"""Bases of penalised splines: thin plate and cubic regression splines, and their tensor products, as mixed models.

A smooth is an unpenalised part, a polynomial, and a penalised part `Z w` with `w ~ Normal(0, sds)` (Wood 2017,
Generalized Additive Models, sections 5.4 to 5.8). `Z` is brought into this form:

- its columns are orthogonal over the fitted rows to the constant and to the unpenalised part, so that the smooth sums
  to zero there; this changes the smooth by something unpenalised only,
- they are orthogonal to each other there, the smoothest first, by a rotation of `w`, which leaves its prior as it is,
- the mean over the rows of the sum of squares of a row is 1, so that `sds` is the sd of the penalised part over the
  rows, in the units of the linear predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import linalg, sparse_linalg

Array = NDArray[Any]

MAX_KNOTS = 1_000
"""Number of distinct points from which the knots of a thin plate spline are some of them."""
_ZERO = 1e-10
_AT_ONCE = 2**20
"""Radial functions that are computed at once, about 8 MB."""


@dataclass(frozen=True)
class Spline:
    """A spline of one or two inputs with a penalty on its second derivatives, without its rows.

    Parameters
    ----------
    centre, unit
        Mean of each input, and the length by which all are divided.
    knots
        Over (knot, input), so scaled.
    radial, polynomial
        The penalised columns as combinations of radial functions around the knots, over (knot, basis), and of `1` and
        the inputs, over (power, basis).
    low, high
        Range of each input over the fitted rows.
    """

    centre: Array
    unit: float
    knots: Array
    radial: Array
    polynomial: Array
    low: Array
    high: Array

    @property
    def size(self) -> int:
        """Number of penalised columns."""
        return int(self.radial.shape[1])

    def unpenalised(self, points: Array) -> Array:
        """Return the unpenalised columns but the constant, over (row, input): the inputs less their means."""
        return points - self.centre

    def penalised(self, points: Array) -> Array:
        """Return the penalised columns, over (row, basis)."""
        scaled = _scaled(points, self.centre, self.unit)
        return _combined(scaled, self.knots, self.radial) + _powers(scaled) @ self.polynomial

    def plain(self) -> Mapping[str, Any]:
        """Return it as values that JSON can hold."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Spline:
        """Rebuild it from the output of `plain`."""
        arrays: dict[str, Any] = {name: np.array(of, float) for name, of in content.items()}
        return cls(**{**arrays, "unit": float(content["unit"])})


@dataclass(frozen=True)
class Tensor:
    """A tensor product of splines of one input each, in blocks with a penalty each (Wood, Scheipl and Faraway 2013).

    With `[1, x]` the unpenalised and `Z` the penalised columns of a margin, the blocks are all products that take the
    penalised columns of some margins and the unpenalised ones of the others (doi:10.1007/s11222-012-9314-z).

    Parameters
    ----------
    margins
        The margins.
    rotations
        The columns of each block as combinations of such products, over (product, basis).
    polynomials
        What is added to them: combinations of the products of unpenalised columns, over (product, basis).
    means
        Means of those products over the fitted rows, the constant's first.
    """

    margins: tuple[Spline, ...]
    rotations: tuple[Array, ...]
    polynomials: tuple[Array, ...]
    means: Array

    @property
    def size(self) -> int:
        """Number of penalised columns."""
        return sum(one.shape[1] for one in self.rotations)

    @property
    def low(self) -> Array:
        """Least value of each input over the fitted rows."""
        return np.concatenate([margin.low for margin in self.margins])

    @property
    def high(self) -> Array:
        """Largest value of each input over the fitted rows."""
        return np.concatenate([margin.high for margin in self.margins])

    def blocks(self) -> list[tuple[bool, ...]]:
        """Return the margins that are penalised, for each block; the first margins alone come first."""
        chosen = [of for of in product((False, True), repeat=len(self.margins)) if any(of)]
        return sorted(chosen, key=lambda of: (sum(of), [not one for one in of]))

    def unpenalised(self, points: Array) -> Array:
        """Return the products of the inputs, less their means, over (row, product)."""
        return np.asarray(self._null(points)[:, 1:] - self.means[1:])

    def penalised(self, points: Array) -> Array:
        """Return the penalised columns, block by block, over (row, basis)."""
        null = self._null(points)
        parts = zip(self.blocks(), self.rotations, self.polynomials, strict=True)
        return np.concatenate([self._block(points, of) @ turn + null @ rest for of, turn, rest in parts], axis=1)

    def _null(self, points: Array) -> Array:
        return _products(
            [_powers(_scaled(points[:, [i]], margin.centre, 1.0)) for i, margin in enumerate(self.margins)]
        )

    def _block(self, points: Array, penalised: Sequence[bool]) -> Array:
        """Return the products of one block; unpenalised inputs have an sd of about 1."""
        parts = []
        for i, margin in enumerate(self.margins):
            of = points[:, [i]]
            parts.append(margin.penalised(of) if penalised[i] else _powers(_scaled(of, margin.centre, margin.unit)))
        return _products(parts)

    def plain(self) -> Mapping[str, Any]:
        """Return it as values that JSON can hold."""
        return {
            "margins": [dict(margin.plain()) for margin in self.margins],
            "rotations": [one.tolist() for one in self.rotations],
            "polynomials": [one.tolist() for one in self.polynomials],
            "means": self.means.tolist(),
        }

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Tensor:
        """Rebuild it from the output of `plain`."""
        margins = tuple(Spline.from_plain(of) for of in content["margins"])
        rotations, polynomials = (tuple(map(np.array, content[name])) for name in ("rotations", "polynomials"))
        return cls(margins, rotations, polynomials, np.array(content["means"]))


Basis = Spline | Tensor


def thin_plate(points: Array, size: int) -> Spline:
    """Return a thin plate regression spline (Wood 2003, doi:10.1111/1467-9868.00374), mgcv's `bs = "tp"`.

    Of the thin plate spline with a knot at each distinct point (at `MAX_KNOTS` of them, evenly spread in their order)
    it is the part of this size that changes the fit least: the largest eigenvalues of its radial functions are kept.

    Parameters
    ----------
    points
        The rows, over (row, input), of one input or two; at least `size` are distinct.
    size
        Number of all columns, with the constant: mgcv's `k`.
    """
    centre, unit = _scale(points)
    distinct = np.unique(points, axis=0)
    if len(distinct) > MAX_KNOTS:
        distinct = distinct[np.unique(np.linspace(0, len(distinct) - 1, MAX_KNOTS).round().astype(int))]
    knots = _scaled(distinct, centre, unit)
    matrix = _radial(knots, knots)
    if size < len(knots) - 1:
        start = np.random.default_rng(0).normal(size=len(knots))  # the same vectors in each run
        values, vectors = sparse_linalg.eigsh(matrix, size, which="LM", v0=start)
    else:
        values, vectors = linalg.eigh(matrix)
    return _spline(points, centre, unit, knots, vectors, np.diag(values))


def cubic_regression(points: Array, size: int) -> Spline:
    """Return a natural cubic spline with few knots, at quantiles of the distinct values: mgcv's `bs = "cr"`.

    Parameters
    ----------
    points
        The rows, over (row, 1); at least `size` are distinct.
    size
        Number of knots: mgcv's `k`.
    """
    centre, unit = _scale(points)
    at = np.quantile(np.unique(points), np.linspace(0, 1, size))[:, None]
    knots = _scaled(at, centre, unit)
    return _spline(points, centre, unit, knots, np.eye(size), _radial(knots, knots))


def tensor_product(points: Array, sizes: Sequence[int]) -> Tensor:
    """Return a tensor product of cubic regression splines, mgcv's `t2`.

    Parameters
    ----------
    points
        The rows, over (row, input).
    sizes
        Number of knots of each margin.
    """
    margins = tuple(cubic_regression(points[:, [i]], size) for i, size in enumerate(sizes))
    margins = tuple(_rescaled(one, float(np.std(points[:, i]))) for i, one in enumerate(margins))
    bare = Tensor(margins, (), (), np.zeros(2 ** len(margins)))
    null = bare._null(points)
    bare = replace(bare, means=null.mean(axis=0))
    made = [_normalized(bare._block(points, of), null) for of in bare.blocks()]
    return replace(bare, rotations=tuple(turn for turn, _ in made), polynomials=tuple(rest for _, rest in made))


def _rescaled(spline: Spline, unit: float) -> Spline:
    """Return the same spline with another unit of its input."""
    ratio = spline.unit / unit
    polynomial = spline.polynomial * np.array([[1.0], [1.0 / ratio]])
    knots, radial = spline.knots * ratio, spline.radial / ratio**3
    return replace(spline, unit=unit, knots=knots, radial=radial, polynomial=polynomial)


def _spline(points: Array, centre: Array, unit: float, knots: Array, vectors: Array, inner: Array) -> Spline:
    """Make the spline of the radial functions `vectors`, whose penalty is `vectors' E vectors = inner`."""
    conditions = vectors.T @ _powers(knots)  # radial parts hold no polynomial
    free = linalg.qr(conditions)[0][:, conditions.shape[1] :]
    values, axes = linalg.eigh(free.T @ inner @ free)
    kept = values > _ZERO * values[-1]
    radial = vectors @ free @ (axes[:, kept] / np.sqrt(values[kept]))
    scaled = _scaled(points, centre, unit)
    turn, rest = _normalized(_combined(scaled, knots, radial), _powers(scaled))
    return Spline(centre, unit, knots, radial @ turn, rest, points.min(axis=0), points.max(axis=0))


def _normalized(columns: Array, null: Array) -> tuple[Array, Array]:
    """Return the form of a penalised block that the module describes: its rotation, and what of `null` is added."""
    rest = linalg.lstsq(null, columns)[0]
    apart = columns - null @ rest
    _, lengths, axes = linalg.svd(apart, full_matrices=False)
    kept = lengths > _ZERO * lengths[0]
    turn = axes[kept].T
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(turn.shape[1])])
    turn = turn / np.sqrt(np.sum(lengths**2) / len(columns))
    return np.asarray(turn), np.asarray(-rest @ turn)


def _scale(points: Array) -> tuple[Array, float]:
    centre: Array = points.mean(axis=0)
    return centre, float(np.max(np.ptp(points, axis=0)))


def _scaled(points: Array, centre: Array, unit: float) -> Array:
    return np.asarray((points - centre) / unit)


def _combined(points: Array, knots: Array, radial: Array) -> Array:
    """Return combinations of the radial functions over (point, basis); never all functions of all rows at once."""
    step = max(1, _AT_ONCE // len(knots))
    parts = [_radial(points[start : start + step], knots) @ radial for start in range(0, len(points), step)]
    return np.concatenate(parts)


def _radial(points: Array, knots: Array) -> Array:
    """Return the thin plate's radial functions over (point, knot): r^3 / 12, or r^2 log(r) / (8 pi) of two inputs."""
    if points.shape[1] == 1:
        distances = np.abs(points - knots[:, 0])
        return np.asarray(distances * distances * distances / 12.0)  # a power takes ten times as long
    squares = ((points[:, None, :] - knots[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(squares * np.log(np.where(squares > 0, squares, 1.0)) / (16.0 * np.pi))


def _powers(points: Array) -> Array:
    return np.column_stack([np.ones(len(points)), points])


def _products(parts: Sequence[Array]) -> Array:
    """Return all products of a column of each part, the last part's columns fastest."""
    found = parts[0]
    for part in parts[1:]:
        found = (found[:, :, None] * part[:, None, :]).reshape(len(found), -1)
    return found
