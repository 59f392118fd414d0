"""`task=prior` through the real command: what a model implies before it sees its data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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


def test_a_wrong_range_is_refused_before_anything_is_drawn(bayesrun: Command, tmp_path: Path) -> None:
    given = ["task=prior", "model=eight_schools", f"paths.outputs={tmp_path}", "tracking=none"]
    unknown = bayesrun(*given, "expect={score: [-100, 100]}")
    assert unknown.returncode == 1
    assert "diagnostics.expect.score: is not explained by the model\n    allowed: y" in unknown.stderr
    turned = bayesrun(*given, "expect={y: [100, -100]}")
    assert "the range of 'y' must be [lower, upper] with lower < upper" in turned.stderr
    assert not list(tmp_path.glob("runs/*"))
