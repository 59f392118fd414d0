"""One job of a sweep, in any process: the run, and a record of it that outlives the process."""

from __future__ import annotations

import io
import logging
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bayesrun.config.resolvers import task_overrides
from bayesrun.errors import did_you_mean, fail
from bayesrun.garbage import collect_rarely
from bayesrun.jobs.patches import explain_time_limit
from bayesrun.open_run import RunResult
from bayesrun.processes import end_with_parent
from bayesrun.redaction import redact_override
from bayesrun.sweeps.base import INTERRUPTED, KEYS, Record, one_line, setting_of
from bayesrun.sweeps.sweep_folder import STOP, read_json, read_record, set_aside, write_record

RunJob = Callable[[DictConfig, str | None, Mapping[str, str], str | None], RunResult]

log = logging.getLogger("bayesrun.sweeps")

_STOPPED = "it was interrupted; the draws so far are kept"


class NoSuchMetricError(BaseException):
    """A search can't continue: its runs have no such metric. Passes Hydra's launchers, as an interrupt does."""


@dataclass(frozen=True)
class JobTask:
    """The function that Hydra's launchers call for each job, in any process; it is pickled.

    Parameters
    ----------
    run
        Runs one composed config: `(config, parent run, tags, name) -> RunResult`.
    sweep
        The sweep's folder.
    records
        Each job's record before it runs, by number.
    parent_run_id
        The sweep's run in tracking.
    fail_fast
        Whether no further jobs start after a failed one.
    metric
        Metric to return, for sweepers that search; a job without it returns None.
    total
        Number of jobs.
    fixed
        Overrides that all jobs share, where a sweeper chooses the points one by one.
    launcher
        The process that launches the jobs; a worker that it started does not outlive it.
    interruptible
        Whether Ctrl-C ends that process, and so should end a job.
    """

    run: RunJob
    sweep: Path
    records: Mapping[int, Record]
    parent_run_id: str | None
    fail_fast: bool
    metric: str | None = None
    total: int = 0
    fixed: tuple[str, ...] = ()
    launcher: int = field(default_factory=os.getpid)
    interruptible: bool = field(default_factory=lambda: signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)

    def __call__(self, config: DictConfig) -> Any:
        """Run the job that Hydra has set up, unless the sweep was stopped."""
        begin_worker(self.launcher)
        node = HydraConfig.get()
        record = self._waiting(int(node.sweep.subdir), node)
        if (self.sweep / STOP).exists():
            write_record(self.sweep, replace(record, status="skipped", error="an earlier job failed (fail_fast)"))
            return None
        began = time.perf_counter()
        result = self._quietly(config, record)
        done = finished(record, result, time.perf_counter() - began)
        write_record(self.sweep, done)
        print(line(done, max(self.total, len(self.records), record.number + 1)), flush=True)
        return self._after(result)

    def _waiting(self, number: int, node: Any) -> Record:
        known = self.records.get(number)
        if known is not None:
            return known
        # a sweeper that searches chooses its points one by one
        given = [str(o).lstrip("+") for o in task_overrides(node) if str(o) not in self.fixed]
        chosen = [o for o in given if o.partition("=")[0].split(".")[0] not in KEYS]
        swept = dict(redact_override(o).split("=", 1) for o in chosen)
        return Record(number, setting_of(swept), swept)

    def _quietly(self, config: DictConfig, record: Record) -> RunResult:
        """Run without printing: the tables of many jobs are in their run folders."""
        with redirect_stdout(io.StringIO()):
            tags = {"setting": record.setting, "job": str(record.number)}
            name = record.setting if record.seed is None else f"{record.setting}, seed={record.seed}"
            try:
                with explain_time_limit(), _taking_interrupts(self.interruptible):
                    return self.run(config, self.parent_run_id, tags, name)
            except Exception as error:  # this job fails, the others continue
                log.debug("job %d failed", record.number, exc_info=True)
                return RunResult("failed", None, 4, None, error=f"{type(error).__name__}: {error}")

    def _after(self, result: RunResult) -> Any:
        if result.exit_status == INTERRUPTED:
            raise KeyboardInterrupt
        if result.status == "failed" and self.fail_fast:
            (self.sweep / STOP).touch()
        if self.metric is None:
            return None
        if result.status == "finished" and self.metric not in result.metrics:
            hint = did_you_mean(self.metric, [name for name in result.metrics if "/" not in name])
            raise NoSuchMetricError(str(fail("sweep.metric", f"a run has no metric '{self.metric}'", hint)))
        value = result.metrics.get(self.metric)
        return value if value is None or math.isfinite(value) else None


