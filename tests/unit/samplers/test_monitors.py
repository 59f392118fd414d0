"""Monitors: one forwards to several, a time limit ends sampling once a draw is kept, SIGTERM is a Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

import pytest

from bayesrun.open_run import interrupt_behind
from bayesrun.samplers import monitors
from bayesrun.samplers.monitors import MonitorGroup, Signals, TimeIsUp, TimeLimit, Tracked, reason_of
from tests.unit.samplers.conftest import Listener


def test_several_tells_all_of_them() -> None:
    one, two = Listener(), Listener()
    several = MonitorGroup([one, two])
    several.draw(0, 1, True, False)
    several.draw(1, 1, True, False)
    assert one.told == two.told == {0: [1], 1: [1]}


def test_the_time_limit_waits_for_a_draw_that_is_kept() -> None:
    limit = TimeLimit(0.05)
    limit.draw(0, 1, True, False)
    time.sleep(0.1)
    limit.draw(0, 2, True, False)
    with pytest.raises(TimeIsUp) as caught:
        limit.draw(0, 3, False, False)
    assert reason_of(caught.value) == "max_seconds"
    assert reason_of(KeyboardInterrupt()) == "interrupt"
    assert reason_of(None) is None


def test_within_the_time_nothing_happens() -> None:
    limit = TimeLimit(60)
    for done in range(1, 1000):
        limit.draw(0, done, False, False)


def test_tracked_reports_the_draws_of_all_chains_and_divergences_after_tuning() -> None:
    reports: list[tuple[int, float, int]] = []
    tracked = Tracked(20, lambda done, share, divergences: reports.append((done, share, divergences)), every=0.0)
    for done in range(1, 11):
        for chain in range(2):
            tracked.draw(chain, done, done <= 5, True)
    assert reports[-1] == (20, 1.0, 10)
    assert [r[0] for r in reports] == sorted(r[0] for r in reports)


def test_tracked_does_not_report_too_often() -> None:
    reports: list[int] = []
    tracked = Tracked(1000, lambda done, share, divergences: reports.append(done), every=60.0)
    for done in range(1, 1001):
        tracked.draw(0, done, False, False)
    assert len(reports) <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interrupt_inside_and_what_it_was_outside(number: int) -> None:
    before = signal.getsignal(number)
    signals = Signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        time.sleep(1)
    os.kill(os.getpid(), number)  # within a second: it is the same one
    signals.restore()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_is_opened_is_raised_once_it_is_open(number: int) -> None:
    before, reached = signal.getsignal(number), []
    with Signals(held=True) as signals:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGHUP)
        reached.append("opened")
        with pytest.raises(KeyboardInterrupt, match=signal.Signals(number).name):
            signals.release()
    assert reached == ["opened"]
    assert signal.getsignal(number) is before


def test_signals_are_ignored_while_a_run_ends() -> None:
    signals = Signals()
    signals.ignore()
    os.kill(os.getpid(), signal.SIGINT)
    signals.restore()


def test_signals_that_interrupt_the_restoring_of_handlers_leave_none_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    signals = Signals()
    signals.ignore()
    monkeypatch.setattr(monitors, "signal", lambda number, handler: signal.raise_signal(signal.SIGTERM))
    with contextlib.suppress(KeyboardInterrupt):
        signals.restore()
    monkeypatch.undo()
    for number in numbers:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
        signal.signal(number, before[number])


def test_a_signal_that_comes_while_handlers_are_set_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    own = iter([signal.signal])

    def set_one(number: int, handler: Any) -> None:
        if one := next(own, None):
            one(number, handler)
        elif handler not in before.values():
            raise KeyboardInterrupt
        else:
            signal.signal(number, handler)

    monkeypatch.setattr(monitors, "signal", set_one)
    with pytest.raises(KeyboardInterrupt):
        Signals()
    assert {number: signal.getsignal(number) for number in before} == before


def test_in_another_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        signals = Signals()
        seen.append(signal.getsignal(signal.SIGTERM))
        signals.restore()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_interrupt_that_surfaces_as_another_error_is_one() -> None:
    """C code that calls Python may leave the exception behind: Python then raises SystemError from it."""
    interrupt, other = KeyboardInterrupt("SIGHUP"), SystemError("<built-in function monotonic> returned a result ...")
    other.__cause__ = interrupt
    assert interrupt_behind(other) is interrupt
    assert interrupt_behind(interrupt) is interrupt
    assert interrupt_behind(SystemError("x")) is None
