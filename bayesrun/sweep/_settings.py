"""The jobs of a sweep gathered by setting: repeats with other seeds are one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bayesrun.sweep.base import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ORDER = ("ok", "warn", "fail")
MOST_SCALARS = 200


@dataclass(frozen=True)
class Setting:
    """One setting with its jobs.

    Parameters
    ----------
    name
        The swept keys with their values, short.
    records
        Its jobs: one, or one a seed.
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
        """What is said of its jobs (`reused ...`, `refit: ...`)."""
        return "; ".join(dict.fromkeys(r.note for r in self.records if r.note))


def gather(records: Sequence[Record]) -> list[Setting]:
    """Read the jobs' run folders, setting by setting, in their order."""
    names = dict.fromkeys(r.setting for r in records)
    return [_setting(name, tuple(r for r in records if r.setting == name)) for name in names]


def _setting(name: str, records: tuple[Record, ...]) -> Setting:
    import numpy as np

    summaries, parts = [], []
    for record in records:
        summary = _summary(record)
        if summary is not None:
            summaries.append(summary)
            parts.append(_draws(record, list(summary.index[:MOST_SCALARS])))
    shared = [scalar for scalar in (parts[0] if parts else {}) if all(scalar in part for part in parts)]
    draws = {scalar: np.concatenate([part[scalar] for part in parts]) for scalar in shared}
    return Setting(name, records, tuple(summaries), draws)


def _summary(record: Record) -> pd.DataFrame | None:
    import pandas as pd

    path = record.path
    if path is None or not (path / "summary.csv").is_file():
        return None
    return pd.read_csv(path / "summary.csv", index_col="name")


def _draws(record: Record, wanted: Sequence[str]) -> dict[str, Floats]:
    """Read the draws of scalars from `posterior.nc`; no more of the file than they need."""
    import xarray as xr

    from bayesrun.diagnostics.scalars import SAMPLE, names_of

    path = record.path
    if path is None or not (path / "posterior.nc").is_file():
        return {}
    names: set[str] = set(wanted)
    found: dict[str, Floats] = {}
    with xr.open_dataset(path / "posterior.nc", group="posterior") as posterior:
        for variable in posterior.data_vars:
            if any(w == variable or w.startswith(f"{variable}[") for w in names):
                array = posterior[variable].transpose(*SAMPLE, ...)
                flat = array.values.reshape(array.sizes["chain"] * array.sizes["draw"], -1).astype(float)
                found |= {n: flat[:, k] for k, n in enumerate(names_of(array, str(variable))) if n in names}
    return found
