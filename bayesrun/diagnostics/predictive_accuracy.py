"""Predictive accuracy: leave-one-out cross-validation and WAIC from the pointwise log likelihood of observed points."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import (
    GOOD_K,
    Check,
    CheckResult,
    Finding,
    Grade,
    Judged,
    grade_above,
    graded,
    listed,
)
from bayesrun.diagnostics.numerics.psis import Loo, leave_one_out, log_mean_exp
from bayesrun.diagnostics.summary import SAMPLE, blocks, names_at, names_of
from bayesrun.invocation import command
from bayesrun.large_draws import flattened, is_stored, row_parts
from bayesrun.lazy import az

Floats = NDArray[np.float64]

_NAMED_AT_ONCE = 1_000


def observed_terms(idata: az.InferenceData | Mapping[str, xr.Dataset]) -> tuple[xr.DataArray, int] | None:
    """Stack the pointwise terms of all likelihoods along the dim `point`.

    Parameters
    ----------
    idata
        Must have the group `log_likelihood`, or groups by name; terms of imputed points are NaN.

    Returns
    -------
    terms : DataArray
        Over chain, draw, point; `point_names` names the points, `NAME[LABEL]`.
    left_out : int
        Number of imputed points, which are excluded. The result is None if there are no terms at all.
    """
    group = idata.get("log_likelihood")
    if group is None or not group.data_vars:
        return None
    arrays = {str(name): array.transpose(*SAMPLE, ...) for name, array in group.data_vars.items()}
    if any(map(is_stored, arrays.values())):
        terms = flattened(list(arrays.values())).assign_attrs(names=_Names(arrays))
    else:
        parts = [_stack(array, name) for name, array in arrays.items()]
        terms = parts[0] if len(parts) == 1 else xr.concat(parts, dim="point")
    imputed = np.concatenate([np.isnan(part).all(axis=(0, 1)) for part in row_parts(terms.transpose(*SAMPLE, "point"))])
    observed = terms.isel(point=~imputed) if imputed.any() else terms
    return observed.transpose(*SAMPLE, "point"), int(imputed.sum())


class _Names:
    """Names of the points of several arrays, made when they are asked for: those of 50,000 rows take 10 MB."""

    def __init__(self, arrays: Mapping[str, xr.DataArray]) -> None:
        self._labels = {name: array.isel({dim: 0 for dim in SAMPLE}, drop=True) for name, array in arrays.items()}
        self._ends = np.cumsum([array.size for array in self._labels.values()])

    def at(self, places: NDArray[np.int64]) -> list[str]:
        """Return the names of the points with these numbers, which are in order."""
        found, begin = list[str](), 0
        for (name, array), end in zip(self._labels.items(), self._ends, strict=True):
            own = places[(places >= begin) & (places < end)]
            found += names_at(array, name, own - begin) if own.size else []
            begin = end
        return found


def point_names(terms: xr.DataArray, which: NDArray[Any] | slice = slice(None)) -> list[str]:
    """Return the names of observed points: of all, or of those in order that an index or a mask chooses."""
    chosen, names = terms["point"].values[which], terms.attrs.get("names")
    return [str(point) for point in chosen] if names is None else names.at(chosen)


def _places(terms: xr.DataArray, wanted: Sequence[str]) -> list[int]:
    """Return the place of each named point, without keeping the names of all."""
    found, number = dict.fromkeys(wanted, -1), terms.sizes["point"]
    for begin in range(0, number, _NAMED_AT_ONCE):
        names = point_names(terms, slice(begin, begin + _NAMED_AT_ONCE))
        found |= {name: begin + place for place, name in enumerate(names) if name in found}
    return list(found.values())


def by_point(terms: xr.DataArray) -> Iterator[Floats]:
    """Yield blocks of terms over point, draw (all chains combined)."""
    for block in blocks(terms):
        yield block.reshape(len(block), -1)


def relative_efficiency(terms: xr.DataArray, summary: pd.DataFrame) -> float:
    """Return the mean bulk ESS of the posterior's scalars (`summary.csv`) divided by the number of draws, at most 1."""
    draws = terms.sizes["chain"] * terms.sizes["draw"]
    ess = float(summary.loc[summary["sd"] > 0, "ess_bulk"].mean())
    return min(1.0, ess / draws) if ess == ess else 1.0


def loo_of(terms: xr.DataArray, summary: pd.DataFrame, repaired: xr.Dataset | None = None) -> Loo:
    """Leave out each observed point in turn.

    Parameters
    ----------
    terms
        Pointwise log likelihood over chain, draw, point.
    summary
        The table of `summary.csv`, whose ESS gives the relative efficiency of the draws.
    repaired
        `elpd` and `pareto_k` over `point` of points for which the model itself was used (group `loo`).
    """
    loo = _once(terms, relative_efficiency(terms, summary))
    if repaired is None:
        return loo
    at = _places(terms, [str(point) for point in repaired["point"].values])
    loo.elpd_i[at], loo.pareto_k[at] = repaired["elpd"].values, repaired["pareto_k"].values
    return loo


