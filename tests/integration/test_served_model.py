"""Each fit is also an MLflow model: loaded, registered and served on loopback; `task=ui` shows the store's pages."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

import bayesrun as library
from tests.conftest import ROOT, Command, only_run
from tests.integration.serving import server
from tests.postgresql import free_port

NEW = pd.DataFrame({"x": [0.5, -1.0], "g": ["a", "c"], "n": [3, 4]})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=60), "g": rng.choice(list("abc"), 60), "n": rng.integers(0, 9, 60)})
    frame["y"] = rng.poisson(np.exp(0.5 + 0.3 * frame["x"]))
    short = {"draws": 60, "tune": 60, "chains": 2}
    outputs = str(tmp_path_factory.mktemp("served"))
    return library.fit(
        "y ~ x + n + g", frame, "poisson", sampler=short, model={"figures": []}, paths={"outputs": outputs}, quiet=True
    )


def _run_id(run: Any) -> str:
    return str(json.loads((run.folder / "tracking.json").read_text())["run_id"])


def _store(run: Any) -> str:
    return f"sqlite:///{run.config['paths']['outputs']}/mlflow.db"


@pytest.fixture
def in_store(fitted: Any) -> Iterator[None]:
    """Let MLflow in this process use the store of the fit."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(_store(fitted))
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("in_store")
def test_a_fit_is_a_model_with_signature_and_example(fitted: Any, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(f"runs:/{_run_id(fitted)}/model", dst_path=str(tmp_path))
    inputs = {column.name: str(column.type).rpartition(".")[2] for column in model.metadata.signature.inputs}
    assert inputs == {"x": "double", "g": "string", "n": "long"}
    assert {"kind", "mean", "sd", "hdi_3%", "hdi_97%"} <= {c.name for c in model.metadata.signature.outputs}
    assert list(model.input_example.columns) == list(inputs)
    direct = fitted.predict(NEW).reset_index(drop=True)
    pd.testing.assert_frame_equal(model.predict(NEW), direct, check_exact=True)
    pd.testing.assert_frame_equal(
        model.predict(NEW, params={"interval": 0.5, "seed": 3}),
        fitted.predict(NEW, interval=0.5, seed=3).reset_index(drop=True),
        check_exact=True,
    )
    assert len(model.predict(model.input_example)) == 6
    version = mlflow.register_model(f"runs:/{_run_id(fitted)}/model", "counts")
    again = mlflow.pyfunc.load_model(f"models:/counts/{version.version}")
    pd.testing.assert_frame_equal(again.predict(NEW), direct, check_exact=True)
    experiment = mlflow.get_run(_run_id(fitted)).info.experiment_id
    (logged,) = mlflow.search_logged_models([experiment], output_format="list")
    assert (logged.name, logged.source_run_id, str(logged.status)) == ("model", _run_id(fitted), "READY")
    assert logged.tags["verdict"] == fitted.verdict
    shown = {metric.key: metric.value for metric in logged.metrics}
    assert {name: fitted.metrics[name] for name in shown} == shown
    assert {"r_hat_max", "ess_bulk_min", "elpd_loo"} <= set(shown)
    again = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    pd.testing.assert_frame_equal(again.predict(NEW), direct, check_exact=True)
    (listed,) = json.loads(mlflow.get_run(_run_id(fitted)).data.tags["mlflow.log-model.history"])
    assert (listed["artifact_path"], list(listed["flavors"])) == ("model", ["python_function"])


def test_it_takes_no_room_and_can_be_left_out(fitted: Any, bayesrun: Command, tmp_path: Path) -> None:
    assert (fitted.folder / "model/posterior.nc").samefile(fitted.folder / "posterior.nc")
    prior = ["sampler=prior", "sampler.draws=20", "tracking=none", "model.figures=[]"]
    done = bayesrun("model=linear_regression", *prior, "store.model=false", f"paths.outputs={tmp_path}/a")
    assert done.returncode == 0, done.stderr
    assert not (only_run(tmp_path / "a") / "model").exists()


def test_a_model_that_predicts_no_new_rows_is_none(bayesrun: Command, tmp_path: Path) -> None:
    prior = ["sampler=prior", "sampler.draws=20", "tracking=none", "model.figures=[]"]
    done = bayesrun("model=ar", *prior, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert not (folder / "model").exists()
    assert "no model: " in (folder / "run.log").read_text()


@pytest.mark.slow
def test_a_batch_is_scored_by_mlflow_s_command(fitted: Any, tmp_path: Path) -> None:
    NEW.to_csv(tmp_path / "new.csv", index=False)
    words = ["mlflow", "models", "predict", "--env-manager", "local", "-m", f"runs:/{_run_id(fitted)}/model"]
    files = ["-i", str(tmp_path / "new.csv"), "-t", "csv", "-o", str(tmp_path / "scored.json")]
    where = {**os.environ, "MLFLOW_TRACKING_URI": _store(fitted)}
    done = subprocess.run(
        [sys.executable, "-m", *words, *files], cwd=tmp_path, env=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scored = pd.DataFrame(json.loads((tmp_path / "scored.json").read_text())["predictions"])
    assert np.array_equal(scored["mean"], fitted.predict(NEW)["mean"])


@pytest.mark.slow
def test_it_is_served_on_loopback(fitted: Any, tmp_path: Path) -> None:
    port = free_port()
    words = ["mlflow", "models", "serve", "--env-manager", "local", "-m", f"runs:/{_run_id(fitted)}/model"]
    at = ["-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    page = f"http://127.0.0.1:{port}"
    with server([*words, *at], f"{page}/ping", tmp_path, MLFLOW_TRACKING_URI=_store(fitted)):
        body = {"dataframe_records": NEW.to_dict(orient="records"), "params": {"interval": 0.5}}
        asked = urllib.request.Request(
            f"{page}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=120) as answer:
            rows = json.loads(answer.read())["predictions"]
    served, direct = pd.DataFrame(rows), fitted.predict(NEW, interval=0.5)
    assert list(served.columns) == list(direct.columns)
    assert np.array_equal(served["mean"], direct["mean"])
    assert np.array_equal(served["hdi_25%"], direct["hdi_25%"])


@pytest.mark.slow
def test_the_task_ui_shows_the_store_and_ends_with_ctrl_c(fitted: Any) -> None:
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    outputs = fitted.config["paths"]["outputs"]
    words = ["bayesrun", "task=ui", f"ui.port={port}", f"paths.outputs={outputs}"]
    with server(words, f"{page}/health", ROOT) as process:
        body = json.dumps({"max_results": 10}).encode()
        asked = urllib.request.Request(
            f"{page}/api/2.0/mlflow/experiments/search", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=240) as answer:
            names = {experiment["name"] for experiment in json.loads(answer.read())["experiments"]}
        assert "regression" in names
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert f"MLflow: {page} shows sqlite:///{outputs}/mlflow.db" in told
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_pages_that_can_not_be_shown_are_told(bayesrun: Command, tmp_path: Path) -> None:
    for words, said in (
        ([f"paths.outputs={tmp_path}"], f"tracking.uri: there is no database '{tmp_path}/mlflow.db'"),
        (["tracking=none"], "tracking.backend: 'none' has no pages"),
        (["tracking=server"], "tracking.uri: is a server, which has pages of its own: http://127.0.0.1:5000"),
        (["ui.port=0"], "ui.port: "),
    ):
        done = bayesrun("task=ui", *words)
        assert done.returncode == 1
        assert said in done.stderr
