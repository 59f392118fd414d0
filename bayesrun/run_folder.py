"""A run's folder and its files (design part 7): claimed by one run, every file written whole.

While a run samples, `OUTPUTS/.running/ID.json` names its folder and its process; it is removed however the run ends. So
the next command finds the runs whose process was killed (`dead_runs`).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bayesrun.errors import BayesrunError, OutputError, UserError, fail
from bayesrun.invocation import command
from bayesrun.processes import process_has_ended, process_label, process_state
from bayesrun.redaction import redact_known

Status = Literal["running", "finished", "partial", "failed"]
Pictures = Literal["pending", "drawn", "interrupted"]

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR)
_FULL = 100_000
_RUNNING = ".running"
_TEMPORARY = re.compile(r"\.(?!tracking\.).+\.[0-9a-f]{12}(\.\w+)?")
_LINKS_SHOWN = 5
_MADE_ABOVE = 4  # outputs, runs, the day, and the folder that the outputs are in


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run's files, below `path`."""

    path: Path

    @classmethod
    def claim(cls, wanted: Path, marker: str = "run.log") -> RunFolder:
        """Claim a folder for one run; `_2`, `_3`, ... is added when another run has it.

        Parameters
        ----------
        wanted
            Where the run should be. May exist, but is used only if no run has claimed it.
        marker
            The file that is made to claim it.
        """
        for count in itertools.count(1):
            path = wanted if count == 1 else wanted.with_name(f"{wanted.name}_{count}")
            try:
                path.mkdir(parents=True, exist_ok=True)
                _create(path / marker)
                for above in list(path.parents)[:_MADE_ABOVE]:
                    sync_folder(above)
                return cls(path)
            except FileExistsError:
                continue
            except FileNotFoundError:  # another run removed its unused parent in between
                path.mkdir(parents=True, exist_ok=True)
        raise AssertionError("unreachable")

    @property
    def log(self) -> Path:
        """The log, `run.log`."""
        return self.path / "run.log"

    @property
    def posterior(self) -> Path:
        """The InferenceData, `posterior.nc`."""
        return self.path / "posterior.nc"

    @property
    def draws(self) -> Path:
        """The folder in which draws are kept while a run samples."""
        return self.path / "draws"

    @property
    def state(self) -> Path:
        """The folder of the states from which sampling can continue."""
        return self.path / "state"

    def read_json(self, name: str) -> Any:
        """Return a JSON file as plain values; an empty mapping where it can't be read."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def lacks(self, name: str) -> UserError:
        """Return the error of a task that needs a file which a killed run did not write."""
        hint = f"create it first: {command('task=recover', f'run={self.path}')}"
        return fail("run", f"'{self.path}' has no {name}", hint)

    def status(self) -> str | None:
        """Return the status of `status.json`; None where it can't be read."""
        try:
            return str(json.loads((self.path / "status.json").read_text())["status"])
        except (OSError, ValueError, KeyError):
            return None

    def process_state(self) -> Literal["running", "ended", "unknown"]:
        """Return whether the process runs that `status.json` names; `ended` where the run and its pictures are done."""
        try:
            content = json.loads((self.path / "status.json").read_text())
            return process_state(content["process"]) if "process" in content else "ended"
        except (OSError, ValueError):
            return "ended"

    def pictures(self) -> Pictures | None:
        """Return how far the pictures of a run with a verdict are; None where it has none, or can't be read."""
        found: Pictures | None = self.read_json("status.json").get("pictures")
        return found

    @property
    def figures(self) -> Path:
        """The folder of pictures."""
        return self.path / "figures"

    def write_json(self, name: str, content: Any) -> Path:
        """Write `name` as JSON, whole and without secrets; numbers that are not finite become null."""
        return self.write(name, lambda temporary: temporary.write_text(_json(content), encoding="utf-8"))

    def write_data(self, name: str, content: Any) -> Path:
        """Write `name` as JSON, whole, with labels and values of the data as they are.

        What reads them compares them with labels of other data: two that are left out would be the same one.
        """
        return self.write(name, lambda temporary: temporary.write_text(_json(content, is_data=True), encoding="utf-8"))

    def write_text(self, name: str, text: str) -> Path:
        """Write `name` as text, whole, without secrets."""
        return self.write(name, lambda temporary: temporary.write_text(redact_known(text), encoding="utf-8"))

    def write(self, name: str, save: Callable[[Path], object]) -> Path:
        """Write `name` whole: `save` fills a temporary file that takes the name's place once it is on the disk."""
        final = self.path / name
        final.parent.mkdir(parents=True, exist_ok=True)
        write_whole(final, save)
        return final

    def remove_unfinished(self) -> None:
        """Remove what killed processes left of files that they were writing; a tracker may still be at its own."""
        for path in self.path.rglob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def write_status(
        self,
        status: Status,
        verdict: str | None = None,
        error: str | None = None,
        pictures: Pictures | None = None,
    ) -> Path:
        """Write `status.json`, with its process while it works; on a full disk over the old one, in its own place."""
        content = {"status": status, "verdict": verdict, "error": error}
        if pictures is not None:
            content["pictures"] = pictures
        if status == "running" or pictures == "pending":
            content["process"] = process_label(os.getpid())
        try:
            return self.write_json("status.json", content)
        except OSError:
            with (self.path / "status.json").open("r+", encoding="utf-8") as file:
                file.write(_json({**content, "error": error and error[:1000]}))
                file.truncate()
            return self.path / "status.json"

    def write_pictures(self, pictures: Pictures) -> None:
        """Note in `status.json` how far the pictures are; all else there stays as it is."""
        content = {key: value for key, value in self.read_json("status.json").items() if key != "process"}
        self.write_json("status.json", {**content, "pictures": pictures})


