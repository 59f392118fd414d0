"""Tracking against a real MLflow store: nothing is faked here."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bayesrun.processes import process_label
from bayesrun.tracking import tracker_process
from bayesrun.tracking.base import DatasetInfo, RunCard, TrackingSpec, flatten
from bayesrun.tracking.mlflow import open_run
from bayesrun.tracking.mlflow_store import MlflowStore
from tests.faults.faulty_server import faulty_server

CARD = RunCard(
    experiment_name="coal",
    run_name="first",
    params=flatten({"model": {"priors": {"rate": {"lam": 0.5}}}}),
    tags={"model": "switchpoint"},
    dataset=DatasetInfo("mining", "ab" * 32, "data/mining.csv", 111),
)

ENDED = process_label(os.getpid()).replace(f":{os.getpid()}:", ":4194305:")
"""A process that can't be: numbers of processes end at 2^22."""

OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run
tracker = open_run(TrackingSpec(uri=sys.argv[1], artifacts=sys.argv[2], timeout=300), RunCard("coal", sys.argv[3]))
tracker.progress(10, 0.1, 0)
tracker.close(Path(sys.argv[4]), "finished")
sys.exit(bool(tracker.lost))
"""

OPEN_AND_WAIT = OPEN_AND_CLOSE.split("tracker.progress")[0] + "print(tracker.ready(), flush=True); input()"

OPEN_AND_STAY = """
import sys, time
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run
open_run(TrackingSpec(uri=sys.argv[1], timeout=200), RunCard("coal", "first"))
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture
def spec(tmp_path):
    return TrackingSpec(uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "mlartifacts"), timeout=60)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps({"r_hat_max": 1.01, "mean/theta[A]": 2.0}))
    (path / "status.json").write_text(json.dumps({"status": "finished", "verdict": "ok", "error": None}))
    return path


def client(spec):
    from mlflow.tracking import MlflowClient

    return MlflowClient(spec.uri)


def runs(spec, name="coal"):
    store = client(spec)
    found = store.get_experiment_by_name(name)
    return store.search_runs([found.experiment_id]) if found else []


def arguments(spec, *more):
    return [sys.executable, "-c", OPEN_AND_CLOSE, spec.uri, spec.artifacts, *more]


def until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def test_a_run_is_tracked_whole(spec, folder):
    tracker = open_run(spec, CARD)
    run_id = tracker.ready()
    assert client(spec).get_run(run_id).data.params == {"model.priors.rate.lam": "0.5"}
    tracker.progress(100, 0.5, 3)
    tracker.close(folder, "finished")
    run = client(spec).get_run(run_id)
    assert run.info.status == "FINISHED"
    seconds = run.data.metrics.pop("seconds_total")  # so far; a whole run's metrics.json has it, too
    assert seconds > 0
    assert run.data.metrics == {"r_hat_max": 1.01, "mean/theta.A": 2.0, "progress": 1.0, "divergences_so_far": 3.0}
    assert [(m.step, m.value) for m in client(spec).get_metric_history(run_id, "progress")] == [(100, 0.5), (200, 1.0)]
    assert run.data.tags["verdict"] == "ok"
    assert run.data.tags["model"] == "switchpoint"
    assert run.inputs.dataset_inputs[0].dataset.name == "mining"
    names = {f.path for f in client(spec).list_artifacts(run_id)}
    assert names == {"metrics.json", "status.json", "tracking.json"}
    assert json.loads((folder / "tracking.json").read_text())["run_id"] == run_id
    assert run.info.artifact_uri.startswith((spec.artifacts, f"file://{spec.artifacts}"))


@pytest.mark.parametrize(
    ("status", "state"), [("interrupted", "KILLED"), ("failed", "FAILED"), ("partial", "FINISHED")]
)
def test_how_it_ended_is_the_state_of_the_run(spec, folder, status, state):
    tracker = open_run(spec, CARD)
    tracker.close(folder, status)
    assert [r.info.status for r in runs(spec)] == [state]


def test_a_run_whose_id_was_never_told_is_found_by_its_tags(spec, folder):
    place = {"sweep_folder": "/tmp/it's here"}
    card = replace(CARD, tags={**CARD.tags, **place}, find=place)
    first = open_run(spec, card)
    first_id = first.ready()
    first.close(folder, "interrupted")
    again = open_run(spec, replace(card, params={"model.priors.rate.lam": "2"}))  # what was logged stays
    elsewhere = open_run(spec, replace(card, find={"sweep_folder": "/tmp"}))
    assert again.ready() == first_id
    assert elsewhere.ready() != first_id
    assert client(spec).get_run(first_id).info.status == "RUNNING"
    assert client(spec).get_run(first_id).data.params == CARD.params
    for tracker in (again, elsewhere):
        tracker.close(folder, "finished")
    assert [r.info.status for r in runs(spec)] == ["FINISHED", "FINISHED"]


