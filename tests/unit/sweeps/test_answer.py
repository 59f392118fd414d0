"""The answer of a sweep, from run folders with known posteriors."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesrun.sweeps.answer import answer
from bayesrun.sweeps.base import Record
from bayesrun.sweeps.elpd import stacking_weights, weight_intervals
from bayesrun.sweeps.table import overlap

N = 4000


def quantiles(distribution, n=N):
    """Draws without noise: evenly spaced quantiles, shuffled."""
    values = distribution.ppf((np.arange(n) + 0.5) / n)
    return np.random.default_rng(0).permutation(values)


def make_job(
    folder, number, mean, setting, *, seed=None, digest="same", sd=1.0, terms=True, points=20, ends=("3%", "97%")
):
    import arviz as az

    path = folder / str(number)
    path.mkdir(parents=True)
    draws = quantiles(stats.norm(mean, sd)).reshape(4, -1)
    y = np.linspace(-1, 1, points)
    groups = {"log_likelihood": {"y": stats.norm.logpdf(y, draws[..., None], 1.0)}} if terms else {}
    idata = az.from_dict(posterior={"mu": draws, "k": np.round(draws)}, **groups)
    idata.to_netcdf(str(path / "posterior.nc"))
    interval = {f"hdi_{end}": [mean + side] * 2 for end, side in zip(ends, (-2, 2), strict=True)}
    error = {"mcse_mean": [sd / N**0.5] * 2, "mcse_sd": [sd / (2 * N) ** 0.5] * 2}
    table = pd.DataFrame(
        {"mean": [mean, mean], "sd": [sd, sd], **interval, **error, "ess_bulk": [N, N]},
        index=pd.Index(["mu", "k"], name="name"),
    )
    table.to_csv(path / "summary.csv")
    (path / "provenance.json").write_text(json.dumps({"data_digest": digest}))
    return Record(
        number, setting, {"model.priors.a.lam": setting[-1]}, seed, "finished", "ok", run_id=f"run{number}",
        folder=str(path), metrics={},
    )  # fmt: skip


def row(table, parameter, setting):
    return table[(table["parameter"] == parameter) & (table["setting"] == setting)].iloc[0]


def test_shift_and_overlap_are_those_of_the_known_posteriors(tmp_path):
    records = [make_job(tmp_path, 0, 0.0, "a=1"), make_job(tmp_path, 1, 0.8, "a=2")]
    found = answer(tmp_path, records, 0)
    table = pd.read_csv(tmp_path / "sweep.csv")
    moved = row(table, "mu", "a=2")
    assert moved["shift"] == pytest.approx(0.8)
    # two normals of sd 1 that are d apart share 2 Phi(-d/2); a kernel density blurs it a little
    assert moved["overlap"] == pytest.approx(2 * stats.norm.cdf(-0.4), abs=0.02)
    assert row(table, "mu", "a=1")["overlap"] == 1
    assert moved["verdict"] == "ok"
    assert moved["run_id"] == "run1"
    assert str(moved["model.priors.a.lam"]) == "2"
    assert found.failed == 0


def test_the_baseline_is_the_job_that_was_asked_for(tmp_path):
    records = [make_job(tmp_path, 0, 0.0, "a=1"), make_job(tmp_path, 1, 3.0, "a=2", sd=2.0)]
    table = answer(tmp_path, records, 1).table
    assert row(table, "mu", "a=1")["shift"] == pytest.approx(-1.5)
    assert row(table, "mu", "a=2")["shift"] == 0


def test_seeds_are_one_setting_with_its_spread(tmp_path):
    records = [make_job(tmp_path, i, m, "a=1", seed=i) for i, m in enumerate([0.0, 0.2, 0.4])]
    table = answer(tmp_path, records, 0).table
    only = row(table, "mu", "a=1")
    assert len(table[table["parameter"] == "mu"]) == 1
    assert only["mean"] == pytest.approx(0.2)
    assert only["sd"] == pytest.approx(np.sqrt(1 + np.var([0.0, 0.2, 0.4])))
    assert only["spread"] == pytest.approx(0.2 / only["sd"])
    assert only["jobs"] == "0 1 2"


def test_a_failed_job_is_a_row_with_its_error(tmp_path):
    broken = Record(1, "a=2", {"model.priors.a.lam": "2"}, status="failed", error="SamplingError: <b>no</b> luck")
    found = answer(tmp_path, [make_job(tmp_path, 0, 0.0, "a=1"), broken], 0)
    (failed,) = found.table[found.table["parameter"].isna()].to_dict("records")
    assert failed["error"] == "SamplingError: <b>no</b> luck"
    assert failed["status"] == "failed"
    assert found.failed == 1
    html = (tmp_path / "sweep.html").read_text()
    assert "&lt;b&gt;no&lt;/b&gt; luck" in html
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "partial"


def test_a_sweep_whose_jobs_all_failed_still_has_an_answer(tmp_path):
    records = [Record(i, f"a={i}", {}, status="failed", error="no") for i in range(2)]
    found = answer(tmp_path, records, 0)
    assert found.failed == 2
    assert len(found.table) == 2
    assert found.elpd is None


def test_every_interval_of_the_answer_has_the_probability_of_the_runs(tmp_path):
    records = [make_job(tmp_path, i, float(i), f"a={i}", ends=("25%", "75%")) for i in range(2)]
    found = answer(tmp_path, records, 0)
    assert {"hdi_25%", "hdi_75%"} <= set(found.table.columns)
    assert {"weight_25%", "weight_75%"} <= set(found.elpd.columns)
    html = (tmp_path / "sweep.html").read_text()
    assert "stacking weight (50%)" in html
    assert "50% interval" in html and "94" not in found.text


def test_elpd_is_compared_where_the_data_are_the_same(tmp_path):
    records = [make_job(tmp_path, 0, 0.0, "a=1"), make_job(tmp_path, 1, 1.5, "a=2")]
    found = answer(tmp_path, records, 0)
    assert list(found.elpd.index) == ["a=1", "a=2"]
    assert found.elpd["elpd_diff"].iloc[0] == 0
    assert found.elpd["elpd_diff"].iloc[1] > 0
    assert found.elpd["weight"].sum() == pytest.approx(1)
    assert (tmp_path / "elpd.csv").is_file()


@pytest.mark.parametrize(
    ("other", "said"),
    [({"digest": "other"}, "can't be compared"), ({"terms": False}, "no pointwise"), ({"points": 21}, "other points")],
)
def test_a_comparison_is_refused_with_the_reason(tmp_path, other, said):
    records = [make_job(tmp_path, 0, 0.0, "a=1"), make_job(tmp_path, 1, 1.5, "a=2", **other)]
    found = answer(tmp_path, records, 0)
    assert found.elpd is None
    assert said in found.why_no_elpd
    assert "Not compared" in (tmp_path / "sweep.html").read_text()
    assert not (tmp_path / "elpd.csv").exists()


def test_draws_from_the_prior_are_not_compared(tmp_path):
    records = [make_job(tmp_path, i, float(i), f"a={i}") for i in range(2)]
    (records[1].path / "config.yaml").write_text("sampler: {method: prior}\n")
    found = answer(tmp_path, records, 0)
    assert found.elpd is None
    assert "'a=1' has draws from the prior" in found.why_no_elpd


def test_the_page_needs_no_other_file(tmp_path):
    records = [make_job(tmp_path, i, float(i), f"a={i}") for i in range(3)]
    answer(tmp_path, records, 0)
    html = (tmp_path / "sweep.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("data:image/png;base64,") == 2
    first = re.search(r"<p[^>]*>(.*?)</p>", html).group(1)
    assert first.startswith("mu moved most: up by 2 ")  # the page opens with the answer
    assert "| mu | a=1 |" in (tmp_path / "description.md").read_text()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_and_a_phone_does_not_scroll_sideways(tmp_path, scheme):
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    records = [make_job(tmp_path, i, float(i), f"model.priors.a_long_name.lam={i}") for i in range(3)]
    answer(tmp_path, [*records, Record(3, "a=4", {}, status="failed", error="SamplingError: no")], 0)
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        for width in (1200, 400):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(f"file://{tmp_path}/sweep.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert axe.run(page).response["violations"] == []
        browser.close()


def test_what_was_reused_is_counted(tmp_path):
    records = [make_job(tmp_path, 0, 0.0, "a=1"), make_job(tmp_path, 1, 0.0, "a=2")]
    records[1] = replace(records[1], note="reused run1")
    table = answer(tmp_path, records, 0).table
    assert row(table, "mu", "a=2")["note"] == "reused run1"
    assert json.loads((tmp_path / "metrics.json").read_text())["jobs_reused"] == 1


def test_overlap_of_counts_is_of_their_frequencies():
    a, b = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0, 2.0], [25, 50, 25])
    assert overlap(a, b) == pytest.approx(0.75)
    assert overlap(np.ones(5), np.ones(7)) == 1
    assert overlap(np.ones(5), np.zeros(7)) == 0


def test_stacking_weights_are_the_best_mixture():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(2, 200)) + np.array([[0.3], [0.0]])
    weights = stacking_weights(points)
    grid = np.linspace(0, 1, 2001)
    scores = [np.log(w * np.exp(points[0]) + (1 - w) * np.exp(points[1])).sum() for w in grid]
    assert weights[0] == pytest.approx(grid[np.argmax(scores)], abs=1e-3)
    assert weights.sum() == pytest.approx(1)


def test_intervals_of_weights_are_wide_where_settings_predict_alike_and_narrow_where_one_wins():
    rng = np.random.default_rng(5)
    alike = rng.normal(size=300) + rng.normal(0, 0.01, (2, 300))
    low, high = weight_intervals(alike, 0.94)
    assert (high - low > 0.8).all()
    one_wins = rng.normal(size=300) + np.array([[1.0], [0.0]])
    low, high = weight_intervals(one_wins, 0.94)
    assert low[0] == pytest.approx(1, abs=1e-4) and high[1] == pytest.approx(0, abs=1e-4)


def test_intervals_of_weights_cover_the_best_mixture_of_the_population():
    """Two settings that each predict half of the points: in the population the best weight is 1/2 by symmetry."""
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        right = rng.random(100) < 0.5
        points = np.log(np.where([right, ~right], 0.9, 0.2))
        low, high = weight_intervals(points, 0.94)
        covered += bool(low[0] <= 0.5 <= high[0])
    assert covered >= 25  # 94% of 30, less three standard errors
