"""What bayesrun changes in MLflow (tested with 3.17.2).

`import_mlflow`
    What: MLflow is imported without pandas. Why: a fifth less to import.
    Test: `tests/unit/tracking/test_mlflow_patches.py`.
`create_database`
    What: a new SQLite database gets its name when it is whole, and is written to disk once. Why: eight processes that
    create it at once, or a kill half-way, leave it broken for good. On a busy disk a hundred migrations take seconds.
    Test: `tests/integration/test_mlflow.py`.
`_CONNECT_TRIES`
    What: a database is tried 4 times, not 10. Why: MLflow would try for 100 s what does not answer, and keep the
    tracker process that long. Test: `tests/unit/tracking/test_mlflow_patches.py`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CLIENT = "mlflow.tracking"
_DATABASE = "mlflow.store.tracking.sqlalchemy_store"
_CONNECTING = "mlflow.store.db.utils"
_CONNECT_TRIES = 4


def import_mlflow(database: bool) -> None:
    """Import MLflow's client, once per process.

    Parameters
    ----------
    database
        Whether its store in a database is needed, too; a server has that at its own end.
    """
    wanted = [_CLIENT, *([_DATABASE] if database else [])]
    with _without_pandas(), suppress(ImportError):
        for name in wanted:
            importlib.import_module(name)
    for name in wanted:  # again, with pandas, should another version of MLflow need it; else this takes no time
        importlib.import_module(name)
    if database:
        setattr(importlib.import_module(_CONNECTING), "MAX_RETRY_COUNT", _CONNECT_TRIES)  # noqa: B010 (untyped module)


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Hide pandas from MLflow, which works without it (as `mlflow-skinny` does)."""
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Python's own way to say that a module can't be imported
    try:
        yield
    finally:
        del sys.modules["pandas"]


def create_database(path: Path, artifacts: str | None) -> None:
    """Create an SQLite database under another name first; a process that is killed leaves none instead of a broken one.

    The caller holds the lock of the database.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    make: Any = SqlAlchemyStore  # untyped
    with _without_syncing():
        store = make(f"sqlite:///{new}", artifacts or str(path.parent / "mlartifacts"))
    store.engine.dispose()
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


@contextmanager
def _without_syncing() -> Iterator[None]:
    """Keep SQLite from waiting for the disk after each migration: losing an unnamed database does no harm."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connect(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connect)
