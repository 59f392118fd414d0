"""Series that a recurrence goes along in spite of missing values, which are then parameters of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem
from bayesrun.language.densities.named_densities import written_density
from bayesrun.language.distributions import family
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.prior_checks import split
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition

Array = NDArray[Any]

_SUPPORTS: Mapping[str, str] = MappingProxyType({"real": "Flat", "positive": "HalfFlat", "unit": "Uniform"})
"""The flat density over the range of a distribution."""


def filled_in(data: xr.Dataset | None, parts: Sequence[Definition]) -> dict[str, Definition]:
    """Return the likelihoods of the series with missing values that recurrences go along, by data variable.

    The missing values are sampled: what a recurrence computes depends on them, and their density is the likelihood's.
    """
    used = {name for part in parts if part.kind == "recurrence" for name in part.names}
    found = {}
    for part in parts:
        name = part.observed
        if part.kind != "likelihood" or data is None or name not in used or name not in data:
            continue
        if bool(data[name].isnull().any()) and filled_problem(part, data[name]) is None:
            found[str(name)] = part
    return found


def filled_problem(part: Definition, array: xr.DataArray) -> Problem | None:
    """Return why the missing values of a series can't be sampled; None if they can."""
    body, modifiers = split(part.body)
    known = family(str(body.get("dist")))
    count = int(array.isnull().sum())
    what = f"'{part.observed}' has {count} missing values, on which a recurrence depends"
    remedy = "fill them in, in the file or by data.derive"
    if body.get("dist") in (HIDDEN_MARKOV, LINEAR_GAUSSIAN):
        return Problem(part.key, f"{what}: those of a {body['dist']} can't be sampled", remedy)
    if known is None or bool(array.isnull().all()):
        return Problem(part.key, what, remedy)
    if modifiers or body.get("lower") is not None or body.get("upper") is not None:
        return Problem(part.key, f"{what}: they can't be sampled with {', '.join(modifiers) or 'limits'}", remedy)
    if known.discrete or known.support not in _SUPPORTS or known.event or written_density(known.name) is None:
        reason = "are whole numbers" if known.discrete else f"of a {known.name} have no density here"
        return Problem(part.key, f"{what}: those that {reason} can't be sampled", remedy)
    return None


def filled_support(part: Definition) -> str:
    """Return the name of the flat distribution over the range of a likelihood."""
    known = family(str(part.body["dist"]))
    assert known is not None
    return _SUPPORTS[known.support]


def between_neighbours(values: Array) -> Array:
    """Return values with those between the neighbours in the place of missing ones, along the last axis."""
    flat = values.reshape(-1, values.shape[-1]).copy()
    middle = float(np.nanmean(values))
    for row in flat:
        seen = np.flatnonzero(~np.isnan(row))
        row[:] = np.interp(np.arange(len(row)), seen, row[seen]) if seen.size else middle
    return flat.reshape(values.shape)


__all__ = ["between_neighbours", "filled_in", "filled_problem", "filled_support"]
