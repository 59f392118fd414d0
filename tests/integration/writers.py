"""Sweeps as tracking sees them: a parent, eight jobs, some workers. The jobs are real, but for their sampling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from bayesrun.tracking.base import DatasetInfo, RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run

JOBS = 8
PARAMS = {f"model.key_{i}": str(i) for i in range(120)}  # more than one call of MLflow's takes
METRICS = {f"mean/theta_{i}": float(i) for i in range(30)}
DATASET = DatasetInfo("mining", "ab" * 32, "data/mining.csv", 111)
FILES = {"metrics.json", "status.json", "figures"}
_DRAWS = 10


@contextmanager
def pool(workers: int) -> Iterator[Parallel]:
    """Start the worker processes that `launcher=parallel` starts; each has a tracking process of its own."""
    with Parallel(n_jobs=workers, backend="loky", batch_size=1, pre_dispatch="all") as processes:
        yield processes
    get_reusable_executor().shutdown(wait=True)


def sweep(processes: Parallel, spec: TrackingSpec, folder: Path, experiment: str, waits: bool) -> list[str]:
    """Track one sweep and return what was lost.

    Where the jobs do not wait for their parent, they have none, and all of them are the first to use their store.
    """
    parent = open_run(spec, RunCard(experiment, "parent", {"jobs": str(JOBS)}, {"sweep": "true"}))
    parent_id = parent.ready() if waits else None
    jobs = [delayed(track)(spec, run_folder(folder, job), experiment, job, parent_id) for job in range(JOBS)]
    lost: Sequence[list[str]] = processes(jobs)
    parent.end_jobs()
    parent.close(folder, "finished")
    return [*(reason for each in lost for reason in each), *parent.lost]  # type: ignore[attr-defined]


def run_folder(folder: Path, job: int) -> Path:
    """Write what a finished job leaves."""
    path = folder / str(job)
    (path / "figures").mkdir(parents=True)
    (path / "figures" / "trace.png").write_bytes(bytes(5000))
    (path / "metrics.json").write_text(json.dumps(METRICS | {"job": job}))
    (path / "status.json").write_text(json.dumps({"status": "finished", "verdict": "ok", "error": None}))
    return path


def track(spec: TrackingSpec, folder: Path, experiment: str, job: int, parent: str | None) -> list[str]:
    """Track a job from its opening to its end, in a worker; return what was lost."""
    card = RunCard(experiment, f"job {job}", PARAMS, {"job": str(job)}, parent, DATASET)
    tracker = open_run(spec, card)
    for step in range(1, _DRAWS):
        tracker.progress(step, step / _DRAWS, 0)
    tracker.close(folder, "finished")
    return list(tracker.lost)  # type: ignore[attr-defined]
