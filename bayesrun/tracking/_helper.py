"""The caller's end of the worker process: requests go out, replies come in, nothing waits for ever."""

from __future__ import annotations

import atexit
import json
import os
import select
import time
from dataclasses import dataclass, field
from typing import Any

from bayesrun.tracking._channel import Channel, open_channel


class WorkerGone(Exception):
    """The worker process can't be talked to; the message says what it last wrote."""


@dataclass
class Helper:
    """A worker process and the replies that it gave, by run and operation."""

    channel: Channel
    replies: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    lost: dict[int, list[str]] = field(default_factory=dict)
    runs: int = 0
    _pending: bytes = b""

    @classmethod
    def start(cls, timeout: float) -> Helper:
        """Get a worker; returns at once."""
        helper = cls(open_channel(timeout))
        atexit.register(helper.close)
        return helper

    def close(self) -> None:
        """Let the worker end; at once where it was never told of a run."""
        self.channel.close(at_once=self.runs == 0)

    def new_run(self) -> int:
        """Return a number for a new run."""
        self.runs += 1
        return self.runs

    def send(self, request: dict[str, Any], wait: float) -> bool:
        """Send a request; False when the worker did not take it in `wait` seconds."""
        data, descriptor = json.dumps(request).encode() + b"\n", self.channel.writer
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
        descriptor = self.channel.reader
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
        raise WorkerGone(": ".join([f"the tracking process: {reason}", *self.channel.last_words()]))


_helpers: dict[int, Helper] = {}


def helper(timeout: float) -> Helper:
    """Return this process' worker, started if there is none: the jobs of a sweep's worker pay its imports once."""
    found = _helpers.get(os.getpid())  # a forked child must not talk through its parent's
    if found is None or not found.channel.alive():
        found = _helpers[os.getpid()] = Helper.start(timeout)
    return found