def check_place(folder: Path, needed: int = 0) -> None:
    """Check that files can be written below a folder that may not exist yet; nothing is left behind.

    Parameters
    ----------
    folder
        Where a run's files will be.
    needed
        Bytes that they need at least.

    Raises
    ------
    OutputError
        When they can't be; or when the path has a line break or the like: a line of the script that a cluster runs
        names the folder, and what follows the break would be run as a command.
    """
    if not str(folder).isprintable():
        raise OutputError(
            ascii(str(folder)).strip("'"), "the path contains a line break or another non-printable character"
        )
    above = folder
    try:
        above = next(path for path in [folder, *folder.parents] if path.exists() or path.is_symlink())
        with tempfile.TemporaryFile(dir=above) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
        free = shutil.disk_usage(above).free
    except OSError as error:
        raise OutputError(folder, f"files can't be written there: {error.strerror or error} ({above})") from error
    if free < needed:
        raise OutputError(
            folder, f"the run needs {needed / 1e6:,.0f} MB at least, but only {free / 1e6:,.0f} MB are free"
        )


def as_output_error(error: BaseException, folder: Path) -> BaseException:
    """Return an `OutputError` for an error whose message means, in whatever words, that a folder can't be written to.

    NetCDF's library says "HDF error" when the disk is full.
    """
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return OutputError(folder, f"files can't be written there: {error.strerror}")
    with suppress(OSError):
        if not isinstance(error, BayesrunError | KeyboardInterrupt) and shutil.disk_usage(folder).free < _FULL:
            return OutputError(folder, f"the disk is full ({type(error).__name__}: {error})")
    return error


def remove_if_empty(path: Path) -> None:
    """Remove a folder that Hydra made for a run that never began, and its empty parents."""
    for folder in [path, *path.parents][:3]:
        try:
            folder.rmdir()
        except OSError:
            return


# ---------------------------------------------------------------- running runs


