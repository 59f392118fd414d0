"""`tracking=mlflow` and `tracking=server`: runs in MLflow (design part 8).

The work is done in a separate process (`tracker_process`): a run never waits for MLflow's imports, and its tracking
server may die at any moment. A run waits `tracking.timeout` seconds in all. What is not in MLflow by then is reported
once, at the end; the tracker process continues with it, `tracking.json` in the run folder lists what is missing, and
the next command with the same store, or `task=sync`, sends it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bayesrun.errors import BayesrunError, fail
from bayesrun.invocation import command, script_beside
from bayesrun.redaction import missing_credentials, redact, redact_url, without_credentials, without_redacted
from bayesrun.tracking.base import (
    RUN_KEY,
    VIEW_KEY,
    Backend,
    Pages,
    RunCard,
    RunStatus,
    Tracker,
    TrackingSpec,
    is_server,
    sqlite_path,
    without_secrets,
)
from bayesrun.tracking.tracker_connection import (
    TrackerConnection,
    TrackerProcessLost,
    share_tracker_server,
    tracker_connection,
)
from bayesrun.tracking.tracking_record import NOT_ANSWERED, TrackingRecord

log = logging.getLogger("bayesrun.tracking")

_KEPT_FOR_CLOSE = 0.4  # share of the timeout that is not spent before sampling
_PROMPT = 1.0  # seconds in which a healthy store answers
_SILENT = ".tracking-silent"  # in a sweep's folder: its store does not answer, and none of its jobs waits again
_PREPARE_SECONDS = 30.0
_LOCAL_PAGES = "http://127.0.0.1:5000"  # where `mlflow ui` is
_PAGE = "/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
_TASK_SECONDS = 600.0  # the user requested it, and waits


@dataclass
class MlflowTracker:
    """An open MLflow run.

    Parameters
    ----------
    spec
        The section, its paths absolute.
    card
        What is known of the run.
    process
        The process that does the work; None when it is lost.
    number
        The run's number in requests.
    lost
        Why something of the run is not in MLflow; known when the run is closed.
    """

    spec: TrackingSpec
    card: RunCard
    process: TrackerConnection | None = None
    number: int = 0
    lost: list[str] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)
    _draws: int = 0
    _patience: float = 0.0
    _at_first: float = 0.0
    _why_lost: str = ""

    def start(self) -> None:
        """Ask for the run; the answer is fetched by `ready`."""
        self._at_first = self._patience = self._patience_left()
        self._connect(self.card)

    def ready(self) -> str | None:
        """Wait until the run is there with its params; return its id, or None when there is none in time."""
        if not self._ids:
            self._answer("open", kept=_KEPT_FOR_CLOSE * self.spec.timeout)
            if not self._ids:
                self._tell_sweep()
        return self._ids.get("run_id")

    def progress(self, step: int, progress: float, divergences_so_far: int) -> None:
        """Log how far sampling is."""
        self._draws = round(step / progress) if progress > 0 else self._draws
        metrics = {"progress": progress, "divergences_so_far": float(divergences_so_far)}
        self._send({"op": "progress", "step": step, "metrics": metrics})

    def end_jobs(self) -> None:
        """End the children of this run that are still marked as running: their sweep has ended."""
        self._send({"op": "end_jobs"})
        self._answer("end_jobs")

    def drop_jobs(self, jobs: Sequence[str], keep: Collection[str] = ()) -> None:
        """Drop what other attempts left of this run's jobs, by their tag `job`, but for the runs `keep`."""
        self._send({"op": "drop_jobs", "jobs": list(jobs), "keep": list(keep)})
        self._answer("drop_jobs")

    def close(self, folder: Path, status: RunStatus) -> None:
        """Log what the run folder holds, upload it, and end the run."""
        self._record(folder, status, NOT_ANSWERED)
        draws = self._draws if status == "finished" else None
        request = {"op": "close", "folder": str(folder.absolute()), "status": status, "draws": draws}
        self._send(request)
        answer = self._answer("close")
        if self.process is None:  # it was killed: another one continues in its place
            self._connect(replace(self.card, run_id=self._ids.get("run_id") or self.card.run_id, find=self._find()))
            self._send(request)
            answer = self._answer("close")
        if self.process is None:
            self._record(folder, status, self._why_lost)
        self.lost = [] if answer and "lost" not in answer else [self._why_lost or NOT_ANSWERED]
        was_prompt = not self.lost and self._at_first - self._patience < _PROMPT
        _patience[self._uri] = self.spec.timeout if was_prompt else max(0.0, self._patience)
        if self.lost:
            self._tell_sweep()
            self._warn(folder)

    def compare_hint(self) -> str | None:
        """Return the page of the experiment, for a database after the command that starts MLflow's pages on it."""
        uri, experiment = without_credentials(self._uri), self._ids.get("experiment_id")
        page = _PAGE.format(experiment=experiment, view=VIEW_KEY) if experiment else ""
        if is_server(uri):
            return uri.rstrip("/") + page
        start = script_beside("mlflow", "ui", "--backend-store-uri", uri)
        return start + (f"\n         {_LOCAL_PAGES}{page}" if page else "")

    def _patience_left(self) -> float:
        """Return how long to wait in all; for a store that does not answer, a sweep and its jobs wait only once."""
        sweep = self._sweep()
        if sweep and self.card.folder == str(sweep):  # a new attempt
            (sweep / _SILENT).unlink(missing_ok=True)
        elif sweep and (sweep / _SILENT).exists():
            return 0.0
        return _patience.get(self._uri, self.spec.timeout)

    def _tell_sweep(self) -> None:
        """Let the other jobs of a sweep, in any process, know that the store does not answer."""
        if sweep := self._sweep():
            with contextlib.suppress(OSError):
                (sweep / _SILENT).touch()

    def _sweep(self) -> Path | None:
        """Return the folder of the sweep that this run is, or is a job of."""
        folder = Path(self.card.folder) if self.card.folder else None
        return next((f for f in (folder, folder.parent) if (f / "sweep.json").is_file()), None) if folder else None

    @property
    def _uri(self) -> str:
        return self.spec.uri or ""

    def _find(self) -> dict[str, str]:
        return {RUN_KEY: self.card.tags[RUN_KEY]}

    def _connect(self, card: RunCard) -> None:
        try:
            self.process = tracker_connection(self._uri)
            self.number = self.process.new_run()
        except OSError as error:
            self._lose_process(f"the tracker process can't be started: {error}")
        self._send({"op": "open", "spec": self.spec.model_dump(), "card": asdict(card)})

    def _send(self, request: dict[str, Any]) -> None:
        if self.process:
            try:
                self.process.send({**request, "run": self.number})
            except TrackerProcessLost as error:
                self._lose_process(str(error))

    def _answer(self, op: str, kept: float = 0.0) -> dict[str, Any] | None:
        """Return the reply to an operation; None when there is none in time."""
        if not self.process:
            return None
        answer, begun = None, time.monotonic()
        is_local = not is_server(self._uri)
        try:
            if self._patience > 0:
                self.process.wait_until_prepared(_PREPARE_SECONDS)
            begun = time.monotonic()
            answer = self.process.receive(self.number, op, max(0.0, self._patience - kept), beats_count=is_local)
        except TimeoutError:
            self.process.silent.add(self._uri)
            within = f"within {self.spec.timeout:g} s" if self._at_first else "to an earlier job of the sweep"
            self._why_lost = f"no answer {within}"
        except TrackerProcessLost as error:
            self._lose_process(str(error))
        if not (answer and is_local):
            self._patience -= time.monotonic() - begun
        if answer:
            self._why_lost = answer.get("lost", "")
            self._ids |= {key: value for key, value in answer.items() if key.endswith("_id") and value}
        return answer

    def _lose_process(self, reason: str) -> None:
        log.debug("tracking: %s", reason)
        self.process, self._why_lost = None, redact(reason)

    def _record(self, folder: Path, status: RunStatus, reason: str) -> None:
        record = TrackingRecord(self._uri, self.card, status, lost=[reason], **self._ids)
        try:
            record.write(folder)
        except OSError as error:  # a full disk: the run folder's own files matter more
            log.debug("tracking.json is not written: %s", error)

    def _warn(self, folder: Path) -> None:
        """Log once what is not in MLflow, why, and how it gets there; a sweep logs it for all its jobs."""
        is_told = not self._at_first and self.card.folder != str(self._sweep())
        what = "the metrics and files of this run are" if self._ids.get("run_id") else "this run is"
        log.log(
            logging.DEBUG if is_told else logging.WARNING,
            "%s not in MLflow yet (%s: %s); its folder is complete. "
            "The next command with this store sends it; to send it now: %s",
            what,
            redact(self._uri),
            redact(self.lost[0]),
            command("task=sync", f"run={folder}"),
        )


