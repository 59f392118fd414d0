"""Hand jobs to Hydra's launchers, whatever happens to the jobs' processes.

Hydra's launchers return nothing when one job's process is gone: joblib drops all results, submitit raises at the
first. So each job leaves its record in the sweep's folder (`job`), and the jobs that left none are run again or
recorded as failed here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.sweeps.base import INTERRUPTED, Point, Record
from bayesrun.sweeps.job import JobTask, quiet_worker
from bayesrun.sweeps.patches import keep_interrupts
from bayesrun.sweeps.sweep_folder import read_json, read_record, set_aside, write_record

log = logging.getLogger("bayesrun.sweeps")

_ATTEMPTS = 2
_WARM_CACHE = 40


@dataclass(frozen=True)
class LauncherTraits:
    """What a sweep needs to know of a launcher.

    Parameters
    ----------
    workers
        Whether jobs run side by side in worker processes on this machine: they fork from one process that has imported
        what they need, and share a compile cache.
    queue
        Whether each job is submitted separately to a queue, which reports how it ended.
    ray
        Whether each job is a task of a Ray cluster.
    """

    workers: bool = False
    queue: bool = False
    ray: bool = False


TRAITS = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": LauncherTraits(),
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": LauncherTraits(workers=True),
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": LauncherTraits(queue=True),
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": LauncherTraits(queue=True),
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": LauncherTraits(ray=True),
}


def traits_of(config: Any) -> LauncherTraits:
    """Describe the launcher that a composed config names; an unknown one is handed all jobs at once."""
    return TRAITS.get(str(config.hydra.launcher._target_), LauncherTraits())


def launch(hydra: HydraParts, points: Sequence[Point], task: JobTask) -> None:
    """Run jobs; afterwards each has a record, whatever happened to its process.

    Parameters
    ----------
    hydra
        Makes the launcher.
    points
        The jobs to run.
    task
        What each job does.
    """
    quiet_worker()
    for point in points:
        set_aside(task.sweep, point.number)
    traits = traits_of(hydra.config)
    if traits.queue:
        reason = _submit_each(hydra, points, task)
    elif traits.ray:
        reason = _hand_to_ray(hydra, points, task)
    else:
        reason = _launch_together(hydra, points, task, traits)
    for point in points:
        if read_record(task.sweep, point.number) is None:
            write_record(task.sweep, _failed(task, point.number, reason or "its process died"))


def job_overrides(point: Point, sweep: Path) -> list[str]:
    """Return a job's overrides, with those that place its folder."""
    return [*point.overrides, f"hydra.sweep.dir='{sweep}'", f"hydra.sweep.subdir='{point.number}'"]


