"""The process that a sweep's tracking processes fork from: shared, replaceable, and gone with its owner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Client
from pathlib import Path

_PROGRAM = """
import os, sys, time
from pathlib import Path
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run
from bayesrun.tracking.tracker_connection import SERVER, share_tracker_server, tracker_connection

folder = Path(sys.argv[1])
spec = TrackingSpec(backend="mlflow", uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))
share_tracker_server()
tracker = open_run(spec, RunCard("e", "run", {"a": "1"}, {}))
assert tracker_connection().process is None
server = os.popen(f"pgrep -P {os.getpid()} -f 'bayesrun[.]tracking[.]tracker_process fork'").read().split()[0]
print(tracker.ready(), os.environ[SERVER], server, flush=True)
"""


def _start(folder: Path, then: str) -> tuple[subprocess.Popen[str], str, Path, int]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM + then, str(folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout
    run_id, address, server = process.stdout.readline().split()
    return process, run_id, Path(address), int(server)


def _status(folder: Path, run_id: str) -> str:
    from mlflow.tracking import MlflowClient

    return str(MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(run_id).info.status)


def _wait_until_gone(server: int) -> None:
    deadline = time.monotonic() + 240
    while Path(f"/proc/{server}").exists():
        assert time.monotonic() < deadline, "the server outlives its owner"
        time.sleep(0.2)


def test_a_run_is_tracked_through_it_and_it_ends_with_its_owner(tmp_path: Path) -> None:
    process, run_id, address, server = _start(tmp_path, "tracker.close(folder, 'finished')")
    assert process.wait(300) == 0
    _wait_until_gone(server)
    assert _status(tmp_path, run_id) == "FINISHED"
    assert not address.parent.exists()


def test_a_killed_owner_leaves_no_process_and_a_killed_run(tmp_path: Path) -> None:
    process, run_id, _, server = _start(tmp_path, "sys.stdin.read()")
    process.kill()
    process.wait(120)
    _wait_until_gone(server)
    assert _status(tmp_path, run_id) == "KILLED"


def test_without_it_a_process_is_started(tmp_path: Path) -> None:
    again = (
        "sys.stdin.readline()\n"
        "tracker.process.close()\n"
        "second = open_run(spec, RunCard('e', 'second', {}, {}))\n"
        "print(second.ready(), tracker_connection().process is not None, flush=True)\n"
        "second.close(folder, 'finished')\n"
    )
    process, _, address, server = _start(tmp_path, again)
    assert process.stdout
    assert process.stdin
    os.kill(server, signal.SIGKILL)
    with contextlib.suppress(ConnectionRefusedError):
        while Client(str(address), "AF_UNIX"):
            time.sleep(0.05)
    process.stdin.write("\n")
    process.stdin.flush()
    run_id, own_process = process.stdout.readline().split()
    assert own_process == "True"
    assert process.wait(300) == 0
    assert _status(tmp_path, run_id) == "FINISHED"
