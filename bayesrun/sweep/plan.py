"""Which jobs of a sweep must run, and which are done already: resume and cache."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bayesrun.provenance import code_digest, config_digest, versions
from bayesrun.sweep._finished import Finished, Identity, changes, read_finished, same
from bayesrun.sweep.base import Point, Record, drop_record, read_json
from bayesrun.sweep.preflight import Checked


@dataclass(frozen=True)
class Plan:
    """What is to be done: jobs that run, with a note each, and records of those that need not."""

    to_run: tuple[Point, ...]
    notes: Mapping[int, str]
    done: tuple[Record, ...]


def make_plan(checked: Sequence[Checked], sweep: Path, outputs: Path, force: bool) -> Plan:
    """Decide for each job whether a finished run can stand for it.

    Parameters
    ----------
    checked
        The sweep's points with their configs and data digests.
    sweep
        The sweep's folder; its own finished jobs count, too.
    outputs
        Where finished runs are looked for.
    force
        Run every job again.
    """
    own = [sweep / str(c.point.number) for c in checked]
    runs = [] if force else read_finished(outputs, own)
    code, packages = code_digest(), versions()
    to_run, notes, done = [], {}, []
    for job in checked:
        wanted = Identity(config_digest(job.config.plain), job.data_digest, code, packages)
        found = same(wanted, runs)
        if found is not None:
            done.append(_reused(job.point, found, sweep))
            continue
        to_run.append(job.point)
        notes[job.point.number] = _why(wanted, runs, own[job.point.number])
    return Plan(tuple(to_run), notes, tuple(done))


def _reused(point: Point, found: Finished, sweep: Path) -> Record:
    status = read_json(found.folder / "status.json")
    run_id = read_json(found.folder / "tracking.json").get("run_id")
    metrics = read_json(found.folder / "metrics.json")
    at_home = found.folder.parent == sweep.absolute()
    return Record(
        point.number,
        point.setting,
        point.swept,
        point.seed,
        status="finished",
        verdict=status.get("verdict"),
        run_id=run_id,
        folder=str(found.folder),
        note="" if at_home else f"reused {run_id or found.folder}",
        seconds=metrics.get("seconds_total"),
        metrics=metrics,
    )


def _why(wanted: Identity, runs: Sequence[Finished], own: Path) -> str:
    """Say what has changed since the same job was run, if it was: in this sweep, or elsewhere with this config."""
    before = next((run for run in runs if run.folder == own.absolute()), None)
    before = before or next((run for run in runs if run.identity.config == wanted.config), None)
    return f"refit: {changes(before.identity, wanted)}" if before else ""


def set_aside(sweep: Path, number: int) -> None:
    """Move what a broken attempt left out of the way of the next one, and forget its record."""
    drop_record(sweep, number)
    folder = sweep / str(number)
    if folder.exists():
        aside = sweep / ".unfinished"
        aside.mkdir(exist_ok=True)
        os.replace(folder, aside / f"{number}_{time.time_ns()}")
