"""`task=rerun` through the real command: the same draws again, and what is told where they are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.conftest import Command, only_run


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a line through one's own data."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "data").mkdir()
    (folder / "points.csv").write_text("x,y\n" + "".join(f"{i},{2 * i + i % 3}\n" for i in range(20)))
    text = f"name: points\nsource: csv\npath: {folder / 'points.csv'}\n"
    (folder / "data" / "points.yaml").write_text(text)
    given = ["--config-dir", folder, "model=regression", "model.formula='y ~ x'", "data=points"]
    short = ["sampler.draws=200", "sampler.tune=300", "model.figures=[]", "tracking=none"]
    done = bayesrun(*given, *short, f"paths.outputs={folder / 'outputs'}")
    assert done.returncode == 0, done.stderr
    return only_run(folder / "outputs")


def _again(bayesrun: Command, run: Path, outputs: Path, *more: str):  # type: ignore[no-untyped-def]
    return bayesrun("task=rerun", f"run={run}", f"paths.outputs={outputs}", "tracking=none", *more)


def test_a_run_again_has_the_same_draws(bayesrun: Command, fitted: Path, tmp_path: Path) -> None:
    done = _again(bayesrun, fitted, tmp_path, "sampler.cores=1")
    assert done.returncode == 0, done.stderr
    assert "identical: every draw is the same, bit for bit\nnothing has changed in versions and machine" in done.stdout
    folder = only_run(tmp_path)
    assert json.loads((folder / "rerun.json").read_text())["identical"] is True
    assert json.loads((folder / "provenance.json").read_text())["parent"]["folder"] == str(fitted)
    one, other = (xr.open_dataset(f / "posterior.nc", group="posterior") for f in (fitted, folder))
    assert all(np.array_equal(one[name], other[name]) for name in one.data_vars)


def test_draws_that_differ_are_told_with_what_has_changed(bayesrun: Command, fitted: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "tampered"
    shutil.copytree(fitted, tampered)
    text = (tampered / "config.yaml").read_text()
    assert "seed: 8927" in text
    (tampered / "config.yaml").write_text(text.replace("seed: 8927", "seed: 8928"))
    record = json.loads((tampered / "provenance.json").read_text())
    record["packages"]["numpy"] = "1.21.0"
    (tampered / "provenance.json").write_text(json.dumps(record))
    done = _again(bayesrun, tampered, tmp_path / "outputs")
    assert done.returncode == 1
    assert "not identical: draws differ of" in done.stdout
    assert "all means agree within their Monte Carlo errors" in done.stdout
    assert "numpy: 1.21.0 -> " in done.stdout


def test_what_would_be_another_run_is_refused(bayesrun: Command, fitted: Path, tmp_path: Path) -> None:
    done = _again(bayesrun, fitted, tmp_path, "sampler.draws=100", "seed=3")
    assert done.returncode == 1
    assert "sampler.draws: belongs to the run" in done.stderr
    assert "seed: belongs to the run" in done.stderr
    points = fitted.parents[3] / "points.csv"
    before = points.read_text()
    points.write_text(before.replace("3,6\n", "3,7\n"))
    try:
        done = _again(bayesrun, fitted, tmp_path)
    finally:
        points.write_text(before)
    assert done.returncode == 1
    assert "data: the data are not those of the run" in done.stderr
    assert not list(tmp_path.glob("runs/*"))
