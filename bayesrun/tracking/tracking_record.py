"""What is known about a run's tracking: the record in its folder, and notes of runs that are not yet in their store.

The record (`tracking.json`) says where a run is tracked and holds what is needed to send it later. A note in the user's
own state folder, one file per run, is written when a run opens and removed when all of it is in its store, so that the
next command with the same store finds the runs of every outputs folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from bayesrun.processes import process_has_ended
from bayesrun.redaction import redact
from bayesrun.run_folder import write_whole
from bayesrun.tracking.base import DatasetInfo, RunCard

RECORD = "tracking.json"
NOT_ANSWERED = "the upload has not been confirmed"
RUNNING = "running"


@dataclass(frozen=True)
class TrackingRecord:
    """Where a run is tracked, and what is missing there.

    Parameters
    ----------
    uri
        The store, without its credentials.
    card
        What was known of the run before it sampled.
    status
        How the run ended; `running` before it did.
    run_id, experiment_id
        The run in the store; None where it never got there.
    lost
        Reasons why something is missing in the store; empty when all of the run is there.
    """

    uri: str
    card: RunCard
    status: str = RUNNING
    run_id: str | None = None
    experiment_id: str | None = None
    lost: Sequence[str] = ()

    @property
    def is_complete(self) -> bool:
        """Return whether nothing is missing in the store."""
        return self.run_id is not None and self.status != RUNNING and not self.lost

    def write(self, folder: Path) -> None:
        """Write `tracking.json` whole; does nothing where the folder is gone."""
        if not folder.is_dir():
            return
        content = {**asdict(self), "uri": redact(self.uri), "lost": list(self.lost)}
        text = json.dumps(content, indent=1)
        write_whole(folder / RECORD, lambda temporary: temporary.write_text(text))


def read_record(folder: Path) -> TrackingRecord | None:
    """Read the record of a run folder; None where it has none that can be read."""
    try:
        content = json.loads((folder / RECORD).read_text())
        return TrackingRecord(**{**_known(TrackingRecord, content), "card": read_card(content["card"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_card(content: Mapping[str, Any]) -> RunCard:
    """Return a card from what `asdict` made of it."""
    dataset = content.get("dataset")
    return RunCard(**{**_known(RunCard, content), "dataset": DatasetInfo(**dataset) if dataset else None})


def _known(record: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {key: value for key, value in content.items() if key in names}


def note_unsent(uri: str, folder: Path, owner: str) -> None:
    """Note that a run is on its way to its store; nothing where the user's state folder can't be written.

    Parameters
    ----------
    uri
        The store.
    folder
        The run folder.
    owner
        Label of the process that tracks the run.
    """
    with suppress(OSError):
        note = _note(uri, folder)
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.write_text(json.dumps({"folder": str(folder.absolute()), "owner": owner}))


def remove_note(uri: str, folder: Path) -> None:
    """Note that all of a run is in its store, or that its folder is gone."""
    with suppress(OSError):
        _note(uri, folder).unlink(missing_ok=True)


def unsent_runs(uri: str) -> Iterator[Path]:
    """Yield the folders of runs that are missing in a store and that no process tracks any more, oldest first."""
    for note in sorted(_notes(uri).glob("*.json"), key=_age):
        try:
            content = json.loads(note.read_text())
        except (OSError, ValueError):
            continue
        folder = Path(content["folder"])
        if not process_has_ended(content["owner"]):
            continue
        if folder.is_dir():
            yield folder
        else:
            remove_note(uri, folder)


def _age(note: Path) -> float:
    try:
        return note.stat().st_mtime
    except OSError:  # another process has just sent it
        return 0.0


def _notes(uri: str) -> Path:
    return user_state_path("bayesrun", appauthor=False) / "unsent" / _digest(redact(uri))


def _note(uri: str, folder: Path) -> Path:
    return _notes(uri) / f"{_digest(str(folder.absolute()))}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
