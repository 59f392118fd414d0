"""Models that only the language of docs/language.md can say, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tests.conftest import Command, only_run

SHORT = [
    "sampler.draws=300",
    "sampler.tune=500",
    "sampler.chains=2",
    "tracking=none",
    "model.figures=[]",
    "report=false",
]


def test_a_gaussian_process_predicts_new_inputs(bayesrun: Command, tmp_path: Path) -> None:
    rows = "+predict.data={name: new, source: inline, values: {x: [1.0, 5.5, 14.0]}}"
    done = bayesrun("model=gaussian_process", rows, f"paths.outputs={tmp_path}", *SHORT)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert set(pd.read_csv(run / "summary.csv")["name"]) == {"height", "scale", "sigma"}
    assert json.loads((run / "status.json").read_text())["verdict"] != "fail"
    table = pd.read_csv(run / "predictions.csv")
    found = table[table["kind"] == "mu"].reset_index(drop=True)
    x = np.array([1.0, 5.5])
    truth = 2.0 * np.exp(-x / 6.0) * np.sin(1.4 * x)
    assert np.all(np.abs(found["mean"][:2] - truth) < 3.5 * found["sd"][:2])
    # far from all rows it returns to its prior
    assert abs(found["mean"][2]) < 0.3 and found["sd"][2] > 3 * found["sd"][0]
