"""Runs that are done already: what makes two runs the same, and what has changed where they are not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayesrun.sweep.base import JOBS, read_json, read_record

_PLACES = ("runs/*/*", "sweeps/*/*/*")


@dataclass(frozen=True)
class Identity:
    """What decides a run's numbers: config, data, code and package versions."""

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
        Further run folders (of a sweep that lies elsewhere).
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
    """Say whether a sweep knows of its job's end: one killed while it was tracked has all files, but no whole run."""
    sweep = folder.parent
    if not (sweep / JOBS).is_dir() or not folder.name.isdigit():
        return True
    record = read_record(sweep, int(folder.name))
    return record is not None and record.status == "finished"


def identity_of(record: Mapping[str, Any]) -> Identity:
    """Read an identity from a provenance record."""
    code = record.get("code_digest")
    return Identity(record["config_digest"], record.get("data_digest"), code, record.get("packages") or {})


def same(wanted: Identity, runs: Sequence[Finished]) -> Finished | None:
    """Return the newest finished run with an equal identity."""
    return next((run for run in runs if run.identity == wanted), None)


def changes(old: Identity, new: Identity) -> str:
    """Say what differs between two runs: `data changed, numpy 1.21 -> 1.22`; empty when nothing does."""
    said = []
    for name in ("config", "data", "code"):
        if getattr(old, name) != getattr(new, name):
            said.append(f"{name} changed")
    for package in sorted({*old.packages, *new.packages}):
        before, after = old.packages.get(package), new.packages.get(package)
        if before != after:
            said.append(f"{package} {before or 'absent'} -> {after or 'absent'}")
    return ", ".join(said)
