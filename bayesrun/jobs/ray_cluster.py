"""Jobs handed to a Ray cluster one by one, so that the failure of one, or of its node, hides no other.

Each job is a Ray task of its own. Ray itself decides on which node it runs; a task whose node or process is gone is a
failed job, with Ray's words for it, and a resumed sweep runs it again.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, TaskCancelledError, WorkerCrashedError

from bayesrun.errors import UserError, fail

Submit = Callable[[int], "str | None"]
"""Submits a job by number, waits for it, and returns what went wrong."""

_PATIENCE = 10.0
"""Seconds."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` makes Ray pack the working folder, and install on every node
}
_WORDS: Mapping[type[BaseException], str] = {
    OutOfMemoryError: "it took more memory than its node has",
    NodeDiedError: "its node failed",
    WorkerCrashedError: "its process died, or its node failed",
    TaskCancelledError: "it was cancelled",
}


def run_each(numbers: Sequence[int], submit: Submit, init: Mapping[str, Any]) -> dict[int, str]:
    """Submit all jobs, and return when all have ended.

    Parameters
    ----------
    numbers
        The jobs.
    submit
        Submits one.
    init
        How to reach the cluster, `hydra.launcher.ray.init`.

    Returns
    -------
    dict
        Number to what went wrong, of the jobs for which something is known.

    Raises
    ------
    UserError
        When there is no cluster at the address.
    KeyboardInterrupt
        On Ctrl-C; the connection is closed, which cancels the jobs.
    """
    connect(init)
    pool = ThreadPoolExecutor(max(1, len(numbers)))
    try:
        errors = list(pool.map(submit, numbers))
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        ray.shutdown()
        raise
    pool.shutdown()
    ray.shutdown()
    return {number: error for number, error in zip(numbers, errors, strict=True) if error}


def connect(init: Mapping[str, Any]) -> None:
    """Connect to a cluster, or start Ray on this machine."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if ray.is_initialized():
        return
    _check_address(str(init.get("address") or ""))
    own = {} if init.get("address") else {"include_dashboard": False}
    try:
        ray.init(logging_level=logging.WARNING, log_to_driver=False, **own, **init)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(init.get("address"), str(error).strip().splitlines()[0]) from error


def count_processors() -> int:
    """Return how many processors the nodes of the connected cluster have."""
    return int(ray.cluster_resources().get("CPU", 1))


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: Any, reason: str) -> UserError:
    message = f"Ray can't be reached at {address!r}: {reason}"
    return fail("hydra.launcher.ray.init.address", message, "start it (ray start --head), or name its head")


def explain(error: Exception) -> str:
    """Explain how Ray ended a job."""
    words = next((said for kind, said in _WORDS.items() if isinstance(error, kind)), "")
    if not words and not isinstance(error, RayError):
        return f"{type(error).__name__}: {str(error).strip()[-500:]}"
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{words or 'Ray ended it'} ({first[:300]})"
