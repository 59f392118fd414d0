"""How processes of bayesrun begin, and how some are forked to work for a while."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil

_THRESHOLDS = 100_000, 20, 50
_POLL_SECONDS = 1.0


def collect_rarely() -> None:
    """Look for garbage less often.

    Imports and graphs make millions of objects that stay: Python's own thresholds cost a run 0.6 s of searching them.
    To be called by each process that begins, before it imports.
    """
    gc.set_threshold(*_THRESHOLDS)


def processors() -> int:
    """Count the processors that this process may use."""
    own = psutil.Process()
    return len(own.cpu_affinity()) if hasattr(own, "cpu_affinity") else psutil.cpu_count() or 1


def end_with_parent() -> None:
    """End this process when the one that started it is gone: it would wait for work for ever, or go on."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_watch, args=[starter], daemon=True).start()


def _watch(starter: Any) -> None:
    if os.getppid() == starter.pid:
        while os.getppid() == starter.pid:
            time.sleep(_POLL_SECONDS)
    else:  # forked from a process that all are forked from
        starter.join()
    os._exit(1)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C take effect when the block is done.

    To be held around a fork: what Python calls before and after one swallows what a signal's handler raises.
    """
    before, heard = signal.getsignal(signal.SIGINT), list[Any]()
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *signalled: heard.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            before(*heard[0])


def may_fork() -> bool:
    """Say whether this process may have children, and the system forks them."""
    return not multiprocessing.current_process().daemon and "fork" in multiprocessing.get_all_start_methods()


@contextmanager
def forked(
    count: int, call: Callable[..., Any], begin: Callable[[], None] = end_with_parent
) -> Iterator[Callable[..., Future[Any]]]:
    """Let processes that are forked from this one call a function.

    They have all that this one has: only arguments and results are sent.

    Parameters
    ----------
    count
        How many processes.
    call
        The function.
    begin
        Called first by each.

    Yields
    ------
    callable
        Takes arguments of a call; returns its future.
    """
    global _call
    _call = call
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork"), initializer=begin) as pool:

        def submit(*arguments: Any) -> Future[Any]:
            with uninterrupted():
                return pool.submit(_call_forked, *arguments)

        yield submit


_call: Callable[..., Any]
"""What processes call that are forked from now on."""


def _call_forked(*arguments: Any) -> Any:
    return _call(*arguments)
