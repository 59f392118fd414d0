"""Covariance matrices of Gaussian processes, as values of the language.

The parts of a kernel that depend on the inputs alone (distances, products) are computed once, as numbers; what is left
to an engine is elementwise, in the parameters. `bayesrun.language.kernel_checks` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.expressions import read
from bayesrun.language.functions import exp, index
from bayesrun.language.kernel_checks import COMPOSED, KERNELS, leaves
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, apply, constant

Array = NDArray[Any]

JITTER = 1e-8
"""Added to the diagonal of a covariance matrix, so that rounding does not make it indefinite."""
_MOST = 2_000
"""Points up to which a covariance matrix is decomposed."""


@dataclass(frozen=True)
class Kernel:
    """A covariance function, or a sum or product of kernels.

    Parameters
    ----------
    name
        Its name.
    values
        Its parameters.
    inputs
        Texts of its inputs.
    parts
        The kernels of a sum or product.
    """

    name: str
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    parts: tuple[Kernel, ...] = ()

    @property
    def noise(self) -> bool:
        """Whether it adds noise to each row."""
        return self.name == "white_noise" or any(part.noise for part in self.parts)


@dataclass(frozen=True)
class Process:
    """A Gaussian process at points.

    Parameters
    ----------
    key
        Config key of its distribution.
    kernel
        Its kernel.
    points
        Inputs by their texts, (point,) or (point, input).
    dim
        The dim of the points; None if it has no name.
    jitter
        Added to the diagonal of its covariance matrix.
    approximation
        Settings of the Hilbert space approximation; None for the exact process.
    """

    key: str
    kernel: Kernel
    points: Mapping[str, Array]
    dim: str | None
    jitter: float
    approximation: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """Number of points."""
        return len(next(iter(self.points.values())))

    def covariance(self) -> Value:
        """Return the covariance matrix of the process at its points, with the jitter."""
        return matrix_of(self.kernel, self.points, self.points) + self.jitter * np.eye(self.size)


def read_process(
    given: Mapping[str, Any], scope: Scope, key: str, learned: Mapping[str, Array] | None = None
) -> Process:
    """Evaluate the kernel and the inputs of a process.

    Parameters
    ----------
    given
        Its body in YAML, which has passed the static checks.
    scope
        Values of the names in its expressions.
    key
        Config key of its distribution.
    learned
        Inputs by their texts, if they are those of the fitted rows; None to read them from the scope.

    Raises
    ------
    UserError
        When an expression does not fit.
    """
    shared = _texts(given["x"])
    found = list(leaves(f"{key}.kernel", given["kernel"]))
    wanted = {text: f"{key}.x" for text in shared}
    wanted |= {text: f"{where}.x" for where, _, body in found if body.get("x") for text in _texts(body["x"])}
    dims: dict[str | None, str] = {}
    points: dict[str, Array] = {}
    for text, where in wanted.items():
        if learned is not None:
            points[text] = learned[text]
            continue
        value = read(text, scope, where)
        if value.known is None:
            raise fail(where, f"'{text}' depends on a random variable", "the inputs of a process are data")
        if not 1 <= value.ndim <= 2:
            raise fail(where, f"'{text}' has {value.ndim} axes", "name a column, or an array over (row, input)")
        points[text] = np.asarray(value.known, dtype=float)
        if not np.isfinite(points[text]).all():
            raise fail(where, f"'{text}' has missing or infinite values", "set data.drop_missing=rows")
        dims.setdefault(value.dims[0], text)
    sizes = {len(array) for array in points.values()}
    if len(dims) > 1 or len(sizes) > 1:
        raise fail(f"{key}.x", f"the inputs are over different dims: {', '.join(map(str, dims))}", "use one dim")
    jitter = float(given.get("jitter") or JITTER)
    kernel = _kernel(f"{key}.kernel", given["kernel"], shared, scope, points)
    process = Process(key, kernel, points, next(iter(dims), None), jitter, given.get("hsgp"))
    if process.approximation is None and process.size > _MOST:
        message = f"its covariance matrix has {process.size:,} rows (up to {_MOST:,} can be decomposed)"
        raise fail(key, message, "approximate a latent process by hsgp: {m: 30, c: 1.5}, or use fewer points")
    return process


def _texts(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(map(str, given))


def _kernel(
    key: str, given: Mapping[str, Any], shared: tuple[str, ...], scope: Scope, points: Mapping[str, Array]
) -> Kernel:
    name, body = next(iter(given.items()))
    if name in COMPOSED:
        where = f"{key}.{name}"
        parts = tuple(_kernel(f"{where}[{i}]", part, shared, scope, points) for i, part in enumerate(body))
        return Kernel(name, {}, shared, parts)
    body = body or {}
    inputs = _texts(body["x"]) if body.get("x") else shared
    count = columns(points, inputs).shape[1]
    values = {}
    for parameter in KERNELS[name]:
        where = f"{key}.{name}.{parameter}"
        if body.get(parameter) is None:
            continue
        value = read(body[parameter], scope, where)
        if value.ndim and (parameter == "sd" or value.shape != (count,)):
            several = "" if parameter == "sd" else f", or {count} of them, one for each input"
            raise fail(where, f"must be one number{several} (got shape {value.shape})", "index it")
        if value.known is not None and KERNELS[name][parameter].startswith("positive") and not np.all(value.known > 0):
            raise fail(where, f"must be above 0 (got {np.min(value.known):g})", "correct it")
        values[parameter] = value.named((None,) * value.ndim)
    return Kernel(name, values, inputs)


def columns(points: Mapping[str, Array], inputs: Sequence[str]) -> Array:
    """Return the inputs with these texts side by side, (point, input)."""
    return np.column_stack([points[text] for text in inputs])


def matrix_of(kernel: Kernel, here: Mapping[str, Array], there: Mapping[str, Array]) -> Value:
    """Return the covariances between points, (point here, point there).

    Parameters
    ----------
    kernel
        The kernel.
    here, there
        Inputs by their texts; `white_noise` is shared only where both are the same object.
    """
    if kernel.parts:
        joined = "add" if kernel.name == "sum" else "multiply"
        return reduce(lambda a, b: apply(joined, [a, b]), (matrix_of(part, here, there) for part in kernel.parts))
    a, b = columns(here, kernel.inputs), columns(there, kernel.inputs)
    form = (
        _FORMS[kernel.name](kernel.values, a, b) if kernel.name in _FORMS else _plain(kernel.name, a, b, here is there)
    )
    sd = kernel.values.get("sd")
    return form if sd is None else sd**2 * form


def _plain(name: str, a: Array, b: Array, same: bool) -> Value:
    if name == "constant":
        return constant(np.ones((len(a), len(b))))
    return constant(np.eye(len(a)) if same else np.zeros((len(a), len(b))))


def _each(value: Value, count: int) -> list[Value]:
    """Return a parameter for each input."""
    return [index(value, [constant(i)]) for i in range(count)] if value.ndim else [value] * count


def _squares(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    """Return the squared distances in lengthscales."""
    scale = values["lengthscale"]
    apart = (a[:, None, :] - b[None, :, :]) ** 2
    if not scale.ndim:
        return constant(apart.sum(axis=2)) / scale**2
    terms = [constant(apart[:, :, i]) / one**2 for i, one in enumerate(_each(scale, a.shape[1]))]
    return reduce(lambda x, y: x + y, terms)


def _distances(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    """Return the distances in lengthscales; their gradient is 0 where the points are the same."""
    apart = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    if not values["lengthscale"].ndim:
        return constant(np.sqrt(apart)) / values["lengthscale"]
    same = (apart == 0).astype(float)
    return apply("multiply", [apply("sqrt", [_squares(values, a, b) + same]), 1.0 - same])


def _matern32(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    r = math.sqrt(3.0) * _distances(values, a, b)
    return (1.0 + r) * exp(-r)


def _matern52(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    r = math.sqrt(5.0) * _distances(values, a, b)
    return (1.0 + r + r**2 / 3.0) * exp(-r)


def _rational_quadratic(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    alpha = values["alpha"]
    return (1.0 + _squares(values, a, b) / (2.0 * alpha)) ** (-alpha)


def _periodic(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    count = a.shape[1]
    scales, periods = _each(values["lengthscale"], count), _each(values["period"], count)
    terms = []
    for i, (scale, period) in enumerate(zip(scales, periods, strict=True)):
        apart = constant(np.pi * (a[:, i][:, None] - b[:, i][None, :]))
        terms.append((apply("sin", [apart / period]) / scale) ** 2)
    return exp(-2.0 * reduce(lambda x, y: x + y, terms))


def _linear(values: Mapping[str, Value], a: Array, b: Array) -> Value:
    center = values.get("center")
    if center is None:
        return constant(a @ b.T)
    terms = []
    for i, one in enumerate(_each(center, a.shape[1])):
        terms.append((constant(a[:, i][:, None]) - one) * (constant(b[:, i][None, :]) - one))
    return reduce(lambda x, y: x + y, terms)


_FORMS: Mapping[str, Callable[[Mapping[str, Value], Array, Array], Value]] = {
    "exp_quad": lambda values, a, b: exp(-0.5 * _squares(values, a, b)),
    "matern12": lambda values, a, b: exp(-_distances(values, a, b)),
    "matern32": _matern32,
    "matern52": _matern52,
    "rational_quadratic": _rational_quadratic,
    "periodic": _periodic,
    "linear": _linear,
}
