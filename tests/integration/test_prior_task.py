"""`task=prior` through the real command: what a model implies before it sees its data."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import xarray as xr

from tests.conftest import Command, only_run


def test_absurd_data_are_found_without_sampling(bayesrun: Command, tmp_path: Path) -> None:
    given = ["model=eight_schools", f"paths.outputs={tmp_path}", "tracking=none", "model.figures=[]"]
    done = bayesrun("task=prior", *given, "expect={y: [-100, 100]}", "model.priors.tau.beta=500")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    simulated = xr.open_dataset(folder / "posterior.nc", group="posterior_predictive")["y"].values
    share = float((np.abs(simulated) > 100).mean())
    assert share > 0.5
    assert f"{share:.1%} of the values of y that the prior simulates are outside [-100, 100]" in done.stdout
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["outside_expected/y"] == share
    assert json.loads((folder / "status.json").read_text())["verdict"] == "fail"


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Fit a line to a table; returns the folder of its config, with the table, and the run's folder."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "line.csv").write_text("x,y\n" + "".join(f"{x},{2 * x + (-1) ** x}\n" for x in range(12)))
    given = ["model=regression", "model.formula='y ~ x'", "name=line", "model.figures=[]", "report=false"]
    (folder / "data").mkdir()
    (folder / "data" / "line.yaml").write_text(f"name: line\nsource: csv\npath: {folder / 'line.csv'}\n")
    small = ["sampler.draws=100", "sampler.tune=200", "sampler.chains=2", "predictive.prior=0"]
    done = bayesrun("--config-dir", folder, *given, "data=line", *small, f"paths.outputs={folder / 'outputs'}")
    assert done.returncode == 0, done.stderr
    return folder, only_run(folder / "outputs")


def test_a_finished_runs_prior_is_drawn_and_names_its_parent(bayesrun: Command, fitted: tuple[Path, Path]) -> None:
    """Its draws are those of the model's own prior; `run=last` goes on meaning the run."""
    folder, parent = fitted
    outputs = f"paths.outputs={folder / 'outputs'}"
    asked = ["expect={y_obs: [-20, 20]}", "sampler.draws=200", "report=false"]
    done = bayesrun("task=prior", "run=last", *asked, outputs)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    assert made != parent and "of the values of y_obs that the prior simulates are outside [-20, 20]" in done.stdout
    record = json.loads((made / "provenance.json").read_text())["parent"]
    tracked = json.loads((parent / "tracking.json").read_text())["run_id"]
    assert (record["folder"], record["run_id"]) == (str(parent), tracked)
    found = mlflow.MlflowClient(f"sqlite:///{folder / 'outputs'}/mlflow.db").get_run(
        json.loads((made / "tracking.json").read_text())["run_id"]
    )
    assert found.data.tags["mlflow.parentRunId"] == tracked and found.data.tags["parent_folder"] == str(parent)
    own = ["--config-dir", folder, "model=regression", "model.formula='y ~ x'", "data=line", "model.figures=[]"]
    alone = bayesrun("task=prior", *own, *asked, "tracking=none", f"paths.outputs={folder / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    for group in ("posterior", "posterior_predictive"):
        one, other = (xr.open_dataset(at / "posterior.nc", group=group) for at in (made, only_run(folder / "alone")))
        xr.testing.assert_equal(one, other)
    judged = bayesrun("task=hypothesis", "run=last", "sigma > 0", outputs, "tracking=none")
    assert json.loads((Path(judged.stdout.rpartition("folder: ")[2].strip()) / "status.json").read_text())[
        "parent"
    ] == str(parent)


def test_what_would_be_the_prior_of_another_model_is_refused(
    bayesrun: Command, fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, parent = fitted
    given = [f"run={parent}", "tracking=none", f"paths.outputs={tmp_path}"]
    other = bayesrun("task=prior", *given, "model.formula='y ~ 1'")
    assert other.returncode == 1 and "model.formula: belongs to the run, which is finished" in other.stderr
    simulated = bayesrun("task=sbc", *given, "sbc.simulate={family: student_t}")
    assert simulated.returncode == 1 and "sbc.simulate: has no meaning with run=..." in simulated.stderr
    table = folder / "line.csv"
    text = table.read_text()
    table.write_text(text.replace("3,5", "3,55"))
    try:
        for task in ("prior", "sbc"):
            changed = bayesrun(f"task={task}", *given)
            assert changed.returncode == 1 and "data: the data are not those of the run" in changed.stderr
    finally:
        table.write_text(text)
    assert not list(tmp_path.glob("runs/*"))


def test_a_wrong_range_is_refused_before_anything_is_drawn(bayesrun: Command, tmp_path: Path) -> None:
    given = ["task=prior", "model=eight_schools", f"paths.outputs={tmp_path}", "tracking=none"]
    unknown = bayesrun(*given, "expect={score: [-100, 100]}")
    assert unknown.returncode == 1
    assert "diagnostics.expect.score: is not explained by the model\n    allowed: y" in unknown.stderr
    turned = bayesrun(*given, "expect={y: [100, -100]}")
    assert "the range of 'y' must be [lower, upper] with lower < upper" in turned.stderr
    assert not list(tmp_path.glob("runs/*"))
