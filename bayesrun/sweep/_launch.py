"""Hand jobs to Hydra's launchers, and live with what they do when a job dies.

Hydra's launchers return nothing when one job's process is gone: joblib drops all results, submitit raises at the
first. Each job leaves its record in the sweep's folder instead (`_task`), and what has none is seen to here.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

from bayesrun.sweep._queue import run_all
from bayesrun.sweep._task import JobTask, quiet_worker
from bayesrun.sweep.base import Point, Record, read_json, read_record, write_record
from bayesrun.sweep.plan import set_aside

log = logging.getLogger("bayesrun.sweep")

_ATTEMPTS = 2
_WARM_CACHE = 40


@dataclass(frozen=True)
class Hydra:
    """Hydra's parts that launch jobs.

    Parameters
    ----------
    config
        The composed config of the sweep, with Hydra's node.
    loader
        Its config loader.
    """

    config: Any
    loader: Any

    def launcher(self, task: JobTask) -> Any:
        """Make the launcher that the config names."""
        from hydra.core.plugins import Plugins

        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def sweeper(self, task: JobTask) -> Any:
        """Make the sweeper that the config names."""
        from hydra.core.plugins import Plugins

        return Plugins.instance().instantiate_sweeper(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def _context(self) -> Any:
        from hydra._internal.callbacks import Callbacks
        from hydra.types import HydraContext

        return HydraContext(config_loader=self.loader, callbacks=Callbacks(self.config))

    @property
    def target(self) -> str:
        """Class of the launcher."""
        return str(self.config.hydra.launcher._target_)


def launch(hydra: Hydra, points: Sequence[Point], task: JobTask) -> None:
    """Run jobs; afterwards each has a record, whatever happened to its process.

    Parameters
    ----------
    hydra
        Hydra's parts.
    points
        The jobs to run.
    task
        What each does.
    """
    quiet_worker()
    for point in points:
        set_aside(task.sweep, point.number)
    one_by_one = "submitit" in hydra.target
    reason = _one_by_one(hydra, points, task) if one_by_one else _together(hydra, points, task)
    for point in points:
        if read_record(task.sweep, point.number) is None:
            write_record(task.sweep, _died(task, point.number, reason or "its process died"))


def _together(hydra: Hydra, points: Sequence[Point], task: JobTask) -> str:
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
        for batch in _batches(hydra, waiting):
            reason = _launch_batch(hydra, batch, task)
    return reason


def _launch_batch(hydra: Hydra, batch: Sequence[Point], task: JobTask) -> str:
    try:
        with _insisting_on_interrupts():
            returned = hydra.launcher(task).launch([job_overrides(p, task.sweep) for p in batch], batch[0].number)
    except Exception as error:  # joblib: a worker was killed; the records say whose
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        log.warning("the launcher failed: %s", reason)
        log.debug("the launcher failed", exc_info=True)
        return reason
    for point, job in zip(batch, returned, strict=True):
        _note_failure(task, point, job)
    return ""


@contextmanager
def _insisting_on_interrupts() -> Iterator[None]:
    """Raise the Ctrl-C that came, whatever became of it.

    At the moment in which loky starts workers, cleaning up after the interrupt raises another error in its place.
    """
    before, heard = signal.getsignal(signal.SIGINT), []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        before(number, frame)  # type: ignore[operator,misc]

    if callable(before):
        signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception as error:
        if not heard:
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _note_failure(task: JobTask, point: Point, job: Any) -> None:
    """A job that raised before its record was written failed in Hydra or in our own code."""
    if read_record(task.sweep, point.number) is None and job.status.name == "FAILED":
        error = job._return_value
        if isinstance(error, KeyboardInterrupt):
            raise error
        write_record(task.sweep, _died(task, point.number, f"{type(error).__name__}: {error}"))


def _batches(hydra: Hydra, points: Sequence[Point]) -> Iterable[Sequence[Point]]:
    """With a cold compile cache one job goes first: workers that fill it together wait for each other, or fail."""
    if "joblib" in hydra.target and len(points) > 1 and _cache_is_cold():
        return [points[:1], points[1:]]
    return [points]


def _cache_is_cold() -> bool:
    flags = dict(f.split("=", 1) for f in os.environ.get("THEANO_FLAGS", "").split(",") if "=" in f)
    if "compiledir" in flags:
        folder = Path(flags["compiledir"])
    else:
        folder = Path(flags.get("base_compiledir", "~/.theano")).expanduser()
    return sum(1 for _ in zip(folder.glob("**/mod.cpp"), range(_WARM_CACHE), strict=False)) < _WARM_CACHE


def _one_by_one(hydra: Hydra, points: Sequence[Point], task: JobTask) -> str:
    """Submit each job on its own and wait for all."""
    by_number = {p.number: p for p in points}

    def submit(number: int, folder: Path) -> str | None:
        return _submit(hydra, by_number[number], task, folder)

    at_once = int(getattr(hydra.config.hydra.launcher, "array_parallelism", 0) or len(points))
    for number, error in run_all(list(by_number), task.sweep, submit, at_once).items():
        record = read_record(task.sweep, number)
        if record is None:
            write_record(task.sweep, _died(task, number, error))
        elif record.interrupted:  # it knows of a signal only, the queue knows why
            write_record(task.sweep, replace(record, error=error))
    return ""


def _submit(hydra: Hydra, point: Point, task: JobTask, folder: Path) -> str | None:
    config = hydra.config.copy()
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.launcher.submitit_folder = str(folder)
    own = Hydra(config, hydra.loader)
    try:
        (job,) = own.launcher(task).launch([job_overrides(point, task.sweep)], point.number)
    except Exception as error:  # node failure, time limit, refused by the queue
        return f"{type(error).__name__}: {str(error).strip()[-500:]}"
    return None if job.status.name == "COMPLETED" else f"{type(job._return_value).__name__}: {job._return_value}"


def job_overrides(point: Point, sweep: Path) -> list[str]:
    """Return a job's overrides, with those that place its folder."""
    return [*point.overrides, f"hydra.sweep.dir='{sweep}'", f"hydra.sweep.subdir='{point.number}'"]


def _died(task: JobTask, number: int, error: str) -> Record:
    folder = task.sweep / str(number)
    run_id = read_json(folder / "tracking.json").get("run_id")
    where = str(folder) if folder.is_dir() else None
    return replace(task.records[number], status="failed", error=error, exit_status=4, folder=where, run_id=run_id)
