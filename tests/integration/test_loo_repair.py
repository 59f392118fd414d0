"""Points with a large Pareto k are repaired by themselves: against exact leave-one-out, through the real command."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm

from tests.conftest import Command

_ERROR = 0.05
"""Monte Carlo standard error of a density with 2,000 draws (`test_moment_matching` has the spread over seeds)."""


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a regression with a known sd, some points of which decide much."""
    rng = np.random.default_rng(0)
    return _written(tmp_path_factory.mktemp("influential"), rng.standard_t(2, size=30), 12.0, rng)


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the same regression of 3,000 rows, one of which decides much."""
    rng = np.random.default_rng(1)
    return _written(tmp_path_factory.mktemp("many_rows"), rng.normal(size=3000), 60.0, rng)


def _written(folder: Path, x: Any, first: float, rng: np.random.Generator) -> Path:
    for name in ("model", "data"):
        (folder / name).mkdir()
    z = rng.normal(size=len(x))
    x[0] = first
    y = 1 + 0.5 * x - z + rng.normal(size=len(x))
    y[0] += 12.0
    pd.DataFrame({"x": x, "z": z, "y": y}).to_csv(folder / "points.csv", index=False)
    (folder / "data" / "points.yaml").write_text(f"name: points\nsource: csv\npath: {folder / 'points.csv'}\n")
    model = """
        defaults: [{/data@_global_.data: points}, _self_]
        name: influential
        type: declarative
        priors:
          a: {dist: Normal, mu: 0, sigma: 10}
          b: {dist: Normal, mu: 0, sigma: 10}
          c: {dist: Normal, mu: 0, sigma: 10}
        likelihood:
          y: {dist: Normal, mu: a + b * x + c * z, sigma: 1, observed: y}
        figures: [pareto_k]
    """
    (folder / "model" / "influential.yaml").write_text(textwrap.dedent(model))
    return folder


def _run(bayesrun: Command, configs: Path, *more: str) -> tuple[Path, dict[str, str]]:
    given = ["--config-dir", configs, "model=influential", f"paths.outputs={configs / 'outputs'}", "tracking=none"]
    done = bayesrun(*given, "sampler.draws=500", "sampler.tune=500", *more)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    findings = {f["check"]: f for f in json.loads((folder / "findings.json").read_text())}
    return folder, findings["loo"]


def _exact(configs: Path, points: int = 30) -> list[float]:
    """Return the leave-one-out density of each of the first points in closed form."""
    table = pd.read_csv(configs / "points.csv")
    design = np.c_[np.ones(len(table)), table["x"], table["z"]]
    exact = []
    for i in range(points):
        own, values = np.delete(design, i, axis=0), np.delete(table["y"].to_numpy(), i)
        covariance = np.linalg.inv(own.T @ own + np.eye(3) / 100)
        mean = covariance @ own.T @ values
        exact.append(norm.logpdf(table["y"][i], design[i] @ mean, np.sqrt(1 + design[i] @ covariance @ design[i])))
    return exact


def test_an_influential_point_is_right_and_does_not_warn(bayesrun: Command, configs: Path) -> None:
    folder, finding = _run(bayesrun, configs)
    assert finding["severity"] == "ok"
    assert "after moment matching of 2: y[0], y[5]." in finding["message"]
    exact = _exact(configs)
    repaired = xr.open_dataset(folder / "posterior.nc", group="loo")
    assert abs(float(repaired["elpd"].sel(point="y[0]")) - exact[0]) < 4 * _ERROR
    elpd = json.loads((folder / "metrics.json").read_text())["elpd_loo"]
    assert abs(elpd - sum(exact)) < 4 * _ERROR * 2
    assert "UserWarning" not in (folder / "run.log").read_text()


def test_so_is_one_of_thousands(bayesrun: Command, many_rows: Path) -> None:
    folder, finding = _run(bayesrun, many_rows)
    assert finding["severity"] == "ok"
    assert "after moment matching of 1: y[0]." in finding["message"]
    repaired = xr.open_dataset(folder / "posterior.nc", group="loo")
    # half as many draws are moved as of few rows
    assert abs(float(repaired["elpd"].sel(point="y[0]")) - _exact(many_rows, 1)[0]) < 4 * _ERROR * 2**0.5


def test_without_repair_the_point_warns_and_is_wrong(bayesrun: Command, configs: Path) -> None:
    folder, finding = _run(bayesrun, configs, "diagnostics.loo.repair=none")
    assert finding["severity"] == "warn"
    assert "Pareto k is above 0.7 for 2: y[0], y[5]." in finding["message"]
    with pytest.raises(OSError):
        xr.open_dataset(folder / "posterior.nc", group="loo")


def test_the_command_that_the_warning_names_makes_the_densities_exact(bayesrun: Command, configs: Path) -> None:
    folder, finding = _run(bayesrun, configs, "diagnostics.loo.repair=none")
    words = finding["remedy"].rpartition("python -m bayesrun ")[2].split()
    assert words == ["task=loo", f"run={folder}"]
    outputs = (f"paths.outputs={configs / 'outputs'}", "tracking=none")
    done = bayesrun(*words, *outputs)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    points, exact = pd.read_csv(made / "pointwise.csv", index_col="point"), _exact(configs)
    refits = points[points["method"] == "refit"]
    assert list(refits.index) == ["y[0]", "y[5]"]
    for place, name in ((0, "y[0]"), (5, "y[5]")):
        assert abs(points.loc[name, "elpd"] - exact[place]) < 4.5 * points.loc[name, "mcse"] < 2
        assert abs(points.loc[name, "before"] - exact[place]) > 2
    assert json.loads((made / "provenance.json").read_text())["parent"]["folder"] == str(folder)
    compared = bayesrun("task=compare", f"runs=[{folder},{made}]", "compare.names=[before,after]", *outputs)
    assert compared.returncode == 0, compared.stderr
    assert "Pareto k is above 0.7 in before, whose elpd_loo is unreliable: task=loo run=FOLDER." in compared.stdout
    nothing, _ = _run(bayesrun, configs, "name=repaired")
    done = bayesrun("task=loo", f"run={nothing}", *outputs)
    assert done.returncode == 0 and "nothing to do: the largest Pareto k is" in done.stdout
