"""Series whose posterior is known from reference draws of posteriordb, by the real command at default settings."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command, only_run

REFERENCE = {
    "arma": {
        "mu": (0.006915, 0.011439),
        "phi": (0.957013, 0.022865),
        "theta": (-0.033696, 0.059925),
        "sigma": (0.166482, 0.008477),
    },
    "garch_mean": {
        "mu": (5.050018, 0.124031),
        "alpha0": (1.47076, 0.571817),
        "alpha1": (0.567284, 0.12711),
        "beta1": (0.293025, 0.124776),
    },
    "hmm": {
        "theta[0, 0]": (0.666645, 0.101231),
        "theta[1, 0]": (0.073133, 0.028442),
        "mu[0]": (3.021517, 0.224453),
        "mu[1]": (8.827282, 0.110578),
    },
}
"""Means and sds of the posteriors `arma-arma11`, `garch-garch11` and `hmm_example-hmm_example`."""
CHANGED = {
    "arma": [],
    "hmm": [],
    # flat priors; that of alpha1 and beta1 is flat on a triangle
    "garch_mean": [
        "model.priors.mu={dist: Flat}",
        "model.priors.alpha0={dist: HalfFlat}",
        "model.priors.alpha1={dist: Beta, alpha: 1, beta: 2}",
        "predictive.prior=0",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("model", REFERENCE)
def test_a_series_meets_its_reference(model: str, bayesrun: Command, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    done = bayesrun(f"model={model}", *CHANGED[model], "model.figures=[]", "tracking=none", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    folder = only_run(outputs)
    assert json.loads((folder / "status.json").read_text())["verdict"] == "ok"
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    assert set(REFERENCE[model]) <= set(summary.index)
    for name, (mean, sd) in REFERENCE[model].items():
        row = summary.loc[name]
        assert abs(row["mean"] - mean) < 4 * (row["mcse_mean"] ** 2 + (sd / 100) ** 2) ** 0.5, name
        assert abs(row["sd"] / sd - 1) < 0.1, name
