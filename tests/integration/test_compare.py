"""`task=compare` on finished runs of one's own models, through the real command."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command

_FORMULAS = {"linear": "y ~ x", "quadratic": "y ~ x + x2", "logged": "y2 ~ x"}


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Fit a curve by a line, by a parabola, and its logarithm; each reads columns of its own."""
    folder = tmp_path_factory.mktemp("curves")
    (folder / "model").mkdir()
    (folder / "data").mkdir()
    rng = np.random.default_rng(4)
    x = np.linspace(-2, 2, 60)
    y = 5 + x + 0.8 * x**2 + rng.normal(0, 0.7, x.size)
    pd.DataFrame({"x": x, "x2": x**2, "y": y, "y2": np.log(y)}).to_csv(folder / "curve.csv", index=False)
    found = {"outputs": folder / "outputs"}
    for name, formula in _FORMULAS.items():
        columns = [part for part in formula.replace("~", " ").replace("+", " ").split()]
        data = f"name: {name}\nsource: csv\npath: {folder / 'curve.csv'}\ncolumns: {columns}\n"
        (folder / "data" / f"{name}.yaml").write_text(data)
        model = f"""
            defaults: [{{/data@_global_.data: {name}}}, _self_]
            name: {name}
            type: regression
            formula: {formula}
            figures: []
        """
        (folder / "model" / f"{name}.yaml").write_text(textwrap.dedent(model))
        given = [f"paths.outputs={folder / 'outputs'}", "tracking=none", "sampler.draws=500", "sampler.tune=500"]
        done = bayesrun("--config-dir", folder, f"model={name}", *given)
        assert done.returncode == 0, done.stderr
        found[name] = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    return found


def test_runs_with_other_predictors_are_compared(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    runs = f"runs=[{fitted['linear']},{fitted['quadratic']}]"
    done = bayesrun("task=compare", runs, f"paths.outputs={fitted['outputs']}", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "'quadratic' predicts best, ahead of 'linear' by" in done.stdout
    table = pd.read_csv(Path(done.stdout.strip().rpartition("folder: ")[2]) / "compare.csv", index_col="run")
    assert list(table.index) == ["quadratic", "linear"]
    loos = {name: az.loo(az.from_netcdf(fitted[name] / "posterior.nc"), pointwise=True) for name in table.index}
    for name, loo in loos.items():
        assert table.loc[name, "elpd_loo"] == pytest.approx(loo.loo, abs=0.1)  # another relative efficiency
    difference = (loos["quadratic"].loo_i - loos["linear"].loo_i).values
    assert table.loc["linear", "elpd_diff"] == pytest.approx(difference.sum(), abs=0.1)
    assert table.loc["linear", "dse"] == pytest.approx(np.sqrt(60) * difference.std(), rel=0.02)
    assert table["weight"].sum() == pytest.approx(1)


def test_what_can_not_be_compared_is_refused_with_the_reason(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    def refusal(runs: str, *more: str) -> str:
        done = bayesrun("task=compare", runs, f"paths.outputs={fitted['outputs']}", "tracking=none", *more)
        assert done.returncode == 1
        return done.stderr

    linear, logged = fitted["linear"], fitted["logged"]
    assert "'logged' and 'linear' have different data" in refusal(f"runs=[{linear},{logged}]")
    assert "needs two finished runs or more" in refusal(f"runs=[{linear}]")
    assert "is named twice" in refusal(f"runs=[{linear},{linear}]")
    assert "has 1 names, and there are 2 runs" in refusal(f"runs=[{linear},{logged}]", "compare.names=[a]")
    assert "sampler.draws: belongs to the run" in refusal(f"runs=[{linear},{logged}]", "sampler.draws=3")
