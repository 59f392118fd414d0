"""Models that only the language of docs/language.md can say, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

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


def test_differential_equations_predict_other_years(bayesrun: Command, tmp_path: Path) -> None:
    rows = "+predict.data={name: new, source: inline, values: {year: [1900, 1922]}, dim: year}"
    done = bayesrun("model=lotka_volterra", rows, f"paths.outputs={tmp_path}", *SHORT)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert json.loads((run / "status.json").read_text())["verdict"] != "fail"
    assert "near the best mode that was found" in done.stdout  # of the others, none holds exp(-30) of its mass
    summary = pd.read_csv(run / "summary.csv", index_col="name")
    # posteriordb's reference of hudson_lynx_hare, 10,000 draws: the mean and the sd
    for name, mean, sd in (("growth", 0.5469, 0.0631), ("feeding", 0.0241, 0.0035), ("start[1]", 5.936, 0.5305)):
        tolerance = 4 * np.hypot(summary.loc[name, "mcse_mean"], sd / 100)
        assert abs(summary.loc[name, "mean"] - mean) < tolerance, name
    table = pd.read_csv(run / "predictions.csv")
    lynx = table[(table["kind"] == "observation") & (table["variable"] == "lynx")].set_index("year")["mean"]
    assert lynx[1900] == np.clip(lynx[1900], 4.5, 8.0)
    assert lynx[1922] > 0


def test_a_start_where_the_data_are_impossible_is_left(bayesrun: Command, tmp_path: Path) -> None:
    """Dogs whose probability of a shock is `exp(b1 avoided + b2 shocked)`, 0 in the middle of flat priors."""
    rng, rows = np.random.default_rng(3), []
    for _ in range(30):
        row: list[int] = []
        for _ in range(25):
            row.append(int(rng.random() < np.exp(-0.24 * row.count(0) - 0.08 * row.count(1))))
        rows.append(row)
    body = """
name: dogs_log
type: declarative
priors: {beta: {dist: Uniform, lower: -100, upper: 0, shape: 2}}
recurrence:
  over: trial
  first: {avoided: 0, shocked: 0}
  step: {avoided: "avoided[t-1] + 1 - shock[t-1]", shocked: "shocked[t-1] + shock[t-1]"}
likelihood: {y: {dist: Bernoulli, p: "exp(beta[0] * avoided + beta[1] * shocked)", observed: shock}}
"""
    for folder, text in (
        ("model", body),
        (
            "data",
            json.dumps(
                {"name": "d", "source": "inline", "values": {"shock": rows}, "dims": {"shock": ["dog", "trial"]}}
            ),
        ),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own_dogs.yaml").write_text(text)
    own = ["--config-dir", str(tmp_path), "model=own_dogs", "data=own_dogs"]
    done = bayesrun(*own, f"paths.outputs={tmp_path}", *SHORT, "sampler.draws=500")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert "chains begin around random point" in (run / "run.log").read_text()
    summary = pd.read_csv(run / "summary.csv", index_col="name")
    # the posterior on a grid
    shock = np.array(rows)
    before = np.cumsum(shock, axis=1) - shock
    avoided = np.arange(25) - before
    b1, b2 = np.meshgrid(np.linspace(-0.45, -0.1, 120), np.linspace(-0.2, -0.01, 120), indexing="ij")
    log_p = b1[..., None, None] * avoided + b2[..., None, None] * before
    with np.errstate(all="ignore"):
        terms = np.where(shock == 1, log_p, np.log1p(-np.exp(log_p)))
    log_density = terms[..., 1:].sum(axis=(2, 3))  # the first trial is a shock for certain
    weight = np.exp(log_density - log_density.max())
    for number, grid in enumerate((b1, b2)):
        mean = np.average(grid, weights=weight)
        sd = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
        row = summary.loc[f"beta[{number}]"]
        assert abs(row["mean"] - mean) < 4 * np.hypot(row["mcse_mean"], sd / 100)
        assert abs(row["sd"] / sd - 1) < 0.15


def test_rows_that_are_not_observed_are_predicted_and_have_no_part_in_loo(bayesrun: Command, tmp_path: Path) -> None:
    body = "{name: m, type: declarative, priors: {mu: {dist: Normal, mu: 0, sigma: 2}}, likelihood: {z: "
    body += "{dist: Poisson, mu: exp(mu), observed: counts, observed_if: seen == 1}}}"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.yaml").write_text(body)
    values = "{counts: [3, 1, null, 4, 90, 2], seen: [1, 1, 0, 1, 0, 1]}"
    data = f"+data={{name: d, source: inline, values: {values}}}"
    done = bayesrun("--config-dir", tmp_path, "model=m", data, f"paths.outputs={tmp_path}", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "imputed" not in done.stdout
    run = only_run(tmp_path)
    said = [f["message"] for f in json.loads((run / "findings.json").read_text()) if f["check"] == "loo"]
    assert "from 4 observed points (2 missing points are left out)" in said[0]
    with xr.open_dataset(run / "posterior.nc", group="observed_data") as seen:
        assert np.isnan(seen["z"].values).tolist() == [False, False, True, False, True, False]
    with xr.open_dataset(run / "posterior.nc", group="posterior_predictive") as predicted:
        means = predicted["z"].mean(("chain", "draw")).values
    assert np.all(np.abs(means - 2.5) < 1.0)


def test_areas_of_the_shipped_map_are_like_their_neighbours(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("model=bym2", f"paths.outputs={tmp_path}", *SHORT)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert json.loads((run / "status.json").read_text())["verdict"] != "fail"
    summary = pd.read_csv(run / "summary.csv", index_col="name")
    rates = summary.loc[[name for name in summary.index if name.startswith("rate[")], "mean"]
    # Anson had 15 deaths where 3.2 were to be expected, 4.7 times as many: its rate is drawn to those of others
    assert "rate[Anson]" in rates.nlargest(3) and 1.5 < rates["rate[Anson]"] < 4.0
    with xr.open_dataset(run / "posterior.nc", group="posterior") as posterior:
        np.testing.assert_allclose(posterior["phi"].sum("county"), 0.0, atol=1e-3)
