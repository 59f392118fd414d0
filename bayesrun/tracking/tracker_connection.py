"""The run's end of the tracker process: requests go out, replies come in, and every wait is bounded.

The tracker process belongs to this process alone, or was forked for it from a server that the workers of a sweep
share: importing MLflow takes two seconds of processor time, once instead of once per worker.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Pipe, wait
from typing import Any

from bayesrun.processes import module_command

SERVER = "BAYESRUN_TRACKING_SERVER"
"""Environment variable with the address of the server, where there is one."""

PREPARED = (0, "prepared")
BEAT = (0, "beat")
"""Replies without a request: MLflow is imported and a local database made; the store has answered a call."""

_MODULE = "bayesrun.tracking.tracker_process"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # it computes nothing, and a process that forks should have no threads
_GOODBYE_SECONDS = 0.2
_SEND_SECONDS = 2


class TrackerProcessLost(Exception):
    """The tracker process can't be reached; the message is the reason."""


@dataclass
class TrackerConnection:
    """A tracker process and the replies that it gave, by run and operation.

    Parameters
    ----------
    connection
        Where requests go out and replies come in, as JSON.
    process
        The process, where it belongs to this one alone; None where the server forked it.
    errors
        The file of its standard error, where it is known.
    silent
        Stores that did not answer in time: the process may be waiting for one of them.
    """

    connection: Connection
    process: subprocess.Popen[bytes] | None = None
    errors: Any = None
    replies: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    runs: int = 0
    silent: set[str] = field(default_factory=set)

    @classmethod
    def open(cls) -> TrackerConnection:
        """Connect to the server if there is one, else start a process; returns at once."""
        tracker = cls._forked() or cls._started()
        _bound_sending(tracker.connection)
        atexit.register(tracker.close)
        return tracker

    @classmethod
    def _forked(cls) -> TrackerConnection | None:
        address = os.environ.get(SERVER)
        if address:
            with suppress(OSError):  # it has ended, or belongs to another host
                return cls(Client(address, "AF_UNIX"))  # type: ignore[arg-type]
        return None

    @classmethod
    def _started(cls) -> TrackerConnection:
        own, other = Pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long-lived as the process)
        number = other.fileno()
        process = start_tracker("serve", str(os.getpid()), str(number), pass_fds=[number], stderr=errors)
        other.close()
        return cls(own, process, errors)

    def is_alive(self) -> bool:
        """Return whether the tracker process is still connected."""
        if self.connection.closed:
            return False
        with socket.socket(fileno=os.dup(self.connection.fileno())) as peer:
            try:
                return bool(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except BlockingIOError:
                return True
            except OSError:
                return False

    def close(self) -> None:
        """Disconnect: the process finishes its requests, but nobody waits for it.

        If it never had a run, it ends at once.
        """
        if self.process and self.runs == 0:
            self.process.kill()
        self.connection.close()
        if self.process:
            self.errors.close()
            try:
                self.process.wait(_GOODBYE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.returncode = 0  # or Popen complains that it still runs

    def new_run(self) -> int:
        """Return a number for a new run."""
        self.runs += 1
        return self.runs

    def send(self, request: dict[str, Any]) -> None:
        """Send a request.

        Raises
        ------
        TrackerProcessLost
            When the process has ended, or is stopped and takes no more requests.
        """
        try:
            self.connection.send_bytes(json.dumps(request).encode())
        except BlockingIOError:
            raise self._lost("it takes no more requests") from None
        except OSError:
            raise self._lost("it has ended") from None

    def wait_until_prepared(self, seconds: float) -> None:
        """Wait until the process has imported MLflow and a local database exists; this involves no server.

        Raises
        ------
        TimeoutError
            When that takes too long.
        TrackerProcessLost
            When the process has ended.
        """
        deadline = time.monotonic() + seconds
        while PREPARED not in self.replies:
            self._read(deadline)

    def receive(self, run: int, op: str, seconds: float, beats_count: bool = False) -> dict[str, Any]:
        """Return the reply to an operation.

        Parameters
        ----------
        run, op
            The run's number, and the operation.
        seconds
            How long to wait.
        beats_count
            Whether to wait for so long anew whenever the store has answered one of the calls.

        Raises
        ------
        TimeoutError
            When it did not come in time.
        TrackerProcessLost
            When the process has ended.
        """
        deadline = time.monotonic() + seconds
        while (run, op) not in self.replies:
            self._read(deadline)
            if self.replies.pop(BEAT, None) and beats_count:
                deadline = time.monotonic() + seconds
        return self.replies.pop((run, op))

    def _read(self, deadline: float) -> None:
        if not wait([self.connection], max(0.0, deadline - time.monotonic())):
            raise TimeoutError("no answer in time")
        try:
            reply = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise self._lost("it has ended") from None
        self.replies[reply["run"], reply["op"]] = reply

    def _lost(self, reason: str) -> TrackerProcessLost:
        return TrackerProcessLost(": ".join([f"the tracker process: {reason}", *self._last_words()]))

    def _last_words(self) -> list[str]:
        """Return the last line that the process wrote about a failure, if it is known."""
        if self.errors is None:
            return []
        self.errors.seek(0)
        lines: list[str] = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1:]


def _bound_sending(connection: Connection) -> None:
    """Let a send fail after some seconds: a process that is stopped must not stop this one."""
    with socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))


_connections: dict[int, TrackerConnection] = {}


def tracker_connection(uri: str = "") -> TrackerConnection:
    """Return this process's tracker process, started if there is none; the jobs of one worker share it.

    Parameters
    ----------
    uri
        The store that is asked for. A process that still waits for another one is not waited for: a server that sends
        a byte now and then keeps it for minutes.
    """
    found = _connections.get(os.getpid())  # a forked child must not use its parent's
    if found is None or not found.is_alive() or (found.silent and uri not in found.silent):
        found = _connections[os.getpid()] = TrackerConnection.open()
    return found


def start_tracker(*arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    """Start a process that talks to MLflow, in its own session.

    A signal to the run's process group must not end the process that marks the run as killed.
    """
    environment = {**_LIMITS, **_ONE_THREAD, **os.environ, **_QUIET}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **settings}
    command = [*module_command(), "-m", _MODULE, *arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


def share_tracker_server() -> None:
    """Let this process and the ones it starts from now on use one server; it ends with this process."""
    if SERVER in os.environ or not hasattr(socket, "SO_PEERCRED"):
        return
    folder = tempfile.mkdtemp(prefix="bayesrun-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = f"{folder}/tracking"
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):  # a path too long for a socket: none is shared
        listener.bind(address)
        listener.listen(128)  # processes that connect before the server has imported wait in here
        number = listener.fileno()
        server = start_tracker("fork", str(number), pass_fds=[number], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        os.environ[SERVER] = address
        atexit.register(_end_server, server)


def _end_server(server: subprocess.Popen[bytes]) -> None:
    """Tell the server that it is no longer needed; the processes that it forked continue until they are done."""
    os.environ.pop(SERVER, None)
    assert server.stdin
    server.stdin.close()
    server.returncode = 0  # or Popen complains that it still runs
