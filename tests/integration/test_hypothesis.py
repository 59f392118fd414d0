"""`task=hypothesis` on a finished run of one's own model, through the real command."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command, only_run

_STATEMENTS = (
    "mu > 50",
    "effect[St. John's, a] > effect[O'Neil]",
    "effect - mean(effect)",
    "mu = 51",
    "mu > 50 and sigma < 3",
)


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Fit schools whose names hold what expressions are made of."""
    folder = tmp_path_factory.mktemp("schools")
    (folder / "model").mkdir()
    (folder / "data").mkdir()
    rows = "school,score\n" + "".join(
        f"{name},{score}\n"
        for name, of in {'"St. John\'s, a"': (55, 57, 56), "O'Neil": (51, 50, 53), "x > 0": (49, 48, 50)}.items()
        for score in of
    )
    (folder / "scores.csv").write_text(rows)
    data = {"name": "scores", "source": "csv", "path": str(folder / "scores.csv"), "factors": {"at": "school"}}
    (folder / "data" / "scores.yaml").write_text(json.dumps(data))
    model = """
        defaults: [{/data@_global_.data: scores}, _self_]
        name: schools
        type: declarative
        priors:
          mu: {dist: Normal, mu: 50, sigma: 5}
          effect: {dist: Normal, mu: mu, sigma: 4, dims: school}
          sigma: {dist: HalfNormal, sigma: 3}
        likelihood:
          scores: {dist: Normal, mu: "effect[at]", sigma: sigma, observed: score}
        figures: []
    """
    (folder / "model" / "schools.yaml").write_text(textwrap.dedent(model))
    given = ["--config-dir", folder, f"paths.outputs={folder / 'outputs'}", "tracking=none"]
    done = bayesrun(*given, "model=schools", "sampler.draws=500", "sampler.tune=500")
    assert done.returncode == 0, done.stderr
    return {"outputs": folder / "outputs", "run": only_run(folder / "outputs")}


def _asked(bayesrun: Command, fitted: Mapping[str, Path], *words: str) -> tuple[pd.DataFrame, Path]:
    given = ["task=hypothesis", f"run={fitted['run']}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    done = bayesrun(*given, *words)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().rpartition("folder: ")[2])
    return pd.read_csv(folder / "hypotheses.csv"), folder


def test_statements_are_judged_from_the_draws(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table, folder = _asked(bayesrun, fitted, *_STATEMENTS, "rope=[-1,1]")
    posterior = xr.open_dataset(fitted["run"] / "posterior.nc", group="posterior")
    rows = table.set_index("statement")
    mu, sigma, effect = posterior["mu"], posterior["sigma"], posterior["effect"]
    assert rows.loc["mu > 50", "probability"] == float((mu > 50).mean())
    first, second = effect.sel(school="St. John's, a"), effect.sel(school="O'Neil")
    assert rows.loc[_STATEMENTS[1], "probability"] == float((first > second).mean())
    assert rows.loc[_STATEMENTS[1], "mean"] == pytest.approx(float((first - second).mean()))
    assert rows.loc["mu > 50 and sigma < 3", "probability"] == float(((mu > 50) & (sigma < 3)).mean())
    centred = effect - effect.mean("school")
    by_school = table[table["statement"] == "effect - mean(effect)"].set_index("element")
    for school in effect["school"].values:
        own = centred.sel(school=school)
        assert by_school.loc[school, "mean"] == pytest.approx(float(own.mean()))
        assert by_school.loc[school, "in_rope"] == float((np.abs(own) <= 1).mean())
    assert np.isfinite(rows.loc["mu = 51", "bayes_factor"])
    assert rows.loc["mu = 51", "bayes_factor_mcse"] > 0
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["parent"]["folder"] == str(fitted["run"])
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


def test_what_is_wrong_with_statements_is_told_at_once(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    before = sorted(fitted["outputs"].glob("runs/*/*"))
    given = ["task=hypothesis", f"run={fitted['run']}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    done = bayesrun(*given, "muu > 0", "effect[Nobody] > 0", "mu >")
    assert done.returncode == 1
    for said in ("statements[0]: unknown name 'muu'", "statements[1]: unknown name 'Nobody'", "statements[2]"):
        assert said in done.stderr
    assert bayesrun(*given).stderr.count("hypothesis.statements: is required but missing") == 1
    assert "rope: must be [lower, upper]" in bayesrun(*given, "mu - 1", "rope=[1,0]").stderr
    assert "sampler.draws: belongs to the run" in bayesrun(*given, "mu - 1", "sampler.draws=5").stderr
    assert sorted(fitted["outputs"].glob("runs/*/*")) == before
