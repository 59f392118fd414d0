"""Leave-one-out densities of points with a large Pareto k, by moment matching with the compiled model (group `loo`).

Only small models are repaired by themselves: the work, a number of evaluations of the model's density, is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.diagnostics.numerics.moment_matching import match_moments
from bayesrun.diagnostics.predictive_accuracy import loo_of, observed_terms, point_names, relative_efficiency
from bayesrun.diagnostics.summary import names_of
from bayesrun.engines.base import CompiledModel
from bayesrun.lazy import az, pd, xr
from bayesrun.samplers.base import Sampled

Floats = NDArray[np.float64]

log = logging.getLogger("bayesrun.predictive")

_MAX_POINTS = 10
_MAX_PARAMETERS = 100
_MAX_TERMS = 5_000_000
"""Maximum number of pointwise terms, observations times draws times points, that one round may evaluate."""
_DRAWS = (1_000, 2_000)
"""Fewest and most draws that are moved."""
_TARGET_K = 0.5
"""The search for a map goes on below what is reliable: the estimate gets better still, and a round costs little."""


def repair_loo(model: CompiledModel, sampled: Sampled, idata: az.InferenceData, summary: pd.DataFrame) -> None:
    """Add the group `loo` with `repaired_points`; should that fail, the check warns of the points, as without it."""
    try:
        repaired = repaired_points(model, sampled, idata, summary)
    except Exception:  # it must not cost a posterior
        log.debug("no moment matching", exc_info=True)
        return
    if repaired is not None:
        idata.add_groups({"loo": repaired})


def repaired_points(
    model: CompiledModel, sampled: Sampled, idata: az.InferenceData, summary: pd.DataFrame
) -> xr.Dataset | None:
    """Compute again what leaving out single points gets wrong.

    Parameters
    ----------
    model
        The model that was sampled, all of whose free variables are continuous.
    sampled
        Its draws.
    idata
        The posterior with its pointwise log likelihood.
    summary
        The table of `summary.csv`.

    Returns
    -------
    Dataset or None
        `elpd` and `pareto_k` over `point`, of the points whose Pareto k was above 0.7; None where there are none,
        or where that would be too much work: more than 10 points, 100 parameters, or 5,000 observations times points.
    """
    found = observed_terms(idata)
    if found is None or not found[0].sizes["point"] or not _can_move(model):
        return None
    terms = found[0]
    draws = terms.sizes["chain"] * terms.sizes["draw"]
    if model.blocks[-1].end > _MAX_PARAMETERS:
        return None
    k = loo_of(terms, summary).judged_k
    bad = point_names(terms, k > GOOD_K)
    step = max(-(-draws * terms.sizes["point"] * len(bad) // _MAX_TERMS), draws // _DRAWS[1], 1)
    if not 0 < len(bad) <= _MAX_POINTS or draws // step < _DRAWS[0]:
        return None
    density = _density(model)
    likelihood = _likelihoods(model)
    points = _points_of(model, sampled)[::step]
    posterior = density(points)
    efficiency = relative_efficiency(terms, summary)
    matched = [
        match_moments(points, posterior, density, partial(likelihood, point), efficiency, _TARGET_K) for point in bad
    ]
    log.debug("moment matching of %s: %s", ", ".join(bad), matched)
    values = {"elpd": ("point", [m.elpd for m in matched]), "pareto_k": ("point", [m.pareto_k for m in matched])}
    return xr.Dataset(values, coords={"point": bad})


def _can_move(model: CompiledModel) -> bool:
    """Return whether draws can be moved: no discrete variable, and none that was summed out."""
    shown = model.reported
    summed_out = set(shown.variables) - set(model.variables)
    return not summed_out and not any(b.discrete for b in model.blocks) and model.missing_gradient() is None


def _points_of(model: CompiledModel, sampled: Sampled) -> Floats:
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in sampled.draws.items()}
    return model.unconstrain(flat)


def _density(model: CompiledModel) -> Callable[[Floats], Floats]:
    evaluate = model.log_density().evaluate
    return lambda points: np.array([evaluate(point)[0] for point in np.ascontiguousarray(points)])


def _likelihoods(model: CompiledModel) -> Callable[[str, Floats], Floats]:
    """Return the log likelihood of one observation, by its name, at points (draw, parameter)."""
    shown, constrain = model.reported, model.constrain()
    names = [name for name in shown.likelihoods if shown.without_pointwise_terms(name) is None]
    coords, dims = shown.labels()

    def evaluate(point: str, points: Floats) -> Floats:
        terms = shown.log_likelihood(names, constrain(points[None]))
        for name, values in terms.items():
            labels = _labels(values, dims.get(name, []), coords, name)
            if point in labels:
                return np.asarray(values.reshape(len(points), -1)[:, labels.index(point)], dtype=float)
        raise KeyError(point)

    return evaluate


def _labels(values: NDArray[Any], dims: list[str], coords: dict[str, Any], name: str) -> list[str]:
    own = {dim: coords[dim] for dim in dims if dim in coords}
    return names_of(xr.DataArray(values, dims=("chain", "draw", *dims), coords=own), name)
