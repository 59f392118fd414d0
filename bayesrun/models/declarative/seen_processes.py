"""Latent Gaussian processes that the data determine well, and what the likelihood says of each of their points.

Such a process is sampled in coordinates of its own (`bayesrun.language.whitened_processes`). They need a likelihood
that depends on the process alone, point by point: `{dist: Poisson, mu: exp(f), observed: counts}`. A constant belongs
to the process then, as its `mu`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import UserError
from bayesrun.language.declaration import Draft
from bayesrun.language.densities.elementwise import written_density
from bayesrun.language.distributions import family
from bayesrun.language.expressions import read
from bayesrun.language.gaussian_processes import as_vectors, remember
from bayesrun.language.operations import evaluate
from bayesrun.language.plan import plan, variables_of
from bayesrun.language.prior_checks import split
from bayesrun.language.values import Fault, constant, node_of, variable
from bayesrun.language.whitened_processes import Sight, sight_of, whitened_process
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition
from bayesrun.models.declarative.marginal_variables import dependents

Array = NDArray[Any]


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


__all__ = ["add_seen_process", "centred", "is_process", "seen_processes"]
