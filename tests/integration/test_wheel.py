"""The wheel carries what it needs: outside the checkout, its command finds `conf/` and data, and fits are served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest
import xarray as xr

from tests.conftest import ROOT
from tests.integration.serving import server
from tests.postgresql import free_port

pytestmark = pytest.mark.slow
ENV = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, far from the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT], check=True)
    wheel = next((folder / "dist").glob("*.whl"))
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, wheel], check=True, cwd=folder)
    return folder


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [folder / "env" / "bin" / words[0], *words[1:]]
    return subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)


def test_a_wheel_installed_elsewhere_composes_its_config(installed: Path) -> None:
    done = _run(installed, "bayesrun", "model=switchpoint", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "type: switchpoint" in done.stdout
    script = "from bayesrun.config.resolvers import conf, data; print(conf(), (data() / 'sp500.csv').exists())"
    found = _run(installed, "python", "-c", script)
    assert found.returncode == 0, found.stderr
    assert str(installed) in found.stdout
    assert found.stdout.split()[-1] == "True"
    assert sys.version_info[:2] == (3, 10)


def test_a_fit_is_served_where_nothing_but_the_wheel_is_installed(installed: Path) -> None:
    (installed / "mine" / "data").mkdir(parents=True)
    table = "{name: d, source: inline, values: {y: [1.2, 2.9, 5.1, 7.2, 8.8], x: [0, 1, 2, 3, 4]}}"
    (installed / "mine" / "data" / "rows.yaml").write_text(table)
    short = ("sampler.draws=100", "sampler.tune=100", "sampler.chains=1", "model.figures=[]", "paths.outputs=out")
    done = _run(
        installed, "bayesrun", "--config-dir", "mine", "model=glm", "data=rows", "model.formula='y ~ x'", *short
    )
    assert done.returncode == 0, done.stderr
    (record,) = (installed / "out" / "runs").glob("*/*/tracking.json")
    port, run_id = free_port(), json.loads(record.read_text())["run_id"]
    page, env = f"http://127.0.0.1:{port}", {"MLFLOW_TRACKING_URI": f"sqlite:///{installed}/out/mlflow.db"}
    words = ["mlflow", "models", "serve", "--env-manager", "local", "-m", f"runs:/{run_id}/model"]
    words += ["-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    with server(words, f"{page}/ping", installed, installed / "env" / "bin" / "python", **env):
        body = json.dumps({"dataframe_records": [{"x": 10.0}]}).encode()
        asked = urllib.request.Request(f"{page}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=240) as answer:
            rows = json.loads(answer.read())["predictions"]
    with xr.open_dataset(record.parent / "posterior.nc", group="posterior") as draws:
        expected = float((draws["Intercept"] + 10 * draws["x"]).mean())
    assert [row["mean"] for row in rows if row["kind"] == "mu"] == [pytest.approx(expected, rel=1e-9)]
