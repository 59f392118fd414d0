"""Many writers, one store: SQLite, and a server on PostgreSQL."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

JOBS = 8
JOB = """
import json, sys
from pathlib import Path
from bayesrun.tracking.base import RunCard, TrackingSpec
from bayesrun.tracking.mlflow import open_run
uri, artifacts, folder, name = sys.argv[1:]
folder = Path(folder) / name
folder.mkdir(parents=True)
(folder / "metrics.json").write_text(json.dumps({f"m{i}": float(i) for i in range(30)}))
for attempt in range(3):
    card = RunCard("many", f"{name} {attempt}", {"a": "1"})
    tracker = open_run(TrackingSpec(uri=uri, artifacts=artifacts or None), card)
    assert tracker.ready()
    for step in range(5):
        tracker.progress(step, step / 5, 0)
    tracker.close(folder, "finished")
    assert not tracker.lost, tracker.lost
"""


def run_jobs(uri, artifacts, folder, workers, rounds):
    def job(number):
        command = [sys.executable, "-c", JOB, uri, artifacts, str(folder), str(number)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(job, range(rounds * JOBS)))
    assert [r for r in results if r != (0, "")] == []
    return 3 * rounds * JOBS


def finished(uri):
    from mlflow.tracking import MlflowClient

    client, token, count = MlflowClient(uri), None, 0
    experiment = client.get_experiment_by_name("many").experiment_id
    while True:
        page = client.search_runs([experiment], "attributes.status = 'FINISHED'", max_results=500, page_token=token)
        count, token = count + len(page), page.token
        if not token:
            return count


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_writers_share_one_sqlite_store(tmp_path, workers):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert finished_after(uri, str(tmp_path / "artifacts"), tmp_path / "jobs", workers, rounds=2)


def finished_after(uri, artifacts, folder, workers, rounds):
    return run_jobs(uri, artifacts, folder, workers, rounds) == finished(uri)
