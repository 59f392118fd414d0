"""Tracking that fails costs seconds, one warning, and nothing of a run; what is missing is sent later, once.

That a run waits for at most 5 s is shown by the waits that it allows itself, whatever the machine needs for the rest.
The servers here hang for ever: had the run waited for one in any other way, it would not end within a test's time.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bayesrun.errors import BayesrunError
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run, upload
from bayesrun.tracking.mlflow_store import create_local_database
from bayesrun.tracking.tracker_connection import TrackerConnection
from bayesrun.tracking.tracking_record import read_record
from tests.conftest import Command, only_run
from tests.faults.faulty_server import faulty_server
from tests.integration.mlflow_server import mlflow_server
from tests.postgresql import free_port

PATIENCE = 5.0
FOR_EVER = 120.0  # a run that ends earlier has not waited for a server that hangs
CARD = RunCard("coal", "first", {"model.priors.rate.lam": "0.5"}, {"model": "switchpoint"})
SMALL = ["model=linear_regression", "sampler.draws=50", "sampler.tune=50", "sampler.chains=1", "model.figures=[]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps({"r_hat_max": 1.01}))
    (path / "status.json").write_text(json.dumps({"status": "finished", "verdict": "ok", "error": None}))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> TrackingSpec:
    return TrackingSpec(uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "mlartifacts"))


def runs(uri: str, name: str = "coal"):
    from mlflow.tracking import MlflowClient

    store = MlflowClient(uri)
    found = store.get_experiment_by_name(name)
    return store.search_runs([found.experiment_id]) if found else []


def server(how: str) -> Callable:
    """Return a fault: a server that fails so; its URI holds credentials."""

    @contextmanager
    def fault(tmp_path: Path) -> Iterator[str]:
        with faulty_server(how) as url:
            yield url.replace("://", "://me:se-cret@")

    fault.__name__ = how
    return fault


@contextmanager
def a_folder(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "broken" / "mlflow.db").mkdir(parents=True)
    yield f"sqlite:///{tmp_path}/broken/mlflow.db"


@contextmanager
def no_database(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "mlflow.txt").write_text("no database, but some text")
    yield f"sqlite:///{tmp_path}/mlflow.txt"


@contextmanager
def locked(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "locked.db"
    first = open_run(TrackingSpec(uri=f"sqlite:///{path}", artifacts=str(tmp_path / "art")), CARD)
    assert first.ready()
    (tmp_path / "other").mkdir()
    first.close(tmp_path / "other", "finished")
    with sqlite3.connect(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield f"sqlite:///{path}"


SERVERS = ("dead", "hanging", "slow", "dripping", "no TLS", "untrusted", "in a circle", "led to a hanging one")


class Waits:
    """The waits for a tracker's answers: how long each was allowed to be, and how long all before it were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed: list[float] = []
        self.before: list[float] = []
        self._total = 0.0
        receive = TrackerConnection.receive

        def timed(connection: TrackerConnection, run: int, op: str, seconds: float, **options: bool):
            self.allowed.append(seconds)
            self.before.append(self._total)
            begun, counts = time.monotonic(), True
            try:
                answer = receive(connection, run, op, seconds, **options)
                counts = not options.get("beats_count")  # a database of this machine that answers is at work
                return answer
            finally:
                self._total += time.monotonic() - begun if counts else 0.0

        monkeypatch.setattr(TrackerConnection, "receive", timed)

    def are_bounded(self) -> bool:
        """Return whether no wait was allowed to be longer than what the earlier ones have left of the patience."""
        pairs = list(zip(self.allowed, self.before, strict=True))
        return bool(pairs) and all(seconds <= max(0.0, PATIENCE - before) for seconds, before in pairs)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


