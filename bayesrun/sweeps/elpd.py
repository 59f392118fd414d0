"""Which setting predicts best, by PSIS-LOO on observed points, or why settings can't be compared (`elpd.csv`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesrun.diagnostics.base import GOOD_K, INTERVAL, interval_columns, interval_probability
from bayesrun.diagnostics.predictive_accuracy import loo_of, observed_terms
from bayesrun.open_run import read_config
from bayesrun.sweeps.base import Record
from bayesrun.sweeps.sweep_folder import read_json

Floats = NDArray[np.float64]

_ITERATIONS = 200
_TOLERANCE = 1e-10
_MIN_WEIGHT = 1e-9
_REPLICATES = (20, 200)
_MAX_TERMS = 2_000_000


def compare(records: Sequence[Record]) -> tuple[pd.DataFrame | None, str]:
    """Compare settings by expected log predictive density (PSIS-LOO, doi:10.1007/s11222-016-9696-4).

    Parameters
    ----------
    records
        The sweep's jobs; of repeats of a setting with other seeds the first is taken.

    Returns
    -------
    table : DataFrame or None
        Columns as `az.compare` has them, index `setting`, the best first; and the ends of the interval of each
        stacking weight, `weight_3%` and `weight_97%` with `intervals: 0.94` (of the first setting).
    reason : str
        Why there is none; empty when there is.
    """
    firsts: dict[str, Path] = {}
    for record in records:
        if record.path:
            firsts.setdefault(record.setting, record.path)
    return compare_folders(firsts, "setting")


def compare_folders(folders: Mapping[str, Path], of: str) -> tuple[pd.DataFrame | None, str]:
    """Compare finished runs as `compare` does.

    Parameters
    ----------
    folders
        Names, and the run folders.
    of
        What a name is of: `setting`, `run`; the name of the table's index.
    """
    if len(folders) < 2:
        return None, f"fewer than two {of}s have a posterior"
    reason = _prior_draws(folders) or _other_data(folders)
    if reason:
        return None, reason
    terms = {name: _terms(folder) for name, folder in folders.items()}
    without = [name for name, found in terms.items() if found is None]
    if without:
        return None, f"{without[0]}: its posterior holds no pointwise log likelihood of observed points"
    reason = _other_points(terms)
    return (None, reason) if reason else (_table(terms, of), "")


def _prior_draws(folders: Mapping[str, Path]) -> str:
    drawn = next((name for name, folder in folders.items() if _method(folder) == "prior"), None)
    return "" if drawn is None else f"'{drawn}' has draws from the prior, which no observation has changed"


def _method(folder: Path) -> str | None:
    """Return the sampler's method, as the run's config has it."""
    try:
        return (read_config(folder).get("sampler") or {}).get("method")
    except FileNotFoundError:
        return None


def _other_data(folders: Mapping[str, Path]) -> str:
    """Return why densities can't be compared; predictors may differ, what is explained may not."""
    digests = {name: read_json(folder / "provenance.json").get("data_digest") for name, folder in folders.items()}
    first, *others = digests
    for other in others:
        if digests[other] != digests[first] and not _same_observed(folders[first], folders[other]):
            return f"'{other}' and '{first}' have different data: their densities can't be compared"
    return ""


def _same_observed(one: Path, other: Path) -> bool:
    try:
        groups = [xr.open_dataset(folder / "posterior.nc", group="observed_data") for folder in (one, other)]
    except OSError:
        return False
    values = [{str(name): array.values for name, array in group.data_vars.items()} for group in groups]
    return values[0].keys() == values[1].keys() and all(
        np.array_equal(values[0][name], values[1][name], equal_nan=values[0][name].dtype.kind == "f")
        for name in values[0]
    )


