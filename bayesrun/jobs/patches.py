"""Every use of internals of joblib and submitit: what each patch does, why, and for which versions.

`PATCHES` lists them, and a test compares the list with the installed versions. Uses of Hydra's internals are
listed in `config/hydra_internals.py`.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import util
from types import FrameType
from typing import Any

from bayesrun.errors import SamplingError, TimeLimitReached
from bayesrun.processes import away_from_the_current_folder, may_handle_signals, module_command


@dataclass(frozen=True)
class LauncherPatch:
    """One place where bayesrun depends on a library's internals.

    Parameters
    ----------
    name
        The class or function in this module.
    library
        Name of its package.
    versions
        Versions that it was tested with, as a requirement (`>=1.3,<1.4`).
    what
        What it uses or changes.
    why
        What it is for.
    """

    name: str
    library: str
    versions: str
    what: str
    why: str


PATCHES = (
    LauncherPatch(
        "keep_current_folder_out",
        "joblib",
        ">=1.3,<2",
        "has `multiprocessing`, and joblib's loky by it, start Python with statements before their own",
        "`python -c` puts the current folder first on its search path: a `numpy.py` there would be run by the workers",
    ),
    LauncherPatch(
        "submit_without_current_folder",
        "submitit",
        ">=1.4,<2",
        "sets the executor's command that starts Python, and replaces the function that starts one on this machine",
        "`python -m` puts the current folder first on its search path: a `numpy.py` there would be run by the jobs",
    ),
    LauncherPatch(
        "start_workers_from_forkserver",
        "joblib",
        ">=1.3,<2",
        "sets loky's own start method to forkserver",
        "workers share the imports of one process (4 s per worker)",
    ),
    LauncherPatch(
        "start_joblib_resource_tracker",
        "joblib",
        ">=1.3,<2",
        "starts the process by which loky keeps account of what it has in shared memory",
        "started with its workers, it would be ended by a terminal that is closed, before it has removed that",
    ),
    LauncherPatch(
        "stop_workers",
        "joblib",
        ">=1.3,<2",
        "ends loky's reusable executor",
        "its idle workers would outlive the sweep by five minutes",
    ),
    LauncherPatch(
        "keep_interrupts",
        "joblib",
        ">=1.3,<2",
        "raises an interrupt that loky replaces by another error",
        "a sweep that was interrupted must say so, and can be resumed",
    ),
    LauncherPatch(
        "explain_time_limit",
        "submitit",
        ">=1.4,<2",
        "wraps `SignalHandler.checkpoint_and_try_requeue`, and asks its `has_timed_out`",
        "its 'Job not requeued because: timed-out too many times' does not name the key to change",
    ),
    LauncherPatch(
        "use_watcher",
        "submitit",
        ">=1.4,<2",
        "replaces the information watcher of all Slurm jobs by `slurm.QueueWatcher`, a subclass",
        "without accounts, submitit waits forever for a job that was cancelled or lost its node",
    ),
    LauncherPatch(
        "seal_submissions",
        "submitit",
        ">=1.4,<2",
        "replaces `Executor.map_array` by one that seals what a job calls",
        "submitit pickles the whole config into the sweep's folder, with the passwords in it",
    ),
)
"""Every dependence on internals; `tests/unit/jobs/test_launcher_patches.py` checks the versions."""


def keep_current_folder_out() -> None:
    """Start helper processes and workers of `multiprocessing` and joblib without the current folder's modules."""
    flags: Any = util._args_from_interpreter_flags  # type: ignore[attr-defined]
    if getattr(flags, "keeps_out", False):
        return
    # a command is `python FLAGS -c STATEMENTS`: with these flags the statements are an argument
    begin = f"{away_from_the_current_folder()}; del sys.argv[1]; exec(sys.argv.pop(1))"

    def args_from_interpreter_flags() -> list[str]:
        return [*flags(), "-c", begin]

    args_from_interpreter_flags.keeps_out = True  # type: ignore[attr-defined]
    util._args_from_interpreter_flags = args_from_interpreter_flags  # type: ignore[attr-defined]


