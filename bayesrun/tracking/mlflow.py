"""`tracking=mlflow` and `tracking=server`: runs in MLflow (design part 8).

The work is done in a process of its own (`tracker_process`): a run never waits for MLflow's imports, and its tracking
server may die at any moment. What is lost is told once, at the end, with the command that uploads it later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bayesrun.errors import fail
from bayesrun.tracking.base import (
    Backend,
    DatasetInfo,
    RunCard,
    RunStatus,
    Tracker,
    TrackingSpec,
    is_server,
    mask,
    sqlite_path,
)
from bayesrun.tracking.tracker_connection import (
    TrackerConnection,
    TrackerProcessLost,
    share_tracker_server,
    tracker_connection,
)

log = logging.getLogger("bayesrun.tracking")

RECORD = "tracking.json"
_FETCH_SECONDS = 600
_CLOSE_CALLS = 10  # closing makes several calls, uploads among them


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
    """

    spec: TrackingSpec
    card: RunCard
    process: TrackerConnection | None = None
    number: int = 0
    lost: list[str] = field(default_factory=list)
    _ids: dict[str, str] | None = None
    _draws: int = 0

    def start(self) -> None:
        """Ask for the run; the answer is fetched by `ready`."""
        try:
            self.process = tracker_connection()
            self.number = self.process.new_run()
        except OSError as error:
            self._lose(f"the tracker process: {error}")
        self._send({"op": "open", "spec": self.spec.model_dump(), "card": asdict(self.card)})

    def ready(self) -> str | None:
        """Wait until the run is there with its params; return its id, or None when it can't be had."""
        if self._ids is None:
            self._ids = self._answer("open", 3 * self.spec.timeout)
        return self._ids.get("run_id")

    def progress(self, step: int, progress: float, divergences_so_far: int) -> None:
        """Log how far sampling is."""
        self._draws = round(step / progress) if progress > 0 else self._draws
        metrics = {"progress": progress, "divergences_so_far": float(divergences_so_far)}
        if not self.lost:
            self._send({"op": "progress", "step": step, "metrics": metrics})

    def end_jobs(self) -> None:
        """End the children of this run that are still marked as running: their sweep is over."""
        self._send({"op": "end_jobs"})
        self._answer("end_jobs", self.spec.timeout)

    def drop_jobs(self, jobs: Sequence[str], keep: Collection[str] = ()) -> None:
        """Drop what other attempts left of this run's jobs, by their tag `job`, but for the runs `keep`."""
        self._send({"op": "drop_jobs", "jobs": list(jobs), "keep": list(keep)})
        self._answer("drop_jobs", self.spec.timeout)

    def close(self, folder: Path, status: RunStatus) -> None:
        """Log what the run folder holds, upload it, and end the run."""
        self.ready()
        self._record(folder, status)
        begun = len(self.lost)
        draws = self._draws if status == "finished" else None
        self._send({"op": "close", "folder": str(folder.absolute()), "status": status, "draws": draws})
        self._ids = {
            **(self._ids or {}),
            **self._answer("close", _CLOSE_CALLS * self.spec.timeout),
        }
        self._gather_losses()
        if self.lost:
            self._record(folder, status)
        if len(self.lost) > begun:
            log.warning("to upload what was lost: python -m bayesrun task=sync run=%s", folder)

    def compare_hint(self) -> str | None:
        """Return the server's address, or the command that starts MLflow's UI on the database."""
        uri = self.spec.uri or ""
        return mask(uri) if is_server(uri) else f"mlflow ui --backend-store-uri {mask(uri)}"

    def _send(self, request: dict[str, Any]) -> None:
        if self.process:
            try:
                self.process.send({**request, "run": self.number})
            except TrackerProcessLost as error:
                self._lose(str(error))

    def _answer(self, op: str, wait: float) -> dict[str, str]:
        if not self.process:
            return {}
        try:
            answer = self.process.receive(self.number, op, wait)
        except TimeoutError as error:
            self._lose(f"the tracker process: {error}")
            return {}
        except TrackerProcessLost as error:
            self._lose(str(error))
            return {}
        self._gather_losses()
        return {k: v for k, v in answer.items() if k.endswith("_id")}

    def _gather_losses(self) -> None:
        for reason in self.process.lost.pop(self.number, []) if self.process else []:
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        """Tell the first loss; later ones mostly have the same cause."""
        reason = mask(reason)
        if not self.lost:
            log.warning(
                "tracking is not complete, the run goes on: %s (%s)",
                reason,
                mask(self.spec.uri or ""),
            )
        self.lost.append(reason)
        if "the tracker process" in reason:
            self.process = None

    def _record(self, folder: Path, status: RunStatus) -> None:
        """Write where the run is tracked, and what is needed to upload it again."""
        record = {
            **(self._ids or {}),
            "uri": mask(self.spec.uri or ""),
            "status": status,
            "lost": self.lost,
            "card": asdict(self.card),
        }
        if folder.is_dir():
            temporary = folder / f".{RECORD}.{os.getpid()}"
            temporary.write_text(json.dumps(record, indent=1))
            os.replace(temporary, folder / RECORD)


def open_run(spec: TrackingSpec, card: RunCard) -> MlflowTracker:
    """Open a run in MLflow; returns at once."""
    tracker = MlflowTracker(absolute(spec), card)
    tracker.start()
    return tracker


def absolute(spec: TrackingSpec) -> TrackingSpec:
    """Return the section with paths made absolute: the tracker process and the UI may run elsewhere."""
    database = sqlite_path(spec.uri or "")
    changes: dict[str, Any] = {}
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
        return [("uri", f"must be a URL (got '{mask(spec.uri)}')", hint)]
    return []


def _warm(spec: TrackingSpec) -> None:
    """Start the tracker process and its imports while data and model are made ready."""
    with contextlib.suppress(TrackerProcessLost, OSError):
        tracker_connection().send({"op": "warm", "run": 0, "spec": absolute(spec).model_dump()})


def upload(spec: TrackingSpec, folder: Path) -> list[str]:
    """Track a run folder whose tracking was lost; return what is still missing."""
    record = json.loads((folder / RECORD).read_text())
    card = dict(record["card"])
    card["dataset"] = DatasetInfo(**card["dataset"]) if card["dataset"] else None
    card["run_id"] = record.get("run_id") if mask(absolute(spec).uri or "") == record["uri"] else None
    tracker = open_run(spec, RunCard(**card))
    tracker.ready()
    tracker.close(folder, record["status"])
    return tracker.lost


def _fetch(spec: TrackingSpec, run_id: str, into: Path) -> Path:
    """Let the tracker process find or download a run's folder."""
    process = tracker_connection()
    number = process.new_run()
    request = {"op": "fetch", "run": number, "spec": absolute(spec).model_dump(), "run_id": run_id, "into": str(into)}
    try:
        process.send(request)
        answer = process.receive(number, "fetch", _FETCH_SECONDS)
    except (TrackerProcessLost, TimeoutError) as error:
        raise fail("run", f"run {run_id} can't be had from {mask(spec.uri or '')}: {error}") from None
    if "lost" in answer:
        raise fail("run", f"run {run_id} can't be had from {mask(spec.uri or '')}: {answer['lost']}")
    return Path(answer["folder"])


def _share(spec: TrackingSpec) -> None:
    share_tracker_server()


def _open(spec: TrackingSpec, card: RunCard) -> Tracker:
    return open_run(spec, card)


TRACKER = Backend(open=_open, check=_check, warm=_warm, share=_share, fetch=_fetch, upload=upload)

__all__ = ["RECORD", "TRACKER", "MlflowTracker", "absolute", "open_run", "upload"]
