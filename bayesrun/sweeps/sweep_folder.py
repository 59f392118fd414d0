"""A sweep's folder: how the sweep was requested, its jobs' records, and what a killed launcher left behind.

sweep.json         the command line and the jobs; what `resume=FOLDER` needs
.jobs/N.json       how job N ended, written by the process that ran it
.launcher.json     the process that launches the jobs, while it does
.unfinished/       what failed attempts left
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import psutil

from bayesrun.config.gate import is_by_hand
from bayesrun.errors import fail
from bayesrun.jobs.base import JOBS
from bayesrun.locks import named_lock
from bayesrun.processes import process_label, process_state
from bayesrun.redaction import redact_override
from bayesrun.run_folder import RunFolder, check_links, forget
from bayesrun.samplers.draw_store import read_draws
from bayesrun.sweeps.base import Record

STOP = ".stop"
"""File that keeps further jobs from starting (`fail_fast`)."""

INTERRUPTED_JOB = "the sweep was interrupted; resumed, it runs this job again"
"""Error of a job whose worker was ended with its sweep."""

_STATE = "sweep.json"
_LAUNCHER = ".launcher.json"
_PLACES = ("config_name", "config_dir")
_SHARED_MEMORY = Path("/dev/shm")
_OWNED_BY_PROCESS = re.compile(r"(?:joblib_memmapping_folder_|sem\.loky-)(\d+)[_-]")


def claim(wanted: Path) -> Path:
    """Make a sweep's folder; `_2`, `_3`, ... is added when another sweep has it."""
    return RunFolder.claim(wanted.absolute(), marker=".claimed").path


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no file."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def write_record(sweep: Path, record: Record) -> None:
    """Write a job's record where the launching process finds it, whatever happens to the job's process."""
    RunFolder(sweep / JOBS).write_json(f"{record.number}.json", asdict(record))


def read_record(sweep: Path, number: int) -> Record | None:
    """Read a job's record; None when it has left none."""
    path = sweep / JOBS / f"{number}.json"
    return Record(**json.loads(path.read_text())) if path.is_file() else None


def set_aside(sweep: Path, number: int) -> None:
    """Move what a failed attempt left out of the way of the next one, and remove its record."""
    (sweep / JOBS / f"{number}.json").unlink(missing_ok=True)
    folder = sweep / str(number)
    with recovering(folder):
        _move_aside(sweep, folder)


def _move_aside(sweep: Path, folder: Path) -> None:
    if folder.exists():
        aside = sweep / ".unfinished"
        aside.mkdir(exist_ok=True)
        if RunFolder(folder).status() == "running":
            RunFolder(folder).write_status("failed", None, "killed; the job was run again")
        os.replace(folder, aside / f"{folder.name}_{time.time_ns()}")


def recovering(folder: Path, timeout: float = -1) -> AbstractContextManager[object]:
    """Hold a run folder for the one command that recovers it or, where it is a job's, moves it out of the way.

    Parameters
    ----------
    folder
        The run's.
    timeout
        Seconds to wait for another command; without end if negative.
    """
    return named_lock(f"recover {folder.resolve()}", timeout=timeout)


def write_state(sweep: Path, arguments: Namespace, records: Sequence[Record]) -> None:
    """Write `sweep.json`: how the sweep was requested, and its jobs."""
    resumable = {k: getattr(arguments, k, None) for k in _PLACES}
    resumable["config_dir"] = resumable["config_dir"] and str(Path(resumable["config_dir"]).absolute())
    content = {
        "arguments": {**resumable, "overrides": _lasting(arguments.overrides)},
        "jobs": [asdict(r) for r in records],
    }
    RunFolder(sweep).write_json(_STATE, content)


def resumed(arguments: Namespace, sweep: Path) -> Namespace:
    """Return the flags of the sweep in a folder, with what was given now on top.

    Raises
    ------
    UserError
        When the folder holds no sweep.
    """
    given = read_json(sweep / _STATE).get("arguments")
    if not isinstance(given, dict) or not isinstance(given.get("overrides"), list):
        raise fail(
            "resume",
            f"'{sweep}' holds no sweep ({_STATE} is not there, or broken)",
            "give a folder below outputs/sweeps",
        )
    check_links(sweep, "resume")
    # anybody who can write to the folder may have written this: it is trusted no more than a config
    earlier = [str(o) for o in given["overrides"] if o not in arguments.overrides]
    known = {key: given.get(key) for key in _PLACES}
    overrides = [*earlier, *arguments.overrides]
    return Namespace(**{**vars(arguments), **known, "multirun": True, "overrides": overrides, "stored": len(earlier)})