def test_of_two_attempts_at_a_job_the_one_to_keep_stays(spec, folder):
    parent = open_run(spec, CARD)
    child = replace(CARD, parent_run_id=parent.ready(), tags={"job": "3"})
    killed, rerun, other = (open_run(spec, c) for c in (child, child, replace(child, tags={"job": "4"})))
    ids = [tracker.ready() for tracker in (killed, rerun, other)]
    parent.drop_jobs(["3"], keep=[ids[1]])
    for tracker in (rerun, other, parent):
        tracker.close(folder, "finished")
    assert {r.info.run_id for r in runs(spec)} == {parent.ready(), *ids[1:]}


def test_a_job_is_a_child_and_a_deleted_experiment_comes_back(spec, folder):
    parent = open_run(spec, CARD)
    parent_id = parent.ready()
    experiment = client(spec).get_experiment_by_name("coal").experiment_id
    client(spec).delete_experiment(experiment)
    child = open_run(spec, RunCard("coal", "job", parent_run_id=parent_id))
    child_id = child.ready()
    parent.end_jobs()
    run = client(spec).get_run(child_id)
    assert run.data.tags["mlflow.parentRunId"] == parent_id
    assert run.info.status == "KILLED"  # the sweep is over
    parent.close(folder, "finished")


def test_eight_processes_begin_one_database(spec, folder):
    children = [subprocess.Popen(arguments(spec, f"run {i}", str(folder)), stderr=subprocess.PIPE) for i in range(8)]
    errors = [c.communicate(timeout=400)[1].decode() for c in children]
    assert [c.returncode for c in children] == [0] * 8, errors
    found = runs(spec)
    assert len(found) == 8
    assert {r.info.status for r in found} == {"FINISHED"}
    assert sorted(r.info.run_name for r in found) == [f"run {i}" for i in range(8)]
    assert errors == [""] * 8


@pytest.mark.parametrize("group", [False, True])
def test_a_killed_run_is_not_left_running(spec, folder, group):
    command = [sys.executable, "-c", OPEN_AND_WAIT, spec.uri, spec.artifacts, "doomed"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout.readline().strip()
    (os.killpg if group else os.kill)(child.pid, signal.SIGKILL)
    child.wait()
    until(lambda: runs(spec)[0].info.status == "KILLED")
    assert runs(spec)[0].data.tags["status"] == "failed"


def test_a_run_whose_tracker_died_too_is_ended_by_the_next(spec, folder):
    command = [sys.executable, "-c", OPEN_AND_WAIT, spec.uri, spec.artifacts, "doomed"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    run_id = child.stdout.readline().decode().strip()
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    for pid in [*map(int, children), child.pid]:
        os.kill(pid, signal.SIGKILL)
    child.wait()
    assert client(spec).get_run(run_id).info.status == "RUNNING"
    open_run(spec, CARD).close(folder, "finished")
    assert client(spec).get_run(run_id).info.status == "KILLED"


def test_a_run_that_ends_while_others_are_looked_for_stays_finished(spec, folder):
    """Its processes end after the running runs were listed and before they are looked at."""
    first = open_run(spec, CARD)
    first.ready()
    store = client(spec)
    experiment = store.get_experiment_by_name("coal").experiment_id
    listed = store.search_runs([experiment], "attributes.status = 'RUNNING'")

    class Late(MlflowStore):
        def running(self, experiment):
            first.close(folder, "finished")
            return listed

    tracker_process.end_runs(Late(store, spec.artifacts, spec.uri), experiment, lambda tags: True)
    run = store.get_run(listed[0].info.run_id)
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "finished")


@pytest.mark.parametrize(("sends", "status"), [(True, "RUNNING"), (False, "KILLED")])
def test_a_run_whose_files_are_still_sent_has_not_vanished(spec, folder, sends, status):
    """Its owner leaves after some seconds; the tracker that it leaves behind goes on for minutes."""
    open_run(spec, CARD).close(folder, "finished")
    store = client(spec)
    experiment = store.get_experiment_by_name("coal").experiment_id
    tags = {"bayesrun.owner": ENDED, "bayesrun.tracker": process_label(os.getpid()) if sends else ENDED}
    left = store.create_run(experiment, tags=tags).info.run_id
    subprocess.run(arguments(spec, "next", str(folder)), check=True)
    assert store.get_run(left).info.status == status


def test_opening_does_not_wait():
    """A server that never answers is waited for by `ready` alone: opening would end its patience of 200 s."""
    with faulty_server("hanging") as uri:
        begun = time.monotonic()
        child = psutil.Popen([sys.executable, "-c", OPEN_AND_STAY, uri], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"open\n"
        assert time.monotonic() - begun < 150
        for process in [*child.children(recursive=True), child]:
            process.kill()
        child.wait()
