"""The sweep's table, parameter by setting (`sweep.csv`): how far each setting moves each posterior.

Jobs that repeat a setting with other seeds are gathered into one setting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics.base import find_interval_columns
from bayesrun.diagnostics.numerics.densities import density, is_discrete
from bayesrun.diagnostics.summary import SAMPLE, names_of
from bayesrun.sweeps.base import Record

Floats = NDArray[np.float64]

_ORDER = ("ok", "warn", "fail")
MAX_SCALARS = 200
_MAX_VALUES = 200

_FIRST_COLUMNS = ("parameter", "setting", "mean", "sd")
_ENDS = ("hdi_lower", "hdi_upper")
_LAST_COLUMNS = (
    "shift",
    "shift_mcse",
    "overlap",
    "spread",
    "verdict",
    "status",
    "jobs",
    "run_id",
    "note",
    "error",
)


@dataclass(frozen=True)
class SweptSetting:
    """One setting and its jobs.

    Parameters
    ----------
    name
        The swept keys with their values, short.
    records
        Its jobs: one, or one per seed.
    summaries
        `summary.csv` of each job that has one, index `name`.
    draws
        Draws of the first scalars, those of all seeds together.
    """

    name: str
    records: tuple[Record, ...]
    summaries: tuple[pd.DataFrame, ...]
    draws: Mapping[str, Floats]

    @property
    def verdict(self) -> str | None:
        """The worst verdict of its jobs."""
        found = [r.verdict for r in self.records if r.verdict in _ORDER]
        return max(found, key=_ORDER.index, default=None)

    @property
    def error(self) -> str | None:
        """The first error of its jobs."""
        return next((r.error for r in self.records if r.error), None)

    @property
    def status(self) -> str:
        """`finished` when all of its jobs are, else what the first other one is."""
        return next((r.status for r in self.records if r.status != "finished"), "finished")

    @property
    def note(self) -> str:
        """The notes of its jobs (`reused ...`, `refit: ...`)."""
        return "; ".join(dict.fromkeys(r.note for r in self.records if r.note))


def gather(records: Sequence[Record]) -> list[SweptSetting]:
    """Read the jobs' run folders, setting by setting, in their order."""
    names = dict.fromkeys(r.setting for r in records)
    return [_setting(name, tuple(r for r in records if r.setting == name)) for name in names]


def _setting(name: str, records: tuple[Record, ...]) -> SweptSetting:
    summaries, parts = [], []
    for record in records:
        summary = _summary(record)
        if summary is not None:
            summaries.append(summary)
            parts.append(_draws(record, small_variables_first(summary.index)[:MAX_SCALARS]))
    shared = [scalar for scalar in (parts[0] if parts else {}) if all(scalar in part for part in parts)]
    draws = {scalar: np.concatenate([part[scalar] for part in parts]) for scalar in shared}
    return SweptSetting(name, records, tuple(summaries), draws)


def small_variables_first(names: Iterable[str]) -> list[str]:
    """Order scalars by the size of their variable: parameters of interest have few values, latent states many."""
    listed = list(map(str, names))
    sizes = Counter(variable_of(name) for name in listed)
    return sorted(listed, key=lambda name: sizes[variable_of(name)])


def variable_of(scalar: str) -> str:
    """Return the variable of a scalar: `s` of `s[2008-05-12]`."""
    return scalar.partition("[")[0]


def _summary(record: Record) -> pd.DataFrame | None:
    path = record.path
    if path is None or not (path / "summary.csv").is_file():
        return None
    return pd.read_csv(path / "summary.csv", index_col="name")


def _draws(record: Record, wanted: Sequence[str]) -> dict[str, Floats]:
    """Read the draws of scalars from `posterior.nc`; no more of the file than they need."""
    path = record.path
    if path is None or not (path / "posterior.nc").is_file():
        return {}
    names: set[str] = set(wanted)
    found: dict[str, Floats] = {}
    with xr.open_dataset(path / "posterior.nc", group="posterior") as posterior:
        for stored, values in posterior.data_vars.items():
            variable = str(values.attrs.get("name", stored))
            if any(w == variable or w.startswith(f"{variable}[") for w in names):
                array = values.transpose(*SAMPLE, ...)
                flat = array.values.reshape(array.sizes["chain"] * array.sizes["draw"], -1).astype(float)
                found |= {n: flat[:, k] for k, n in enumerate(names_of(array, variable)) if n in names}
    return found


def tabulate(settings: Sequence[SweptSetting], baseline: SweptSetting | None) -> pd.DataFrame:
    """Make the table of a sweep.

    Parameters
    ----------
    settings
        In the order of the sweep.
    baseline
        Where shifts are measured from; None when its job has no posterior.

    Returns
    -------
    DataFrame
        One row per parameter and setting: `mean`, `sd` and the ends of the HDI (seeds of one setting together),
        `shift` (mean minus the baseline's, in the baseline's sd) and its Monte Carlo standard error `shift_mcse`,
        `overlap` with the baseline (0 to 1), `spread` (sd of the mean over seeds, in the baseline's sd), the jobs'
        worst `verdict`, their `status`, numbers, run ids, notes and errors; then a column for each swept key. A
        setting without a posterior has one row with an empty `parameter`.
    """
    base = pooled(baseline) if baseline else None
    keys = list(dict.fromkeys(key for setting in settings for record in setting.records for key in record.swept))
    frames = [_rows(setting, baseline, base) for setting in settings]
    rows = [row for frame in frames for row in frame.to_dict("records")]
    table = pd.DataFrame(rows, columns=[*_FIRST_COLUMNS, *_ENDS, *_LAST_COLUMNS, *keys])
    table = table.rename(columns=dict(zip(_ENDS, _interval_columns(settings), strict=True)))
    order = {name: i for i, name in enumerate(dict.fromkeys(table["parameter"].dropna()))}
    return table.sort_values("parameter", key=lambda c: c.map(order), kind="stable").reset_index(drop=True)


