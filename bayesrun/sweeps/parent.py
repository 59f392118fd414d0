"""The sweep's own run in tracking: the parent of its jobs' runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bayesrun.config.resolvers import task_overrides
from bayesrun.config.run_config import RunConfig
from bayesrun.redaction import redact_override
from bayesrun.schema import parse
from bayesrun.secret_patterns import is_secret_key
from bayesrun.sweeps.base import Record
from bayesrun.sweeps.points import has_several_values
from bayesrun.sweeps.sweep_folder import read_json
from bayesrun.tracking.base import TRACKERS, RunCard, Tracker, TrackingSpec, flatten

_RECORD = "tracking.json"
_CHOICES = {"model": "model.name", "data": "data.name", "sampler": "sampler.method"}


@dataclass(frozen=True)
class Parent:
    """An open parent run."""

    tracker: Tracker
    folder: Path
    run_id: str | None

    @classmethod
    def open(cls, config: DictConfig, first: RunConfig, folder: Path, jobs: int, again: Sequence[int]) -> Parent:
        """Open the parent run, the same one when a sweep is resumed, and wait for its id: the jobs need it.

        Parameters
        ----------
        config
            The sweep's composed config.
        first
            Parsed config of its first job.
        folder
            The sweep's folder.
        jobs
            Number of its jobs.
        again
            Jobs that will run: what earlier attempts at them left in tracking is deleted.
        """
        known = read_json(folder / _RECORD).get("run_id")
        card = replace(_card(config, first, folder, jobs), run_id=known)
        tracker = TRACKERS.load(first.tracking.backend, "tracking.backend").open(first.tracking, card)
        run_id = tracker.ready()
        if known and again:
            tracker.drop_jobs([str(number) for number in again])
        return cls(tracker, folder, run_id)

    def close(self, records: Sequence[Record], interrupted: bool) -> None:
        """End the jobs' runs that are still open, upload the answer and end the parent: failed if all jobs are.

        A job that was run again because its worker died has two runs: that of its record stays.
        """
        self.tracker.end_jobs()
        own = {str(record.number): record.run_id for record in records if record.run_id}
        self.tracker.drop_jobs(list(own), keep=list(own.values()))
        failed = all(record.path is None for record in records)
        self.tracker.close(self.folder, "interrupted" if interrupted else "failed" if failed else "finished")


def _card(config: DictConfig, first: RunConfig, folder: Path, jobs: int) -> RunCard:
    data = first.data.name if first.data else "none"
    place = {"sweep_folder": str(folder.absolute())}  # finds the run if a kill came before its id was known
    tags = {"sweep": "true", "model": first.model.name, "data": data, **place}
    swept = {"jobs": jobs, "overrides": [redact_override(o) for o in task_overrides(config.hydra)]}
    name = first.top.name or f"sweep {folder.name}"
    return RunCard(
        experiment_name=first.top.experiment_name,
        run_name=name,
        params=flatten({"sweep": swept}),
        tags=tags,
        find=place,
        folder=place["sweep_folder"],
        compared=_swept_params(config),
    )


def _swept_params(config: DictConfig) -> list[str]:
    """Return the params that the sweep varies; a choice of a group is its name there."""
    overrides = [*(f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items())]
    swept = [o.split("=")[0].lstrip("+") for o in [*overrides, *task_overrides(config.hydra)] if has_several_values(o)]
    return [_CHOICES.get(key, key) for key in dict.fromkeys(swept) if not is_secret_key(key)]


def warm_tracking(config: DictConfig, shared: bool) -> None:
    """Let tracking import what it needs; problems with it are reported when the points are checked.

    Parameters
    ----------
    config
        The sweep's composed config.
    shared
        Whether the processes that are started from now on use the same imports.
    """
    problems: list[Any] = []
    spec = parse(TrackingSpec, OmegaConf.to_container(config.tracking), "tracking", problems)
    if spec is not None and not problems and spec.backend in TRACKERS.names():
        backend = TRACKERS.load(spec.backend, "tracking.backend")
        if shared:
            backend.share(spec)
        backend.warm(spec)
