"""The caller's end of the worker process: requests go out, replies come in, nothing waits for ever."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_RETRIES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_GOODBYE_SECONDS = 0.2


class WorkerGone(Exception):
    """The worker process can't be talked to; the message says what it last wrote."""


@dataclass
class Helper:
    """A worker process and the replies that it gave, by run and operation."""

    process: subprocess.Popen[bytes]
    errors: Any
    replies: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    lost: dict[int, list[str]] = field(default_factory=dict)
    runs: int = 0
    _pending: bytes = b""

    @classmethod
    def start(cls, timeout: float) -> Helper:
        """Start the worker; returns at once."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long-lived as the process)
        process = subprocess.Popen(
            [sys.executable, "-m", "bayesrun.tracking._worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(timeout),
            bufsize=0,
            start_new_session=True,  # a signal to the run's process group must not kill who marks the run as killed
        )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        helper = cls(process, errors)
        atexit.register(helper.stop)
        return helper

    def new_run(self) -> int:
        """Return a number for a new run."""
        self.runs += 1
        return self.runs

    def send(self, request: dict[str, Any], wait: float) -> bool:
        """Send a request; False when the worker did not take it in `wait` seconds."""
        assert self.process.stdin
        data, descriptor = (
            json.dumps(request).encode() + b"\n",
            self.process.stdin.fileno(),
        )
        deadline, whole = time.monotonic() + wait, len(data)
        while data:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([], [descriptor], [], left)[1]:
                return len(data) < whole and self._broken("it takes no more requests")
            data = data[self._write(descriptor, data) :]
        return True

    def _write(self, descriptor: int, data: bytes) -> int:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken("it has ended")
            raise

    def receive(self, run: int, op: str, wait: float) -> dict[str, Any]:
        """Return the reply to an operation.

        Raises
        ------
        WorkerGone
            When it did not come in `wait` seconds, or the worker has ended.
        """
        deadline = time.monotonic() + wait
        while (run, op) not in self.replies:
            self._read(max(0.0, deadline - time.monotonic()))
        return self.replies.pop((run, op))

    def _read(self, wait: float) -> None:
        assert self.process.stdout
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], wait)[0]:
            self._broken(f"no answer in {wait:.0f} s")
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            self._broken("it has ended")
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, reply: dict[str, Any]) -> None:
        if "lost" in reply and reply["op"] != "warm":
            self.lost.setdefault(reply["run"], []).append(reply["lost"])
        if reply["op"] != "progress":
            self.replies[reply["run"], reply["op"]] = reply

    def _broken(self, reason: str) -> bool:
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
        raise WorkerGone(": ".join([f"the tracking process: {reason}", *last]))

    def alive(self) -> bool:
        """Say whether the worker runs, and belongs to this process and not to the one that it was forked from."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Let the worker end; it finishes what it was told, but nobody waits for it."""
        for stream in filter(None, (self.process.stdin, self.process.stdout, self.errors)):
            stream.close()
        try:
            self.process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.returncode = 0  # or Popen complains that it still runs


def _environment(timeout: float) -> dict[str, str]:
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int(timeout)))}
    return {**_RETRIES, **limits, **os.environ, **_QUIET, "PYTHONPATH": path}


_helpers: dict[int, Helper] = {}


def helper(timeout: float) -> Helper:
    """Return this process' worker, started if there is none: the jobs of a sweep's worker pay its imports once."""
    found = _helpers.get(os.getpid())  # a forked child must not talk through its parent's
    if found is None or not found.alive():
        found = _helpers[os.getpid()] = Helper.start(timeout)
    return found
