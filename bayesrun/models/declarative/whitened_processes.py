"""Latent Gaussian processes in coordinates in which their posterior is nearly spherical at all hyperparameters.

A non-centred process `f = mu + L v`, with `L` the Cholesky factor of its covariance matrix and `v ~ Normal(0, 1)`,
suits data that say little: where they say much, `v` must follow each change of a lengthscale or sd, and NUTS hardly
moves.

Let the likelihood of row i be near `Normal(t_i; f_i, 1 / w_i)`, as Laplace's approximation has it. Given the
hyperparameters, `v` then has the posterior `Normal(B^-1 L'W(t - mu), B^-1)` with `B = I + L'WL`, whose eigenvalues are
at least 1 (Rasmussen and Williams 2006, section 3.4.3). So put, with `R` the Cholesky factor of `B`,

    v = R^-T (R^-1 L'W(t - mu) + z),

in which `z` is nearly standard normal and independent of the hyperparameters. The prior of `v` is exact: the log
density has `-v'v / 2` and the logarithm of the Jacobian, `-log |R|`. Poor `t` and `w` cost speed, never correctness.

They are for latent processes that the data determine well, and need a likelihood that depends on the process alone,
point by point: `{dist: Poisson, mu: exp(f), observed: counts}`. A constant belongs to the process then, as its `mu`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import UserError
from bayesrun.language.declaration import Draft
from bayesrun.language.densities.named_densities import written_density
from bayesrun.language.distributions import family
from bayesrun.language.expressions import read
from bayesrun.language.functions import index, log, reduce_axis, square
from bayesrun.language.gaussian_processes import as_vectors, remember
from bayesrun.language.operations import evaluate
from bayesrun.language.plan import Plan, of_values, plan, variables_of
from bayesrun.language.prior_checks import split
from bayesrun.language.values import Fault, Value, compute, constant, fixed, node_of, variable
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition
from bayesrun.models.declarative.marginal_variables import dependents

Array = NDArray[np.float64]
Terms = Callable[[Array], Array]

_GRID = np.linspace(-20.0, 20.0, 401)
_STEP = 1e-3
_NEWTON_STEPS = 20
_LEAST = 1e-6
"""Information of a row below which it counts as none."""


@dataclass(frozen=True)
class Sight:
    """What the likelihood says of a process: to first order, `target ~ Normal(f, precision=information)`.

    Parameters
    ----------
    target, information
        Over the points of the process; the information of a point without observations is 0.
    """

    target: Array
    information: Array


def sight_of(terms: Terms, size: int) -> Sight | None:
    """Find the likelihood's normal approximation, row by row.

    Parameters
    ----------
    terms
        `(f) -> log likelihood`, both over the points of the process (point); NaN where nothing is observed.
    size
        Number of points.

    Returns
    -------
    Sight or None
        None where a row depends on other points than its own, or no row says anything.
    """
    if not _row_by_row(terms, size):
        return None
    grid = np.stack([terms(np.full(size, at)) for at in _GRID])
    seen = np.isfinite(grid).any(axis=0)
    if not seen.any():
        return None
    grid = np.where(np.isfinite(grid), grid, -np.inf)
    best = _GRID[np.argmax(np.where(seen, grid, 0.0), axis=0)]
    # rows that only say "low" or "high", such as a count of 0, are held near the others
    middle = float(np.median(best[seen]))
    spread = 1.0 + 1.5 * float(np.median(np.abs(best[seen] - middle)))
    held = np.where(seen, grid, 0.0) - 0.5 * ((_GRID[:, None] - middle) / spread) ** 2
    point = _GRID[np.argmax(held, axis=0)]
    inner = (np.abs(best) < 20.0) & seen
    for _ in range(_NEWTON_STEPS):
        slope, bend = _derivatives(terms, point)
        pull = np.where(inner, 0.0, 1.0 / spread**2)
        step = (slope - pull * (point - middle)) / np.maximum(bend + pull, _LEAST)
        point = point + np.where(np.isfinite(step), np.clip(step, -1.0, 1.0), 0.0)
    slope, bend = _derivatives(terms, point)
    used = seen & np.isfinite(slope) & np.isfinite(bend) & (bend > _LEAST)
    if not used.any():
        return None
    information = np.where(used, bend, 0.0)
    target = np.where(used, point + np.where(used, slope, 0.0) / np.where(used, bend, 1.0), 0.0)
    return Sight(target, information)


def _derivatives(terms: Terms, point: Array) -> tuple[Array, Array]:
    """Return the slope of each row's log likelihood and its negative curvature."""
    here, above, below = terms(point), terms(point + _STEP), terms(point - _STEP)
    with np.errstate(invalid="ignore"):
        return (above - below) / (2 * _STEP), (2 * here - above - below) / _STEP**2


def _row_by_row(terms: Terms, size: int) -> bool:
    """Return whether a row's term depends on the process at its own point alone, as far as a few changes show."""
    here = terms(np.zeros(size))
    if here.shape != (size,):
        return False
    for moved in (np.arange(size) % 2 == 0, np.arange(size) % 2 == 1, np.arange(size) < size / 2):
        there = terms(np.where(moved, 0.1, 0.0))
        if not np.array_equal(here[~moved], there[~moved], equal_nan=True):
            return False
    return True


