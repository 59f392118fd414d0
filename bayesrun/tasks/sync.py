"""`task=sync`: send to tracking what is missing there.

python -m bayesrun task=sync                     every run below the outputs folder that is not tracked whole
python -m bayesrun task=sync run=FOLDER          one run
python -m bayesrun task=sync tracking.uri=URI    to another store than the one that each run was meant for
"""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import OmegaConf

from bayesrun.errors import check, fail
from bayesrun.schema import parse
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS, TrackingSpec

_RECORD = "tracking.json"


def sync(request: TaskRequest) -> int:
    """Upload what is missing, say what was done with each run, and return 1 if something is still missing."""
    spec = _spec(request)
    backend = TRACKERS.load(spec.backend, "tracking.backend")
    folders = [request.run.folder] if request.run else _incomplete(Path(str(request.config.paths.outputs)))
    elsewhere = any(o.startswith("tracking") for o in request.arguments.overrides)
    failed = 0
    for folder in folders:
        record = _record(folder)
        lost = backend.upload(spec if elsewhere else spec.model_copy(update={"uri": record["uri"]}), folder)
        failed += bool(lost)
        print(f"{folder}: {'; '.join(lost) if lost else 'tracked'}")
    if not folders:
        print("nothing is missing in tracking")
    return 1 if failed else 0


def _spec(request: TaskRequest) -> TrackingSpec:
    problems: list[object] = []
    spec = parse(TrackingSpec, OmegaConf.to_container(request.config.tracking, resolve=True), "tracking", problems)  # type: ignore[arg-type]
    check(problems)  # type: ignore[arg-type]
    assert spec
    return spec


def _incomplete(outputs: Path) -> list[Path]:
    return sorted(path.parent for path in outputs.glob(f"*/*/**/{_RECORD}") if _record(path.parent).get("lost"))


def _record(folder: Path) -> dict[str, object]:
    path = folder / _RECORD
    if not path.is_file():
        raise fail("run", f"'{folder}' was not tracked: it has no {_RECORD}", "run it again with tracking=mlflow")
    return json.loads(path.read_text())  # type: ignore[no-any-return]


TASK = Task(do=sync)
