"""Ctrl-C, SIGTERM and SIGHUP before a run has anything to lose: one line, status 128 + number, nothing left behind.

While Python imports, the process ends at once: an exception inside an import may come out as any other error. At other
times `Interrupted` is raised, so that what is open is closed (a module that Theano compiles, a temporary folder). While
a run has a folder open its own rules apply (`samplers.monitors.Signals`); a sweep that has a folder ends in order at
each of them (`end_in_order`); a command that is done ignores them (`ignore_all`).

Imports nothing but the standard library's smallest parts: it must be active before anything else is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "interrupted: the terminal was closed",
}
_SECONDS_TO_TIDY_UP = 3
_AGAIN_SECONDS = 1.1  # two signals within a second count as one (`samplers.monitors.Signals`)


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
    sys.unraisablehook = _raise_again
    _handle_with(_on_signal)


def end_in_order() -> None:
    """Raise `KeyboardInterrupt` at each signal from now on; a command does so that has something to keep."""
    _handle_with(_interrupt)


def _handle_with(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def received() -> Interrupted | None:
    """Return the signal that arrived, whatever error it surfaced as."""
    return _Early.received


def ignore_all() -> None:
    """Ignore further signals: the command has its exit status, and only cleans up."""
    for number in _WORDS:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _leave_to_parent(number)
    before, _Early.received = _Early.received, Interrupted(number)
    if before is not None or _imports(frame):
        end(_Early.received)
    raise _Early.received


def _interrupt(number: int, frame: FrameType | None) -> None:
    _leave_to_parent(number)
    _Early.received = Interrupted(number)  # its own status, where nothing has begun that would end in order
    raise KeyboardInterrupt(signal.Signals(number).name)


def _leave_to_parent(number: int) -> None:
    """End a process that was forked meanwhile: the signal's answer is the parent's."""
    if os.getpid() != _Early.pid:
        if number != signal.SIGINT:
            os._exit(128 + number)
        raise KeyboardInterrupt


def _raise_again(lost: UnraisableHookArgs) -> None:
    """Raise an interrupt once more that Python can't pass on, as it does in a finalizer or a weak reference's callback.

    Python would print a traceback, and continue.
    """
    if os.getpid() != _Early.pid or not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    named = lost.exc_value.args[:1] if lost.exc_value else ()
    number = next((n for n in _WORDS if named in [(n.name,), (_WORDS[n],)]), signal.SIGINT)

    def again(alarm: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(number)
        if callable(handler):
            handler(number, frame)

    _Early.received = None
    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)


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
    """Kill the children, and let the process end after some seconds, whatever its clean-up waits for.

    Python would wait without end for a child that leaves signals to its parent.
    """
    signal.signal(signal.SIGALRM, lambda *_: os._exit(exit_status))
    signal.alarm(seconds)
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