@contextmanager
def _taking_interrupts(wanted: bool) -> Iterator[None]:
    """Let Ctrl-C end a job in a worker, which is forked ignoring it; between jobs the launcher decides."""
    before = signal.getsignal(signal.SIGINT)
    if not wanted or before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@lru_cache(maxsize=1)
def begin_worker(launcher: int) -> None:
    """Prepare a process for jobs, once; a joblib worker ends with the process that started it."""
    collect_rarely()
    starter = multiprocessing.parent_process()
    if starter is not None and starter.pid == launcher:
        end_with_parent()


def finished(record: Record, result: RunResult, seconds: float) -> Record:
    """Fill in how a job ended."""
    folder = result.folder
    tracked = read_json(folder / "tracking.json") if folder else {}
    return replace(
        record,
        status=result.status,
        verdict=result.verdict,
        error=result.error or (_STOPPED if result.exit_status == INTERRUPTED else None),
        exit_status=result.exit_status,
        run_id=tracked.get("run_id"),
        folder=str(folder) if folder else None,
        seconds=seconds,
        metrics=dict(result.metrics),
    )


def line(record: Record, total: int) -> str:
    """Return one line that says how a job ended."""
    how = f"{record.status}, verdict {record.verdict}" if record.verdict else record.status
    took = f" in {record.seconds:.1f} s" if record.seconds is not None else ""
    error = f": {one_line(record.error)}" if record.error else ""
    note = f" ({record.note})" if record.note else ""
    return f"job {record.number + 1}/{total}  {record.setting}: {how}{took}{note}{error}"


@dataclass(frozen=True)
class SweepRecords:
    """The records of a sweep's jobs, as launching needs them (`bayesrun.jobs.base.Records`).

    Parameters
    ----------
    task
        What each job does.
    """

    task: JobTask

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.task.sweep

    def has_ended(self, number: int) -> bool:
        """Return whether a job has left its record."""
        return read_record(self.folder, number) is not None

    def was_interrupted(self, number: int) -> bool:
        """Return whether a job's record says that it was ended from outside."""
        record = read_record(self.folder, number)
        return record is not None and record.interrupted

    def explain(self, number: int, reason: str) -> None:
        """Write why a job was ended from outside into its record."""
        record = read_record(self.folder, number)
        assert record is not None
        write_record(self.folder, replace(record, error=reason))

    def give_up(self, number: int, reason: str) -> None:
        """Write the record of a job that left none: it failed, unless its verdict was there before it was ended."""
        folder = self.folder / str(number)
        run_id = read_json(folder / "tracking.json").get("run_id")
        where = str(folder) if folder.is_dir() else None
        waiting = self.task.records[number]
        failed = replace(waiting, status="failed", error=reason, exit_status=4, folder=where, run_id=run_id)
        left = read_json(folder / "status.json")
        if left.get("verdict") is not None:
            known = {"status": left["status"], "verdict": left["verdict"]}
            failed = replace(failed, **known, metrics=read_json(folder / "metrics.json"), exit_status=INTERRUPTED)
        write_record(self.folder, failed)

    def set_aside(self, number: int) -> None:
        """Move what an earlier attempt at a job has left out of the way, and remove its record."""
        set_aside(self.folder, number)