_patience: dict[str, float] = {}
"""Seconds that this process still waits for a store that did not answer, by its URI."""


def open_run(spec: TrackingSpec, card: RunCard) -> MlflowTracker:
    """Open a run in MLflow; returns at once."""
    card = without_secrets(card)
    tags = {RUN_KEY: uuid.uuid4().hex, **card.tags}  # a run whose id was never received is found by it
    tracker = MlflowTracker(absolute(spec), replace(card, tags=tags))
    tracker.start()
    return tracker


def absolute(spec: TrackingSpec) -> TrackingSpec:
    """Return the section as the tracker process needs it, which may run elsewhere.

    Paths are absolute, and credentials that were left out when the URI was written come from the environment.
    """
    changes: dict[str, Any] = {"uri": without_redacted(spec.uri or "")}
    database = sqlite_path(spec.uri or "")
    if database is not None:
        changes["uri"] = f"sqlite:///{database.absolute()}"
    if spec.artifacts and "://" not in spec.artifacts:
        changes["artifacts"] = str(Path(spec.artifacts).absolute())
    return spec.model_copy(update=changes)


def _check(spec: TrackingSpec) -> list[tuple[str, str, str]]:
    if not spec.uri:
        return [
            (
                "uri",
                "is required by backend 'mlflow'",
                "tracking=server tracking.uri=http://HOST:PORT",
            )
        ]
    if "://" not in spec.uri:
        hint = "sqlite:///FILE, postgresql://..., or http://HOST:PORT (MLflow's file store is no longer supported)"
        return [("uri", f"must be a URL (got '{redact(spec.uri)}')", hint)]
    problems = []
    if missing := missing_credentials(spec.uri):
        problems.append(("uri", f"'{spec.uri}' was written without its secret", missing))
    if spec.artifacts and redact_url(spec.artifacts) != spec.artifacts:
        hint = "leave the credentials out; MLflow reads those of its artifact stores from the environment"
        problems.append(("artifacts", "holds credentials, and MLflow would write them into its database", hint))
    return problems


