"""What bayesrun changes in MLflow (tested with 3.17.2).

`import_mlflow`
    What: MLflow is imported without the libraries of tables and notebooks that it looks for (`_OPTIONAL`), and four of
    its packages without what they offer to their users (`_BARE`). Why: 1.03 instead of 1.75 s of processor time beside
    the start of each command. Test: `tests/unit/tracking/test_mlflow_patches.py`.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bayesrun.partial_imports import bare, hidden

_CLIENT = "mlflow.tracking"
_DATABASE = "mlflow.store.tracking.sqlalchemy_store"
_CONNECTING = "mlflow.store.db.utils"
_CONNECT_TRIES = 4
_OPTIONAL = ("pandas", "polars", "pyarrow", "sklearn", "IPython")
# the store takes single classes from within these, whose own imports are evaluation by language models and a gateway
_BARE = ("genai", "genai.scorers", "genai.judges", "gateway")


def import_mlflow(database: bool) -> None:
    """Import MLflow's client, once per process.

    Parameters
    ----------
    database
        Whether its store in a database is needed, too; a server has that at its own end.
    """
    wanted = [_CLIENT, *([_DATABASE] if database else [])]
    with hidden(_OPTIONAL), bare("mlflow", _BARE), suppress(ImportError):
        for name in wanted:
            importlib.import_module(name)
    for name in wanted:  # again, whole, should another version of MLflow need it; else this takes no time
        importlib.import_module(name)
    if database:
        setattr(importlib.import_module(_CONNECTING), "MAX_RETRY_COUNT", _CONNECT_TRIES)  # noqa: B010 (untyped module)


def create_database(path: Path, artifacts: str | None) -> None:
    """Create an SQLite database under another name first; a process that is killed leaves none instead of a broken one.

    The caller holds the lock of the database.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # 1 s, and only where there is no database

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
    from sqlalchemy import event  # as above
    from sqlalchemy.engine import Engine

    def connect(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connect)
