"""The process that talks to MLflow: `python -m bayesrun.tracking._worker PID`.

Importing MLflow takes more than a second and the first call another; a server may hang. All that happens here, on
another core, while the run goes on. Requests come as JSON lines on stdin, replies leave on stdout. When stdin ends,
or the process PID is gone, without a run having been closed, that run was killed, and is marked so.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayesrun.processes import collect_rarely
from bayesrun.tracking import _process
from bayesrun.tracking._entries import read_entries
from bayesrun.tracking._imports import import_mlflow
from bayesrun.tracking._lock import sqlite_path
from bayesrun.tracking._store import Store, is_server
from bayesrun.tracking.base import mask

_STATES = {
    "finished": "FINISHED",
    "partial": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_POLL_SECONDS = 2.0
_VANISHED = {"status": "failed", "error": "the process ended without a word (killed?)"}


@dataclass
class _Run:
    request: dict[str, Any]
    store: Store | None = None
    run_id: str | None = None
    experiment_id: str | None = None
    is_new: bool = True
    described: bool = False


@dataclass
class Worker:
    """The runs that are open, by the caller's number, and the stores that they are in."""

    reply: Callable[[dict[str, Any]], None]
    owner: int
    stores: dict[str, Store] = field(default_factory=dict)
    runs: dict[int, _Run] = field(default_factory=dict)
    tidied: set[tuple[str, str]] = field(default_factory=set)

    def handle(self, request: dict[str, Any]) -> None:
        """Do one request and reply; whatever fails is a reply too."""
        answer = {"run": request["run"], "op": request["op"]}
        try:
            answer |= getattr(self, f"_{request['op']}")(request)
        except Exception as error:  # of any kind: a database driver, a server, a full disk
            answer["lost"] = mask(f"{type(error).__name__}: {error}")
        self.reply(answer)
        if request["op"] == "open":
            self.tidy(request["run"])

    def _warm(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import MLflow, and connect to a database that is there; make nothing."""
        spec = request["spec"]
        import_mlflow(database=not is_server(spec["uri"] or ""))
        database = sqlite_path(spec["uri"] or "")
        if database is not None and database.exists():
            self._store(spec)
        return {}

    def _store(self, spec: Mapping[str, Any]) -> Store:
        if spec["uri"] not in self.stores:
            self.stores[spec["uri"]] = Store.open(spec["uri"], spec["artifacts"])
        return self.stores[spec["uri"]]

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[request["run"]] = _Run(request)
        return self._start(run)

    def _start(self, run: _Run) -> dict[str, Any]:
        """Do what is still to do: a server that went away half-way must not leave two runs of one card."""
        spec, card = run.request["spec"], run.request["card"]
        run.store = self._store(spec)
        if not run.run_id:
            run.run_id, run.experiment_id, run.is_new = run.store.start(card, self._own_tags())
        if not run.described:
            run.store.describe(run.run_id, card, run.is_new)
            run.described = True
        return {"run_id": run.run_id, "experiment_id": run.experiment_id}

    def _own_tags(self) -> dict[str, str]:
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
        source = {
            "mlflow.source.name": "bayesrun",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": user,
        }
        return {_process.TAG: _process.label(self.owner), **source}

    def _progress(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[request["run"]]
        if run.store and run.run_id:
            run.store.metrics(run.run_id, request["metrics"], request["step"])
        return {}

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.pop(request["run"])
        try:
            answer = {} if run.described else self._start(run)  # the server may be back
        finally:
            if run.store and run.run_id:
                self._finish(run.store, run.run_id, request)
        return answer

    @staticmethod
    def _finish(store: Store, run_id: str, request: Mapping[str, Any]) -> None:
        if request["draws"]:  # the caller limits the rate of what it reports: the last report may be missing
            store.metrics(run_id, {"progress": 1.0}, request["draws"])
        folder = Path(request["folder"])
        store.finish(run_id, read_entries(folder), folder, _STATES[request["status"]])

    def _end_jobs(self, request: dict[str, Any]) -> dict[str, Any]:
        """End the jobs of a sweep that is over: none of them still runs, on whichever host it was."""
        run = self.runs[request["run"]]
        if run.store and run.run_id and run.experiment_id:
            parent = run.run_id
            _end(run.store, run.experiment_id, lambda tags: tags.get("mlflow.parentRunId") == parent)
        return {}

    def _drop_jobs(self, request: dict[str, Any]) -> dict[str, Any]:
        """Delete the runs of other attempts at jobs; MLflow keeps them in its bin."""
        run = self.runs[request["run"]]
        if run.store and run.run_id and run.experiment_id:
            run.store.drop_children(run.experiment_id, run.run_id, request["jobs"], request["keep"])
        return {}

    def tidy(self, number: int) -> None:
        """End the runs of this host whose process is gone, once an experiment; it is no loss if that fails."""
        run = self.runs.get(number)
        if run and run.store and run.experiment_id and (run.store.uri, run.experiment_id) not in self.tidied:
            self.tidied.add((run.store.uri, run.experiment_id))
            with contextlib.suppress(Exception):
                _end(run.store, run.experiment_id, lambda tags: _process.is_gone(tags.get(_process.TAG, "")))

    def abandon(self) -> None:
        """Mark the runs that were never closed as killed."""
        for run in self.runs.values():
            if run.store and run.run_id:
                run.store.end(run.run_id, "KILLED", _VANISHED)


def _end(store: Store, experiment: str, is_over: Callable[[Mapping[str, str]], bool]) -> None:
    for run in store.running(experiment):
        if is_over(run.data.tags):
            store.end(run.info.run_id, "KILLED", _VANISHED)


def requests(descriptor: int, owner: int) -> Iterator[dict[str, Any]]:
    """Yield requests until the stream ends or its owner dies (a forked child of it may keep the stream open)."""
    owned_by, pending = _process.label(owner), b""
    while True:
        readable, _, _ = select.select([descriptor], [], [], _POLL_SECONDS)
        if not readable:
            if _process.is_gone(owned_by):
                return
            continue
        chunk = _read(descriptor)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except ConnectionError:  # the owner was killed with replies unread
        return b""


def settle_in() -> None:
    """Leave signals to the owner, who decides what an interrupt means; keep what libraries print off the replies."""
    # a cluster's warning (USR1, USR2) goes to all processes of a job
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)


def serve(reader: int, writer: int, owner: int) -> None:
    """Serve until the owner ends; never returns.

    Parameters
    ----------
    reader, writer
        File descriptors of requests and replies.
    owner
        The process that asks.
    """
    replies = os.fdopen(writer, "w", buffering=1, closefd=False)

    def reply(answer: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # the owner has gone
            print(json.dumps(answer), file=replies)

    worker = Worker(reply, owner)
    for request in requests(reader, owner):
        worker.handle(request)
    worker.abandon()
    os._exit(0)  # tearing MLflow down takes longer than all it has to do


def main() -> None:
    """Serve the process named on the command line, on standard input and output."""
    collect_rarely()
    writer = os.dup(1)
    settle_in()
    serve(sys.stdin.fileno(), writer, int(sys.argv[1]))


if __name__ == "__main__":
    main()
