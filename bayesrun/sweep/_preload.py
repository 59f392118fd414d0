"""Imported by the process that a sweep's workers fork from: all that a job imports, so that no worker has to."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from contextlib import suppress
from types import TracebackType

from bayesrun.engines.base import ENGINES
from bayesrun.processes import collect_rarely

_PARTS = ("data", "language", "models", "engines", "samplers", "predict", "diagnostics", "figures", "report")


def _import_all() -> None:
    ENGINES.load("pymc3", "engine.name").set_up()
    for part in _PARTS:
        package = importlib.import_module(f"bayesrun.{part}")
        for module in pkgutil.walk_packages(package.__path__, f"bayesrun.{part}."):
            with suppress(ImportError):  # of an optional library: the job that needs it says so
                importlib.import_module(module.name)
    importlib.import_module("bayesrun.pipeline")


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A worker that starts when its sweep was interrupted already finds nothing of it: no news to anybody."""
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)


collect_rarely()
logging.getLogger().addHandler(logging.NullHandler())  # libraries' words on being imported are in each run's log
_import_all()
sys.excepthook = _tell  # Theano sets one of its own when it is imported
