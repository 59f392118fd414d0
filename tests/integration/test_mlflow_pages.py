"""The page that a run names opens MLflow's table of runs with verdict, R-hat, ESS, elpd and the swept keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.integration.mlflow_server import mlflow_server

LAM = "model.priors.early_rate.lam"
SMALL = ["model=switchpoint", "sampler.draws=60", "sampler.tune=60", "sampler.chains=2", "model.figures=[]"]


def jobs(uri: str) -> list[str]:
    """Return the runs of a sweep's jobs."""
    from mlflow.tracking import MlflowClient

    return [run.info.run_id for run in MlflowClient(uri).search_runs(["1"], "tags.job LIKE '%'")]


@pytest.mark.slow
@pytest.mark.browser
def test_the_named_page_shows_the_columns_that_decide(bayesrun: Command, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    outputs = f"paths.outputs={tmp_path}"
    assert bayesrun("-m", *SMALL, f"{LAM}=0.5,2", outputs).returncode == 0
    done = bayesrun(*SMALL, outputs)  # a run alone leaves the sweep's columns
    named = re.search(r"compare: .*mlflow ui --backend-store-uri (\S+)\s+(http://127.0.0.1:5000)(\S+)", done.stdout)
    assert named, done.stdout
    with mlflow_server(tmp_path, named[1]) as url, playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 2200, "height": 1000})
        page.goto(url + named[3])
        page.wait_for_selector(".ag-row", timeout=60_000)
        heads = page.locator(".ag-header-cell-text, .ag-header-group-text, .ag-header-cell").all_inner_texts()
        shown = " ".join(heads)
        for column in ("verdict", "r_hat_max", "ess_bulk_min", "elpd_loo", LAM):
            assert column in shown, shown
        assert "progress" not in shown
        compared = browser.new_page(viewport={"width": 1800, "height": 1300})
        compared.goto(f'{url}/#/compare-runs?runs={json.dumps(jobs(named[1]))}&experiments=["1"]'.replace(" ", ""))
        compared.get_by_text("Parallel Coordinates Plot").wait_for(timeout=60_000)
        compared.wait_for_timeout(2000)
        chosen = compared.locator("body").inner_text().partition("Metrics:")[2].split()[0]
        assert chosen == "seconds_total"  # not `progress`, which says nothing of a posterior
        browser.close()
