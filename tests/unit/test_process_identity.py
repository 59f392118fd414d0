"""Whose run it is, and whether that process lives."""

import os
import subprocess
import sys

from bayesrun.process_identity import process_has_ended, process_label


def test_this_process_lives():
    assert not process_has_ended(process_label(os.getpid()))


def test_an_ended_process_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = process_label(child.pid)
    assert not process_has_ended(label)
    child.communicate(b"\n")
    assert process_has_ended(label)


def test_a_reused_number_is_told_apart():
    host, pid, started = process_label(os.getpid()).rsplit(":", 2)
    assert process_has_ended(f"{host}:{pid}:{float(started) - 3600}")


def test_other_hosts_are_left_alone():
    assert not process_has_ended("elsewhere:1:2")
    assert not process_has_ended("")
