"""The process that talks to MLflow, and the server that forks it: `python -m bayesrun.tracking.tracker_process`.

Importing MLflow takes more than a second and the first call another; a tracking server may hang. All that happens
here, on another core, while the run goes on. Requests and replies are JSON (`tracker_connection` is the other end).
When the connection ends, or the process that asks is gone, without a run having been closed, that run was killed, and
is marked so.

    serve PID FD    serve the process PID over the connection FD
    fork FD         listen on the socket FD and fork a process for each that connects, until standard input ends
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bayesrun.process_identity import process_has_ended, process_label
from bayesrun.processes import collect_rarely
from bayesrun.tracking.base import is_server, mask, sqlite_path
from bayesrun.tracking.entries import read_entries
from bayesrun.tracking.mlflow_patches import import_mlflow
from bayesrun.tracking.mlflow_store import MlflowStore

_OWNER = "bayesrun.owner"
_STATES = {
    "finished": "FINISHED",
    "partial": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_POLL_SECONDS = 2.0
_VANISHED = {"status": "failed", "error": "the process ended without a message (killed?)"}


@dataclass
class _Run:
    request: dict[str, Any]
    store: MlflowStore | None = None
    run_id: str | None = None
    experiment_id: str | None = None
    is_new: bool = True
    described: bool = False


@dataclass
class TrackerProcess:
    """The runs that are open, by the caller's number, and the stores that they are in."""

    reply: Callable[[dict[str, Any]], None]
    owner: int
    stores: dict[str, MlflowStore] = field(default_factory=dict)
    runs: dict[int, _Run] = field(default_factory=dict)
    tidied: set[tuple[str, str]] = field(default_factory=set)

    def handle(self, request: dict[str, Any]) -> None:
        """Do one request and reply; whatever fails is a reply too."""
        answer = {"run": request["run"], "op": request["op"]}
        try:
            answer |= getattr(self, f"_{request['op']}")(request)
        except Exception as error:  # of any kind: a database driver, a server, a full disk
            answer["lost"] = mask(f"{type(error).__name__}: {error}")
        if "lost" in answer or request["op"] != "progress":
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

    def _store(self, spec: Mapping[str, Any]) -> MlflowStore:
        if spec["uri"] not in self.stores:
            self.stores[spec["uri"]] = MlflowStore.open(spec["uri"], spec["artifacts"])
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
        return {_OWNER: process_label(self.owner), **source}

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
    def _finish(store: MlflowStore, run_id: str, request: Mapping[str, Any]) -> None:
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

    def _fetch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the folder of a run: where it was made if that is on this host, else downloaded."""
        return {"folder": str(self._store(request["spec"]).folder(request["run_id"], Path(request["into"])))}

    def tidy(self, number: int) -> None:
        """End the runs of this host whose process is gone, once per experiment; it is no loss if that fails."""
        run = self.runs.get(number)
        if run and run.store and run.experiment_id and (run.store.uri, run.experiment_id) not in self.tidied:
            self.tidied.add((run.store.uri, run.experiment_id))
            with contextlib.suppress(Exception):
                _end(run.store, run.experiment_id, lambda tags: process_has_ended(tags.get(_OWNER, "")))

    def abandon(self) -> None:
        """Mark the runs that were never closed as killed."""
        for run in self.runs.values():
            if run.store and run.run_id:
                run.store.end(run.run_id, "KILLED", _VANISHED)


def _end(store: MlflowStore, experiment: str, is_over: Callable[[Mapping[str, str]], bool]) -> None:
    for run in store.running(experiment):
        if is_over(run.data.tags):
            store.end(run.info.run_id, "KILLED", _VANISHED)


class Requests:
    """Requests as they come, taken off the connection at once: who asks never waits for MLflow to be ready for them.

    Iteration ends when the connection ends, or when the process that asks is gone (a forked child of it may keep the
    connection open).
    """

    def __init__(self, connection: Connection, owner: int) -> None:
        self._connection, self._owned_by = connection, process_label(owner)
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                self._waiting.put(json.loads(self._connection.recv_bytes()))
        except (EOFError, OSError):
            self._waiting.put(None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                request = self._waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if process_has_ended(self._owned_by):
                    return
                continue
            if request is None:
                return
            if request["op"] != "progress" or self._waiting.empty():  # what is out of date is not worth a call
                yield request


def settle_in() -> None:
    """Leave signals to the owner, who decides what an interrupt means."""
    # a cluster's warning (USR1, USR2) goes to all processes of a job
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def serve(connection: Connection, owner: int) -> None:
    """Serve until the owner ends; never returns.

    Parameters
    ----------
    connection
        Where requests come in and replies go out.
    owner
        The process that asks.
    """

    def reply(answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the owner has gone
            connection.send_bytes(json.dumps(answer).encode())

    tracker = TrackerProcess(reply, owner)
    for request in Requests(connection, owner):
        tracker.handle(request)
    tracker.abandon()
    os._exit(0)  # tearing MLflow down takes longer than all it has to do


def fork(listener: socket.socket) -> None:
    """Fork a process for each that connects, until standard input ends.

    Each has the imports and nothing else: connections to databases must not be carried into another process.
    """
    import_mlflow(database=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        peer, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(sys.stdin.fileno())
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            owner = _process_of(peer)
            serve(Connection(peer.detach()), owner)
        peer.close()
    os._exit(0)


def _process_of(peer: socket.socket) -> int:
    """Return the process at the other end of a socket."""
    form = "3i"
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, credentials)[0])


def main() -> None:
    """Serve one process, or fork a process for each that connects."""
    collect_rarely()
    settle_in()
    role, *numbers = sys.argv[1:]
    if role == "serve":
        owner, number = map(int, numbers)
        serve(Connection(number), owner)
    fork(socket.socket(fileno=int(numbers[0])))


if __name__ == "__main__":
    main()
