"""The process that a run in Python is a guest in: what a run changes for its time is as before when it has ended.

A command has its process for itself; a notebook or a script goes on after a run. So what a run sets for all of the
process (environment variables, warnings, loggers, NumPy's global random state, signal handlers, Hydra's and OmegaConf's
state, Theano's exception hook, the garbage collector's thresholds) is put back, however the run ends. Runs of several
threads take turns.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase
from omegaconf import Container
from omegaconf.basecontainer import BaseContainer

from bayesrun.config.resolvers import register_resolvers
from bayesrun.garbage import collecting_rarely
from bayesrun.processes import may_handle_signals
from bayesrun.redaction import RedactedStream, remember_environment

_turn = threading.RLock()
_OF_A_PROGRAM = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
"""What Hydra knows of the program that it runs."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_guest() -> Iterator[None]:
    """Do a run, and leave the process as it was."""
    with _turn, ExitStack() as stack:
        for keep in (_environment, _warnings, _loggers, _random_state, _signals, _configs, _exception_hook):
            stack.enter_context(keep())
        stack.enter_context(collecting_rarely())
        remember_environment()
        register_resolvers()
        stack.enter_context(redirect_stdout(RedactedStream(sys.stdout)))
        stack.enter_context(redirect_stderr(RedactedStream(sys.stderr)))
        yield


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _loggers() -> Iterator[None]:
    """Keep the levels of all loggers; PyMC3's and Theano's are silenced while a run imports them."""
    captures = getattr(logging, "_warnings_showwarning", None) is not None
    levels = {name: of.level for name, of in _all_loggers().items()}
    try:
        yield
    finally:
        for name, of in _all_loggers().items():
            of.setLevel(levels.get(name, logging.NOTSET if name != "root" else of.level))
        logging.captureWarnings(captures)


def _all_loggers() -> dict[str, logging.Logger]:
    known = {name: of for name, of in logging.root.manager.loggerDict.items() if isinstance(of, logging.Logger)}
    return {**known, "root": logging.root}


@contextmanager
def _random_state() -> Iterator[None]:
    """Keep the state of NumPy's global generator, which PyMC3 seeds."""
    numpy = sys.modules.get("numpy")
    before: Any = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        if numpy and before:
            numpy.random.set_state(before)


@contextmanager
def _signals() -> Iterator[None]:
    """Keep the signal handlers; outside the main thread nobody may set one."""
    if not may_handle_signals():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def _configs() -> Iterator[None]:
    """Keep the state of Hydra, and of OmegaConf: the program may be one of Hydra's itself."""
    apart: dict[type, Any] = {
        kind: Singleton._instances.pop(kind) for kind in _OF_A_PROGRAM if kind in Singleton._instances
    }
    resolvers, resolve = dict(BaseContainer._resolvers), Container._resolve_node_interpolation
    try:
        yield
    finally:
        for kind in _OF_A_PROGRAM:
            Singleton._instances.pop(kind, None)
        Singleton._instances.update(apart)
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)
        Container._resolve_node_interpolation = resolve  # type: ignore[method-assign]


@contextmanager
def _exception_hook() -> Iterator[None]:
    before = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = before


@contextmanager
def _warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


@contextmanager
def nameless_script() -> Iterator[None]:
    """Let processes that start in here not run this program's script again to find what it defines.

    They need nothing of it, and one that starts a sweep outside of `if __name__ == "__main__"` would start it anew.
    """
    script: ModuleType = sys.modules["__main__"]
    before = {name: getattr(script, name, None) for name in ("__spec__", "__file__")}
    script.__spec__ = None
    if before["__file__"] is not None:
        del script.__file__
    try:
        yield
    finally:
        script.__spec__ = before["__spec__"]
        if before["__file__"] is not None:
            script.__file__ = before["__file__"]