def submit_without_current_folder(executor: Any) -> None:
    """Have submitit's executor start Python without the current folder's modules."""
    from submitit.local import local  # an extra

    own = getattr(executor, "_executor", executor)  # of an `AutoExecutor`
    if hasattr(own, "python"):
        own.python = shlex.join(module_command())
    local.subprocess = _Starter  # type: ignore[attr-defined]


class _Starter:
    """Stands in for `subprocess` in the module of submitit that starts jobs on this machine."""

    TimeoutExpired = subprocess.TimeoutExpired

    @staticmethod
    def Popen(command: Any, **settings: Any) -> subprocess.Popen[bytes]:
        """Start `python -m MODULE ...` without the current folder on its search path; all else as it is."""
        is_module = isinstance(command, list) and command[:2] == [sys.executable, "-m"]
        return subprocess.Popen([*module_command(), *command[1:]] if is_module else command, **settings)


def start_workers_from_forkserver() -> None:
    """Let joblib's workers fork from Python's fork server, which has imported what they need."""
    from joblib.externals.loky.backend import context  # which a single run does without, as the next two

    context.set_start_method("forkserver", force=True)


def start_joblib_resource_tracker() -> None:
    """Start the process that removes what joblib leaves in shared memory."""
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()


def stop_workers() -> None:
    """End joblib's workers, whose jobs are done and recorded."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Raise the Ctrl-C, SIGTERM or SIGHUP that came while the block ran, even if a library lost it.

    While loky starts workers, its cleaning up after an interrupt raises another error in its place.
    """
    if not may_handle_signals():
        yield
        return
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    received = []

    def hear(number: int, frame: FrameType | None) -> None:
        received.append(number)
        before[number](number, frame)  # type: ignore[index,operator]

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    except Exception as error:
        if not received:
            raise
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


@contextmanager
def explain_time_limit() -> Iterator[None]:
    """Raise `TimeLimitReached` where submitit says "Job not requeued because: timed-out too many times".

    Its handler still decides what becomes of the job. Where it raises an error, its owner is asked whether the job has
    reached its time limit or was only preempted: the error's class is the same. Where submitit does not run the job,
    nothing of it listens to the signal, and nothing is changed.

    Slurm sends the signal to all processes of the job, and may send it again. Only this one answers, and only the
    first: the chains, forked from it, would have submitit write the same file at the same time, which it refuses.
    """
    submitits = signal.getsignal(signal.SIGUSR2)
    owner: Any = getattr(submitits, "__self__", None)
    if not callable(submitits) or not hasattr(owner, "has_timed_out") or not may_handle_signals():
        yield
        return

    asked = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if os.getpid() != asked:
            return
        try:
            submitits(number, frame)
        except Exception:
            if owner.has_timed_out():
                raise TimeLimitReached from None
            # submitit could not queue it again: `--no-requeue` forbids it
            raise SamplingError("the cluster gave its place to another job (preempted)") from None

    signal.signal(signal.SIGUSR2, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, submitits)


def use_watcher(watcher: Any) -> None:
    """Have submitit ask this information watcher how its Slurm jobs are."""
    from submitit.slurm.slurm import SlurmJob  # an extra

    SlurmJob.watcher = watcher


def seal_submissions() -> None:
    """Keep secrets out of submitit's files (`sealing`)."""
    from submitit.core.core import Executor  # an extra

    from bayesrun.jobs.sealing import SealedCall, seal  # Hydra and cloudpickle, which a queue's jobs alone need

    if getattr(Executor.map_array, "seals", False):
        return
    plain = Executor.map_array

    def map_array(self: Executor, call: Callable[..., Any], *arguments: Iterable[Any]) -> Any:
        submit_without_current_folder(self)
        sealed = [seal(call, each) for each in zip(*arguments, strict=True)]
        return plain(self, SealedCall(), sealed)

    map_array.seals = True  # type: ignore[attr-defined]
    Executor.map_array = map_array