def _once(terms: xr.DataArray, efficiency: float) -> Loo:
    """Leave out each point, unless that was done last: a run's repair, check and figures all need the same."""
    state = hashlib.blake2b(key=repr((terms.shape, efficiency)).encode()[:64])
    for part in row_parts(terms.transpose(*SAMPLE, "point")):
        state.update(np.ascontiguousarray(part).data)
    key = state.digest()
    if key not in _last:
        _last.clear()
        _last[key] = leave_one_out(by_point(terms), efficiency)
    loo = _last[key]
    return replace(loo, elpd_i=loo.elpd_i.copy(), pareto_k=loo.pareto_k.copy())


_last: dict[bytes, Loo] = {}


def _stack(array: xr.DataArray, name: str) -> xr.DataArray:
    dims = [str(d) for d in array.dims if d not in SAMPLE]
    if not dims:
        return array.expand_dims(point=[name])
    flat = array.transpose(*SAMPLE, *dims).values.reshape(array.sizes["chain"], array.sizes["draw"], -1)
    coords = {"chain": array["chain"].values, "draw": array["draw"].values, "point": names_of(array, name)}
    return xr.DataArray(flat, dims=(*SAMPLE, "point"), coords=coords)


def check_loo(judged: Judged) -> CheckResult:
    """Compute elpd_loo of observed points; warn if too many points have a Pareto k above 0.7."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    terms, left_out = found
    repaired = judged.idata.get("loo")
    loo = loo_of(terms, judged.summary, repaired)
    k = loo.judged_k
    bad = point_names(terms, k > GOOD_K)
    share = grade_above(len(bad) / len(k), judged.settings.thresholds.pareto_k)
    grade = Grade("ok" if share.severity == "ok" else "warn", GOOD_K)
    where = f" ({left_out} missing points are left out)" if left_out else ""
    message = f"elpd_loo {loo.elpd:.1f} (se {loo.se:.1f}) from {len(k)} observed points{where}; "
    message += (
        f"Pareto k is above {GOOD_K} for {len(bad)}: {listed(bad)}." if bad else f"largest Pareto k {k.max():.2f}."
    )
    if repaired is not None:
        names = [str(point) for point in repaired["point"].values]
        message = f"{message[:-1]}, after moment matching of {len(names)}: {listed(names)}."
    remedy = ["elpd_loo is unreliable because of these points: check them.", *advice.heavier_tails(judged)]
    remedy += [_exact(judged, len(bad))] if judged.method == "nuts" else []
    finding = graded("loo", grade, float(k.max()), message, remedy, bad[0] if bad else None)
    metrics = {"elpd_loo": loo.elpd, "elpd_loo_se": loo.se, "p_loo": loo.p_loo, "pareto_k_max": k.max()}
    return CheckResult((finding,), {name: float(value) for name, value in metrics.items()})


_MANY_REFITS = 50


def _exact(judged: Judged, points: int) -> str:
    """Name the command that computes what importance sampling can't."""
    task = "loo" if points <= _MANY_REFITS else "kfold"
    how = "Fits without each of them are exact" if task == "loo" else "K-fold cross-validation needs no such weights"
    return f"{how}: {command(f'task={task}', f'run={judged.folder}' if judged.folder else 'run=FOLDER')}"


def check_waic(judged: Judged) -> CheckResult:
    """Compute elpd_waic for comparison with other tools; only the check `loo` has limits, WAIC has none."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    elpd = sum(float((log_mean_exp(terms) - terms.var(axis=1)).sum()) for terms in by_point(found[0]))
    return CheckResult(metrics={"elpd_waic": elpd})


_WITHOUT_LIKELIHOOD = (
    "Write the terms as distributions in model.likelihood where there is one; otherwise compare this model by "
    "other means than LOO, and check its fit from the posterior."
)


def check_potentials(judged: Judged) -> CheckResult:
    """Report potentials, which LOO, WAIC and the posterior predictive omit: they have no pointwise terms."""
    names = list(judged.model.get("potentials") or {})
    if not names or "constant_data" not in judged.idata.groups():  # without data, they are constraints on the prior
        return CheckResult()
    if "observed_data" in judged.idata.groups() and judged.idata.observed_data.data_vars:
        message = f"LOO, WAIC and the posterior predictive do not include potentials: {listed(names)}."
        return CheckResult((Finding("potentials", "ok", message),))
    message = f"The model explains its data by potentials alone ({listed(names)})."
    message += " So there is no LOO, no WAIC and no posterior predictive, and nothing here checks how well it fits."
    return CheckResult((Finding("potentials", "warn", message, names[0], remedy=_WITHOUT_LIKELIHOOD),))


CHECKS = {
    "loo": Check(check_loo),
    "waic": Check(check_waic),
    "potentials": Check(check_potentials, ("nuts", "smc", "advi")),
}
