"""A server in a process of its own, on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def server(
    words: list[str], ready: str, cwd: Path, python: str | Path = sys.executable, **env: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a server of this machine's, wait for a page of it, and end it."""
    where = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **env}
    process = subprocess.Popen(
        [python, "-m", *words], cwd=cwd, env=where, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        end = time.monotonic() + 180
        while True:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "it does not answer"
            try:
                with urllib.request.urlopen(ready, timeout=5) as answer:
                    assert answer.status == 200
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)
