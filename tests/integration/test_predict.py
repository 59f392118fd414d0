"""`predict.data=NAME` through the real command."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command, only_run


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    (folder / "data").mkdir(parents=True)
    for name, labels in (("new_rows", "[c03, c01, c03]"), ("strange_rows", "[c03, c99, c03]")):
        text = f"""
            name: {name}
            source: inline
            values: {{county_name: {labels}, floor: [0, 1, 1]}}
            factors: {{county: county_name}}
        """
        (folder / "data" / f"{name}.yaml").write_text(textwrap.dedent(text))
    return folder


def test_a_label_that_the_fit_has_not_seen_is_told_before_anything_is_sampled(
    bayesrun: Command, configs: Path, tmp_path: Path
) -> None:
    done = bayesrun(
        "--config-dir", configs, "model=varying_intercepts", "predict.data=strange_rows", f"paths.outputs={tmp_path}"
    )
    assert done.returncode == 1
    assert "the model was not fitted to 'c99' of 'county_name' (obs 1)" in done.stdout + done.stderr
    assert "predict.new_levels=population" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
def test_new_rows_are_predicted_from_the_posterior(bayesrun: Command, configs: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    given = ["model=varying_intercepts", "predict.data=new_rows", "model.figures=[]", "tracking=none"]
    done = bayesrun("--config-dir", configs, *given, f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    folder = only_run(outputs)
    table = pd.read_csv(folder / "predictions.csv").query("kind == 'observation'")
    posterior = xr.open_dataset(folder / "posterior.nc", group="posterior")
    for row, (county, floor) in enumerate([("c03", 0), ("c01", 1), ("c03", 1)]):
        mean = (posterior["alpha"].sel(county_name=county) + posterior["beta"] * floor).values
        spread = float(np.sqrt(np.var(mean) + np.mean(posterior["sigma"].values ** 2)))
        assert abs(table["mean"][row] - mean.mean()) < 4.5 * spread / np.sqrt(mean.size)
        assert table["sd"][row] == pytest.approx(spread, rel=0.1)


MODEL = """
name: scaled
type: declarative
priors:
  b: {dist: Normal, mu: 0, sigma: 10}
  s: {dist: HalfNormal, sigma: 1}
likelihood:
  spread: {dist: Cauchy, alpha: b, beta: s * x, observed: y}
"""
ROWS = "name: rows\nsource: inline\nvalues: {x: [1, 2, 3, 4, 2], y: [1, 3, 0, 2, 2], k: [1, 3, 2, 5, 2]}\n"


@pytest.mark.parametrize(
    ("chosen", "far", "message"),
    [
        (["model=scaled"], -1, "'spread' can't be predicted: 'beta' < 0 (obs 1)"),
        (["model=glm", "model.formula='k ~ x'", "model.family=poisson"], 1e6, "'k_obs' can't be predicted: its mean"),
    ],
)  # fmt: skip
def test_parameters_that_are_impossible_at_a_new_row_are_told(
    chosen: list[str], far: float, message: str, bayesrun: Command, tmp_path: Path
) -> None:
    """A generator may take a negative scale, and the mean of a count has a bound: either would be a wrong number."""
    texts = {
        "model/scaled": MODEL,
        "data/rows": ROWS,
        "data/far": f"{{name: far, source: inline, values: {{x: [1, {far}]}}}}",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    few = ["sampler.draws=50", "sampler.tune=100", "sampler.chains=2", "model.figures=[]", "tracking=none"]
    given = ["--config-dir", tmp_path, f"paths.outputs={tmp_path}/out"]
    done = bayesrun(*given, *chosen, "data=rows", *few, "report=false")
    assert done.returncode == 0, done.stderr
    told = bayesrun(*given, "task=predict", "run=last", "predict.data=far")
    assert told.returncode == 1 and message in told.stderr and "obs 1" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.slow
def test_a_file_is_a_data_set_of_its_own(bayesrun: Command, tmp_path: Path) -> None:
    """`data=FILE` and `predict.data=FILE`: the numbers of a named data set, with the types that the fit has learned."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"zip": ["08", "12", "08", "30"] * 10, "x": rng.normal(size=40).round(3)})
    table["y"] = (1 + 2 * table["x"] + rng.normal(size=40)).round(3)
    table.loc[3, "x"] = -99
    table.to_csv(tmp_path / "rows.csv", index=False)
    table.iloc[:3, :2].to_csv(tmp_path / "new.csv", index=False)
    table.iloc[:3, :2].to_parquet(tmp_path / "new.parquet")
    table.iloc[:4, :2].to_csv(tmp_path / "gap.csv", index=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "named.yaml").write_text(f"{{name: named, source: csv, path: {tmp_path}/new.csv}}")
    given = ["--config-dir", tmp_path, f"paths.outputs={tmp_path}/out", "tracking=none"]
    of_data = [f"data={tmp_path}/rows.csv", "data.missing=[-99]", "data.drop_missing=rows"]
    few = ["sampler.draws=50", "sampler.tune=100", "sampler.chains=2", "model.figures=[]", "report=false"]
    done = bayesrun(*given, "model=glm", "model.formula='y ~ x + C(zip)'", *of_data, *few)
    assert done.returncode == 0, done.stderr
    assert "_data=rows.csv_" in only_run(tmp_path / "out").name
    found = []
    for rows in ("named", f"{tmp_path}/new.csv", f"{tmp_path}/new.parquet"):
        predicted = bayesrun(*given, "task=predict", "run=last", f"predict.data={rows}")
        assert predicted.returncode == 0, predicted.stderr
        found.append((Path(predicted.stdout.split("folder: ")[1].strip()) / "predictions.csv").read_text())
    assert found[0] == found[1] == found[2]
    gap = bayesrun(*given, "task=predict", "run=last", f"predict.data={tmp_path}/gap.csv")
    assert gap.returncode == 1 and "predictor 'x' has 1 missing of 4 values: obs 3" in gap.stderr
    effects = bayesrun(*given, "task=effects", "run=last", "effects.of=x", f"effects.data={tmp_path}/gap.csv")
    assert effects.returncode == 0, effects.stderr
