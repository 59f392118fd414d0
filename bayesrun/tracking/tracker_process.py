"""The process that talks to MLflow, and the server that forks it: `python -m bayesrun.tracking.tracker_process`.

Importing MLflow takes more than a second and the first call another; a tracking server may hang. All that happens
here, on another core, while the run goes on. Requests and replies are JSON (`tracker_connection` is the other end).
When the connection ends, or the requesting process is gone, before a run was closed, that run was killed, and
is marked so.

    serve PID FD    serve the process PID over the connection FD
    fork FD         listen on the socket FD and fork a process for each that connects, until standard input ends
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import Timeout

from bayesrun.garbage import collect_rarely
from bayesrun.locks import named_lock
from bayesrun.processes import process_has_ended, process_label
from bayesrun.redaction import redact, remember_config
from bayesrun.tracking.base import RUN_KEY, is_server, sqlite_path
from bayesrun.tracking.entries import read_entries, read_json
from bayesrun.tracking.mlflow_patches import import_mlflow
from bayesrun.tracking.mlflow_store import MlflowStore, create_local_database
from bayesrun.tracking.tracker_connection import BEAT, PREPARED
from bayesrun.tracking.tracking_record import (
    RECORD,
    RUNNING,
    TrackingRecord,
    note_unsent,
    read_card,
    read_record,
    remove_note,
    unsent_runs,
)

_OWNER, _TRACKER = "bayesrun.owner", "bayesrun.tracker"
_STATES = {
    "finished": "FINISHED",
    "partial": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_POLL_SECONDS = 2.0
_LINGER_SECONDS = 600.0
_MAX_REASON_LENGTH = 300
_VANISHED = {"status": "failed", "error": "the process ended without a message (killed?)"}
_UNSENT = "the files of the run, whose process was killed"


@dataclass
class _Run:
    request: dict[str, Any]
    store: MlflowStore | None = None
    run_id: str | None = None
    experiment_id: str | None = None
    is_new: bool = True
    described: bool = False
    was_tried: bool = False
    is_sampling: bool = False
    opened: float = field(default_factory=time.monotonic)

    @property
    def uri(self) -> str:
        return str(self.request["spec"]["uri"])

    @property
    def folder(self) -> Path | None:
        folder = self.request["card"].get("folder")
        return Path(folder) if folder else None

    def ids(self) -> dict[str, str | None]:
        return {"run_id": self.run_id, "experiment_id": self.experiment_id}

    def record(self, status: str = RUNNING, lost: Sequence[str] = ()) -> TrackingRecord:
        card = read_card(self.request["card"])
        return TrackingRecord(self.uri, card, status, self.run_id or card.run_id, self.experiment_id, lost)


@dataclass
class TrackerProcess:
    """The runs that are open, by the caller's number, and the stores that they are in."""

    reply: Callable[[dict[str, Any]], None]
    owner: int
    stores: dict[str, MlflowStore] = field(default_factory=dict)
    runs: dict[int, _Run] = field(default_factory=dict)
    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tidied: set[tuple[str, str]] = field(default_factory=set)
    _is_prepared: bool = False
    _is_waited_for: bool = False

    def handle(self, request: dict[str, Any]) -> None:
        """Do one request and reply; a failure is a reply, too."""
        remember_config(request.get("spec"), "tracking")
        op, run = request["op"], request["run"]
        answer, self._is_waited_for = {"run": run, "op": op}, op not in ("progress", "warm")
        try:
            answer |= getattr(self, f"_{op}")(request)
        except Exception as error:  # of any kind: a database driver, a server, a full disk
            answer["lost"] = _reason(error)
        if op != "warm":
            self._announce()  # also where it failed
        if self._is_waited_for:
            self.reply(answer)
        self._is_waited_for = False
        if op == "open":
            self.tidy(run)

    def _announce(self) -> None:
        """Report once that the slow part on this host is done."""
        if not self._is_prepared:
            self._is_prepared = True
            self.reply(dict(zip(("run", "op"), PREPARED, strict=True)))

    def _beat(self) -> None:
        if self._is_waited_for:
            self.reply(dict(zip(("run", "op"), BEAT, strict=True)))

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
            import_mlflow(database=not is_server(spec["uri"]))
            create_local_database(spec["uri"], spec["artifacts"])
            self._announce()
            self.stores[spec["uri"]] = MlflowStore.open(spec["uri"], spec["artifacts"], self._beat)
            self._beat()
        return self.stores[spec["uri"]]

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[request["run"]] = _Run(request)
        self.specs[run.uri] = request["spec"]
        if run.folder:
            note_unsent(run.uri, run.folder, process_label(self.owner))
            run.record().write(run.folder)
        self._start(run)
        if run.folder:
            run.record().write(run.folder)
        return run.ids()

    def _start(self, run: _Run) -> None:
        """Finish the open steps: a server that failed half-way must not leave two runs of one card."""
        card = run.request["card"]
        run.store = self._store(run.request["spec"])
        if not run.run_id:
            find = card["find"] or ({RUN_KEY: card["tags"][RUN_KEY]} if run.was_tried else {})
            run.was_tried = True
            run.run_id, run.experiment_id, run.is_new = run.store.start({**card, "find": find}, self._own_tags())
        if not run.described:
            run.store.describe(run.run_id, card, run.is_new)
            run.described = True

    def _own_tags(self) -> dict[str, str]:
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
        source = {
            "mlflow.source.name": "bayesrun",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": user,
        }
        return {_OWNER: process_label(self.owner), _TRACKER: process_label(os.getpid()), **source}

    def _progress(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[request["run"]]
        if run.store and run.run_id:
            if not run.is_sampling:
                # MLflow's comparison opens with the metric that was logged first, and that should not be `progress`
                run.store.metrics(run.run_id, {"seconds_total": time.monotonic() - run.opened})
                run.is_sampling = True
            run.store.metrics(run.run_id, request["metrics"], request["step"])
        return {}

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        run, folder = self.runs.pop(request["run"]), Path(request["folder"])
        lost = []
        try:
            try:
                if not run.described:
                    self._start(run)  # the server may be back
            finally:
                if run.store and run.run_id:
                    self._finish(run.store, run.run_id, request)
        except Exception as error:
            lost = [_reason(error)]
        run.record(request["status"], lost).write(folder)
        if lost:
            return {**run.ids(), "lost": lost[0]}
        self._confirm(run, folder)
        return run.ids()

    @staticmethod
    def _finish(store: MlflowStore, run_id: str, request: Mapping[str, Any]) -> None:
        if request["draws"]:  # the caller limits the rate of what it reports: the last report may be missing
            store.metrics(run_id, {"progress": 1.0}, request["draws"])
        folder = Path(request["folder"])
        store.finish(run_id, read_entries(folder), folder, _STATES[request["status"]])

    @staticmethod
    def _confirm(run: _Run, folder: Path) -> None:
        """Upload the record, the last missing file, when all of a run is in its store."""
        remove_note(run.uri, folder)
        if run.store and run.run_id:
            with contextlib.suppress(Exception):
                run.store.upload_file(run.run_id, folder / RECORD)

    def _upload(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a run folder of which something is missing."""
        with named_lock(f"upload {request['folder']}", timeout=0):
            return self._send_folder(request["spec"], Path(request["folder"]))

    def _send_folder(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        record = read_record(folder)
        if record is None:
            raise FileNotFoundError(f"'{folder}' has no {RECORD}: it was run with tracking=none")
        here = record.uri == redact(spec["uri"])
        if here and record.is_complete:
            remove_note(spec["uri"], folder)
            return {"run_id": record.run_id, "sent": False}
        status = _status_of(folder) if record.status == RUNNING else record.status
        card = replace(
            record.card,
            run_id=record.run_id if here else None,
            parent_run_id=_parent_of(folder, spec["uri"]) or (record.card.parent_run_id if here else None),
            find={RUN_KEY: record.card.tags[RUN_KEY]} if RUN_KEY in record.card.tags else {},
        )
        run = _Run({"spec": spec, "card": asdict(card)})
        self._start(run)
        assert run.store and run.run_id
        self._finish(run.store, run.run_id, {"folder": str(folder), "status": status, "draws": None})
        run.record(status).write(folder)
        self._confirm(run, folder)
        return {"run_id": run.run_id, "sent": True}

    def catch_up(self) -> None:
        """Send what earlier runs of this user could not send, now that nobody waits and the store answers."""
        for uri, spec in self.specs.items():
            for folder in unsent_runs(uri):
                try:
                    self._upload({"spec": spec, "folder": str(folder)})
                except Timeout:  # another process is sending it
                    continue
                except Exception:
                    break

    def _end_jobs(self, request: dict[str, Any]) -> dict[str, Any]:
        """End the jobs of a finished sweep: none of them still runs, on any host."""
        run = self.runs[request["run"]]
        if run.store and run.run_id and run.experiment_id:
            parent = run.run_id
            end_runs(run.store, run.experiment_id, lambda tags: tags.get("mlflow.parentRunId") == parent)
        return {}

    def _drop_jobs(self, request: dict[str, Any]) -> dict[str, Any]:
        """Delete the runs of other attempts at jobs; MLflow can restore them."""
        run = self.runs[request["run"]]
        if run.store and run.run_id and run.experiment_id:
            run.store.drop_children(run.experiment_id, run.run_id, request["jobs"], request["keep"])
        return {}

    def _fetch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the folder of a run: where it was made if that is on this host, else downloaded."""
        return {"folder": str(self._store(request["spec"]).folder(request["run_id"], Path(request["into"])))}

    def tidy(self, number: int) -> None:
        """End the runs of this host whose processes are gone, once per experiment; a failure does no harm."""
        run = self.runs.get(number)
        if run and run.store and run.experiment_id and (run.store.uri, run.experiment_id) not in self.tidied:
            self.tidied.add((run.store.uri, run.experiment_id))
            with contextlib.suppress(Exception):
                end_runs(run.store, run.experiment_id, _has_vanished)

    def abandon(self) -> None:
        """Mark the runs that were never closed as killed."""
        for run in self.runs.values():
            if run.store and run.run_id:
                run.store.end(run.run_id, "KILLED", _VANISHED)
                if run.folder:  # its files are sent once it is recovered
                    run.record(_status_of(run.folder), [_UNSENT]).write(run.folder)
                    remove_note(run.uri, run.folder)


def _reason(error: Exception) -> str:
    """Return why a call failed, in one line: of nested errors of requests only the innermost is informative."""
    text = str(error).strip()
    innermost = re.search(r"\(Caused by .*?: ([^:]*?)[\"')]+$", text, re.DOTALL)
    lines = (innermost.group(1) if innermost else text).splitlines() or [""]
    return redact(f"{type(error).__name__}: {lines[0][:_MAX_REASON_LENGTH]}")


def _status_of(folder: Path) -> str:
    """Return how a run ended when tracking has not recorded it; one that is still marked as running was killed."""
    status = read_json(folder / "status.json").get("status")
    return status if status in _STATES else "interrupted"


def _parent_of(folder: Path, uri: str) -> str | None:
    """Return the run of the sweep that a folder is a job's of, if it is in the same store."""
    parent = read_record(folder.parent)
    return parent.run_id if parent and parent.uri == redact(uri) else None


def _has_vanished(tags: Mapping[str, str]) -> bool:
    """Return whether nobody is left who could end a run: a tracker may still send what its owner left to it."""
    owner = tags.get(_OWNER, "")
    return process_has_ended(owner) and process_has_ended(tags.get(_TRACKER, owner))


def end_runs(store: MlflowStore, experiment: str, is_over: Callable[[Mapping[str, str]], bool]) -> None:
    """End the runs that are over; one that ended itself since they were listed stays as it is."""
    for run in store.running(experiment):
        if is_over(run.data.tags) and store.is_running(run.info.run_id):
            store.end(run.info.run_id, "KILLED", _VANISHED)


class Requests:
    """Requests as they arrive, read from the connection at once: the run never waits until MLflow is ready for them.

    Iteration ends when the connection ends, or when the requesting process is gone (a forked child of it may keep the
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
            time.sleep(_LINGER_SECONDS)
            os._exit(1)  # a server hangs, and nobody waits any longer

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
            if request["op"] != "progress" or not self._has_newer_progress():
                yield request

    def _has_newer_progress(self) -> bool:
        """Return whether a later report is waiting: for a slow store, only the latest is worth a call."""
        return any(request and request["op"] == "progress" for request in tuple(self._waiting.queue))


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
        The process that sends requests.
    """

    def reply(answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the owner has gone
            connection.send_bytes(json.dumps(answer).encode())

    tracker = TrackerProcess(reply, owner)
    for request in Requests(connection, owner):
        tracker.handle(request)
    with contextlib.suppress(Exception):
        tracker.abandon()
    tracker.catch_up()
    os._exit(0)  # shutting MLflow down takes longer than all of its work


def fork(listener: socket.socket) -> None:
    """Fork a process for each that connects, until standard input ends.

    Each has the imports and nothing else: connections to databases must not be carried into another process.
    """
    import_mlflow(database=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody needs their exit status
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
