"""Gaussian processes of a model: latent, marginalized, approximated by basis functions, and at new points.

A latent process at the points x is `f = mu + chol(K) z`, `z ~ Normal(0, 1)`, with the covariance matrix `K` of its
kernel. An observed one is marginalized: `y ~ MvNormal(mu, K + sigma^2 I)`. At new points x* the process is drawn given
`f` (or `y`): with `C` the covariance of what is given,

    f* ~ MvNormal(mu* + K*' C^-1 (f - mu), K** - K*' C^-1 K*)

(Rasmussen and Williams 2006, equations 2.19 and 2.22). What new points need of the fitted ones, the inputs and the
columns of `mu`, is learned with the model.

An approximation on an interval is a sum of basis functions (Riutort-Mayol et al. 2023),

    f(x) = sum_j phi_j(x) w_j,     w_j ~ Normal(0, sqrt(S(omega_j))),     phi_j(x) = sin(omega_j (x + L)) / sqrt(L)

`x` is relative to the middle of its range, whose half is `R`. The boundary is `L = c R`, the frequencies are
`omega_j = j pi / (2 L)` for j from 1 to m, and `S` is the spectral density of the covariance function
(doi:10.1007/s11222-022-10167-2, equations 5 to 9). Of several inputs the basis has all products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import UserError, fail
from bayesrun.language.declaration import Draft, Observed
from bayesrun.language.distributions import FAMILIES
from bayesrun.language.expressions import read
from bayesrun.language.functions import exp, index
from bayesrun.language.grammar import parse
from bayesrun.language.kernels import Kernel, Process, columns, matrix_of, read_process
from bayesrun.language.learned import LearnedValue
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, apply, compute, constant, fixed
from bayesrun.lazy import xr

Array = NDArray[Any]

MATERN: Mapping[str, float] = {"matern32": 1.5, "matern52": 2.5}
"""Smoothness of the Matérn covariance functions."""
RULES: Mapping[str, tuple[float, float]] = {"exp_quad": (1.75, 3.2), "matern52": (2.65, 4.1), "matern32": (3.42, 4.5)}
"""Factors `(a, b)` of the rules `m >= a c / rho` and `c >= b rho`, with rho the lengthscale by half the range."""
MIN_C = 1.2
EXPECTED: Mapping[int, tuple[float, float]] = {1: (0.2, 0.8), 2: (0.4, 0.8), 3: (0.8, 0.8)}
"""Lengthscales, by half the range, for which the default basis is large enough, by the number of inputs."""
MAX_FUNCTIONS = 2_000


def as_vectors(this: Plan) -> Plan:
    """Return the plan of a process as that of the multivariate normal distribution that it has at its points."""
    process: Process = this.flags["process"]
    covariance = process.covariance()
    if "sigma" in this.values:
        covariance = covariance + this.values["sigma"].named(()) ** 2 * np.eye(process.size)
    factor = compute("cholesky", [covariance], (None, None))
    mean = this.values.get("mu", constant(np.zeros(process.size)))
    return replace(this, family=FAMILIES["MvNormal"], values={"mu": mean, "chol": factor}, flags={}, prior={})


def remember(scope: Scope, this: Plan, mean: Any, observed: Observed | None = None) -> None:
    """Keep what new rows will need of the fitted points: their inputs, the columns of the mean, the observed values."""
    learned = scope.learned
    if learned is None or learned.of_new_rows:
        return
    process: Process = this.flags["process"]
    kept = dict(process.points)
    for name in parse(str(mean), "").names if isinstance(mean, str) else ():
        cells = scope.cells(name)
        if cells is not None and process.dim in cells[1] and np.asarray(cells[0]).dtype.kind in "biuf":
            kept[name] = np.asarray(cells[0], dtype=float)
    if observed is not None:
        kept[""] = np.asarray(observed.values, dtype=float)
    for name, numbers in kept.items():
        learned.constants[_stored(this.name, name)] = LearnedValue((None,) * numbers.ndim, numbers)


def _stored(process: str, name: str) -> str:
    return f"{process}: {name}"


def _recalled(scope: Scope, process: str) -> dict[str, Array]:
    """Return what `remember` has kept, by name."""
    assert scope.learned is not None
    start = _stored(process, "")
    found = scope.learned.constants
    return {name.removeprefix(start): np.asarray(c.numbers) for name, c in found.items() if name.startswith(start)}


# ---------------------------------------------------------------- approximation by basis functions


def approximated(draft: Draft, this: Plan, dims: tuple[str, ...]) -> None:
    """Add a latent process as a sum of basis functions; the weights `NAME_weights` are kept for new rows."""
    process: Process = this.flags["process"]
    points = columns(process.points, process.kernel.inputs)
    middle, ends, sizes = _boundaries(process, points)
    root = _root_of_density(process.kernel, frequencies(ends, sizes) ** 2)
    shape = (*this.shape[:-1], int(np.prod(sizes)))
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    own = (*this.dims[:-1], None)
    name = f"{this.name}_weights"
    standard = Plan(f"{this.name}_offset", this.key, FAMILIES["Normal"], own, shape, unit, prior={})
    axes = draft.name_axes(name, own, shape, draft.scope)
    offset = draft.random(standard, axes, helper=True)[standard.name]
    weights = draft.deterministic(name, root * offset.named((*this.dims[:-1], None)), axes)
    draft.deterministic(this.name, _sum_of_basis(this, weights, basis(points, middle, ends, sizes)), dims)


def _sum_of_basis(this: Plan, weights: Value, functions: Array) -> Value:
    total = compute("contract", [weights, constant(functions)], this.dims, weights.ndim - 1, 1)
    return total + this.values["mu"] if "mu" in this.values else total


def _boundaries(process: Process, points: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Return the middle of the range, the boundary and the number of basis functions of each input."""
    settings, key = process.approximation or {}, f"{process.key}.hsgp"
    count = points.shape[1]
    if count > 3:
        raise fail(key, f"takes one to three inputs (got {count})", "add several processes")
    kernels = process.kernel.parts or (process.kernel,)
    if any(kernel.inputs != process.kernel.inputs for kernel in kernels):
        raise fail(key, "all kernels need the same inputs here", "add several processes: f + g")
    low, high = points.min(axis=0), points.max(axis=0)
    if not np.all(high > low):
        raise fail(f"{process.key}.x", "is the same at all points", "leave it out")
    short, long = EXPECTED[count]
    widest = max(boundary_for(kernel.name, long) for kernel in kernels)
    factors = _for_each(settings.get("c"), count, widest, f"{key}.c")
    needed = [max(functions_for(kernel.name, short, c) for kernel in kernels) for c in factors]
    given = settings.get("m")
    sizes = needed if given is None else [int(m) for m in _for_each(given, count, 0.0, f"{key}.m")]
    if np.prod(sizes) > MAX_FUNCTIONS:
        message = f"{np.prod(sizes):,} basis functions are too many (up to {MAX_FUNCTIONS:,})"
        raise fail(f"{key}.m", message, "set a smaller m")
    return (low + high) / 2.0, np.asarray(factors) * (high - low) / 2.0, tuple(sizes)


