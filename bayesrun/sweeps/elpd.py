"""Which setting predicts best, by PSIS-LOO on observed points, or why settings can't be compared (`elpd.csv`).

Finished runs may also be compared by the densities that `task=loo` and `task=kfold` have computed by further fits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesrun.diagnostics.base import GOOD_K, INTERVAL, interval_columns, interval_probability
from bayesrun.diagnostics.numerics.psis import Loo
from bayesrun.diagnostics.predictive_accuracy import loo_of, observed_terms
from bayesrun.open_run import read_config
from bayesrun.sweeps.base import Record
from bayesrun.sweeps.sweep_folder import read_json

Floats = NDArray[np.float64]

_POINTWISE = "pointwise.csv"
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
    found = {name: read_pointwise(folder) for name, folder in folders.items()}
    without = [name for name, one in found.items() if one is None]
    if without:
        return None, f"{without[0]}: its posterior holds no pointwise log likelihood of observed points"
    every = {name: one for name, one in found.items() if one is not None}
    reason = _other_points(every)
    return (None, reason) if reason else (_table(every, of, _interval(next(iter(folders.values())))), "")


@dataclass(frozen=True)
class Pointwise:
    """Expected log predictive densities of the observed points of a run.

    Parameters
    ----------
    points
        Names.
    elpd, lppd
        Log predictive density of each point without and with it (point); `lppd` is NaN where it is not known.
    doubtful
        Whether some of them are unreliable.
    folds
        The fold of each point (point); None for leave-one-out.
    """

    points: tuple[str, ...]
    elpd: Floats
    lppd: Floats
    doubtful: bool
    folds: tuple[int, ...] | None = None

    @property
    def measure(self) -> str:
        """How the densities were computed: `loo` or `kfold`."""
        return "loo" if self.folds is None else "kfold"


def read_pointwise(folder: Path) -> Pointwise | None:
    """Read the densities of a run, or of a folder that `task=loo` or `task=kfold` has written; None without any."""
    if (folder / _POINTWISE).is_file():
        table = pd.read_csv(folder / _POINTWISE)
        names, elpd = tuple(map(str, table["point"])), table["elpd"].to_numpy()
        if "fold" in table:
            return Pointwise(names, elpd, np.full(len(elpd), np.nan), False, tuple(map(int, table["fold"])))
        doubtful = (table["pareto_k"] > GOOD_K) & (table["method"] != "refit")
        return Pointwise(names, elpd, table["lppd"].to_numpy(), bool(doubtful.any()))
    found = read_loo(folder)
    if found is None:
        return None
    names_of_points, loo, *_ = found
    return Pointwise(tuple(names_of_points), loo.elpd_i, loo.lppd_i, bool((loo.judged_k > GOOD_K).any()))


def _interval(folder: Path) -> float:
    """Return the probability of a run's intervals."""
    try:
        columns = pd.read_csv(_origin(folder) / "summary.csv", nrows=0).columns
    except FileNotFoundError:
        return INTERVAL
    return interval_probability(map(str, columns)) or INTERVAL


def _origin(folder: Path) -> Path:
    """Return the run that a folder of `task=loo` or `task=kfold` is of; other folders are runs themselves."""
    if not (folder / _POINTWISE).is_file():
        return folder
    parent = read_json(folder / "status.json").get("parent")
    return Path(parent) if parent and Path(parent).is_dir() else folder


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
        if digests[other] != digests[first] and not _same_observed(_origin(folders[first]), _origin(folders[other])):
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


def read_loo(folder: Path) -> tuple[list[str], Loo, list[str], xr.DataArray] | None:
    """Leave out each observed point of a run in turn.

    Returns
    -------
    points : list of str
        Their names.
    loo : Loo
        Their densities.
    matched : list of str
        Those for which moments were matched.
    terms : DataArray
        Their log likelihood over chain, draw, point. The result is None without.
    """
    try:  # only this one of the file's many groups
        group = xr.open_dataset(folder / "posterior.nc", group="log_likelihood")
    except OSError:
        return None
    found = observed_terms({"log_likelihood": group})
    if found is None or not found[0].sizes["point"]:
        return None
    try:
        repaired = xr.load_dataset(folder / "posterior.nc", group="loo")
    except OSError:
        repaired = None
    loo = loo_of(found[0], pd.read_csv(folder / "summary.csv", index_col="name"), repaired)
    matched = [] if repaired is None else [str(point) for point in repaired["point"].values]
    return [str(point) for point in found[0]["point"].values], loo, matched, found[0]


def _other_points(found: Mapping[str, Pointwise]) -> str:
    """Return why densities can't be compared point by point."""
    first = next(iter(found))
    for name, one in found.items():
        if one.measure != found[first].measure:
            words = {"loo": "leave-one-out", "kfold": "K-fold"}
            mine, other = words[one.measure], words[found[first].measure]
            return f"'{name}' has {mine} densities and '{first}' {other} ones"
        if one.points != found[first].points:
            return f"'{name}' observes other points than '{first}'"
        if one.folds != found[first].folds:
            return f"'{name}' has other folds than '{first}': cross-validate both with the same kfold.* and seed"
    return ""


def _table(found: Mapping[str, Pointwise], of: str, prob: float) -> pd.DataFrame:
    """What `az.compare` returns (ArviZ 0.12's own does not work with pandas 2): rank, differences, stacking weights."""
    names = sorted(found, key=lambda name: -found[name].elpd.sum())
    points = np.stack([found[name].elpd for name in names])
    behind = points[0] - points
    measure = found[names[0]].measure
    ends = interval_columns(prob, "weight")
    low, high = weight_intervals(points, prob)
    table = pd.DataFrame(
        {
            "rank": range(len(names)),
            f"elpd_{measure}": points.sum(axis=1),
            f"p_{measure}": [float(found[name].lppd.sum() - found[name].elpd.sum()) for name in names],
            "elpd_diff": behind.sum(axis=1),
            "weight": stacking_weights(points),
            ends[0]: low,
            ends[1]: high,
            "se": np.sqrt(points.shape[1] * points.var(axis=1)),
            "dse": np.sqrt(points.shape[1] * behind.var(axis=1)),
            "warning": [found[name].doubtful for name in names],
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