def is_answered(sweep: Path, arguments: Namespace) -> bool:
    """Return whether the sweep has ended, and been tracked, with the overrides that are requested again."""
    if not (sweep / "status.json").is_file():
        return False
    stored = read_json(sweep / _STATE).get("arguments", {})
    tracked = read_json(sweep / "tracking.json")
    whole = tracked.get("status") not in (None, "interrupted", "running") and not tracked.get("lost")
    return whole and sorted(stored.get("overrides", [])) == sorted(_lasting(arguments.overrides))


def _lasting(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that a resumed sweep has by itself; what is run on a cluster is given each time."""
    kept = [o for o in overrides if o.lstrip("+").split("=")[0] not in ("resume", "force") and not is_by_hand(o)]
    return [redact_override(o) for o in kept]


def close_ended_jobs(sweep: Path, outputs: Path) -> None:
    """Note how far jobs are whose workers were ended with the sweep: none of them runs any longer.

    Parameters
    ----------
    sweep
        The sweep's folder.
    outputs
        `paths.outputs`.
    """
    for path in sweep.glob("[0-9]*/status.json"):
        job = RunFolder(path.parent)
        if job.process_state() != "ended":  # on another host
            continue
        if job.status() == "running":
            job.write_status("failed" if read_draws(job.draws) is None else "partial", None, INTERRUPTED_JOB)
        forget(outputs, job.path)


def note_launcher(sweep: Path) -> None:
    """Note that this process launches the sweep's jobs from now on."""
    process = psutil.Process()
    note = {
        "pid": process.pid,
        "started": process.create_time(),
        "host": socket.gethostname(),
        "process": process_label(process.pid),
    }
    RunFolder(sweep).write_json(_LAUNCHER, note)


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is a sweep's."""
    return (folder / _STATE).is_file()


def is_launching(sweep: Path) -> bool:
    """Return whether a process launches the sweep's jobs; where another host or container did, that is not known."""
    return _state_of_launcher(sweep) == "running"


def may_launch(sweep: Path) -> bool:
    """Return whether a process launches the sweep's jobs, or may do so on another host or in another container."""
    return _state_of_launcher(sweep) != "ended"


def _state_of_launcher(sweep: Path) -> Literal["running", "ended", "unknown"]:
    try:
        return process_state(str(read_json(sweep / _LAUNCHER)["process"]))
    except (OSError, ValueError, KeyError):
        return "ended"


def forget_launcher(sweep: Path) -> None:
    """Note that no process launches the sweep's jobs any longer."""
    (sweep / _LAUNCHER).unlink(missing_ok=True)


def remove_leftovers(outputs: Path) -> list[Path]:
    """Remove what killed launchers of sweeps left in this machine's shared memory.

    Their names hold the process's id, which is not unique where another container shares the memory. So only launchers
    that a sweep's folder names are looked for.

    Parameters
    ----------
    outputs
        `paths.outputs`.

    Returns
    -------
    list of Path
        What was removed.
    """
    gone = set()
    for note in outputs.glob(f"sweeps/*/*/{_LAUNCHER}"):
        with suppress(OSError, ValueError, KeyError):
            launcher = read_json(note)
            if launcher["host"] == socket.gethostname() and not _runs(launcher["pid"], launcher["started"]):
                gone.add(int(launcher["pid"]))
                note.unlink()
    return [path for path in _left_by(gone) if _remove(path)]


def _runs(pid: int, started: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < 1.0)
    except psutil.NoSuchProcess:
        return False


def _left_by(pids: set[int]) -> list[Path]:
    if not pids or not _SHARED_MEMORY.is_dir():
        return []
    found = ((path, _OWNED_BY_PROCESS.match(path.name)) for path in _SHARED_MEMORY.iterdir())
    return [path for path, match in found if match and int(match[1]) in pids]


def _remove(path: Path) -> bool:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return True
    return False
