"""Run commands from outside and measure them: wall time, processor time, peak memory."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BARE = HERE / "bare"


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Parameters
    ----------
    seconds
        Wall time from start to exit.
    cpu_seconds
        Processor time of it and its children.
    peak_mb
        Largest resident memory of any one process of it.
    output
        What it printed.
    first_draw
        Seconds to the first draw, where the command says when that was.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str
    first_draw: float | None = None


class Failed(RuntimeError):
    """A command did not end with status 0."""


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None, timeout: float = 3600) -> Measured:
    """Run a command to its end.

    Raises
    ------
    Failed
        When its exit status is not 0; holds the end of what it printed.
    """
    with tempfile.TemporaryFile("w+") as printed:
        began = time.time()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=_environment(env or {}),
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        usage = _wait(process, began + timeout)
        seconds = time.time() - began
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{output[-3000:]}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output, _first(output, began))


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """As a user's: Python keeps what it has compiled of the programs' own modules."""
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **added}


def _wait(process: subprocess.Popen[str], end: float) -> os.resource.struct_rusage:  # type: ignore[name-defined]
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        if time.time() > end:
            process.kill()
        time.sleep(0.01)


def _first(output: str, began: float) -> float | None:
    times = [line.split()[1] for line in output.splitlines() if line.startswith("FIRST_DRAW ")]
    return float(times[0]) - began if times else None


def bayesrun(outputs: Path, *overrides: str, env: Mapping[str, str] | None = None) -> Measured:
    """Run `python -m bayesrun` with everything that it does by default, tracking and figures too."""
    return run([sys.executable, "-m", "bayesrun", *overrides, f"paths.outputs={outputs}"], env)


def bare(python: str | Path, script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Measured:
    """Run one of the bare scripts."""
    return run([python, "-W", "ignore", BARE / script, *arguments], env)


def last_run(outputs: Path) -> Path:
    """Return the newest run folder below an outputs folder."""
    return max(outputs.glob("runs/*/*/status.json"), key=lambda path: path.stat().st_mtime).parent


def model_arguments(description: str | None, models: Sequence[str]) -> argparse.Namespace:
    """Read the command line of a script that measures models: `models`, `repeats`, and overrides as `setting`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("models", nargs="*", default=list(models))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--setting", action="append", default=[], help="an override, such as sampler.draws=500")
    return parser.parse_args()