@contextmanager
def under_way(outputs: Path, folder: Path) -> Iterator[None]:
    """Record that this process runs `folder` while the block runs."""
    note = _note(outputs, folder)
    try:
        with suppress(OSError):  # a full disk: the run continues, and is not found if it is killed
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps({"folder": str(folder.absolute()), "process": process_label(os.getpid())}))
            _sync(note)  # a power cut must not hide the run
            sync_folder(note.parent)
            sync_folder(outputs)
        yield
    finally:
        forget(outputs, folder)


def forget(outputs: Path, folder: Path) -> None:
    """Remove the record of a running run."""
    with suppress(OSError):
        _note(outputs, folder).unlink(missing_ok=True)


def dead_runs(outputs: Path) -> list[Path]:
    """Return the folders of runs whose process has ended without an end of the run, oldest first."""
    noted = [run for run in _noted_runs(outputs) if process_state(run[1]) == "ended"]
    return [folder for folder, _ in noted if _note(outputs, folder).exists()]  # one that ends in order removes it first


def runs_elsewhere(outputs: Path) -> list[Path]:
    """Return the folders of runs on other hosts, or in other containers: whether they go on is not known here."""
    return [folder for folder, process in _noted_runs(outputs) if process_state(process) == "unknown"]


def _noted_runs(outputs: Path) -> list[tuple[Path, str]]:
    found, notes = list[tuple[Path, str]](), list[Path]()
    with suppress(OSError):  # an impossible outputs folder is reported when a run needs it
        notes = sorted((outputs / _RUNNING).glob("*.json"), key=lambda path: path.name)
    for note in notes:
        with suppress(OSError, ValueError, KeyError):
            content = json.loads(note.read_text())
            folder, process = Path(content["folder"]), str(content["process"])
            if folder.is_dir():
                found.append((folder, process))
            elif process_has_ended(process):
                note.unlink(missing_ok=True)
    return found


def _note(outputs: Path, folder: Path) -> Path:
    return outputs / _RUNNING / f"{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}.json"


def check_links(folder: Path, key: str = "run") -> None:
    """Refuse a folder with links that lead out of it: what is written into a run that others made must stay in it.

    `posterior.nc` may be on another disk: it is read, and replaced whole.

    Raises
    ------
    UserError
        Naming the links.
    """
    home = folder.resolve()
    links = []
    for place, folders, files in os.walk(folder):
        found = [Path(place) / name for name in (*folders, *files) if not name.endswith(".nc")]
        links += [path for path in found if path.is_symlink() and not path.resolve().is_relative_to(home)]
    if links:
        shown = ", ".join(f"'{path.relative_to(folder)}'" for path in sorted(links)[:_LINKS_SHOWN])
        raise fail(key, f"'{folder}' holds links that lead out of it: {shown}", "copy what they lead to in their place")


# ---------------------------------------------------------------- writing


def write_whole(final: Path, save: Callable[[Path], object]) -> None:
    """Write a file whole: `save` fills a temporary file, which takes its place once it is on the disk."""
    temporary = final.with_name(f".{final.stem}.{uuid.uuid4().hex[:12]}{final.suffix}")
    _create(temporary)
    try:
        save(temporary)
        _sync(temporary)
        os.replace(temporary, final)
        sync_folder(final.parent)
    except OSError:
        raise
    except Exception as error:  # judged while the part that found room is still there
        told = as_output_error(error, final.parent)
        if told is error:
            raise
        raise told from error
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path) -> None:
    """Create a new, empty file with the permissions of the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: a power cut must not leave an empty one under its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk: a power cut must not undo that a file took its place.

    Where a file system can't do so, its own order of changes has to do.
    """
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _json(content: Any, is_data: bool = False) -> str:
    """Write as JSON; secrets are left out first, a quoted one can't be separated from the marks around it."""
    return json.dumps(_plain(content, str if is_data else redact_known), indent=2, default=str) + "\n"


def _plain(value: Any, told: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {told(str(k)): _plain(v, told) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, told) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return told(value) if isinstance(value, str) else value
