"""Locks between processes, in a folder that only their user can write."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import PlatformDirs

from bayesrun.errors import BayesrunError
from bayesrun.lazy import filelock

if TYPE_CHECKING:
    from filelock import BaseFileLock


def named_lock(name: str, timeout: float = -1) -> BaseFileLock:
    """Return a lock for something that has a name but no file of its own, such as a database server.

    Parameters
    ----------
    name
        Any text. The lock's file shows only a digest of it.
    timeout
        Seconds to wait for the lock; -1 waits for as long as it takes.
    """
    return filelock.FileLock(
        runtime_folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock", timeout=timeout
    )


def lock_beside(path: Path, timeout: float = -1) -> BaseFileLock:
    """Return the lock of a file that several processes write: `.NAME.lock` in its folder, which is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=timeout)


def runtime_folder() -> Path:
    """Return the user's own folder for files of running processes, made with mode 0700 if needed.

    That is `bayesrun` in `$XDG_RUNTIME_DIR`. Where the system has no such folder it is in `~/.local/state`, not in the
    shared temporary folder, where another user could have made it first.

    Raises
    ------
    PermissionError
        When the folder belongs to another user.
    BayesrunError
        When it can't be made.
    """
    folders = PlatformDirs("bayesrun", appauthor=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where there is no runtime folder
        folder = folders.user_runtime_path
    if folder.is_relative_to(tempfile.gettempdir()):
        folder = folders.user_state_path / "run"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "set XDG_STATE_HOME to a folder that you can write"
        raise BayesrunError(f"a lock can't be made in '{folder}': {error.strerror}\n    {hint}") from error
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"'{folder}' belongs to another user")
    folder.chmod(0o700)
    return folder
