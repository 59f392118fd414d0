"""Hand jobs to Hydra's launchers, whatever happens to the jobs' processes.

Hydra's launchers return nothing when one job's process is gone: joblib drops all results, submitit raises at the
first. So each job leaves its record (`base.Records`), and the jobs that left none are run again or recorded as failed
here. The jobs are those of a sweep, or the blocks of a task's fits (`blocks`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.jobs.base import Job, Records
from bayesrun.jobs.patches import keep_interrupts
from bayesrun.processes import ATTEMPTS

Call = Callable[[DictConfig], Any]
"""What Hydra's launchers call for each job, in any process; it is pickled. It writes the job's record."""

log = logging.getLogger("bayesrun.jobs")

_WARM_CACHE = 40


@dataclass(frozen=True)
class LauncherTraits:
    """What must be known of a launcher.

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


def launch(hydra: HydraParts, jobs: Sequence[Job], call: Call, records: Records) -> None:
    """Run jobs; afterwards each has a record, whatever happened to its process.

    Parameters
    ----------
    hydra
        Makes the launcher.
    jobs
        The jobs to run.
    call
        What each job does.
    records
        Where each job leaves its record.
    """
    quiet_jobs()
    for job in jobs:
        records.set_aside(job.number)
    traits = traits_of(hydra.config)
    if traits.queue:
        reason = _submit_each(hydra, jobs, call, records)
    elif traits.ray:
        reason = _hand_to_ray(hydra, jobs, call, records)
    else:
        reason = _launch_together(hydra, jobs, call, records, traits)
    for job in jobs:
        if not records.has_ended(job.number):
            records.give_up(job.number, reason or "its process died")


def job_overrides(job: Job, folder: Path) -> list[str]:
    """Return a job's overrides, with those that place its folder."""
    return [*job.overrides, f"hydra.sweep.dir='{folder}'", f"hydra.sweep.subdir='{job.number}'"]


def quiet_jobs() -> None:
    """Keep libraries' start-up chatter of the jobs' processes off the console."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    logging.getLogger("hydra").setLevel(logging.WARNING)
    sys.stdout.flush()


def _launch_together(
    hydra: HydraParts, jobs: Sequence[Job], call: Call, records: Records, traits: LauncherTraits
) -> str:
    """Launch all jobs at once; those whose processes died, or never started, get one more attempt.

    Returns why the last launch failed, if it did.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        waiting = [job for job in jobs if not records.has_ended(job.number)]
        if not waiting:
            break
        if attempt:
            log.warning("%d jobs were left without a result: they are run again", len(waiting))
            for job in waiting:
                records.set_aside(job.number)
        for batch in _batches(waiting, traits):
            reason = _launch_batch(hydra, batch, call, records)
    return reason


def _batches(jobs: Sequence[Job], traits: LauncherTraits) -> Iterable[Sequence[Job]]:
    """With a cold compile cache one job goes first: workers that fill it together wait for each other, or fail."""
    if traits.workers and len(jobs) > 1 and _cache_is_cold():
        return [jobs[:1], jobs[1:]]
    return [jobs]


def _cache_is_cold() -> bool:
    flags = dict(f.split("=", 1) for f in os.environ.get("THEANO_FLAGS", "").split(",") if "=" in f)
    if "compiledir" in flags:
        folder = Path(flags["compiledir"])
    else:
        folder = Path(flags.get("base_compiledir", "~/.theano")).expanduser()
    return sum(1 for _ in zip(folder.glob("**/mod.cpp"), range(_WARM_CACHE), strict=False)) < _WARM_CACHE


def _launch_batch(hydra: HydraParts, batch: Sequence[Job], call: Call, records: Records) -> str:
    try:
        with keep_interrupts():
            given = [job_overrides(job, records.folder) for job in batch]
            returned = hydra.launcher(call).launch(given, batch[0].number)
    except Exception as error:  # joblib: a worker was killed; the records show whose
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        log.warning("the launcher failed: %s", reason)
        log.debug("the launcher failed", exc_info=True)
        return reason
    for job, result in zip(batch, returned, strict=True):
        _record_failure(records, job, result)
    return ""


def _record_failure(records: Records, job: Job, result: Any) -> None:
    """Record a job that raised before it could write its record: it failed in Hydra or in our own code."""
    if not records.has_ended(job.number) and result.status.name == "FAILED":
        error = result._return_value
        if isinstance(error, KeyboardInterrupt):
            raise error
        records.give_up(job.number, f"{type(error).__name__}: {error}")


def _submit_each(hydra: HydraParts, jobs: Sequence[Job], call: Call, records: Records) -> str:
    """Submit each job on its own and wait for all."""
    from bayesrun.jobs.slurm import run_all  # submitit, an extra

    by_number = {job.number: job for job in jobs}

    def submit(number: int, folder: Path) -> str | None:
        return _submit(hydra, by_number[number], call, records, folder)

    at_once = int(getattr(hydra.config.hydra.launcher, "array_parallelism", 0) or len(jobs))
    for number, error in run_all(list(by_number), records, submit, at_once).items():
        if not records.has_ended(number):
            records.give_up(number, error)
        elif records.was_interrupted(number):  # the job only knows of a signal, the queue knows why
            records.explain(number, error)
    return ""


def _submit(hydra: HydraParts, job: Job, call: Call, records: Records, folder: Path) -> str | None:
    config = hydra.config.copy()
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.launcher.submitit_folder = str(folder)
    own = HydraParts(config, hydra.loader)
    try:
        (result,) = own.launcher(call).launch([job_overrides(job, records.folder)], job.number)
    except Exception as error:  # node failure, time limit, refused by the queue
        return f"{type(error).__name__}: {str(error).strip()[-500:]}"
    return _error_of(result)


def _error_of(result: Any) -> str | None:
    """Return what a job raised; None where it came to its end."""
    value = result._return_value
    return None if result.status.name == "COMPLETED" else f"{type(value).__name__}: {value}"


def _hand_to_ray(hydra: HydraParts, jobs: Sequence[Job], call: Call, records: Records) -> str:
    """Hand each job to a Ray cluster and wait for all."""
    from bayesrun.jobs.ray_cluster import explain, run_each  # Ray, an extra

    by_number = {job.number: job for job in jobs}

    def submit(number: int) -> str | None:
        own = HydraParts(hydra.config.copy(), hydra.loader)
        try:
            (result,) = own.launcher(call).launch([job_overrides(by_number[number], records.folder)], number)
        except Exception as error:  # of the node, of the process, or of Ray
            return explain(error)
        return _error_of(result)

    init: Any = OmegaConf.to_container(hydra.config.hydra.launcher.ray.init, resolve=True)
    for number, error in run_each(list(by_number), submit, init).items():
        if not records.has_ended(number):
            records.give_up(number, error)
    return ""