def _interval_columns(settings: Sequence[SweptSetting]) -> tuple[str, str]:
    """Name the ends of the interval as the jobs' summaries do; settings with different `intervals` share no name."""
    found = {find_interval_columns(summary.columns) for setting in settings for summary in setting.summaries}
    return found.pop() if len(found) == 1 else _ENDS


def pooled(setting: SweptSetting) -> pd.DataFrame:
    """Pool the jobs of a setting: one row per scalar, index `name`.

    The variance of the pooled draws is that within the jobs and that of their means. `spread` is the sd of the jobs'
    means, NaN for a single job; `mcse_mean` and `mcse_sd` are Monte Carlo standard errors of the pooled mean and, to
    first order, of the pooled sd.
    """
    ends = find_interval_columns(setting.summaries[0].columns)
    jobs = pd.concat(setting.summaries).rename(columns=dict(zip(ends, _ENDS, strict=True)))
    jobs = jobs[["mean", "sd", *_ENDS, "mcse_mean", "mcse_sd"]].assign(variance=jobs["sd"] ** 2)
    jobs[["mcse_mean", "mcse_sd"]] **= 2
    by_name = jobs.groupby(level=0, sort=False)
    together, count, means = by_name.mean(), by_name.size(), by_name["mean"]
    together["sd"] = np.sqrt(together.pop("variance") + means.var(ddof=0))
    for error in ("mcse_mean", "mcse_sd"):
        together[error] = np.sqrt(together[error] / count)
    together["spread"] = means.std(ddof=1)
    return together.loc[setting.summaries[0].index]


def _rows(setting: SweptSetting, baseline: SweptSetting | None, base: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of one setting."""
    if not setting.summaries:
        return pd.DataFrame([{"parameter": None, **_shared(setting)}])
    rows = pooled(setting)
    rows = rows.assign(**_against(setting, rows, baseline, base))
    return rows.reset_index(names="parameter").assign(**_shared(setting))


def _shared(setting: SweptSetting) -> dict[str, Any]:
    records = setting.records
    return {
        "setting": setting.name,
        "verdict": setting.verdict,
        "status": setting.status,
        "jobs": " ".join(str(r.number) for r in records),
        "run_id": " ".join(r.run_id for r in records if r.run_id),
        "note": setting.note,
        "error": setting.error,
        **records[0].swept,
    }


def _against(
    setting: SweptSetting, rows: pd.DataFrame, baseline: SweptSetting | None, base: pd.DataFrame | None
) -> dict[str, Any]:
    """Compare a setting with the baseline; NaN where that lacks the scalar, or holds it constant."""
    if baseline is None or base is None:
        return {"shift": np.nan, "shift_mcse": np.nan, "overlap": np.nan, "spread": np.nan}
    base = base.reindex(rows.index)
    scale = base["sd"].where(base["sd"] > 0)
    shift = (rows["mean"] - base["mean"]) / scale
    # both means are uncertain, and so is the sd that divides them
    own = 0.0 if setting is baseline else rows["mcse_mean"].fillna(0.0)
    error = np.sqrt(own**2 + base["mcse_mean"].fillna(0.0) ** 2 + (shift * base["mcse_sd"].fillna(0.0)) ** 2) / scale
    return {
        "shift": shift,
        "shift_mcse": error.where(scale.isna(), 0.0) if setting is baseline else error,
        "overlap": [_overlap(setting, baseline, str(name)) for name in rows.index],
        "spread": rows["spread"] / scale,
    }


def _overlap(setting: SweptSetting, baseline: SweptSetting, name: str) -> float | None:
    if name not in setting.draws or name not in baseline.draws:
        return None
    return 1.0 if setting is baseline else overlap(setting.draws[name], baseline.draws[name])


def overlap(a: Floats, b: Floats) -> float:
    """Return the overlapping coefficient, the integral of min(p, q): 1 for equal posteriors, 0 for disjoint ones.

    Parameters
    ----------
    a, b
        Draws of the scalar; whole numbers are compared by their frequencies, others by kernel densities.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(np.concatenate([a, b])) == 0)
    if is_counted(a) and is_counted(b):
        return _shared_frequency(a, b)
    grid = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 2001)
    shared = np.minimum(density_at(a, grid), density_at(b, grid))
    return float(min(1.0, np.trapz(shared, grid)))


def is_counted(values: Floats) -> bool:
    """Return whether draws are whole numbers, few enough to compare the share of each."""
    return is_discrete(values) and len(np.unique(values)) <= _MAX_VALUES


def density_at(values: Floats, grid: Floats) -> Floats:
    """Return the kernel density of draws on a grid."""
    at, height = density(values)
    return np.asarray(np.interp(grid, at, height, left=0.0, right=0.0))


def _shared_frequency(a: Floats, b: Floats) -> float:
    values = np.unique(np.concatenate([a, b]))
    shares = [np.array([np.mean(x == v) for v in values]) for x in (a, b)]
    return float(np.minimum(*shares).sum())
