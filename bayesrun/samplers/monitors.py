"""Monitors that are notified of each draw, and how a time limit or a signal ends sampling."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal, signal
from signal import Signals as SignalName
from types import FrameType
from typing import Any, Literal

from bayesrun.processes import may_handle_signals
from bayesrun.samplers.base import Monitor

log = logging.getLogger("bayesrun.sampling")

_ONE_SIGNAL_SECONDS = 1.0


class TimeIsUp(KeyboardInterrupt):
    """`sampler.max_seconds` has passed: sampling ends as on Ctrl-C, and the draws so far are kept."""


def reason_of(stop: KeyboardInterrupt | None) -> Literal["interrupt", "max_seconds"] | None:
    """Return what ended sampling early; None where nothing did."""
    if stop is None:
        return None
    return "max_seconds" if isinstance(stop, TimeIsUp) else "interrupt"


class MonitorGroup:
    """Notifies several monitors of each draw.

    Parameters
    ----------
    monitors
        Those to notify.
    ready
        Called when all is compiled, before the first draw. It waits for work that was begun before.
    """

    def __init__(self, monitors: Sequence[Monitor], ready: Callable[[], object] = lambda: None) -> None:
        self._monitors, self._ready = monitors, ready
        self._begun = False

    def begin(self) -> None:
        """Wait for what must be ready."""
        self._ready()
        for monitor in self._monitors:
            monitor.begin()

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Notify all of them; the log has the time of the first draw."""
        if not self._begun:
            self._begun = True
            log.debug("first draw")
        for monitor in self._monitors:
            monitor.draw(chain, done, tuning, diverging)


class TimeLimit:
    """Ends sampling after `seconds`; the draws so far are kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, 0.0  # the time runs from the first draw: compiling is not sampling

    def begin(self) -> None:
        """Nothing to do."""

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Raise `TimeIsUp` when the time has passed and a draw is kept."""
        self._end = self._end or time.monotonic() + self._seconds
        if time.monotonic() > self._end and not tuning:
            raise TimeIsUp


class Tracked:
    """Reports progress to a tracker, at most once per `every` seconds.

    Parameters
    ----------
    total
        Draws of all chains, tuning included.
    report
        `(draws done, share of all, divergences so far)`.
    every
        Seconds between reports.
    """

    def __init__(self, total: int, report: Callable[[int, float, int], None], every: float = 1.0) -> None:
        self._total, self._report, self._every = total, report, every
        self._by_chain: dict[int, int] = {}
        self._divergences, self._last = 0, 0.0

    def begin(self) -> None:
        """Nothing to do."""

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Count one draw and report when it is time."""
        self._by_chain[chain] = done
        self._divergences += diverging and not tuning
        now = time.monotonic()
        if now - self._last > self._every:
            self._last = now
            made = sum(self._by_chain.values())
            self._report(made, made / self._total, self._divergences)


class Signals:
    """Treats SIGTERM and SIGHUP (the terminal closed) like Ctrl-C while a run is open, so that draws are kept.

    Several signals within a second count as one: pressing Ctrl-C twice means to end the run, not to lose it. While
    the run writes its last files they are ignored. Outside the main thread nothing is changed.

    Parameters
    ----------
    held
        Whether signals wait until `release`: while a run is opened, an interrupt would leave it half open.
    """

    def __init__(self, held: bool = False) -> None:
        self._before: dict[int, Any] = {}
        self._last = -math.inf
        self._held, self._waiting = held, list[int]()
        self._ignored = self._restored = False
        if not may_handle_signals():
            return
        # what is ignored stays so, as nohup and a shell's background jobs ask for
        self._before = {n: getsignal(n) for n in (SIGINT, SIGTERM, SIGHUP) if getsignal(n) != SIG_IGN}
        try:
            for number in self._before:
                signal(number, self._interrupt)
        except BaseException:  # a signal that came first
            self.restore()
            raise

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *raised: object) -> None:
        self.restore()

    def release(self) -> None:
        """Raise what was held, and raise at once from here on."""
        self._held = False
        if self._waiting and not self._ignored:
            raise KeyboardInterrupt(SignalName(self._waiting[0]).name)

    def ignore(self) -> None:
        """Ignore further signals: the run is ending."""
        self._ignored = True

    def restore(self) -> None:
        """Restore the signal handlers of before; one that is not restored, as another signal came first, is called."""
        self._restored = True
        for number, handler in self._before.items():
            signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self._restored and callable(before):
            before(number, frame)
            return
        recent, self._last = time.monotonic() - self._last < _ONE_SIGNAL_SECONDS, time.monotonic()
        if self._held:
            self._waiting.append(number)
        elif not recent and not self._ignored:
            raise KeyboardInterrupt(SignalName(number).name)
