"""How a run judges its posterior, through the real command: remedies that work, and what is absent."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import Command, only_run

FEW = ("tracking=none", "sampler.draws=300", "sampler.tune=300", "sampler.chains=2")
CENTRED = ("model=eight_schools", "model.priors.theta.parameterization=centered", "model.figures=[]")


def _findings(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "findings.json").read_text())


def test_a_remedy_that_is_applied_cures(bayesrun: Command, tmp_path: Path) -> None:
    first = bayesrun(*CENTRED, *FEW, "intervals=0.8", f"paths.outputs={tmp_path / 'first'}", FORCE_COLOR="1")
    assert first.returncode == 0, first.stderr
    assert "\x1b" not in first.stdout
    folder = only_run(tmp_path / "first")
    with (folder / "summary.csv").open() as file:
        assert next(csv.reader(file))[3:5] == ["hdi_10%", "hdi_90%"]
    assert "DeprecationWarning" not in (folder / "run.log").read_text()
    (ess, *_) = (f for f in _findings(folder) if f["check"] == "ess")
    overrides = re.findall(r"`([^`]+=[^`]+)`", ess["remedy"])
    form = next(o for o in overrides if "parameterization" in o)
    second = bayesrun(*CENTRED, form, *FEW, f"paths.outputs={tmp_path / 'second'}")
    assert second.returncode == 0, second.stderr
    before, after = (json.loads((f / "metrics.json").read_text()) for f in (folder, only_run(tmp_path / "second")))
    assert after["ess_bulk_min"] > 2 * before["ess_bulk_min"]


def test_potentials_alone_are_a_warning_and_a_model_without_figures_gets_its_own(
    bayesrun: Command, tmp_path: Path
) -> None:
    model = {
        "name": "weights",
        "type": "declarative",
        "priors": {"mu": {"dist": "Normal", "mu": 0, "sigma": 10}},
        "potentials": {"weighted": "sum(-0.5 * w * (y - mu) ** 2)"},
    }
    data = {"name": "weights", "source": "inline", "values": {"y": [1.0, 2.0, 4.0], "w": [1.0, 1.0, 2.0]}}
    for group, content in (("model", model), ("data", data)):
        (tmp_path / group).mkdir()
        (tmp_path / group / "weights.yaml").write_text(yaml.safe_dump(content))
    done = bayesrun(f"--config-dir={tmp_path}", "model=weights", "data=weights", *FEW, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert "no LOO, no WAIC and no posterior predictive" in done.stdout
    assert json.loads((folder / "status.json").read_text())["verdict"] == "warn"
    assert {"trace.png", "posterior.png", "prior_posterior.png"} <= {p.name for p in (folder / "figures").iterdir()}
    assert "is not drawn" not in done.stdout


def test_a_parameter_without_a_variance_is_named(bayesrun: Command, tmp_path: Path) -> None:
    model = {
        "name": "tails",
        "type": "declarative",
        "priors": {"mu": {"dist": "Normal", "mu": 0, "sigma": 10}, "far": {"dist": "StudentT", "nu": 2, "sigma": 1}},
        "likelihood": {"y_obs": {"dist": "Normal", "mu": "mu", "sigma": 1, "observed": "y"}},
    }
    data = {"name": "tails", "source": "inline", "values": {"y": [1.0, 2.0, 4.0]}}
    for group, content in (("model", model), ("data", data)):
        (tmp_path / group).mkdir()
        (tmp_path / group / "tails.yaml").write_text(yaml.safe_dump(content))
    config = (f"--config-dir={tmp_path}", "model=tails", "data=tails", "tracking=none", "model.figures=[]")
    done = bayesrun(*config, f"paths.outputs={tmp_path / 'outputs'}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "outputs")
    (finding,) = (f for f in _findings(folder) if f["check"] == "heavy_tails")
    assert (finding["severity"], finding["variable"]) == ("warn", "far")
    assert "median" in finding["remedy"] and "The sd of far is known to within" in done.stdout
    assert json.loads((folder / "status.json").read_text())["verdict"] == "warn"
    # R-hat and ESS see nothing of it
    assert all(f["severity"] == "ok" for f in _findings(folder) if f["check"] in ("r_hat", "ess"))
