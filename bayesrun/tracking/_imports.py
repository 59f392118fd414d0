"""MLflow's imports, which take most of the time of tracking."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CLIENT = "mlflow.tracking"
_DATABASE = "mlflow.store.tracking.sqlalchemy_store"


def import_mlflow(database: bool) -> None:
    """Import MLflow's client, once a process.

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


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Let MLflow, which works without pandas (its `mlflow-skinny`), not import it: a fifth of all its imports."""
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Python's own way to say that a module can't be imported
    try:
        yield
    finally:
        del sys.modules["pandas"]
