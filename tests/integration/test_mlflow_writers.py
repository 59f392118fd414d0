"""Many writers, one store: 20 sweeps of 8 jobs by 8 workers, fewer by 2 and 4, lose nothing.

A sweep takes 2 to 3 s; `BAYESRUN_ALL_SWEEPS=1` runs 20 for each number of workers (some 8 minutes on 2 cores).
"""

import os

import pytest

from bayesrun.tracking.base import TrackingSpec
from tests.integration.mlflow_server import mlflow_server
from tests.integration.writers import DATASET, FILES, JOBS, METRICS, PARAMS, pool, sweep
from tests.postgresql import PASSWORD, postgresql

FEW = 20 if os.environ.get("BAYESRUN_ALL_SWEEPS") == "1" else 5
WORKERS = [(2, FEW), (4, FEW), (8, 20)]
pytestmark = pytest.mark.slow


def check(client, experiment, has_parent):
    """Hold a sweep's runs against what its jobs logged: each there once, with all that it had."""
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (parent,) = (r for r in runs if "job" not in r.data.tags)
    jobs = sorted((r for r in runs if "job" in r.data.tags), key=lambda r: int(r.data.tags["job"]))
    assert [r.data.tags["job"] for r in jobs] == [str(job) for job in range(JOBS)]
    assert {r.info.status for r in runs} == {"FINISHED"}
    for number, run in enumerate(jobs):
        assert run.data.params == PARAMS
        assert run.data.metrics.items() >= {**METRICS, "job": number, "progress": 1.0, "divergences_so_far": 0}.items()
        assert run.data.tags["verdict"] == "ok"
        assert [i.dataset.digest for i in run.inputs.dataset_inputs] == [DATASET.digest[:36]]
        assert {f.path for f in client.list_artifacts(run.info.run_id)} >= FILES
        assert client.list_artifacts(run.info.run_id, "figures")[0].file_size == 5000
        assert run.data.tags.get("mlflow.parentRunId") == (parent.info.run_id if has_parent else None)


@pytest.mark.parametrize(("workers", "sweeps"), WORKERS)
def test_writers_share_one_sqlite_store(tmp_path, workers, sweeps):
    from mlflow.tracking import MlflowClient

    with pool(workers) as processes:
        for number in range(sweeps):
            folder = tmp_path / str(number)
            uri = f"sqlite:///{folder}/mlflow.db"  # there is none yet
            spec = TrackingSpec(
                uri=uri, artifacts=str(folder / "artifacts"), timeout=300
            )  # a busy machine is not what is tried
            assert sweep(processes, spec, folder, "many", waits=number % 2 == 0) == []
            check(MlflowClient(uri), "many", number % 2 == 0)


@pytest.fixture(scope="module")
def database():
    with postgresql() as address:
        yield f"postgresql://me:{PASSWORD}@{address}/postgres"


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server"), database, workers=4) as url:
        yield url


@pytest.mark.parametrize(("workers", "sweeps"), WORKERS)
def test_writers_share_one_server_on_postgresql(server, tmp_path, workers, sweeps):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server)
    spec = TrackingSpec(uri=server, timeout=300)  # what is tried is that all arrives, not how long it takes
    with pool(workers) as processes:
        for number in range(sweeps):
            folder = tmp_path / str(number)
            name = f"{workers} workers, sweep {number}"
            assert sweep(processes, spec, folder, name, waits=number % 2 == 0) == []
            check(client, name, number % 2 == 0)
