"""Which runs of this user are not yet whole in their store: noted when a run opens, removed when all of it is there.

The notes lie in the user's own state folder, one file per run, so that the next command with the same store finds the
runs of every outputs folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from platformdirs import user_state_path

from bayesrun.processes import process_has_ended
from bayesrun.redaction import redact


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
