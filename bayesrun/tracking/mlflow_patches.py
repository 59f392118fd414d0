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
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
    with _without(_OPTIONAL), _bare("mlflow", _BARE), suppress(ImportError):
        for name in wanted:
            importlib.import_module(name)
    for name in wanted:  # again, whole, should another version of MLflow need it; else this takes no time
        importlib.import_module(name)
    if database:
        setattr(importlib.import_module(_CONNECTING), "MAX_RETRY_COUNT", _CONNECT_TRIES)  # noqa: B010 (untyped module)


@contextmanager
def _without(libraries: Sequence[str]) -> Iterator[None]:
    """Hide libraries that are not imported yet from MLflow, which works without them (as `mlflow-skinny` does)."""
    hidden = [name for name in libraries if name not in sys.modules]
    for name in hidden:  # Python's own way to say that a module can't be imported
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class _BarePackage(types.ModuleType):
    """A package whose own code has not run; it is imported whole for the first of its names that is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or sys.modules.get(self.__name__) is self:
            raise AttributeError(name)  # while MLflow itself is imported, which takes modules within the package alone
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _bare(root: str, packages: Sequence[str]) -> Iterator[None]:
    """Let modules within packages be imported without running the packages' own code."""
    found = importlib.util.find_spec(root)
    folders = list(found.submodule_search_locations or []) if found else []
    bare = {}
    for package in packages:
        name = f"{root}.{package}"
        if name not in sys.modules:
            bare[name] = _BarePackage(name)
            bare[name].__path__ = [os.path.join(folder, *package.split(".")) for folder in folders]
    sys.modules.update(bare)
    try:
        yield
    finally:
        for name, module in bare.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


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