FAULTS = [*map(server, SERVERS), a_folder, no_database, locked]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_run_waits_for_tracking_at_most_so_long_in_all(
    tmp_path: Path, spec: TrackingSpec, folder: Path, caplog: pytest.LogCaptureFixture, fault: Callable, waits: Waits
) -> None:
    with fault(tmp_path) as uri, caplog.at_level(logging.WARNING, "bayesrun"):
        tracker = open_run(spec.model_copy(update={"uri": uri}), replace(CARD, folder=str(folder)))
        tracker.process.wait_until_prepared(300)
        imported = time.monotonic()
        tracker.ready()
        tracker.progress(10, 0.1, 0)
        tracker.close(folder, "finished")
        assert waits.are_bounded(), (waits.allowed, waits.before)
        assert time.monotonic() - imported < FOR_EVER
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "not in MLflow yet" in warning
    assert f"python -m bayesrun task=sync run={folder}" in warning
    assert "se-cret" not in caplog.text + (folder / "tracking.json").read_text()
    record = read_record(folder)
    assert record and not record.is_complete and record.lost
    wanted = {"metrics.json", "status.json", "tracking.json"}
    until = time.monotonic() + FOR_EVER  # the tracker may be writing its record at this moment
    while {p.name for p in folder.iterdir()} != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert {p.name for p in folder.iterdir()} == wanted

    # another store takes it, once
    assert upload(spec, folder).startswith("sent")
    assert upload(spec, folder).startswith("nothing is missing")
    (run,) = runs(spec.uri)
    assert (run.info.status, run.data.metrics["r_hat_max"]) == ("FINISHED", 1.01)
    assert run.data.params == CARD.params
    assert read_record(folder).is_complete


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_tracker_process_that_dies_or_stops_costs_nothing(
    spec: TrackingSpec, folder: Path, number: int, waits: Waits
) -> None:
    tracker = open_run(spec, CARD)
    run_id = tracker.ready()
    process = tracker.process.process
    os.kill(process.pid, number)
    begun = time.monotonic()
    tracker.progress(10, 0.1, 0)
    tracker.close(folder, "finished")
    assert waits.are_bounded(), (waits.allowed, waits.before)
    assert time.monotonic() - begun < FOR_EVER
    if number == signal.SIGSTOP:
        assert tracker.lost
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        upload(spec, folder)
    else:
        assert not tracker.lost
    assert [(r.info.run_id, r.info.status) for r in runs(spec.uri)] == [(run_id, "FINISHED")]


def test_a_run_whose_id_was_never_told_is_sent_once(spec: TrackingSpec, folder: Path) -> None:
    tracker = open_run(spec, CARD)
    run_id = tracker.ready()
    tracker.close(folder, "finished")
    content = json.loads((folder / "tracking.json").read_text())
    (folder / "tracking.json").write_text(json.dumps({**content, "run_id": None, "lost": ["no answer"]}))
    assert upload(spec, folder) == f"sent, run {run_id}"
    assert len(runs(spec.uri)) == 1


def test_a_folder_that_was_never_tracked_is_told(spec: TrackingSpec, folder: Path) -> None:
    with pytest.raises(BayesrunError, match="tracking=none"):
        upload(spec, folder)


KILLED = """
import os, signal, sys
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run
uri, artifacts, folder = sys.argv[1:]
tracker = open_run(TrackingSpec(uri=uri, artifacts=artifacts), RunCard("other", "killed", folder=folder))
print(tracker.ready(), flush=True)
os.kill(tracker.process.process.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_ends_one_whose_processes_were_all_killed(
    spec: TrackingSpec, folder: Path, bayesrun: Command, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, spec.uri, spec.artifacts, str(folder)]
    (folder / "status.json").write_text(json.dumps({"status": "running"}))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    run_id = done.stdout.strip()
    assert [r.info.status for r in runs(spec.uri, "other")] == ["RUNNING"]
    places = [f"tracking.uri={spec.uri}", f"paths.outputs={tmp_path}/outputs"]
    assert bayesrun(*SMALL, *places).returncode == 0  # of another experiment
    deadline = time.monotonic() + FOR_EVER
    while [(r.info.run_id, r.info.status) for r in runs(spec.uri, "other")] != [(run_id, "KILLED")]:
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.slow
def test_a_server_that_comes_back_gets_the_run_by_itself(bayesrun: Command, tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    track = ["tracking=server", f"tracking.uri={uri}"]
    first = bayesrun(*SMALL, *track, f"paths.outputs={tmp_path}/first")
    assert first.returncode == 0
    assert first.stderr.count("warning:") == 1, first.stderr
    lost = only_run(tmp_path / "first")
    assert (lost / "posterior.nc").is_file()
    assert f"task=sync run={lost}" in first.stderr
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/server.db", port=port) as url:
        assert url == uri
        second = bayesrun(*SMALL, *track, f"paths.outputs={tmp_path}/second")
        assert second.returncode == 0
        assert "warning:" not in second.stderr
        deadline = time.monotonic() + FOR_EVER
        while len(runs(uri, "linear_regression")) < 2 or not read_record(lost).is_complete:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        found = runs(uri, "linear_regression")
        assert [r.info.status for r in found] == ["FINISHED", "FINISHED"]
        assert {r.data.tags["run_folder"] for r in found} == {str(lost), str(only_run(tmp_path / "second"))}
        again = bayesrun("task=sync", f"run={lost}")
        assert "nothing is missing" in again.stdout
        assert len(runs(uri, "linear_regression")) == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")
def test_a_database_where_none_can_be_made_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.access` allows root to write to /proc; MLflow would try for a minute."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(PermissionError, match="can't be made in '/proc'"):
        create_local_database("sqlite:////proc/mlflow.db", str(tmp_path))
    assert pauses == []  # it is tried once
