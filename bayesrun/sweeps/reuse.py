"""Which jobs of a sweep must run, and which are done already: resume and reuse.

A finished run replaces a job when config, data, code and package versions are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayesrun.errors import VerdictError
from bayesrun.jobs.base import JOBS
from bayesrun.provenance import code_digest, config_digest, versions
from bayesrun.sweeps.base import Point, Record
from bayesrun.sweeps.points import Checked
from bayesrun.sweeps.sweep_folder import read_json, read_record

_PLACES = ("runs/*/*", "sweeps/*/*/*")


@dataclass(frozen=True)
class Identity:
    """What determines a run's numbers: config, data, code and package versions."""

    config: str
    data: str | None
    code: str | None
    packages: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, its identity and when it ended."""

    folder: Path
    identity: Identity
    ended: str


def read_finished(outputs: Path, also: Iterable[Path] = ()) -> list[Finished]:
    """Find the finished runs below an outputs folder, the newest first.

    Parameters
    ----------
    outputs
        `paths.outputs`.
    also
        Further run folders (of a sweep that is elsewhere).
    """
    folders = {p.absolute() for pattern in _PLACES for p in outputs.glob(pattern)} | {p.absolute() for p in also}
    found = [run for run in map(_read, sorted(folders)) if run is not None]
    return sorted(found, key=lambda run: run.ended, reverse=True)


def _read(folder: Path) -> Finished | None:
    try:
        status, record = read_json(folder / "status.json"), read_json(folder / "provenance.json")
    except (OSError, json.JSONDecodeError):
        return None
    if status.get("status") != "finished" or not record.get("config_digest"):
        return None
    if not _is_recorded(folder):
        return None
    return Finished(folder, identity_of(record), str(record.get("ended", "")))


def _is_recorded(folder: Path) -> bool:
    """Return whether the sweep recorded its job's end: a job killed while it was tracked has all files, no record."""
    sweep = folder.parent
    if not (sweep / JOBS).is_dir() or not folder.name.isdigit():
        return True
    record = read_record(sweep, int(folder.name))
    return record is not None and record.status == "finished"


def identity_of(record: Mapping[str, Any]) -> Identity:
    """Read an identity from a provenance record."""
    code = record.get("code_digest")
    return Identity(record["config_digest"], record.get("data_digest"), code, record.get("packages") or {})


def find_equal(wanted: Identity, runs: Sequence[Finished]) -> Finished | None:
    """Return the newest finished run with an equal identity."""
    return next((run for run in runs if run.identity == wanted), None)


def changes(old: Identity, new: Identity) -> str:
    """Return what differs between two runs: `data changed, numpy 1.21 -> 1.22`; empty when nothing does."""
    said = []
    for name in ("config", "data", "code"):
        if getattr(old, name) != getattr(new, name):
            said.append(f"{name} changed")
    for package in sorted({*old.packages, *new.packages}):
        before, after = old.packages.get(package), new.packages.get(package)
        if before != after:
            said.append(f"{package} {before or 'absent'} -> {after or 'absent'}")
    return ", ".join(said)


@dataclass(frozen=True)
class JobPlan:
    """Jobs to run, with a note for each, and records of those that are done."""

    to_run: tuple[Point, ...]
    notes: Mapping[int, str]
    done: tuple[Record, ...]


def make_plan(checked: Sequence[Checked], sweep: Path, outputs: Path, force: bool) -> JobPlan:
    """Decide for each job whether a finished run can replace it.

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
        found = find_equal(wanted, runs)
        if found is not None:
            done.append(_reused(job, found, sweep))
            continue
        to_run.append(job.point)
        notes[job.point.number] = _why(wanted, runs, own[job.point.number])
    return JobPlan(tuple(to_run), notes, tuple(done))


def _reused(job: Checked, found: Finished, sweep: Path) -> Record:
    """Make the record of a job that a finished run replaces; one of this sweep keeps its time and note."""
    point, verdict = job.point, read_json(found.folder / "status.json").get("verdict")
    metrics = read_json(found.folder / "metrics.json")
    run_id = read_json(found.folder / "tracking.json").get("run_id")
    own = read_record(sweep, point.number) if found.folder == (sweep / str(point.number)).absolute() else None
    seconds, note = metrics.get("seconds_total"), f"reused {run_id or found.folder}"
    return Record(
        point.number,
        point.setting,
        point.swept,
        point.seed,
        status="finished",
        verdict=verdict,
        exit_status=VerdictError.exit_status if verdict == "fail" and job.config.diagnostics.fail_run else 0,
        run_id=run_id,
        folder=str(found.folder),
        note=own.note if own else note,
        seconds=own.seconds if own else seconds,
        metrics=metrics,
    )


def _why(wanted: Identity, runs: Sequence[Finished], own: Path) -> str:
    """Return what has changed since the same job was run, if it was: in this sweep, or elsewhere with this config."""
    before = next((run for run in runs if run.folder == own.absolute()), None)
    before = before or next((run for run in runs if run.identity.config == wanted.config), None)
    return f"refit: {changes(before.identity, wanted)}" if before else ""
