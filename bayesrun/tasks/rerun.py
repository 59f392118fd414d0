"""`task=rerun`: run a finished run again, with the same config, data and seed, and compare the draws.

python -m bayesrun task=rerun run=last
python -m bayesrun task=rerun run=mlflow:RUN_ID

The new run is one like any other. Its `rerun.json` tells whether every draw is the same, and what has changed in
versions and machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesrun.config.run_config import parse_config
from bayesrun.errors import Problem, check, fail
from bayesrun.finished_run import read_groups
from bayesrun.lazy import pd, xr
from bayesrun.pipeline import read_data, run
from bayesrun.run_folder import RunFolder
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import check_data_of_run, job_of, key_of

log = logging.getLogger("bayesrun")

FILE = "rerun.json"
_FREE = ("tracking", "paths", "name", "experiment_name", "tags", "sampler.cores", "sampler.progress", "model.figures")
_OF_ENVIRONMENT = ("packages", "python", "platform", "processor", "cpus", "compiler", "code_digest", "git_commit")
_AGREES = 4.0
"""Combined Monte Carlo standard errors within which two means agree, though the draws differ."""


def rerun(request: TaskRequest) -> TaskEnd:
    """Run a finished run again, and return how that ended: with 1 if the draws are not the same."""
    assert request.run is not None
    parent = RunFolder(request.run.folder.absolute())
    _check_keys(request)
    if parent.status() != "finished":
        raise fail("run", f"'{parent.path}' is {parent.status()}", "run a finished run again")
    config = parse_config(request.config)
    earlier = parent.read_json("provenance.json")
    if not parent.posterior.is_file():
        raise fail("run", f"'{parent.path}' has no posterior.nc", "choose a run that has draws")
    check_data_of_run(parent.path, read_data(config)[1])
    found: list[_Comparison] = []

    def compare(folder: RunFolder) -> dict[str, float]:
        found.append(_compare(parent.path, folder.path, earlier))
        folder.write_json(FILE, found[0].content())
        return {"draws_identical": float(found[0].identical)}

    result = run(config, job_of("rerun", config, parent.path), afterwards=compare)
    if not found:
        return TaskEnd(result.exit_status or 4, result.folder)
    for line in found[0].lines():
        print(line)
    return TaskEnd(0 if found[0].identical else 1, result.folder)


@dataclass(frozen=True)
class _Comparison:
    """Two runs of one config.

    Parameters
    ----------
    different
        Largest absolute difference of the draws by variable, of those that differ.
    sizes
        Chains and draws of both runs, where they differ.
    apart
        Scalars whose means differ by more than their Monte Carlo errors explain.
    changed
        What differs in the environment: before and now.
    """

    different: Mapping[str, float]
    sizes: tuple[tuple[int, int], ...]
    apart: list[str]
    changed: Mapping[str, tuple[Any, Any]]

    @property
    def identical(self) -> bool:
        return not self.different and not self.sizes

    def content(self) -> dict[str, Any]:
        changed = {key: {"before": before, "now": after} for key, (before, after) in self.changed.items()}
        return {
            "identical": self.identical,
            "largest_differences": dict(self.different),
            "means_apart": self.apart,
            "changed": changed,
        }

    def lines(self) -> list[str]:
        changes = [f"  {key}: {before} -> {after}" for key, (before, after) in self.changed.items()]
        since = ["changed since:", *changes] if changes else ["nothing has changed in versions and machine"]
        if self.identical:
            return ["identical: every draw is the same, bit for bit", *since]
        if self.sizes:
            (chains, draws), (own_chains, own_draws) = self.sizes
            found = "those are the same" if not self.different else "and the draws that both have differ"
            size = f"the run has {chains} chains of {draws:,} draws, and this one has {own_chains} of {own_draws:,}"
            return [f"not comparable: {size}; {found}", *since]
        names = ", ".join(f"{name} (by up to {size:.3g})" for name, size in list(self.different.items())[:5])
        agree = "all means agree within their Monte Carlo errors"
        if self.apart:
            agree = f"means differ by more than their Monte Carlo errors: {', '.join(self.apart[:5])}"
        return [f"not identical: draws differ of {names}; {agree}", *since]


def _check_keys(request: TaskRequest) -> None:
    keys = [key_of(override) for override in request.arguments.overrides]
    free = [key for key in keys if key.startswith("hydra.") or any(key == f or key.startswith(f"{f}.") for f in _FREE)]
    wrong = [key for key in keys if key not in free]
    hint = f"allowed: {', '.join(_FREE)}; with other keys it is another run: --config-dir RUN --config-name config"
    check([Problem(key, "belongs to the run that is run again", hint) for key in wrong])


def _compare(parent: Path, own: Path, earlier: Mapping[str, Any]) -> _Comparison:
    groups = [read_groups(folder, ("posterior",))["posterior"] for folder in (parent, own)]
    sizes = tuple((int(group.sizes["chain"]), int(group.sizes["draw"])) for group in groups)
    if sizes[0] != sizes[1]:  # a chain was killed, or a time limit ended one of them
        groups = _in_both(groups, [_chains(folder, size[0]) for folder, size in zip((parent, own), sizes, strict=True)])
    names = dict.fromkeys([*map(str, groups[0].data_vars), *map(str, groups[1].data_vars)])
    differences = {name: _difference(name, *groups) for name in names}
    now = RunFolder(own).read_json("provenance.json")
    environments = [_environment(record) for record in (earlier, now)]
    changed = {
        key: (environments[0].get(key), environments[1].get(key))
        for key in dict.fromkeys([*environments[0], *environments[1]])
        if environments[0].get(key) != environments[1].get(key)
    }
    different = {n: size for n, size in differences.items() if size}
    return _Comparison(different, sizes if sizes[0] != sizes[1] else (), _means_apart(parent, own), changed)


def _chains(folder: Path, count: int) -> list[int]:
    """Return the numbers of a run's chains; those of which nothing was kept are left out."""
    layout = RunFolder(folder).read_json("state/layout.json") or {}
    return [int(number) for number in layout.get("kept") or range(count)]


def _in_both(groups: Sequence[xr.Dataset], chains: Sequence[Sequence[int]]) -> list[xr.Dataset]:
    """Return the draws that two runs have both, by the numbers of their chains."""
    common = [number for number in chains[0] if number in chains[1]]
    draws = min(int(group.sizes["draw"]) for group in groups)
    return [
        group.isel(chain=[own.index(number) for number in common], draw=slice(draws))
        for group, own in zip(groups, chains, strict=True)
    ]


def _difference(name: str, one: xr.Dataset, other: xr.Dataset) -> float:
    """Return the largest difference between two runs' draws; infinite where shapes or missing values differ."""
    if name not in one or name not in other or one[name].shape != other[name].shape:
        return float("inf")
    first, second = one[name].values, other[name].values
    if np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
        return 0.0
    size = float(np.max(np.abs(first.astype(float) - second.astype(float))))
    return size if np.isfinite(size) and size > 0 else float("inf")


def _means_apart(parent: Path, own: Path) -> list[str]:
    tables = [pd.read_csv(folder / "summary.csv", index_col="name") for folder in (parent, own)]
    names = tables[0].index.intersection(tables[1].index)
    one, other = (table.loc[names] for table in tables)
    error = np.hypot(one["mcse_mean"], other["mcse_mean"])
    return [str(name) for name in names[(one["mean"] - other["mean"]).abs() > _AGREES * error]]


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key in _OF_ENVIRONMENT:
        value = record.get(key)
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


TASK = Task(do=rerun, needs_run=True, uses_config_of_run=True)
