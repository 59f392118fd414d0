"""Commands whose fits are disturbed: a worker dies, the command dies, and the same command ends the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.conftest import ROOT
from tests.faults.judging import stored_draws

_PATIENCE = 400.0
LINE = """
name: line
type: declarative
priors:
  mu: {dist: Normal, mu: 0, sigma: 1}
  sigma: {dist: HalfNormal, sigma: 1}
likelihood:
  x: {dist: Normal, mu: mu, sigma: sigma, observed: x}
"""
"""A small model of the data variable `x`."""


def fits_of(outputs: Path, task: str) -> dict[Path, int]:
    """Return the kept fits of a task, with the times at which they were written."""
    return {path: path.stat().st_mtime_ns for path in outputs.glob(f"fits/{task}_*/[0-9]*.npz")}


def begin(words: Sequence[object], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a session of its own, with further environment variables; its output is one stream."""
    return subprocess.Popen(
        [sys.executable, "-m", "bayesrun", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def disturb(words: Sequence[str], outputs: Path, task: str) -> tuple[dict[Path, int], str]:
    """Start a command with two workers, kill one of them, and two fits later the command with all that it started.

    Returns
    -------
    tuple
        The fits that are kept, and what the command had said.
    """
    process = begin(words)
    try:
        wait_for(lambda: len(_workers(process)) == 2, process)
        made = len(fits_of(outputs, task))
        _workers(process)[0].kill()
        wait_for(lambda: len(fits_of(outputs, task)) >= made + 2, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    return fits_of(outputs, task), said


def disturb_run(words: Sequence[str], outputs: Path, draws: int, chain_alone: bool) -> tuple[Path, int, str]:
    """Start a command that samples one run, and kill a chain of it, or all, once each chain has kept so many draws.

    Returns
    -------
    tuple
        The run's folder, the command's exit status, and what it said.
    """
    before = set(outputs.glob("runs/*/*"))
    process = begin([*words, f"paths.outputs={outputs}"])

    def folder() -> Path | None:
        return next(iter(set(outputs.glob("runs/*/*/draws")) - {path / "draws" for path in before}), None)

    def has_begun() -> bool:
        found = folder()
        return found is not None and min(stored_draws(found.parent).values(), default=0) >= draws

    try:
        wait_for(has_begun, process)
        if chain_alone:
            _workers(process)[0].kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=_PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    (made,) = set(outputs.glob("runs/*/*")) - before
    return made, process.returncode, said


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the forked processes that make fits or chains, which bear the name of the command."""
    try:
        parent = psutil.Process(process.pid)
        return [child for child in parent.children() if child.cmdline() == parent.cmdline()]
    except psutil.NoSuchProcess:
        return []


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Wait until something is so, and return whether it is; a process that ends, or takes very long, ends the wait."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if found():
            return True
        time.sleep(0.01)
    return bool(found())