def _for_each(given: Any, count: int, default: float, key: str) -> list[float]:
    values = [default if given is None else given] * count if not isinstance(given, list | tuple) else list(given)
    if len(values) != count:
        raise fail(key, f"has {len(values)} numbers, the process has {count} inputs", "one number, or one for each")
    return [float(value) for value in values]


def _root_of_density(kernel: Kernel, squares: Array) -> Value:
    """Return the root of the spectral density at squared frequencies (basis, input)."""
    if kernel.parts:
        densities = [_root_of_density(part, squares) ** 2 for part in kernel.parts]
        return apply("sqrt", [reduce(lambda a, b: a + b, densities)])
    count = squares.shape[1]
    scale = kernel.values["lengthscale"]
    factor, shift, exponent = spectral_root(kernel.name, count)
    each = [index(scale, [constant(i)]) if scale.ndim else scale for i in range(count)]
    bends = reduce(lambda a, b: a + b, [one**2 * squares[:, i] for i, one in enumerate(each)])
    volume = apply("sqrt", [reduce(lambda a, b: a * b, each)])
    shape = exp(exponent * bends) if shift is None else (bends + shift) ** exponent
    root = factor * volume * shape
    return kernel.values["sd"] * root if "sd" in kernel.values else root


# ---------------------------------------------------------------- new points


