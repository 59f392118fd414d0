"""New rows through the real command: right values, one row included, later from the run folder, and refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command

RNG = np.random.default_rng(11)
COUNT = 60
X = np.arange(COUNT) * 0.5
H, G = np.array(["lo", "mid"] * (COUNT // 2)), np.array(["a", "b", "c"] * (COUNT // 3))
OK = np.arange(COUNT) % 7 < 3
Y = 10 + 2 * X + 50 * (H == "mid") - 15 * (G == "c") + 8 * OK + RNG.normal(0, 0.5, COUNT)
SAMPLER = ["sampler.draws=300", "sampler.tune=300", "sampler.chains=2", "model.figures=[]", "tracking=none"]
FORMULA = "model.formula='y ~ standardize(x) + h + C(g, Sum) + C(ok)'"
HIERARCHY = """
name: hierarchy
type: declarative
figures: []
priors:
  mu_a: {dist: Normal, mu: 0, sigma: 20}
  tau: {dist: HalfNormal, sigma: 10}
  a: {dist: Normal, mu: mu_a, sigma: tau, dims: [g], parameterization: noncentered}
  b: {dist: Normal, mu: 0, sigma: 10}
  m: {dist: Normal, mu: 10, sigma: 10}
  s: {dist: HalfNormal, sigma: 5, shape: 2}
likelihood:
  x: {dist: Normal, mu: m, sigma: "s[0]", observed: x}
  y_obs: {dist: Normal, mu: "a[gi] + b * (x - 15)", sigma: "s[1]", observed: y}
