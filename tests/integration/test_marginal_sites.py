"""A discrete variable for each site, through the real command: posterior, LOO and predictions of an occupancy model.

The exact numbers are sums over a grid of both probabilities.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command, only_run

SITES, VISITS = 30, 4
COUNTS = np.random.default_rng(7).binomial(VISITS, 0.35, SITES) * (np.arange(SITES) < 18)
"""Visits at which each site's species was seen: never at the last sites, where it is not."""
SEEN = np.arange(VISITS) < COUNTS[:, None]
MODEL = """
name: occupancy
type: declarative
priors:
  psi: {dist: Uniform, lower: 0, upper: 1}
  p: {dist: Uniform, lower: 0, upper: 1}
  present: {dist: Marginal, of: {dist: Bernoulli, p: psi, dims: [site]}}
deterministics: {occupied: sum(present)}
likelihood:
  seen_there: {dist: Bernoulli, p: "present[at] * p", observed: seen}
"""
PSI, P = np.meshgrid((np.arange(400) + 0.5) / 400, (np.arange(400) + 0.5) / 400, indexing="ij")


def log_of_site(count: int, visits: int) -> Any:
    """Return the log likelihood of a site on the grid."""
    return np.log(PSI * P**count * (1 - P) ** (visits - count) + (1 - PSI) * (count == 0))


ALL = sum(log_of_site(count, VISITS) for count in COUNTS)


def average(values: Any) -> float:
    weights = np.exp(ALL - ALL.max())
    return float((weights * values).sum() / weights.sum())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Path:
    """Return a finished run, with predictions for a known site and a new one."""
    folder = tmp_path_factory.mktemp("sites")
    rows = [(f"s{site:02d}", visit, int(SEEN[site, visit])) for site in range(SITES) for visit in range(VISITS)]
    pd.DataFrame(rows, columns=["site", "visit", "seen"]).to_csv(folder / "visits.csv", index=False)
    pd.DataFrame({"site": ["s00", "new"], "visit": 9}).to_csv(folder / "later.csv", index=False)
    (folder / "model").mkdir()
    (folder / "model" / "occupancy.yaml").write_text(MODEL)
    data = "{{name: {}, source: csv, path: {}, factors: {{at: site}}}}"
    done = bayesrun(
        f"--config-dir={folder}",
        "model=occupancy",
        "data=" + data.format("visits", folder / "visits.csv"),
        "+predict.data=" + data.format("later", folder / "later.csv"),
        "predict.new_levels=population",
        f"paths.outputs={folder}",
        *("sampler.draws=1000", "sampler.tune=500", "sampler.chains=2", "tracking=none", "model.figures=[]"),
    )
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def test_the_posterior_is_exact_up_to_monte_carlo_error(run: Path) -> None:
    summary = pd.read_csv(run / "summary.csv", index_col="name")
    at_unseen = PSI * (1 - P) ** VISITS / (PSI * (1 - P) ** VISITS + 1 - PSI)
    unseen = int((COUNTS == 0).sum())
    wanted = {"psi": average(PSI), "p": average(P), "occupied": SITES - unseen + unseen * average(at_unseen)}
    for name, mean in wanted.items():
        assert abs(summary.loc[name, "mean"] - mean) < 4.5 * summary.loc[name, "mcse_mean"], name
    assert json.loads((run / "status.json").read_text())["verdict"] == "ok"


def test_loo_leaves_out_a_visit_with_the_site_summed_out(run: Path) -> None:
    """Where a site was seen once, leaving that visit out lets the site be empty: its drawn value never is."""
    elpd = 0.0
    for count in COUNTS:
        for seen, many in ((1, count), (0, VISITS - count)):
            rest = log_of_site(count - seen, VISITS - 1) if many else 0.0
            if many:
                without = ALL - log_of_site(count, VISITS) + rest
                top = max(ALL.max(), without.max())
                elpd += many * np.log(np.exp(ALL - top).sum() / np.exp(without - top).sum())
    found = json.loads((run / "metrics.json").read_text())
    assert abs(found["elpd_loo"] - elpd) < 0.15
    with xr.open_dataset(run / "posterior.nc", group="log_likelihood") as terms:
        assert terms["seen_there"].shape == (2, 1000, SITES * VISITS)


def test_predictions_know_a_site_and_draw_a_new_one(run: Path) -> None:
    table = pd.read_csv(run / "predictions.csv")
    means = table[table["kind"] == "observation"]["mean"].to_numpy()
    for found, wanted in zip(means, (average(P), average(PSI * P)), strict=True):
        assert abs(found - wanted) < 4.5 * np.sqrt(0.25 / 2000)