def latent_at_rows(draft: Draft, this: Plan, body: Mapping[str, Any], fitted: Mapping[str, Value]) -> None:
    """Add a latent process at new rows, given the process at the fitted ones.

    Parameters
    ----------
    draft
        The model of the new rows.
    this
        The plan of the process over them.
    body
        Its prior in YAML.
    fitted
        The model's variables as the posterior has them.
    """
    dims = draft.name_axes(this.name, this.dims, this.shape, draft.scope)
    process: Process = this.flags["process"]
    kept = _recalled(draft.scope, this.name)
    if process.approximation is not None:
        old = columns(kept, process.kernel.inputs)
        middle, ends, sizes = _boundaries(process, old)
        new = columns(process.points, process.kernel.inputs)
        if np.any(np.abs(new - middle) > ends):
            message = f"rows lie beyond the boundary of the approximation of '{this.name}'"
            raise fail(f"{this.key}.hsgp.c", message, "fit with a larger c, or predict rows nearer to the fitted ones")
        value = _sum_of_basis(this, fitted[f"{this.name}_weights"], basis(new, middle, ends, sizes))
    else:
        own = fitted[this.name].named((*this.dims[:-1], None))
        mean = _fitted_mean(this, body.get("mu"), draft.scope, kept, fitted)
        value = _conditional(draft, this, body, kept, own if mean is None else own - mean, None)
    draft.scope.add(this.name, draft.deterministic(this.name, value, dims))


def observed_at_rows(draft: Draft, this: Plan, body: Mapping[str, Any], fitted: Mapping[str, Value]) -> Plan:
    """Add the process behind an observed one at new rows, and return the distribution of the observations about it."""
    kept = _recalled(draft.scope, this.name)
    mean = _fitted_mean(this, body.get("mu"), draft.scope, kept, fitted)
    own = constant(kept[""])
    noise = this.values["sigma"]
    value = _conditional(draft, this, body, kept, own if mean is None else own - mean, noise)
    dims = draft.name_axes(this.name, this.dims, this.shape, draft.scope)
    latent = draft.deterministic(f"{this.name}_process", value, dims)
    return of_values(this.name, "Normal", {"mu": latent, "sigma": noise}, this.dims, this.shape, this.key)


def _conditional(
    draft: Draft, this: Plan, body: Mapping[str, Any], kept: Mapping[str, Array], residual: Value, noise: Value | None
) -> Value:
    """Return a draw of the process at new points, given what is left of the old ones after their mean."""
    new: Process = this.flags["process"]
    old = read_process(body, draft.scope, this.key, learned=kept)
    given = old.covariance()
    if noise is not None:
        given = given + noise.named(()) ** 2 * np.eye(old.size)
    cross = matrix_of(new.kernel, new.points, old.points)
    name = f"{this.name}_new"
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    standard = Plan(name, this.key, FAMILIES["Normal"], this.dims, this.shape, unit, prior={})
    dims = draft.name_axes(name, this.dims, this.shape, draft.scope)
    offset = draft.random(standard, dims, helper=True)[name]
    drawn = compute("conditional_draw", [given, cross, new.covariance(), residual, offset], this.dims)
    return drawn + this.values["mu"] if "mu" in this.values else drawn