"""


@dataclass(frozen=True)
class Project:
    """A user's folder, and the command in it."""

    folder: Path
    call: Command

    def run(self, *arguments: str) -> Any:
        return self.call("--config-dir", self.folder, f"paths.outputs={self.folder / 'out'}", *SAMPLER, *arguments)

    def data(self, name: str, text: str, **keys: Any) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / f"{name}.csv").write_text(text)
        content = {"name": name, "source": "csv", "path": str(self.folder / f"{name}.csv"), **keys}
        (self.folder / "data" / f"{name}.yaml").write_text(json.dumps(content))

    def newest(self) -> Path:
        return max((self.folder / "out").glob("runs/*/*"), key=lambda path: path.stat().st_mtime_ns)

    def refused(self, name: str, text: str, *arguments: str) -> str:
        """Return the message of a command that must end before anything is sampled."""
        before = set((self.folder / "out").glob("runs/*/*"))
        self.data(name, text)
        done = self.run(f"predict.data={name}", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert set((self.folder / "out").glob("runs/*/*")) == before
        return str(done.stderr)


def _project(folder: Path, call: Command) -> Project:
    project = Project(folder, call)
    gaps = ["" if i in (4, 9) else str(v) for i, v in enumerate(X)]
    table = {"y": Y, "x": X, "h": H, "g": G, "ok": OK}
    project.data("fit", pd.DataFrame(table).to_csv(index=False))
    project.data("gaps", pd.DataFrame({**table, "x": gaps}).to_csv(index=False), factors={"gi": "g"})
    (folder / "model").mkdir()
    (folder / "model" / "hierarchy.yaml").write_text(HIERARCHY)
    return project


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> tuple[Project, Path]:
    """A regression that was fitted and has predicted three rows of one level."""
    project = _project(tmp_path_factory.mktemp("regression"), bayesrun)
    project.data("rows", "x,h,g,ok\n100,mid,c,True\n110,mid,c,True\n120,mid,a,True\n")
    done = project.run("model=glm", "data=fit", FORMULA, "predict.data=rows", "predict.group_by=g")
    assert done.returncode == 0, done.stderr
    return project, project.newest()


@pytest.fixture(scope="module")
def hierarchy(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> tuple[Project, Path]:
    """A hierarchy with an imputed predictor that was fitted."""
    project = _project(tmp_path_factory.mktemp("hierarchy"), bayesrun)
    done = project.run("model=hierarchy", "data=gaps")
    assert done.returncode == 0, done.stderr
    return project, project.newest()


def _least_squares(x: float, h: str, g: str, ok: bool = True) -> float:
    columns = np.c_[np.ones(COUNT), X, H == "mid", G == "b", G == "c", OK].astype(float)
    coefficients = np.linalg.lstsq(columns, Y, rcond=None)[0]
    return float(coefficients @ [1.0, x, h == "mid", g == "b", g == "c", ok])


def test_rows_of_a_formula_agree_with_least_squares(regression: tuple[Project, Path]) -> None:
    table = pd.read_csv(regression[1] / "predictions.csv")
    wanted = [_least_squares(100, "mid", "c"), _least_squares(110, "mid", "c"), _least_squares(120, "mid", "a")]
    for kind in ("observation", "mu"):
        part = table[table["kind"] == kind]
        # 300 effective draws at least, and priors that are weak: 5% of an sd
        assert np.all(np.abs(part["mean"] - wanted) < part["sd"] * (4.5 / np.sqrt(300) + 0.05))
    groups = pd.read_csv(regression[1] / "predictions_by_group.csv").query("kind == 'mu'")
    assert groups["g"].tolist() == ["a", "c"] and groups["rows"].tolist() == [1, 2]
    mu = table[table["kind"] == "mu"]["mean"].to_numpy()
    np.testing.assert_allclose(groups["mean"], [mu[2], mu[:2].mean()], rtol=1e-9)


def test_a_finished_run_predicts_the_same_without_its_data(regression: tuple[Project, Path]) -> None:
    project, run = regression
    (project.folder / "fit.csv").rename(project.folder / "moved.csv")
    try:
        done = project.run("task=predict", f"run={run}", "predict.data=rows")
        assert done.returncode == 0, done.stderr
        own = project.newest()
        assert (own / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
        assert json.loads((own / "status.json").read_text())["parent"] == str(run)
        # one row is left; what is yet to be observed may be written as `?`
        project.data("one", "y,x,h,g,ok\n?,33,lo,b,False\n?,40,lo,b,\n")
        refused = project.run("task=predict", "run=last", "predict.data=one")
        assert refused.returncode == 1 and "predict.data.ok: predictor 'ok' has 1 missing" in refused.stderr
        assert "drop their rows: predict.data.drop_missing=rows" in refused.stderr
        change = ["predict.data.drop_missing=rows", "predict.interval=0.5"]
        done = project.run("task=predict", "run=last", "predict.data=one", *change)
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(project.newest() / "predictions.csv").query("kind == 'mu'")
        wanted = _least_squares(33, "lo", "b", ok=False)
        assert abs(table["mean"][1] - wanted) < table["sd"][1] * (4.5 / np.sqrt(300) + 0.05)
        assert {"hdi_25%", "hdi_75%"} <= set(table.columns)
    finally:
        (project.folder / "moved.csv").rename(project.folder / "fit.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x,h,g,ok\n1,mid,a,1\n1,zzz,a,1\n", "not fitted to 'zzz' of 'h' (obs 1)"),
        ("x,h,g,ok\n1,mid,a,1\n,mid,a,1\n", "'x' has 1 missing of 2 values: obs 1"),
        ("x,h,g,ok\n1,mid,a,1\n1,mid,,1\n", "'g' has 1 missing of 2 values: obs 1"),
        ("x,h,g,ok\n1,mid,a,1\nabc,mid,a,1\n", "'x' must be numbers as in the fit"),
        ("x,h,ok\n1,mid,1\n", "predictor 'g' is not in data set"),
    ],
)
def test_rows_that_can_not_be_predicted_are_named(regression: tuple[Project, Path], rows: str, message: str) -> None:
    project, _ = regression
    assert message in project.refused("wrong", rows, "model=glm", "data=fit", FORMULA)


def test_new_groups_and_missing_predictors_are_drawn(hierarchy: tuple[Project, Path]) -> None:
    project, run = hierarchy
    project.data("new", "x,g\n15,zzz\n,b\n20,b\n")
    refused = project.run("task=predict", f"run={run}", "predict.data=new")
    assert refused.returncode == 1 and "not fitted to 'zzz' of 'g' (obs 0)" in refused.stderr
    done = project.run("task=predict", f"run={run}", "predict.data=new", "predict.new_levels=population")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(project.newest() / "predictions.csv")
    found = table[(table["kind"] == "observation") & (table["variable"] == "y_obs")].reset_index()
    with xr.open_dataset(run / "posterior.nc", group="posterior") as p:
        a, b, s = p["a"].sel(g="b").values, p["b"].values, p["s"].values
        scale = [np.sqrt(p["tau"].values ** 2 + s[..., 1] ** 2), np.hypot(b * s[..., 0], s[..., 1]), s[..., 1]]
        centre = [p["mu_a"].values, a + b * (p["m"].values - 15), a + b * 5]
    for row in range(3):
        sd = np.sqrt(np.var(centre[row]) + np.mean(scale[row] ** 2))
        assert abs(found["mean"][row] - centre[row].mean()) < 4.5 * sd / np.sqrt(600)
        assert found["sd"][row] == pytest.approx(sd, rel=0.25 if row == 0 else 0.15)


@pytest.mark.parametrize("formula", ["y ~ g + h", "y ~ x + (x | g)"])
def test_the_column_of_a_factor_must_be_there(regression: tuple[Project, Path], formula: str) -> None:
    """Three rows without `g`, which has three levels: the levels must not be taken for the rows' labels."""
    arguments = ("model=glm", "data=fit", f"model.formula='{formula}'", "+data.factors.gi=g")
    said = regression[0].refused("wrong", "x,h\n1,mid\n2,lo\n3,lo\n", *arguments)
    assert "predict.data.g: predictor 'g' is not in data set 'wrong'" in said


def test_the_folder_of_a_task_points_to_the_run_that_it_worked_on(regression: tuple[Project, Path]) -> None:
    project, run = regression
    assert project.run("task=predict", f"run={run}", "predict.data=rows").returncode == 0
    done = project.run("task=predict", f"run={project.newest()}", "predict.data=rows")
    assert done.returncode == 1 and f"give the run that it worked on: run={run}" in done.stderr
    assert "has the results of task=predict, and no draws of its own" in done.stderr


def test_what_belongs_to_the_fit_can_not_be_changed_afterwards(regression: tuple[Project, Path]) -> None:
    project, run = regression
    done = project.run("task=predict", f"run={run}", "predict.data=rows", "model.family=student")
    assert done.returncode == 1 and "model.family: belongs to the fit" in done.stderr
