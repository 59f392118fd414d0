"""A prior-data conflict offers a sweep over the prior, and that sweep runs as it is offered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from tests.conftest import Command, only_run

MODEL = """
name: conflict
type: declarative
priors:
  mu: {dist: Normal, mu: 8, sigma: 1}
likelihood:
  y: {dist: Normal, mu: mu, sigma: 1, observed: y}
"""
DATA = "name: zeros\nsource: inline\nvalues: {y: [0.3, -0.4, 0.1, 0.9, -0.8, 0.2, -0.5, 0.4, -0.1, 0.0]}\n"


def test_the_sweep_that_is_offered_runs(bayesrun: Command, tmp_path: Path) -> None:
    for group, name, text in (("model", "conflict", MODEL), ("data", "zeros", DATA)):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
    short = ["sampler.draws=250", "sampler.tune=200", "model.figures=[]", "tracking=none", "report=false"]
    given = ["--config-dir", str(tmp_path), "model=conflict", "data=zeros", *short, "predictive.prior=0"]
    done = bayesrun(*given, f"paths.outputs={tmp_path / 'one'}")
    assert done.returncode == 0, done.stderr
    findings = json.loads((only_run(tmp_path / "one") / "findings.json").read_text())
    (found,) = (one for one in findings if one["check"] == "prior_sensitivity")
    assert found["severity"] == "ok", "the draws are right: only `prior_sensitivity=true` warns"
    assert "mu: prior-data conflict" in found["message"]
    offered = re.search(r"`(-m [^`]+)`", found["remedy"])
    assert offered and offered[1] in re.sub(r"\s+", " ", done.stdout)
    swept = bayesrun(*given, *offered[1].split(), f"paths.outputs={tmp_path / 'two'}")
    assert swept.returncode == 0, swept.stderr
    (folder,) = (tmp_path / "two" / "sweeps").glob("*/*")
    means = [pd.read_csv(folder / str(job) / "summary.csv", index_col="name").loc["mu", "mean"] for job in range(4)]
    exact = [8 * w / (w + 10) for w in (4.0, 1.0, 0.25, 0.0625)]
    assert all(abs(mean - expected) < 0.1 for mean, expected in zip(means, exact, strict=True))