def _launch_together(hydra: HydraParts, points: Sequence[Point], task: JobTask, traits: LauncherTraits) -> str:
    """Launch all jobs at once; those whose processes died, or never started, get one more attempt.

    Returns why the last launch failed, if it did.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        waiting = [p for p in points if read_record(task.sweep, p.number) is None]
        if not waiting:
            break
        if attempt:
            log.warning("%d jobs were left without a result: they are run again", len(waiting))
            for point in waiting:
                set_aside(task.sweep, point.number)
        for batch in _batches(waiting, traits):
            reason = _launch_batch(hydra, batch, task)
    return reason


def _batches(points: Sequence[Point], traits: LauncherTraits) -> Iterable[Sequence[Point]]:
    """With a cold compile cache one job goes first: workers that fill it together wait for each other, or fail."""
    if traits.workers and len(points) > 1 and _cache_is_cold():
        return [points[:1], points[1:]]
    return [points]


def _cache_is_cold() -> bool:
    flags = dict(f.split("=", 1) for f in os.environ.get("THEANO_FLAGS", "").split(",") if "=" in f)
    if "compiledir" in flags:
        folder = Path(flags["compiledir"])
    else:
        folder = Path(flags.get("base_compiledir", "~/.theano")).expanduser()
    return sum(1 for _ in zip(folder.glob("**/mod.cpp"), range(_WARM_CACHE), strict=False)) < _WARM_CACHE


def _launch_batch(hydra: HydraParts, batch: Sequence[Point], task: JobTask) -> str:
    try:
        with keep_interrupts():
            returned = hydra.launcher(task).launch([job_overrides(p, task.sweep) for p in batch], batch[0].number)
    except Exception as error:  # joblib: a worker was killed; the records show whose
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        log.warning("the launcher failed: %s", reason)
        log.debug("the launcher failed", exc_info=True)
        return reason
    for point, job in zip(batch, returned, strict=True):
        _record_failure(task, point, job)
    return ""


def _record_failure(task: JobTask, point: Point, job: Any) -> None:
    """Record a job that raised before it could write its record: it failed in Hydra or in our own code."""
    if read_record(task.sweep, point.number) is None and job.status.name == "FAILED":
        error = job._return_value
        if isinstance(error, KeyboardInterrupt):
            raise error
        write_record(task.sweep, _failed(task, point.number, f"{type(error).__name__}: {error}"))


def _submit_each(hydra: HydraParts, points: Sequence[Point], task: JobTask) -> str:
    """Submit each job on its own and wait for all."""
    from bayesrun.sweeps.slurm import run_all  # submitit, an extra

    by_number = {p.number: p for p in points}

    def submit(number: int, folder: Path) -> str | None:
        return _submit(hydra, by_number[number], task, folder)

    at_once = int(getattr(hydra.config.hydra.launcher, "array_parallelism", 0) or len(points))
    for number, error in run_all(list(by_number), task.sweep, submit, at_once).items():
        record = read_record(task.sweep, number)
        if record is None:
            write_record(task.sweep, _failed(task, number, error))
        elif record.interrupted:  # the job only knows of a signal, the queue knows why
            write_record(task.sweep, replace(record, error=error))
    return ""


def _submit(hydra: HydraParts, point: Point, task: JobTask, folder: Path) -> str | None:
    config = hydra.config.copy()
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.launcher.submitit_folder = str(folder)
    own = HydraParts(config, hydra.loader)
    try:
        (job,) = own.launcher(task).launch([job_overrides(point, task.sweep)], point.number)
    except Exception as error:  # node failure, time limit, refused by the queue
        return f"{type(error).__name__}: {str(error).strip()[-500:]}"
    return None if job.status.name == "COMPLETED" else f"{type(job._return_value).__name__}: {job._return_value}"


def _hand_to_ray(hydra: HydraParts, points: Sequence[Point], task: JobTask) -> str:
    """Hand each job to a Ray cluster and wait for all."""
    from bayesrun.sweeps.ray_cluster import explain, run_each  # Ray, an extra

    by_number = {p.number: p for p in points}

    def submit(number: int) -> str | None:
        own = HydraParts(hydra.config.copy(), hydra.loader)
        try:
            (job,) = own.launcher(task).launch([job_overrides(by_number[number], task.sweep)], number)
        except Exception as error:  # of the node, of the process, or of Ray
            return explain(error)
        return None if job.status.name == "COMPLETED" else f"{type(job._return_value).__name__}: {job._return_value}"

    init: Any = OmegaConf.to_container(hydra.config.hydra.launcher.ray.init, resolve=True)
    for number, error in run_each(list(by_number), submit, init).items():
        if read_record(task.sweep, number) is None:
            write_record(task.sweep, _failed(task, number, error))
    return ""


def _failed(task: JobTask, number: int, error: str) -> Record:
    """Return the record of a job that left none: it failed, unless its verdict was there before it was ended."""
    folder = task.sweep / str(number)
    run_id = read_json(folder / "tracking.json").get("run_id")
    where = str(folder) if folder.is_dir() else None
    failed = replace(task.records[number], status="failed", error=error, exit_status=4, folder=where, run_id=run_id)
    left = read_json(folder / "status.json")
    if left.get("verdict") is None:
        return failed
    known = {"status": left["status"], "verdict": left["verdict"], "metrics": read_json(folder / "metrics.json")}
    return replace(failed, **known, exit_status=INTERRUPTED)
