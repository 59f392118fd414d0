"""The sweep's table: parameter by setting (`sweep.csv`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.sweep._overlap import overlap
from bayesrun.sweep._settings import Setting

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "parameter",
    "setting",
    "mean",
    "sd",
    "hdi_3%",
    "hdi_97%",
    "shift",
    "overlap",
    "spread",
    "verdict",
    "status",
    "jobs",
    "run_id",
    "note",
    "error",
)


def tabulate(settings: Sequence[Setting], baseline: Setting | None) -> pd.DataFrame:
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
        One row a parameter and setting: `mean`, `sd` and the ends of the HDI (seeds of one setting together),
        `shift` (mean minus the baseline's, in the baseline's sd), `overlap` with the baseline (0 to 1), `spread`
        (sd of the mean over seeds, in the baseline's sd), the jobs' worst `verdict`, their `status`, numbers, run
        ids, notes and errors; then a column for each swept key. A setting without a posterior has one row with an
        empty `parameter`.
    """
    import pandas as pd

    rows = [row for setting in settings for row in _rows(setting, baseline)]
    keys = list(dict.fromkeys(key for setting in settings for record in setting.records for key in record.swept))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *keys])
    order = {name: i for i, name in enumerate(dict.fromkeys(table["parameter"].dropna()))}
    return table.sort_values("parameter", key=lambda c: c.map(order), kind="stable").reset_index(drop=True)


def _rows(setting: Setting, baseline: Setting | None) -> Iterator[dict[str, Any]]:
    shared = _shared(setting)
    if not setting.summaries:
        yield {"parameter": None, **shared}
        return
    for name in setting.summaries[0].index:
        yield {"parameter": name, **_numbers(setting, str(name)), **_against(setting, baseline, str(name)), **shared}


def _shared(setting: Setting) -> dict[str, Any]:
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


def _numbers(setting: Setting, name: str) -> dict[str, float]:
    """Pool the seeds: the variance of the pooled draws is that within the jobs and that of their means."""
    import numpy as np

    rows = [s.loc[name] for s in setting.summaries if name in s.index]
    means, sds = np.array([r["mean"] for r in rows]), np.array([r["sd"] for r in rows])
    ends = {end: float(np.mean([r[end] for r in rows])) for end in ("hdi_3%", "hdi_97%")}
    return {"mean": float(means.mean()), "sd": float(np.sqrt(np.mean(sds**2) + means.var())), **ends}


def _against(setting: Setting, baseline: Setting | None, name: str) -> dict[str, float | None]:
    if baseline is None or not any(name in s.index for s in baseline.summaries):
        return {"shift": None, "overlap": None, "spread": None}
    base, own = _numbers(baseline, name), _numbers(setting, name)
    if not base["sd"] > 0:
        return {"shift": None, "overlap": None, "spread": None}
    shared = None
    if name in setting.draws and name in baseline.draws:
        shared = 1.0 if setting is baseline else overlap(setting.draws[name], baseline.draws[name])
    return {
        "shift": (own["mean"] - base["mean"]) / base["sd"],
        "overlap": shared,
        "spread": _spread(setting, name, base),
    }


def _spread(setting: Setting, name: str, base: dict[str, float]) -> float | None:
    import numpy as np

    means = [float(s["mean"][name]) for s in setting.summaries if name in s.index]
    return float(np.std(means, ddof=1)) / base["sd"] if len(means) > 1 else None
