"""One process at a time, over processes that know nothing of each other."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, made if it is not there; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_path(uri: str) -> Path:
    """Return the lock file of a store: beside an SQLite database, in the temporary directory for others."""
    database = sqlite_path(uri)
    if database is not None:
        return database.with_name(f".{database.name}.lock")
    return Path(tempfile.gettempdir()) / f"bayesrun-{hashlib.sha256(uri.encode()).hexdigest()[:16]}.lock"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite URI; None for other stores and databases in memory."""
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if path and path != ":memory:" else None
