"""Ctrl-C, SIGTERM and SIGHUP before a run has anything to lose: one line, status 128 + number, nothing left behind.

While Python imports, the process ends at once: an exception inside an import may come out as any other error. At other
times `Interrupted` is raised, so that what is open is closed (a module that Theano compiles, a temporary folder). While
a run has a folder open its own rules apply (`samplers.monitors.Signals`); a sweep treats all as Ctrl-C
(`interrupt_on_all`); a command that is done ignores them (`ignore_all`).

Imports nothing but the standard library's smallest parts: it must be active before anything else is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
from contextlib import suppress
from types import FrameType

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "interrupted: the terminal was closed",
}
_SECONDS_TO_TIDY_UP = 3


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end; holds the exit status of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(_WORDS[signal.Signals(number)])
        self.exit_status = 128 + number


class _Early:
    """The handlers' state in this process."""

    pid = 0
    received: Interrupted | None = None


def listen() -> None:
    """Take over the signals; those that are ignored (a background job's Ctrl-C) stay ignored."""
    _Early.pid = os.getpid()
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def _hand_over() -> None:
    """Give the signals back to Python."""
    if signal.getsignal(signal.SIGINT) is _on_signal:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)


def interrupt_on_all() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C; signals that are ignored stay ignored."""
    _hand_over()
    own = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a child that was forked
            os._exit(128 + number)
        _Early.received = Interrupted(number)  # its own status, where nothing has begun that would end in order
        signal.raise_signal(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def received() -> Interrupted | None:
    """Return the signal that arrived, whatever error it surfaced as."""
    return _Early.received


def ignore_all() -> None:
    """Ignore further signals: the command has its exit status, and only cleans up."""
    for number in _WORDS:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _Early.pid:  # a child that was forked meanwhile
        if number != signal.SIGINT:
            os._exit(128 + number)
        raise KeyboardInterrupt
    before, _Early.received = _Early.received, Interrupted(number)
    if before is not None or _imports(frame):
        end(_Early.received)
    raise _Early.received


def _imports(frame: FrameType | None) -> bool:
    """Return whether Python is importing something."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def end(interrupted: Interrupted) -> None:
    """Print one line, clean up for a few seconds at most, and end the process."""
    ignore_all()
    with suppress(OSError):  # the terminal was closed
        os.write(2, f"{interrupted}\n".encode())
    leave_soon(interrupted.exit_status, _SECONDS_TO_TIDY_UP)
    atexit._run_exitfuncs()
    os._exit(interrupted.exit_status)


def leave_soon(exit_status: int, seconds: int) -> None:
    """Let the process end after some seconds, whatever its clean-up waits for: workers may have been ended with it."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(exit_status))
    signal.alarm(seconds)
