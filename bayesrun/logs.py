"""Where messages go: what a user needs to the console, everything to `run.log`."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bayesrun.errors import cut_words
from bayesrun.redaction import redact

_FILE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_ABOUT_OTHERS_CODE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
"""Warnings meant for authors of libraries; a user can do nothing about them."""
_GROUP_OF_OUR_OWN = ".*group .*is not defined in the InferenceData scheme"
"""ArviZ, of the group `loo` that bayesrun adds to a posterior."""


class _Console(logging.Handler):
    """Prints bayesrun's own messages; other packages' stay in the file."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "only_in_file", False):  # it is told in another way
            return
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(cut_words(redact(f"{prefix}{record.getMessage()}")), file=stream)


_console_level = logging.INFO


@contextmanager
def console_level(level: int) -> Iterator[None]:
    """Print messages from a level on, for the time of the block; the log keeps all of them."""
    global _console_level
    before, _console_level = _console_level, level
    try:
        yield
    finally:
        _console_level = before


class _Redacted(logging.Formatter):
    """Formats a record with its traceback, without secrets and endless words."""

    def format(self, record: logging.LogRecord) -> str:
        return cut_words(redact(super().format(record)))


class _RunLog(logging.FileHandler):
    """Writes `run.log`. Lines that a full disk does not take are lost; the console has shown them."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to_memory() -> Iterator[logging.handlers.MemoryHandler]:
    """Log to the console, and keep all messages until `flush_to` gives them a file.

    A run that fails before it has a folder leaves nothing behind.
    """
    root, ours = logging.getLogger(), logging.getLogger("bayesrun")
    memory = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    console = _Console(_console_level)
    console.addFilter(logging.Filter("bayesrun"))
    before = root.handlers[:], root.level, ours.level, ours.propagate
    root.handlers, root.level, ours.propagate = [memory, console], logging.INFO, True
    ours.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            for category in _ABOUT_OTHERS_CODE:
                warnings.simplefilter("ignore", category)
            warnings.filterwarnings("ignore", _GROUP_OF_OUR_OWN)
            yield memory
    finally:
        logging.captureWarnings(False)
        if memory.target:
            memory.flush()
            memory.target.close()
        root.handlers, root.level, ours.level, ours.propagate = before


def flush_to(memory: logging.handlers.MemoryHandler, path: Path) -> None:
    """Write what was kept to a file, and all further messages as they come."""
    handler = _RunLog(path, encoding="utf-8")
    handler.setFormatter(_Redacted(_FILE_FORMAT))
    memory.setTarget(handler)
    memory.flush()
    memory.capacity = 1


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Note in the log how long a step of a run takes."""
    began = time.perf_counter()
    yield
    logging.getLogger("bayesrun").debug("%s: %.2f s", step, time.perf_counter() - began)
