"""What all tests share: the real command, run as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples in every run, as all seeds of the tests are fixed; how long one takes says more about the machine.
# `HYPOTHESIS_PROFILE=fuzz uv run pytest ...` draws others.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# a shell's background job ignores Ctrl-C, and so would everything that the tests of it start
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # started by nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parent.parent
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the notes of what is still to be sent to tracking apart from the user's."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def bayesrun() -> Command:
    """Return a function that runs `python -m bayesrun ARGUMENTS` and returns what it printed and its exit status."""

    def call(*arguments: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bayesrun", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return call


def only_run(outputs: Path) -> Path:
    """Return the one run folder below an outputs folder."""
    folders = [path.parent for path in outputs.glob("runs/*/*/status.json")]
    assert len(folders) == 1, folders
    return folders[0]
