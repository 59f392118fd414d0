"""How a process reaches the one that talks to MLflow for it: its own, or one forked from a server that many share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SERVER = "BAYESRUN_TRACKING_SERVER"
"""Environment variable with the address of the server, where there is one."""

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_RETRIES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # it computes nothing, and a process that forks should have no threads
_GOODBYE_SECONDS = 0.2


class Channel(Protocol):
    """Requests go into one file descriptor, replies come out of another."""

    @property
    def writer(self) -> int:
        """Descriptor for requests, not blocking."""

    @property
    def reader(self) -> int:
        """Descriptor of replies."""

    def alive(self) -> bool:
        """Say whether the other side runs."""

    def last_words(self) -> list[str]:
        """Return the last line that the other side wrote about a failure, if it is known."""

    def close(self, at_once: bool) -> None:
        """Let the other side end; it finishes what it was told, unless `at_once`, but nobody waits for it."""


@dataclass
class Spawned:
    """A process of one's own, reached through its standard streams."""

    process: subprocess.Popen[bytes]
    errors: Any

    @classmethod
    def start(cls, timeout: float) -> Spawned:
        """Start it; returns at once."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long-lived as the process)
        process = start_module(
            "bayesrun.tracking._worker",
            str(os.getpid()),
            timeout=timeout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        return cls(process, errors)

    @property
    def writer(self) -> int:
        """Descriptor for requests."""
        assert self.process.stdin
        return self.process.stdin.fileno()

    @property
    def reader(self) -> int:
        """Descriptor of replies."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    def alive(self) -> bool:
        """Say whether the process runs."""
        return self.process.poll() is None

    def last_words(self) -> list[str]:
        """Return the last line of its standard error."""
        self.errors.seek(0)
        lines: list[str] = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1:]

    def close(self, at_once: bool) -> None:
        """Let the process end."""
        if at_once:
            self.process.kill()
        for stream in filter(None, (self.process.stdin, self.process.stdout, self.errors)):
            stream.close()
        try:
            self.process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.returncode = 0  # or Popen complains that it still runs


@dataclass
class Connected:
    """A process that the server forks for the one who connects."""

    connection: socket.socket

    @classmethod
    def to(cls, address: str) -> Connected:
        """Connect; raises OSError where no server listens."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
        connection.setblocking(False)
        return cls(connection)

    @property
    def writer(self) -> int:
        """Descriptor for requests."""
        return self.connection.fileno()

    @property
    def reader(self) -> int:
        """Descriptor of replies."""
        return self.connection.fileno()

    def alive(self) -> bool:
        """Say whether the other side has not hung up."""
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def last_words(self) -> list[str]:
        """Return nothing: it shares the server's standard error, which nobody reads."""
        return []

    def close(self, at_once: bool) -> None:
        """Hang up."""
        self.connection.close()


def start_module(module: str, *arguments: str, timeout: float, **settings: Any) -> subprocess.Popen[bytes]:
    """Start a module of bayesrun that talks to MLflow, in a session of its own.

    A signal to the run's process group must not end who marks the run as killed.
    """
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int(timeout)))}
    environment = {**_RETRIES, **_ONE_THREAD, **limits, **os.environ, **_QUIET, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env=environment, bufsize=0, start_new_session=True, **settings
    )


def open_channel(timeout: float) -> Channel:
    """Connect to the server if there is one, else start a process."""
    address = os.environ.get(SERVER)
    if address:
        try:
            return Connected.to(address)
        except OSError:  # it has ended, or belongs to another host
            pass
    return Spawned.start(timeout)