def _fitted_mean(
    this: Plan, mean: Any, scope: Scope, kept: Mapping[str, Array], fitted: Mapping[str, Value]
) -> Value | None:
    """Return the mean of the process at the fitted points."""
    if mean is None:
        return None
    dim = this.dims[-1]
    if not isinstance(mean, str):
        return read(mean, scope, f"{this.key}.mu")
    names = parse(mean, f"{this.key}.mu").names
    over_rows = sorted(name for name in names if name in fitted and dim in fitted[name].dims)
    if over_rows:
        message = f"'{over_rows[0]}' is over the fitted rows, so the mean of '{this.name}' is unknown for them"
        raise fail(f"{this.key}.mu", message, "write the mean with parameters and columns")
    data = {name: ((str(dim),), kept[name]) for name in names if name in kept}
    here = Scope(xr.Dataset(data), {})
    for name, value in fitted.items():
        if name in names:
            here.add(name, value)
    try:
        found = read(mean, here, f"{this.key}.mu", this.dims)
    except UserError:
        found = read(mean, scope, f"{this.key}.mu", this.dims)
        if dim in found.dims:
            raise
    return found.named(tuple(None if name == dim else name for name in found.dims))


def boundary_for(covariance: str, lengthscale: float) -> float:
    """Return the least boundary factor `c` for a lengthscale, given by half the range of the input."""
    return max(MIN_C, RULES[covariance][1] * lengthscale)


def functions_for(covariance: str, lengthscale: float, boundary: float) -> int:
    """Return the least number of basis functions `m` for a lengthscale and a boundary factor."""
    return math.ceil(RULES[covariance][0] * boundary / lengthscale)


def frequencies(ends: Array, sizes: Sequence[int]) -> Array:
    """Return the frequencies of all basis functions, over (basis, input).

    Parameters
    ----------
    ends
        Boundary `L` of each input.
    sizes
        Number of basis functions of each input.
    """
    return np.stack([grid.ravel() for grid in np.meshgrid(*_each(ends, sizes), indexing="ij")], axis=1)


def basis(points: Array, middle: Array, ends: Array, sizes: Sequence[int]) -> Array:
    """Return the basis functions at points (row, input), over (row, basis).

    Parameters
    ----------
    points
        Where.
    middle
        Middle of the range of each input.
    ends, sizes
        As for `frequencies`.
    """
    at = points - middle + ends
    waves = [np.sin(np.outer(at[:, i], w)) for i, w in enumerate(_each(ends, sizes))]
    found = waves[0] / np.sqrt(ends[0])
    for wave, end in zip(waves[1:], ends[1:], strict=True):
        found = (found[:, :, None] * wave[:, None, :] / np.sqrt(end)).reshape(len(points), -1)
    return np.asarray(found)


def _each(ends: Array, sizes: Sequence[int]) -> list[Array]:
    return [np.pi * np.arange(1, m + 1) / (2.0 * end) for m, end in zip(sizes, ends, strict=True)]


def spectral_root(covariance: str, inputs: int) -> tuple[float, float | None, float]:
    """Return what the root of a spectral density is made of, at unit sd.

    Returns
    -------
    constant, shift, exponent
        With `s` the sum of `(lengthscale omega)^2` over the inputs and `v` the product of the lengthscales, the root is
        `constant sqrt(v) exp(exponent s)` where `shift` is None, else `constant sqrt(v) (shift + s)^exponent`.
    """
    nu = MATERN.get(covariance)
    if nu is None:
        return (2.0 * np.pi) ** (inputs / 4), None, -0.25
    constant = math.sqrt(
        2**inputs * math.pi ** (inputs / 2) * math.gamma(nu + inputs / 2) * (2 * nu) ** nu / math.gamma(nu)
    )
    return constant, 2 * nu, -(nu + inputs / 2) / 2
