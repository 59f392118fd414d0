"""Which runs are under way below an outputs folder, so that the next command finds those that died.

A run that samples has `OUTPUTS/.running/ID.json` with its folder and the process that runs it, and takes it away
however it ends. A note whose process has ended tells of a run that was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bayesrun.process_identity import process_has_ended, process_label

_FOLDER = ".running"


@contextmanager
def under_way(outputs: Path, folder: Path) -> Iterator[None]:
    """Note that this process runs `folder`, for as long as the block runs."""
    note = _note(outputs, folder)
    with suppress(OSError):  # a disk that is full: the run goes on, and is not found if it dies
        note.parent.mkdir(parents=True, exist_ok=True)
        with note.open("w") as file:
            json.dump({"folder": str(folder.absolute()), "process": process_label(os.getpid())}, file)
            file.flush()
            os.fsync(file.fileno())  # after a power cut it finds the run
    try:
        yield
    finally:
        forget(outputs, folder)


def forget(outputs: Path, folder: Path) -> None:
    """Take away what is noted of a run."""
    with suppress(OSError):
        _note(outputs, folder).unlink(missing_ok=True)


def dead_runs(outputs: Path) -> list[Path]:
    """Return the folders of runs whose process has ended without an end of the run, oldest first."""
    found = []
    for note in sorted((outputs / _FOLDER).glob("*.json"), key=lambda path: path.name):
        with suppress(OSError, ValueError, KeyError):
            content = json.loads(note.read_text())
            folder = Path(content["folder"])
            if not process_has_ended(content["process"]):
                continue
            if folder.is_dir():
                found.append(folder)
            else:
                note.unlink(missing_ok=True)
    return found


def _note(outputs: Path, folder: Path) -> Path:
    return outputs / _FOLDER / f"{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}.json"
