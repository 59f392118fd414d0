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
from contextlib import suppress
from typing import Annotated

from omegaconf import OmegaConf
from pydantic import Field

from bayesrun.errors import BayesrunError, Problem, check, fail
from bayesrun.schema import Section, parse
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS, Pages, TrackingSpec

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
    """Serve the store's pages until Ctrl-C, and return the exit status."""
    port = request.options.port
    pages = _pages(request, port)
    _check_port(port)
    print(f"{pages.name}: http://{_HOST}:{port} shows {pages.store}; Ctrl-C ends it", flush=True)
    server = subprocess.Popen(pages.command, env={**os.environ, **pages.environment}, start_new_session=True)
    try:
        status = server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
    if status:
        raise BayesrunError(f"{pages.name}'s pages ended with status {status}")
    return 0


def _pages(request: TaskRequest, port: int) -> Pages:
    problems: list[Problem] = []
    raw = OmegaConf.to_container(request.config.tracking, resolve=True)
    spec = parse(TrackingSpec, raw, "tracking", problems)
    check(problems)
    assert spec is not None
    backend = TRACKERS.load(spec.backend, "tracking.backend")
    check([Problem(f"tracking.{key}", message, hint) for key, message, hint in backend.check(spec)])
    return backend.pages(spec, _HOST, port)


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
