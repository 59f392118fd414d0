"""A real MLflow server on 127.0.0.1 for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgresql import free_port


@contextmanager
def mlflow_server(folder: Path, store: str, workers: int = 1, port: int | None = None) -> Iterator[str]:
    """Run a server over a store, its artifacts and its log in a folder; yields its address."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--backend-store-uri", store, "--artifacts-destination", str(folder / "art")]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_until_it_answers(process, f"{url}/health")
        yield url
    finally:
        process.terminate()
        process.wait(120)


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait for a server; one that does not answer is ended."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    process.kill()
    raise RuntimeError(f"{url} does not answer")