def _warm(spec: TrackingSpec) -> None:
    """Start the tracker process and its imports while data and model are made ready."""
    with contextlib.suppress(TrackerProcessLost, OSError):
        settled = absolute(spec)
        tracker_connection(settled.uri or "").send({"op": "warm", "run": 0, "spec": settled.model_dump()})


def upload(spec: TrackingSpec, folder: Path) -> str:
    """Send what is missing of a run folder; return what was done."""
    answer = _ask(spec, "upload", folder=str(folder.absolute()))
    if "lost" in answer:
        raise BayesrunError(f"{folder} can't be sent to {redact(spec.uri or '')}: {answer['lost']}")
    return f"sent, run {answer['run_id']}" if answer["sent"] else f"nothing is missing, run {answer['run_id']}"


def _fetch(spec: TrackingSpec, run_id: str, into: Path) -> Path:
    answer = _ask(spec, "fetch", run_id=run_id, into=str(into.absolute()))
    if "lost" in answer:
        raise fail("run", f"run {run_id} can't be fetched from {redact(spec.uri or '')}: {answer['lost']}")
    return Path(answer["folder"])


def _ask(spec: TrackingSpec, op: str, **request: str) -> dict[str, Any]:
    """Let the tracker process do something that no open run is needed for, and wait for it."""
    try:
        settled = absolute(spec)
        process = tracker_connection(settled.uri or "")
        number = process.new_run()
        process.send({"op": op, "run": number, "spec": settled.model_dump(), **request})
        return process.receive(number, op, _TASK_SECONDS)
    except (OSError, TrackerProcessLost) as error:
        return {"lost": str(error)}


def _pages(spec: TrackingSpec, host: str, port: int) -> Pages:
    assert spec.uri is not None  # checked before
    if is_server(spec.uri):
        address = without_credentials(spec.uri)
        raise fail("tracking.uri", f"is a server, which has pages of its own: {address}", "open it")
    database = sqlite_path(spec.uri)
    if database is not None and not database.is_file():
        hint = "run a model first, or give paths.outputs=FOLDER"
        raise fail("tracking.uri", f"there is no database '{database}'", hint)
    settled = absolute(spec)
    uri = settled.uri or ""
    environment = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    if settled.artifacts:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = settled.artifacts
    words = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    return Pages("MLflow", words, environment, without_credentials(uri))


def _share(spec: TrackingSpec) -> None:
    share_tracker_server()


def _open(spec: TrackingSpec, card: RunCard) -> Tracker:
    return open_run(spec, card)


TRACKER = Backend(open=_open, check=_check, warm=_warm, share=_share, fetch=_fetch, upload=upload, pages=_pages)

__all__ = ["TRACKER", "MlflowTracker", "absolute", "open_run", "upload"]
