"""Imported by the process that a sweep's workers fork from: all that a job imports, so that no worker has to."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bayesrun.engines.base import ENGINES
from bayesrun.garbage import collect_rarely

_NOT_FOR_JOBS = ("__main__", "app", "cli", "help", "api", "jobs", "sweeps", "tracking")
_SERVER = os.getpid()
_POLL_SECONDS = 1.0


def _import_all() -> None:
    ENGINES.load("pymc3", "engine.name").set_up()
    _import_below([str(Path(__file__).parents[1])], "bayesrun.")


def _import_below(path: list[str], prefix: str) -> None:
    for found in pkgutil.iter_modules(path, prefix):
        if found.name.split(".")[1] in _NOT_FOR_JOBS or found.name.endswith("__main__"):
            continue
        with suppress(ImportError):  # of an optional library: the job that needs it reports it
            module = importlib.import_module(found.name)
            if found.ispkg:
                _import_below(list(module.__path__), f"{found.name}.")


def _end_with_server() -> None:
    """End a worker when the process that it was forked from is gone, whether it was given a job or not.

    That process ends with the launching one. What a worker forks itself is not concerned.
    """
    if os.getppid() == _SERVER:
        threading.Thread(target=_watch_server, daemon=True).start()


def _watch_server() -> None:
    while os.getppid() == _SERVER:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Stay silent where a worker finds nothing of its sweep: it was interrupted while the worker started."""
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)


collect_rarely()
signal.signal(signal.SIGINT, signal.SIG_IGN)  # what it forks decides for itself
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked since this process was started
os.register_at_fork(after_in_child=_end_with_server)
logging.getLogger().addHandler(logging.NullHandler())  # libraries' messages on import are in each run's log
_import_all()
sys.excepthook = _report  # Theano sets one of its own when it is imported
