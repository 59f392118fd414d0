"""Processes that are forked to work for a while, Ctrl-C at that moment, and whether a named process lives."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from bayesrun.processes import forked, may_pool, process_has_ended, process_label, process_state, uninterrupted


def test_forked_processes_have_what_this_one_has():
    large = list(range(1000))
    with forked(2, lambda number: large[number]) as submit:
        assert [submit(number).result() for number in (0, 999)] == [0, 999]


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.mark.parametrize("name", SIGNALS)
def test_an_interrupt_waits_for_the_end_of_the_block(name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.default_int_handler)
    reached = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), number)
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.signal(number, before) is signal.default_int_handler


def test_handlers_stay_whole_where_a_signal_comes_while_they_are_restored(monkeypatch):
    """A second signal is raised between the restoring of two handlers; the one that is left passes on what it gets."""
    before = {name: signal.signal(signal.Signals[name], signal.default_int_handler) for name in SIGNALS}
    restore = signal.signal

    def restore_and_interrupt(number, handler):
        restore(number, handler)
        if handler is signal.default_int_handler:
            monkeypatch.undo()
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt), uninterrupted():
        monkeypatch.setattr(signal, "signal", restore_and_interrupt)
    for name in SIGNALS:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(1)
        restore(signal.Signals[name], before[name])


def test_no_pool_is_made_where_shared_memory_has_no_room(monkeypatch):
    assert may_pool()
    left = iter([True, True])

    def lock(context):
        if not next(left, False):
            raise OSError(28, "No space left on device")
        return object()

    monkeypatch.setattr(multiprocessing.context.BaseContext, "Lock", lock)
    assert not may_pool()


def test_a_forked_process_leaves_signals_to_the_one_that_forked_it():
    """Ctrl-C goes to both: a traceback of the forked one would be on the terminal."""
    with forked(1, lambda: [signal.getsignal(signal.Signals[name]) for name in SIGNALS]) as submit:
        assert submit().result() == [signal.SIG_IGN] * 3


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(
    "fork",
    [
        "with forked(1, str) as submit: submit(1)",
        "run_chains(1, 1, lambda chain, keep_going: {}, share_draws(1, 1, 1), lambda: None)",
    ],
)
def test_an_interrupt_while_forking_is_not_lost(fork, name):
    """In a process of its own: what is called at forks stays for good."""
    script = f"""
        import os, signal
        from bayesrun.processes import forked
        from bayesrun.samplers.chains import run_chains, share_draws

        signal.signal(signal.{name}, signal.default_int_handler)
        os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.{name}))
        try:
            {fork}
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300)
    assert done.stdout == "KeyboardInterrupt\n", done.stderr
    assert done.stderr == ""


def test_this_process_lives():
    assert not process_has_ended(process_label(os.getpid()))


def test_an_ended_process_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = process_label(child.pid)
    assert not process_has_ended(label)
    child.communicate(b"\n")
    assert process_has_ended(label)


def test_a_reused_number_is_told_apart():
    host, pid, started, system = process_label(os.getpid()).rsplit(":", 3)
    assert process_has_ended(f"{host}:{pid}:{float(started) - 3600}:{system}")
    assert process_has_ended(f"{host}:{pid}:{float(started) - 3600}")  # of an earlier version


def test_a_number_means_a_process_only_where_it_was_given():
    host, pid, started, system = process_label(os.getpid()).rsplit(":", 3)
    machine, boot, numbers = system.split(".")
    gone = f"{host}:999999999:{started}"
    assert process_state(f"{gone}:{system}") == "ended"
    assert process_state(f"{gone}:{machine}.{boot}.1") == "unknown"  # another container
    assert process_state(f"{gone}:00000000.{boot}.{numbers}") == "unknown"  # another machine of this name
    if machine:
        assert process_state(f"{host}:{pid}:{started}:{machine}.00000000.{numbers}") == "ended"  # before a restart


def test_other_hosts_are_left_alone():
    assert not process_has_ended("elsewhere:1:2")
    assert not process_has_ended("")
