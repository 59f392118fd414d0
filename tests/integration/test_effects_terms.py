"""`task=effects` of models with offsets, weights, numbers of trials and smooths, against the posterior's own draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command

pytestmark = pytest.mark.slow
_STEP = 0.01
_FORMULAS = {
    "visits": "family: poisson\nformula: visits | weights(w) ~ x * t + offset(log(days))",
    "hits": "family: binomial\nformula: hits | trials(n) ~ x * t",
    "bend": "family: normal\nformula: z ~ s(x, k=6) + t",
}


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Fit the models to one table; returns their runs, and the `outputs` and the `table`."""
    folder = tmp_path_factory.mktemp("terms")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(8)
    size = 60
    table = pd.DataFrame({"x": rng.uniform(-1, 1, size), "t": rng.choice(["a", "b"], size)})
    table["w"], table["days"], table["n"] = (
        rng.choice([0.5, 2.0], size),
        rng.integers(1, 9, size),
        rng.integers(3, 9, size),
    )
    line = -0.5 + table["x"] + (table["t"] == "b")
    table["visits"] = rng.poisson(np.exp(line) * table["days"])
    table["hits"] = rng.binomial(table["n"], 1 / (1 + np.exp(-line)))
    table["z"] = np.sin(3 * table["x"]) + rng.normal(0, 0.3, size)
    table.to_csv(folder / "table.csv", index=False)
    (folder / "data" / "table.yaml").write_text(f"name: table\nsource: csv\npath: {folder / 'table.csv'}\n")
    found = {"outputs": folder / "outputs", "table": folder / "table.csv"}
    for name, body in _FORMULAS.items():
        head = f"defaults: [{{/data@_global_.data: table}}, _self_]\nname: {name}\ntype: regression\nfigures: []\n"
        (folder / "model" / f"{name}.yaml").write_text(head + body + "\n")
        short = ["sampler.draws=150", "sampler.tune=300", "sampler.chains=2", "tracking=none", "report=false"]
        done = bayesrun("--config-dir", folder, f"model={name}", *short, f"paths.outputs={folder / 'outputs'}")
        assert done.returncode == 0, done.stderr
        found[name] = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    return found


def _asked(
    bayesrun: Command, fitted: Mapping[str, Path], model: str, *more: str, task: str = "effects"
) -> pd.DataFrame:
    given = [f"task={task}", f"run={fitted[model]}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    done = bayesrun(*given, *more)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().rpartition("folder: ")[2])
    return pd.read_csv(folder / ("effects.csv" if task == "effects" else "predictions.csv"))


def _line(run: Path, table: pd.DataFrame) -> np.ndarray:
    """Return the linear predictor `x * t` (draw, row)."""
    posterior = xr.open_dataset(run / "posterior.nc", group="posterior")
    draws = {str(a.attrs.get("name", n)): a.values.reshape(-1, 1) for n, a in posterior.data_vars.items()}
    x, b = table["x"].to_numpy(), (table["t"] == "b").to_numpy(dtype=float)
    return np.asarray(draws["Intercept"] + draws["x"] * x + draws["t"] * b + draws["x:t"] * x * b)


def test_counts_have_their_exposure_and_rows_count_once(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table, run = pd.read_csv(fitted["table"]), fitted["visits"]
    days = table["days"].to_numpy()

    def mean(**changed: object) -> np.ndarray:
        return np.asarray((np.exp(_line(run, table.assign(**changed))) * days).mean(axis=1))

    row = _asked(bayesrun, fitted, "visits").iloc[0]
    assert row["mean"] == pytest.approx(mean().mean())
    assert row["sd"] == pytest.approx(mean().std(ddof=1))
    ratio = _asked(bayesrun, fitted, "visits", "effects.of=t", "effects.comparison=ratio").iloc[0]
    assert ratio["mean"] == pytest.approx((mean(t="b") / mean(t="a")).mean())
    assert ratio["above_1"] == pytest.approx((mean(t="b") > mean(t="a")).mean())
    slope = _asked(bayesrun, fitted, "visits", "effects.of=x", "effects.kind=slopes").iloc[0]
    by_hand = (mean(x=table["x"] + 1e-5) - mean(x=table["x"] - 1e-5)) / 2e-5
    assert slope["mean"] == pytest.approx(by_hand.mean(), rel=1e-5)
    at = _asked(bayesrun, fitted, "visits", "effects.at={t: [a, b], x: [0, 0.5]}")
    assert len(at) == 4
    for one in at.to_dict("records"):
        assert one["mean"] == pytest.approx(mean(t=one["t"], x=one["x"]).mean())


def test_successes_are_of_the_trials_of_each_row(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table, run = pd.read_csv(fitted["table"]), fitted["hits"]
    trials = table["n"].to_numpy()
    sides = [1 / (1 + np.exp(-_line(run, table.assign(t=t)))) for t in ("a", "b")]
    difference = ((sides[1] - sides[0]) * trials).mean(axis=1)
    row = _asked(bayesrun, fitted, "hits", "effects.of=t").iloc[0]
    assert row["mean"] == pytest.approx(difference.mean())
    odds = [side.mean(axis=1) / (1 - side.mean(axis=1)) for side in sides]
    words = ("effects.of=t", "effects.parameter=p", "effects.comparison=odds_ratio")
    assert _asked(bayesrun, fitted, "hits", *words).iloc[0]["mean"] == pytest.approx((odds[1] / odds[0]).mean())


def test_the_slope_of_a_smooth_is_that_of_its_predictions(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    """Means of predictions are those of the draws, and differences of means are means of differences."""
    table = pd.read_csv(fitted["table"])
    inner = table[table["x"].abs() < 0.9]  # new rows stay within the knots
    means = []
    for name, step in (("before", -_STEP), ("after", _STEP)):
        path = fitted["table"].parent / f"{name}.csv"
        inner.assign(x=inner["x"] + step).to_csv(path, index=False)
        given = f"predict.data={{name: {name}, source: csv, path: {path}}}"
        predicted = _asked(bayesrun, fitted, "bend", given, task="predict")
        means.append(predicted[predicted["kind"] == "mu"]["mean"].to_numpy())
    path = fitted["table"].parent / "inner.csv"
    inner.to_csv(path, index=False)
    data = f"effects.data={{name: inner, source: csv, path: {path}}}"
    slopes = _asked(bayesrun, fitted, "bend", data, "effects.of=x", "effects.kind=slopes", "effects.by=t")
    for one in slopes.to_dict("records"):
        rows = (inner["t"] == one["t"]).to_numpy()
        by_hand = ((means[1] - means[0]) / (2 * _STEP))[rows].mean()
        assert one["mean"] == pytest.approx(by_hand, rel=5e-3)
