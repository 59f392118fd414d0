"""Worker processes of a sweep on this machine, forked from one that has imported all that a job needs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from bayesrun.jobs.patches import (
    keep_current_folder_out,
    start_joblib_resource_tracker,
    start_workers_from_forkserver,
    stop_workers,
)
from bayesrun.processes import end_with_parent, forked, may_handle_signals, may_pool, uninterrupted

T = TypeVar("T")

_prepared = False
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def prepare_workers(count: int) -> None:
    """Start the process that workers fork from: it imports while the points of the sweep are checked.

    Parameters
    ----------
    count
        How many workers will share the processors; below 0 as joblib counts, -1 = as many as there are.
    """
    global _prepared
    keep_current_folder_out()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    multiprocessing.set_forkserver_preload(["bayesrun.jobs.preload"])
    processors = os.cpu_count() or 1
    workers = max(1, count if count > 0 else processors + 1 + count)
    try:
        with _threads(max(1, processors // workers)), keeping_interrupts():
            forkserver.ensure_running()
    except OSError:  # a temporary folder whose path is too long for a socket: workers start as joblib starts them
        return
    start_workers_from_forkserver()
    _prepared = True


def end_workers() -> None:
    """End the workers, whose jobs are done and recorded."""
    if _prepared:
        with suppress(OSError):  # none could be started: shared memory is full
            stop_workers()


def in_worker(call: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process that has imported what it needs: a worker, or this one if there is none."""
    # a Ctrl-C during a request for a process kills the fork server
    with suppress(BrokenProcessPool, OSError, EOFError):
        if _prepared:
            context = multiprocessing.get_context("forkserver")
            with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
                return pool.submit(call, *arguments).result()
    return call(*arguments)


@contextmanager
def beside(call: Callable[..., T], *arguments: Any) -> Iterator[Callable[[], T]]:
    """Call a function in a forked process while the block goes on; the yielded function waits for its result."""
    if not may_pool():
        yield lambda: call(*arguments)
        return
    with forked(1, partial(call, *arguments)) as submit:
        yield submit().result


def _start_resource_trackers() -> None:
    """Start the processes that remove what is left in shared memory.

    They ignore Ctrl-C and SIGTERM by themselves. A terminal that is closed would end them first, and leave tracebacks.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        resource_tracker.ensure_running()
        start_joblib_resource_tracker()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from a process that starts in here until it ignores it (`preload`); here it takes effect later.

    Were it ignored here for that time, one that comes meanwhile would be lost.
    """
    if not may_handle_signals():
        yield
        return
    _start_resource_trackers()  # or one would be started in here, and unblock the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with uninterrupted():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let processes that start in here use `count` threads for linear algebra, unless the environment sets it."""
    added = {name: str(count) for name in _THREADS if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
