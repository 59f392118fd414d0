"""Jobs handed to a queue (submitit, Slurm) one by one, so that one that dies hides no other.

Submitit waits for ever for a job that was cancelled or lost its node where Slurm keeps no accounts. So the queue
itself is asked: a job that is no longer in it, and has left no record, has died.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bayesrun.sweep.sweep_folder import read_record

Submit = Callable[[int, Path], "str | None"]
"""Submits a job by number with a folder for submitit's files, waits for it, and returns what went wrong."""

_POLL_SECONDS = 1.0
_POLLS_GONE = 5
_FOLDER = ".submitit"
_WORDS = {
    "TIMEOUT": "it reached its time limit on the cluster (hydra.launcher.timeout_min)",
    "NODE_FAIL": "its node failed",
    "CANCELLED": "it was cancelled",
    "OUT_OF_MEMORY": "it took more memory than it had asked for (hydra.launcher.mem_gb)",
    "PREEMPTED": "another job took its place",
}


class Submission(threading.Thread):
    """One job in the queue. The thread may wait for ever, so nobody waits for the thread."""

    def __init__(self, number: int, sweep: Path, submit: Submit, gate: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.number, self.sweep, self.gate = number, sweep, gate
        self.folder = sweep / _FOLDER / str(number)
        self.submit, self.error, self.polls_gone = submit, "", 0

    def run(self) -> None:
        """Submit the job when there is room for it, and wait."""
        with self.gate:
            self.error = self.submit(self.number, self.folder) or ""

    def is_over(self, queued: set[str] | None) -> bool:
        """Say whether the job has ended, in whichever way."""
        record, ids = read_record(self.sweep, self.number), self._ids()
        # one that was interrupted knows of a signal only: what Slurm says once it has left the queue is waited for
        asks = record is not None and record.interrupted and queued is not None and bool(ids)
        if not asks and (record is not None or not self.is_alive()):
            return True
        gone = queued is not None and bool(ids) and not ids & queued
        self.polls_gone = self.polls_gone + 1 if gone else 0
        if self.polls_gone >= _POLLS_GONE:
            self.error = _state(max(ids, key=int))
            return True
        return False

    def _ids(self) -> set[str]:
        return {p.name.split("_")[0] for p in self.folder.glob("*_submitted.pkl")}


def run_all(numbers: Sequence[int], sweep: Path, submit: Submit, at_once: int) -> dict[int, str]:
    """Submit jobs, at the most some at a time, and return when all have ended.

    Parameters
    ----------
    numbers
        The jobs.
    sweep
        The sweep's folder.
    submit
        Submits one.
    at_once
        How many may be in the queue at one time.

    Returns
    -------
    dict
        Number to what went wrong, of the jobs for which something is known.
    """
    gate = threading.Semaphore(at_once)
    waiting = [Submission(number, sweep, submit, gate) for number in numbers]
    errors: dict[int, str] = {}
    for submission in waiting:
        submission.start()
    while waiting:
        time.sleep(_POLL_SECONDS)
        queued = _queued()
        over = [s for s in waiting if s.is_over(queued)]
        errors |= {s.number: s.error for s in over if s.error}
        waiting = [s for s in waiting if s not in over]
    return errors


def _queued() -> set[str] | None:
    """Return the ids of all jobs in Slurm's queue; None when it does not say."""
    shown = _ask("squeue", "--noheader", "--format=%F")
    return None if shown is None else set(shown.split())


def _state(job: str) -> str:
    return explain_state(_ask("scontrol", "--oneliner", "show", "job", job) or "")


def explain_state(shown: str) -> str:
    """Explain how Slurm ended a job.

    Parameters
    ----------
    shown
        What `scontrol --oneliner show job` says of it; empty when Slurm has forgotten it.
    """
    said = dict(word.split("=", 1) for word in shown.split() if "=" in word)
    state = said.get("JobState", "")
    words = _WORDS.get(state) or "it left Slurm's queue without a result"
    known = [f"{key}={said[key]}" for key in ("JobState", "Reason", "ExitCode", "NodeList") if key in said]
    return f"{words} ({', '.join(known) or 'its state is no longer known'})"


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
