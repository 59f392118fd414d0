"""Jobs handed to a queue (submitit, Slurm) one by one, so that the failure of one hides no other.

Submitit asks Slurm's accounting how a job ended, and waits forever where Slurm has none. `QueueWatcher` asks the queue
itself: a job that is no longer in it has ended, and `scontrol` remembers how for some minutes.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from submitit.slurm.slurm import SlurmInfoWatcher

from bayesrun.jobs.base import Records
from bayesrun.jobs.patches import seal_submissions, use_watcher

Submit = Callable[[int, Path], "str | None"]
"""Submits a job by number with a folder for submitit's files, waits for it, and returns what went wrong."""

_POLL_SECONDS = 1.0
_MAX_SECONDS = 5
_POLLS_GONE = 3
_WAIT_FOR_STATE = 120.0
_FOLDER = ".submitit"
_WORDS = {
    "TIMEOUT": "it reached its time limit on the cluster (hydra.launcher.timeout_min)",
    "NODE_FAIL": "its node failed",
    "CANCELLED": "it was cancelled",
    "OUT_OF_MEMORY": "it took more memory than it had requested (hydra.launcher.mem_gb)",
    "PREEMPTED": "another job took its place",
}


class QueueWatcher(SlurmInfoWatcher):  # type: ignore[misc]  # untyped
    """Reads the state of jobs from Slurm's queue, with or without accounting; shared by all jobs and threads."""

    def __init__(self) -> None:
        super().__init__(delay_s=_MAX_SECONDS)
        self._asking = threading.Lock()
        self._polls_gone: Counter[str] = Counter()

    def update(self) -> None:
        """Poll the queue, unless it was polled just now."""
        with self._asking:
            if time.time() - self._last_status_check >= _POLL_SECONDS:
                super().update()

    def _make_command(self) -> list[str] | None:
        return ["squeue", "--noheader", "--format=%F"] if self._registered - self._finished else None

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Return the state of each job that has not ended: in the queue, or gone from it for some polls."""
        queued = set((string if isinstance(string, str) else string.decode()).split())
        for job in self._registered - self._finished:
            self._polls_gone[job] = 0 if job.split("_")[0] in queued else self._polls_gone[job] + 1
        gone = {job for job, polls in self._polls_gone.items() if polls >= _POLLS_GONE}
        return {job: {"JobID": job, "State": "GONE" if job in gone else "RUNNING"} for job in self._polls_gone}

    def knows(self, job: str) -> bool:
        """Return whether a job was submitted to Slurm by this process."""
        return job in self._registered


def run_all(numbers: Sequence[int], records: Records, submit: Submit, at_once: int) -> dict[int, str]:
    """Submit jobs, at most `at_once` at a time, and return when all have ended.

    Parameters
    ----------
    numbers
        The jobs.
    records
        Where they leave their records.
    submit
        Submits one.
    at_once
        How many may be in the queue at one time.

    Returns
    -------
    dict
        Number to what went wrong, of the jobs for which something is known.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after the jobs in the queue were cancelled.
    """
    watcher = QueueWatcher()
    use_watcher(watcher)
    seal_submissions()
    pool = ThreadPoolExecutor(at_once)
    try:
        errors = list(pool.map(lambda number: _run(number, records, submit, watcher), numbers))
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        ids = [job for number in numbers if watcher.knows(job := _job_id(records.folder, number))]
        if ids:
            _ask("scancel", *ids)
        raise
    pool.shutdown()
    return {number: error for number, error in zip(numbers, errors, strict=True) if error}


def _run(number: int, records: Records, submit: Submit, watcher: QueueWatcher) -> str:
    """Submit one job and wait; return what went wrong, in Slurm's words where the job itself knows less."""
    error = submit(number, records.folder / _FOLDER / str(number)) or ""
    job = _job_id(records.folder, number)
    if not watcher.knows(job) or (records.has_ended(number) and not records.was_interrupted(number)):
        return error
    deadline = time.monotonic() + _WAIT_FOR_STATE
    while not watcher.is_done(job, mode="force") and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return explain_state(_ask("scontrol", "--oneliner", "show", "job", job) or "")


def _job_id(jobs: Path, number: int) -> str:
    """Return the id of a job's latest submission; empty before it was submitted."""
    folder = jobs / _FOLDER / str(number)
    return max((p.name.split("_")[0] for p in folder.glob("*_submitted.pkl")), key=int, default="")


def explain_state(shown: str) -> str:
    """Explain how Slurm ended a job.

    Parameters
    ----------
    shown
        What `scontrol --oneliner show job` says of it; empty when Slurm has forgotten it.
    """
    fields = dict(word.split("=", 1) for word in shown.split() if "=" in word)
    state = fields.get("JobState", "")
    words = _WORDS.get(state) or "it left Slurm's queue without a result"
    known = [f"{key}={fields[key]}" for key in ("JobState", "Reason", "ExitCode", "NodeList") if key in fields]
    return f"{words} ({', '.join(known) or 'its state is no longer known'})"


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
