"""`task=sync`: send to tracking what is missing there, and try once.

python -m bayesrun task=sync                     every run that is missing, of this store or below the outputs folder
python -m bayesrun task=sync run=FOLDER          one run, or a sweep with its jobs
python -m bayesrun task=sync tracking.uri=URI    to another store than the one that each run was meant for
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bayesrun.errors import BayesrunError, Problem, check, fail
from bayesrun.schema import parse
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS, TrackingSpec, sqlite_path
from bayesrun.tracking.tracking_record import RECORD, RUNNING, read_record, unsent_runs


def sync(request: TaskRequest) -> int:
    """Send what is missing, print what was done for each run, and return 1 if something is still missing."""
    given = _given(request.config)
    folders = _chosen(request, given)
    backend = TRACKERS.load(given.backend, "tracking.backend")
    elsewhere = any(override.startswith("tracking") for override in request.arguments.overrides)
    failed = 0
    for folder in folders:
        record = read_record(folder)
        if record is None:
            raise fail("run", f"'{folder}' was not tracked: it has no {RECORD}", "run it again with tracking=mlflow")
        spec = given if elsewhere or record.uri == given.uri else _store_of(record.uri)
        try:
            print(f"{folder}: {backend.upload(spec, folder)}")
        except BayesrunError as error:
            failed += 1
            print(error)
    if not folders:
        print("nothing is missing in tracking")
    return 1 if failed else 0


def _chosen(request: TaskRequest, given: TrackingSpec) -> list[Path]:
    """Return the given runs, else those with something missing; a sweep comes before its jobs."""
    named = [run.folder for run in (request.run, *request.runs) if run]
    if named:
        jobs = (path.parent for folder in named for path in sorted(folder.glob(f"[0-9]*/{RECORD}")))
        return [*named, *filter(_has_ended_incomplete, jobs)]
    below = {path.parent for path in Path(str(request.config.paths.outputs)).glob(f"*/*/**/{RECORD}")}
    return sorted({*filter(_has_ended_incomplete, below), *unsent_runs(given.uri or "")})


def _has_ended_incomplete(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record.status != RUNNING and not record.is_complete


def _given(config: DictConfig) -> TrackingSpec:
    problems: list[Problem] = []
    spec = parse(TrackingSpec, OmegaConf.to_container(config.tracking, resolve=True), "tracking", problems)
    check(problems)
    assert spec
    return spec


def _store_of(uri: str) -> TrackingSpec:
    """Return the store that a run was meant for; an SQLite database keeps its artifacts beside it."""
    database = sqlite_path(uri)
    return TrackingSpec(uri=uri, artifacts=str(database.parent / "mlartifacts") if database else None)


TASK = Task(do=sync, takes_several=True)
