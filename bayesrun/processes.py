"""How processes of bayesrun start and fork, and names for them.

A process's name stays right after it has ended and its number was given to another process.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

ATTEMPTS = 2
"""How often a command begins what was lost with the process that did it."""

_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
_POLL_SECONDS = 1.0
_SEMAPHORES = 8  # more than the queues of a pool have
_SAME_START_SECONDS = 30.0  # the start time moves with the system's clock; no number is given twice so soon


def away_from_the_current_folder() -> str:
    """Return statements by which a Python that was started with `-c` leaves the current folder out of its search path.

    Python puts it first: a folder of configs that others share may hold a `numpy.py`, which would be run (Python 3.11
    has `PYTHONSAFEPATH` for this). bayesrun's own folder takes its place where it is not installed.
    """
    own = str(Path(__file__).resolve().parents[1])
    return f"import sys; sys.path[:1] = [] if {own!r} in sys.path[1:] else [{own!r}]"


def module_command(*flags: str) -> list[str]:
    """Return the beginning of a command that runs a module of Python, without the current folder on its search path.

    What follows is `-m`, the module, and its arguments.

    Parameters
    ----------
    flags
        Of Python itself.
    """
    take = "import runpy; del sys.argv[: sys.argv.index('-m') + 1]"
    run = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    return [sys.executable, *flags, "-c", f"{away_from_the_current_folder()}; {take}; {run}"]


def processors() -> int:
    """Count the processors that this process may use."""
    own = psutil.Process()
    return len(own.cpu_affinity()) if hasattr(own, "cpu_affinity") else psutil.cpu_count() or 1


def end_with_parent() -> None:
    """End this process when the one that started it is gone; otherwise it would wait for work forever, or go on."""
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


def may_handle_signals() -> bool:
    """Return whether this thread may set signal handlers: Python allows it in the main thread alone."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C, SIGTERM or SIGHUP take effect when the block is done.

    To be held around a fork: what Python calls before and after one swallows what a signal's handler raises.
    """
    own, before, received, done = os.getpid(), dict[int, Any](), list[tuple[int, Any]](), list[bool]()
    if may_handle_signals():
        before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def hear(number: int, frame: Any) -> None:
        if os.getpid() == own and done:  # another signal has interrupted the restoring of handlers
            before[number](number, frame)
        elif os.getpid() == own:
            received.append((number, frame))
        elif number != signal.SIGINT:  # a child that was forked meanwhile
            os._exit(128 + number)

    try:
        for number in before:
            signal.signal(number, hear)
        yield
    finally:
        done.append(True)
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in received[:1]:
            before[number](number, frame)


def may_fork() -> bool:
    """Return whether this process may fork children on this system."""
    return not multiprocessing.current_process().daemon and "fork" in multiprocessing.get_all_start_methods()


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP, which go to the whole process group: the parent answers, and ends this one."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def may_pool() -> bool:
    """Return whether `forked` works here: its processes share semaphores, which take some shared memory."""
    try:
        return may_fork() and all([multiprocessing.get_context("fork").Lock() for _ in range(_SEMAPHORES)])
    except OSError:  # `/dev/shm` is full, or not there
        return False


@contextmanager
def forked(count: int, call: Callable[..., Any]) -> Iterator[Callable[..., Future[Any]]]:
    """Let processes that are forked from this one call a function; an interrupt in the block kills them.

    They have all that this one has: only arguments and results are sent. They leave signals to this process.

    Parameters
    ----------
    count
        How many processes.
    call
        The function.

    Yields
    ------
    callable
        Takes arguments of a call; returns its future.
    """
    global _call
    _call = call
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork"), initializer=_begin_forked) as pool:

        def submit(*arguments: Any) -> Future[Any]:
            with uninterrupted():
                return pool.submit(_call_forked, *arguments)

        try:
            yield submit
        except KeyboardInterrupt:  # what they have not done is not waited for
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_call: Callable[..., Any]
"""What processes call that are forked from now on."""


def _begin_forked() -> None:
    gc.freeze()  # what is inherited stays: looking through it for garbage would copy its memory, too
    leave_signals_to_parent()
    end_with_parent()


def _call_forked(*arguments: Any) -> Any:
    return _call(*arguments)


# ---------------------------------------------------------------- names


def process_label(pid: int) -> str:
    """Name a process of this host: `HOST:PID:SECONDS:SYSTEM`, with the time when it started, and whose number it is."""
    return f"{socket.gethostname()}:{pid}:{_start_time(pid) or ''}:{_system()}"


def process_has_ended(label: str) -> bool:
    """Return whether a named process has ended, as far as that is known (`process_state`)."""
    return process_state(label) == "ended"


def process_state(label: str) -> Literal["running", "ended", "unknown"]:
    """Return whether a named process runs.

    `unknown` is a process of another host, or of another container: its number means another process there.
    """
    host, pid, started, system = [*label.split(":"), "", "", "", ""][:4]
    if host != socket.gethostname() or not pid.isdigit():
        return "unknown"
    (machine, boot, numbers), own = [*system.split("."), "", "", ""][:3], _system().split(".")
    if machine != own[0] and system:
        return "unknown"
    if boot != own[1] and system:  # the machine was started anew; without an id of its own it may be another one
        return "ended" if machine else "unknown"
    if numbers != own[2] and system:
        return "unknown"
    now = _start_time(int(pid))
    is_another = bool(started) and now is not None and abs(now - float(started)) > _SAME_START_SECONDS
    return "ended" if now is None or is_another else "running"


@lru_cache(maxsize=1)
def _system() -> str:
    """Return digests of the machine's id and of its current boot, and the id of the namespace of process numbers."""
    ids = []
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            ids.append(hashlib.sha256(Path(path).read_bytes().strip()).hexdigest()[:8])
        except OSError:  # a small container, or not Linux
            ids.append("")
    try:
        namespace = "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))
    except OSError:
        namespace = ""
    return ".".join([*ids, namespace])


def _start_time(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None where it has ended or is a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
