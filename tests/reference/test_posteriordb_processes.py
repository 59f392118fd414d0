"""Gaussian processes whose posterior is known from reference draws of posteriordb, at default settings."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command, only_run

DATA = """
name: gp_pois_regr
source: inline
values:
  x: [-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10]
  k: [40, 37, 29, 12, 4, 3, 9, 19, 77, 82, 33]
  y: [4.75906, 1.59423, 2.99548, 5.27501, 1.66472, 2.24347, 2.8914, 4.08681, 4.60588, 0.802364, 3.92136]
"""
PRIORS = """
type: declarative
priors:
  rho: {dist: Gamma, alpha: 25, beta: 4}
  alpha: {dist: HalfNormal, sigma: 2}
"""
KERNEL = "kernel: {exp_quad: {sd: alpha, lengthscale: rho}}"
MODELS = {
    "gp_pois_regr": f"""
name: gp_pois_regr{PRIORS}
  f: {{dist: GaussianProcess, x: x, {KERNEL}}}
likelihood:
  counts: {{dist: Poisson, mu: exp(f), observed: k}}
""",
    "gp_regr": f"""
name: gp_regr{PRIORS}
  sigma: {{dist: HalfNormal, sigma: 1}}
likelihood:
  y: {{dist: GaussianProcess, x: x, {KERNEL}, sigma: sqrt(sigma), observed: y}}
""",
}
REFERENCE = {
    "gp_pois_regr": {
        "rho": (5.666529, 0.679021),
        "alpha": (2.921344, 0.792822),
        "f[0]": (3.635741, 0.152096),
        "f[4]": (1.561533, 0.246876),
        "f[5]": (1.295262, 0.2662),
        "f[9]": (4.415099, 0.091621),
        "f[10]": (3.506817, 0.1631),
    },
    "gp_regr": {"rho": (6.874348, 1.265756), "alpha": (2.4424, 0.781833), "sigma": (1.828731, 0.505016)},
}
"""Means and sds of the posteriors `gp_pois_regr-gp_pois_regr` and `gp_pois_regr-gp_regr`."""


@pytest.mark.slow
@pytest.mark.parametrize("model", REFERENCE)
def test_a_process_meets_its_reference(model: str, bayesrun: Command, tmp_path: Path) -> None:
    for folder, text in (("model", MODELS[model]), ("data", DATA)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"own_{model}.yaml").write_text(text)
    own = ["--config-dir", str(tmp_path), f"model=own_{model}", f"data=own_{model}"]
    rows = "+predict.data={name: new, source: inline, values: {x: [0.5, 60]}}"
    done = bayesrun(*own, rows, "model.figures=[]", "report=false", "tracking=none", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder_of_run = only_run(tmp_path)
    assert json.loads((folder_of_run / "status.json").read_text())["verdict"] == "ok"
    summary = pd.read_csv(folder_of_run / "summary.csv", index_col=0)
    for name, (mean, sd) in REFERENCE[model].items():
        row = summary.loc[name]
        assert abs(row["mean"] - mean) < 4 * (row["mcse_mean"] ** 2 + (sd / 100) ** 2) ** 0.5, name
        assert abs(row["sd"] / sd - 1) < 0.1, name
    if model == "gp_pois_regr":  # far from all rows the process returns to its prior
        table = pd.read_csv(folder_of_run / "predictions.csv")
        drawn = table[table["kind"] == "mu"].set_index("obs")
        assert 2.5 < drawn.loc[0, "mean"] < 6.0
        assert drawn.loc[1, "sd"] > 5 * drawn.loc[0, "sd"]
