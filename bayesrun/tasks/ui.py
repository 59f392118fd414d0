"""`task=ui`: open MLflow's pages on this machine, with the store of the config.

python -m bayesrun task=ui                  http://127.0.0.1:5000
python -m bayesrun task=ui ui.port=5001

It ends with Ctrl-C. Only this machine can open the pages.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Annotated

from omegaconf import OmegaConf
from pydantic import Field

from bayesrun.errors import BayesrunError, Problem, check, fail
from bayesrun.redaction import without_credentials
from bayesrun.schema import Section, parse
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS, TrackingSpec, is_server, sqlite_path
from bayesrun.tracking.mlflow import absolute

_HOST = "127.0.0.1"
_SECONDS_TO_END = 10


class UiOptions(Section):
    """Options of the task.

    Parameters
    ----------
    port
        Port of the pages.
    """

    port: Annotated[int, Field(ge=1, le=65_535)] = 5000


def show_pages(request: TaskRequest) -> int:
    """Serve MLflow's pages until Ctrl-C, and return the exit status."""
    spec, port = _store(request), request.options.port
    _check_port(port)
    print(f"MLflow: http://{_HOST}:{port} shows {without_credentials(spec.uri or '')}; Ctrl-C ends it", flush=True)
    # the store's address may hold a password, which a command line would show to all users of the machine
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": spec.uri or "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if spec.artifacts:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = spec.artifacts
    words = [sys.executable, "-m", "mlflow", "ui", "--host", _HOST, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(words, env=environment, start_new_session=True)
    try:
        status = server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
    if status:
        raise BayesrunError(f"MLflow's pages ended with status {status}")
    return 0


def _store(request: TaskRequest) -> TrackingSpec:
    """Return the store, its paths absolute."""
    problems: list[Problem] = []
    raw = OmegaConf.to_container(request.config.tracking, resolve=True)
    spec = parse(TrackingSpec, raw, "tracking", problems)
    check(problems)
    assert spec is not None
    found = TRACKERS.load(spec.backend, "tracking.backend").check(spec)
    check([Problem(f"tracking.{key}", message, hint) for key, message, hint in found])
    if spec.backend != "mlflow" or spec.uri is None:
        raise fail("tracking.backend", f"'{spec.backend}' has no pages", "choose a store: tracking=mlflow")
    if is_server(spec.uri):
        raise fail(
            "tracking.uri", f"is a server, which has pages of its own: {without_credentials(spec.uri)}", "open it"
        )
    database = sqlite_path(spec.uri)
    if database is not None and not database.is_file():
        raise fail(
            "tracking.uri", f"there is no database '{database}'", "run a model first, or give paths.outputs=FOLDER"
        )
    return absolute(spec)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise fail(
                "ui.port", f"{port} is taken: {error.strerror}", f"choose another: ui.port={port + 1}"
            ) from error


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server with all processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


TASK = Task(do=show_pages, options=UiOptions, takes_runs=False)