def _terms(folder: Path) -> Any:
    try:  # only this one of the file's many groups
        group = xr.open_dataset(folder / "posterior.nc", group="log_likelihood")
    except OSError:
        return None
    found = observed_terms(az.InferenceData(log_likelihood=group))
    if found is None or not found[0].sizes["point"]:
        return None
    try:
        repaired = xr.load_dataset(folder / "posterior.nc", group="loo")
    except OSError:
        repaired = None
    return found[0], pd.read_csv(folder / "summary.csv", index_col="name"), repaired


def _other_points(terms: dict[str, Any]) -> str:
    points = {name: [str(p) for p in array["point"].values] for name, (array, *_) in terms.items()}
    first = next(iter(points))
    other = next((name for name in points if points[name] != points[first]), None)
    return f"'{other}' observes other points than '{first}'" if other else ""


def _table(terms: dict[str, Any], of: str) -> pd.DataFrame:
    """What `az.compare` returns (ArviZ 0.12's own does not work with pandas 2): rank, differences, stacking weights."""
    loos = {name: loo_of(*found) for name, found in terms.items()}
    names = sorted(loos, key=lambda name: -loos[name].elpd)
    points = np.stack([loos[name].elpd_i for name in names])
    behind = points[0] - points
    prob = interval_probability(next(iter(terms.values()))[1].columns) or INTERVAL
    ends = interval_columns(prob, "weight")
    low, high = weight_intervals(points, prob)
    table = pd.DataFrame(
        {
            "rank": range(len(names)),
            "elpd_loo": points.sum(axis=1),
            "p_loo": [loos[name].p_loo for name in names],
            "elpd_diff": behind.sum(axis=1),
            "weight": stacking_weights(points),
            ends[0]: low,
            ends[1]: high,
            "se": [loos[name].se for name in names],
            "dse": np.sqrt(points.shape[1] * behind.var(axis=1)),
            "warning": [bool((loos[name].judged_k > GOOD_K).any()) for name in names],
        },
        index=pd.Index(names, name=of),
    )
    return table


def stacking_weights(points: Floats) -> Floats:
    """Return the weights whose mixture of predictive densities scores best (doi:10.1214/17-BA1091).

    Parameters
    ----------
    points
        Pointwise expected log densities (setting, point).

    Returns
    -------
    ndarray
        One weight per setting, sum 1.
    """
    return _best_mixture(np.exp(points - points.max(axis=0)), np.ones(points.shape[1]))


def weight_intervals(points: Floats, prob: float) -> tuple[Floats, Floats]:
    """Return central intervals of the stacking weights, from a Bayesian bootstrap over the points.

    Each replicate weighs the points by a flat Dirichlet draw (Rubin 1981, doi:10.1214/aos/1176345338), as pseudo-BMA+
    does in doi:10.1214/17-BA1091.

    Parameters
    ----------
    points
        Pointwise expected log densities (setting, point).
    prob
        Probability of the intervals.

    Returns
    -------
    low, high : ndarray
        One value per setting.
    """
    replicates = int(np.clip(_MAX_TERMS // points.size, *_REPLICATES))
    densities = np.exp(points - points.max(axis=0))
    shares = np.random.default_rng(0).dirichlet(np.ones(points.shape[1]), replicates) * points.shape[1]
    weights = [_best_mixture(densities, own) for own in shares]
    low, high = np.quantile(weights, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    return low, high


def _best_mixture(densities: Floats, shares: Floats) -> Floats:
    """Maximise `sum(shares * log(weights @ densities))` over the simplex; the score is concave."""
    count = len(densities)

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixture = weights @ densities
        return -float(shares @ np.log(mixture)), -(densities @ (shares / mixture))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy steps out of the bounds, and back
        found = minimize(
            loss,
            np.full(count, 1.0 / count),
            jac=True,
            method="SLSQP",
            bounds=[(_MIN_WEIGHT, 1.0)] * count,  # at 0, a point that one setting alone explains has no density
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
            options={"ftol": _TOLERANCE, "maxiter": _ITERATIONS},
        )
    weights = np.where(found.x <= 2 * _MIN_WEIGHT, 0.0, np.clip(found.x, 0.0, 1.0))
    return np.asarray(weights / weights.sum())
