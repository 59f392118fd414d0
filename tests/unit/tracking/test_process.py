"""Whose run it is, and whether that process lives."""

import os
import subprocess
import sys

from bayesrun.tracking import _process


def test_this_process_lives():
    assert not _process.is_gone(_process.label(os.getpid()))


def test_an_ended_process_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = _process.label(child.pid)
    assert not _process.is_gone(label)
    child.communicate(b"\n")
    assert _process.is_gone(label)


def test_a_reused_number_is_told_apart():
    host, pid, started = _process.label(os.getpid()).rsplit(":", 2)
    assert _process.is_gone(f"{host}:{pid}:{int(started) + 1}")


def test_other_hosts_are_left_alone():
    assert not _process.is_gone("elsewhere:1:2")
    assert not _process.is_gone("")