def whitened_process(draft: Draft, this: Plan, dims: tuple[str, ...], sight: Sight) -> None:
    """Add a latent process over one dim, in whitened form.

    Parameters
    ----------
    draft
        The model. The helpers `NAME_waves`, which are sampled, and the potential `NAME_jacobian` are added.
    this
        The plan of the process as multivariate normal: `mu`, `chol`.
    dims
        Name of its axis.
    sight
        What the likelihood says of it.
    """
    (size,), factor = this.shape, this.values["chol"].named((None, None))
    mean = this.values["mu"].named((None,) * this.values["mu"].ndim)
    waves = f"{this.name}_waves"
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    standard = of_values(waves, "Normal", unit, (None,), (size,), this.key)
    z = draft.random(standard, (), helper=True)[waves].named((None,))
    rooted = constant(np.sqrt(sight.information)[:, None]) * factor
    root = compute("cholesky", [_product(rooted, rooted, 0) + np.eye(size)], (None, None))
    pull = _product(factor, constant(sight.information) * (constant(sight.target) - mean), 0)
    v = _solved(root, _solved(root, pull, False) + z, True)
    places = constant(np.arange(size))
    volume = reduce_axis("sum", log(index(root, [places, places])))
    change = 0.5 * (reduce_axis("sum", square(z)) - reduce_axis("sum", square(v)))
    draft.potential(f"{this.name}_jacobian", change - volume)
    draft.deterministic(this.name, (_product(factor, v, 1) + mean).named(this.dims), dims)


def _product(a: Value, b: Value, axis: int) -> Value:
    """Sum over an axis of the first matrix and the first axis of the second array."""
    return compute("contract", [a, b], (None,) * b.ndim, axis, 0)


def _solved(factor: Value, right: Value, transposed: bool) -> Value:
    return compute("solve_lower", [factor, right], (None,), transposed)


def is_process(part: Definition) -> bool:
    """Return whether a definition is a latent process that is computed exactly."""
    return part.kind == "prior" and part.body.get("dist") == "GaussianProcess" and part.body.get("hsgp") is None


def seen_processes(data: xr.Dataset | None, parts: Sequence[Definition]) -> dict[str, Sight]:
    """Return what the likelihood says of each process that is sampled in coordinates of its own, by name."""
    if data is None:
        return {}
    found = {}
    for part in filter(is_process, parts):
        if part.body.get("parameterization") is None:
            sight = _sight(data, parts, part)
            if sight is not None:
                found[part.name] = sight
    return found


def _sight(data: xr.Dataset, parts: Sequence[Definition], process: Definition) -> Sight | None:
    chosen = [part for part in parts if part.name in dependents(parts, process.name)]
    likelihoods = [part for part in chosen if part.kind == "likelihood"]
    steps = [part for part in chosen if part.kind == "deterministic"]
    if len(likelihoods) != 1 or any(part.kind in ("prior", "potential", "recurrence") for part in chosen):
        return None
    (likelihood,) = likelihoods
    if likelihood.observed not in data or split(likelihood.body)[1]:
        return None
    known = family(str(likelihood.body.get("dist")))
    if known is None or known.event or written_density(known.name) is None:
        return None
    array = data[likelihood.observed]
    wanted = {n for part in steps for n in part.names if any(n in p.names for p in chosen)} | likelihood.names
    others = {part.name for part in parts if part.kind in ("prior", "deterministic", "recurrence")}
    steps = [part for part in steps if part.name in likelihood.names]
    allowed = {process.name, *(part.name for part in steps)}
    if (wanted & others) - allowed or any((part.names & others) - {process.name} for part in steps):
        return None
    if any(part.body.get("expr") is None for part in steps) or array.ndim != 1:
        return None
    try:
        return _found(data, process, steps, likelihood, array)
    except (UserError, Fault):  # the model itself tells what is wrong with it
        return None


def _found(
    data: xr.Dataset,
    process: Definition,
    steps: Sequence[Definition],
    likelihood: Definition,
    array: xr.DataArray,
) -> Sight | None:
    dims, size, draft = tuple(map(str, array.dims)), array.sizes[array.dims[0]], Draft(data)
    own = process.body.get("dims")
    if own is not None and (own if isinstance(own, str) else tuple(own)) not in (dims[0], dims):
        return None
    draft.scope.add(process.name, variable(process.name, dims, (size,)))
    for step in steps:
        draft.scope.add(step.name, read(step.body["expr"], draft.scope, step.key))
    this = plan(likelihood.name, split(likelihood.body)[0], draft.scope, likelihood.key, dims, (size,))
    density = None if this.inner or this.truncated else written_density(this.family.name)
    if density is None:
        return None
    seen = ~array.isnull().values
    filled = np.where(seen, array.values, array.values[seen][0] if seen.any() else 0)
    parameters = {name: value.named((None,) * value.ndim) for name, value in this.values.items()}
    node = node_of(density(constant(filled), parameters))
    held = {str(name): data[name].values for name in data.data_vars}

    def terms(f: Array) -> Array:
        values = evaluate(node, lambda name: f if name == process.name else held[name])
        return np.where(seen, np.broadcast_to(values, (size,)), np.nan)

    return sight_of(terms, size)


def add_seen_process(draft: Draft, part: Definition, sight: Sight) -> None:
    """Add a latent process in coordinates of its own."""
    scope = draft.scope
    this = plan(part.name, {**part.body, "parameterization": None}, scope, part.key)
    dims = draft.name_axes(part.name, this.dims, this.shape, scope)
    remember(scope, this, this.option("mu"))
    whitened_process(draft, as_vectors(this), dims, sight)
    for name, value in variables_of(this).items():
        scope.add(name, value)


def centred(part: Definition) -> Definition:
    """Return a process as its values themselves, in which form it is reported."""
    return replace(part, body={**part.body, "parameterization": "centered"})
