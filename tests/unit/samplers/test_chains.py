"""Processes of chains do not outlive the run that started them, however it ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_RUN = """
import os, sys, time
import numpy as np
from bayesrun.samplers.chains import run_chains, share_draws

parent = os.getpid()

def chain(number, keep_going):
    os.write(1, f"{os.getpid()}\\n".encode())
    while os.getppid() == parent:
        time.sleep(0.05)
    return {"more than a pipe holds": np.zeros(1_000_000)}

run_chains(2, 2, chain, share_draws(2, 10, 1), lambda: None)
"""


def test_a_chain_that_ends_after_its_run_was_killed_does_not_wait_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", _RUN], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    chains = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait(120)
    deadline = time.monotonic() + 240
    while any(map(_runs, chains)):
        assert time.monotonic() < deadline, "a chain's process waits for a parent that is gone"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
