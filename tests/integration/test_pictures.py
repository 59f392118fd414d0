"""The verdict comes before the pictures: who ends a command after it loses pictures alone, which can be drawn later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import ROOT, Command, only_run

RUN = ("model=eight_schools", "sampler.draws=200", "sampler.tune=200", "sampler.chains=2", "predictive.prior=50")
MADE = {"posterior.nc", "summary.csv", "findings.json", "metrics.json", "provenance.json", "model.json", "config.yaml"}


def _status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def _facts(folder: Path) -> dict[str, Any]:
    """Return what pictures must leave as it is."""
    names = ("posterior.nc", "summary.csv", "findings.json", "metrics.json", "provenance.json")
    return {name: (folder / name).read_bytes() for name in names}


@contextmanager
def _stopped_at_its_verdict(outputs: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and stop it (SIGSTOP) once its verdict is shown; it and its children are killed in the end."""
    command = [sys.executable, "-m", "bayesrun", *RUN, *words, f"paths.outputs={outputs}"]
    with subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, "")
            assert any(line.startswith("folder: ") for line in said)
            os.killpg(process.pid, signal.SIGSTOP)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _check_verdict(folder: Path) -> None:
    """Check that all but pictures is there."""
    assert {path.name for path in folder.iterdir()} >= MADE
    status = _status(folder)
    assert status["status"] == "finished"
    assert status["verdict"] in ("ok", "warn")
    assert status["error"] is None
    assert not (folder / "draws").exists()


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 4), (signal.SIGTERM, 1)])
def test_a_signal_after_the_verdict_loses_pictures_alone(
    bayesrun: Command, tmp_path: Path, number: signal.Signals, times: int
) -> None:
    tracked = times > 1
    with _stopped_at_its_verdict(tmp_path, *([] if tracked else ["tracking=none"])) as process:
        folder = only_run(tmp_path)
        _check_verdict(folder)
        assert _status(folder)["pictures"] == "pending"
        before = _facts(folder)
        os.kill(process.pid, number)
        os.killpg(process.pid, signal.SIGCONT)
        for _ in range(times - 1):
            time.sleep(0.3)
            if process.poll() is None:
                os.kill(process.pid, number)
        assert process.wait(300) == 130
        assert process.stderr is not None
        assert f"task=figures run={folder}" in process.stderr.read()
    _check_verdict(folder)
    assert _status(folder)["pictures"] == "interrupted"
    assert _facts(folder) == before
    assert not list(folder.rglob(".*"))
    assert (folder / "report.html").is_file()
    drawn = bayesrun("task=figures", "run=last", f"paths.outputs={tmp_path}")
    assert drawn.returncode == 0, drawn.stderr
    assert _status(folder)["pictures"] == "drawn"
    assert {"trace.png", "forest.png", "ppc.png"} <= {path.name for path in (folder / "figures").iterdir()}
    assert "trace" in (folder / "report.html").read_text()
    assert (folder / "model.svg").is_file()
    assert _facts(folder) == before
    (folder / "summary.csv").write_bytes(b"\x80\x04 no table")
    refused = bayesrun("task=figures", "run=last", f"paths.outputs={tmp_path}")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "summary.csv' can't be read" in refused.stderr
    if tracked:
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        assert run.info.status == "FINISHED"
        assert run.data.tags["verdict"] == _status(folder)["verdict"]


def test_the_next_command_draws_the_pictures_of_a_run_that_was_killed(bayesrun: Command, tmp_path: Path) -> None:
    with _stopped_at_its_verdict(tmp_path) as process:
        folder = only_run(tmp_path)
        _check_verdict(folder)
        before = _facts(folder)
        goes_on = bayesrun("task=recover", f"run={folder}", f"paths.outputs={tmp_path}")
        assert goes_on.returncode == 1
        assert "is still running" in goes_on.stderr
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    assert _status(folder)["pictures"] == "pending"
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / ".trace.0123456789ab.png").touch()  # killed while it was written
    said = bayesrun("model=linear_regression", "sampler=prior", "sampler.draws=20", f"paths.outputs={tmp_path}")
    assert said.returncode == 0, said.stderr
    assert f"{folder}: needs no recovery but for its figures" in said.stdout + said.stderr
    assert (_status(folder)["status"], _status(folder)["pictures"]) == ("finished", "drawn")
    assert "process" not in _status(folder)
    assert {"trace.png", "forest.png"} <= {path.name for path in (folder / "figures").iterdir()}
    assert (folder / "report.html").is_file()
    assert not list(folder.rglob(".*"))
    assert _facts(folder) == before
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.model = 'eight_schools'")
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_figures_need_a_checked_posterior(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("task=figures", f"run={tmp_path}")
    assert done.returncode == 1
    assert "is not a run folder" in done.stderr
    (tmp_path / "status.json").write_text('{"status": "failed", "verdict": null, "error": "x"}')
    done = bayesrun("task=figures", f"run={tmp_path}")
    assert done.returncode == 1
    assert "has no checked posterior" in done.stderr
    assert bayesrun("task=figures").returncode == 1


def test_figures_drawn_later_are_those_of_the_run(bayesrun: Command, tmp_path: Path) -> None:
    asked = "model.figures=[ppc_grouped,scatter,forest,trace,rank,accident_rate]"
    short = ("sampler.draws=100", "sampler.tune=100", "sampler.chains=2", "tracking=none")
    done = bayesrun("model=varying_intercepts", asked, *short, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    figures = only_run(tmp_path) / "figures"
    drawn = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert set(drawn) == {"ppc_grouped.png", "scatter.png", "forest.png", "trace.png", "rank.png"}
    shutil.rmtree(figures)
    later = bayesrun("task=figures", "run=last", f"paths.outputs={tmp_path}")
    assert later.returncode == 0, later.stderr
    assert "figure 'accident_rate' is not drawn: " in later.stdout
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == drawn
