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
