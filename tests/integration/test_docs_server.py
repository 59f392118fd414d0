"""docs/server.md: its database, its server and its runs, letter by letter, on 127.0.0.1."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command, only_run
from tests.integration.mlflow_server import wait_until_it_answers
from tests.postgresql import PASSWORD, free_port, postgresql

TEXT = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
PRIOR = ("sampler=prior", "sampler.draws=20", "model.figures=[]", "predictive.prior=20", "store.model=false")


def _psql(sql: str, address: str) -> None:
    import psycopg2

    connection = psycopg2.connect(f"postgresql://me:{PASSWORD}@{address}/postgres")
    connection.autocommit = True  # a database can't be made within a transaction
    for statement in filter(None, map(str.strip, sql.split(";"))):
        connection.cursor().execute(statement)
    connection.close()


@pytest.mark.slow
def test_a_team_s_server_over_postgresql_takes_runs(bayesrun: Command, tmp_path: Path) -> None:
    (sql,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    (serve,) = re.findall(r"^mlflow server .*\\\n.*$", TEXT, re.MULTILINE)
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    port = free_port()
    with postgresql() as address:
        _psql(sql.replace("...", "pw"), address)
        command = serve.replace("127.0.0.1:5432", address).replace("--port 5000", f"--port {port}")
        command = command.replace("/srv/mlflow", str(tmp_path / "artifacts"))
        where = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PGPASSWORD": "pw", "PATH": where}
        server = subprocess.Popen(["bash", "-c", f"exec {command}"], env=env, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_answers(server, f"{url}/health")
            team = tmp_path / "my_configs/tracking/team.yaml"
            team.parent.mkdir(parents=True)
            team.write_text(block.replace("http://HOST:5000", url))
            own = (f"--config-dir={team.parents[1]}", "tracking=team", f"paths.outputs={tmp_path}/a")
            assert bayesrun("model=linear_regression", *PRIOR, *own).returncode == 0
            alone = (f"paths.outputs={tmp_path}/b",)
            assert bayesrun("model=linear_regression", *PRIOR, *alone).returncode == 0
            words = ("tracking=server", f"tracking.uri={url}", f"run={only_run(tmp_path / 'b')}")
            for _ in range(2):
                sent = bayesrun("task=sync", *words)
                assert sent.returncode == 0, sent.stderr
            from mlflow.tracking import MlflowClient

            client = MlflowClient(url)
            runs = client.search_runs(["1"])
            assert len(runs) == 2
            assert all("posterior.nc" in {f.path for f in client.list_artifacts(run.info.run_id)} for run in runs)
        finally:
            server.terminate()
            server.wait(120)
