"""The page of a run whatever its folder holds: failed, large, with many figures, or nearly empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from bayesrun.report.numbers import plain, seconds, to_error
from bayesrun.report.run_page import marked, write_report
from bayesrun.report.small_densities import small_densities
from bayesrun.run_folder import RunFolder


def made(folder: Path, config: dict[str, Any] | None = None, **files: Any) -> str:
    """Write files of a run folder, and return its page."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"model": {"name": "mine"}}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return write_report(RunFolder(folder)).read_text()


def summary(rows: int) -> pd.DataFrame:
    """Return a table as `summary.csv` has it."""
    names = pd.Index([f"theta[{i}]" for i in range(rows)], name="name")
    columns = ("mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat")
    return pd.DataFrame({column: np.linspace(0.5, 2.0, rows) for column in columns}, index=names)


def test_a_run_that_failed_says_so_and_why(tmp_path: Path) -> None:
    page = made(tmp_path, status={"status": "failed", "verdict": None, "error": "SamplingError: <b>bad</b>"})
    assert "The run failed: there is no posterior." in page and "SamplingError: &lt;b&gt;bad&lt;/b&gt;" in page
    assert "<h2>Posterior</h2>" not in page and "<h2>Run it again</h2>" in page


@pytest.mark.parametrize("status", ["partial", "running", "unknown"])
def test_a_run_without_a_verdict_is_not_praised(tmp_path: Path, status: str) -> None:
    page = made(tmp_path, status={"status": status, "verdict": None, "error": None})
    assert "passed" not in page and 'aria-label="Verdict"' in page


def test_an_early_end_is_said_beside_the_verdict(tmp_path: Path) -> None:
    finding = {
        "check": "ess",
        "severity": "fail",
        "message": "The bulk ESS of x is 3.",
        "remedy": "Draw `sampler.draws=9`.",
    }
    page = made(tmp_path, status={"status": "partial", "verdict": "fail", "error": None}, findings=[finding])
    assert "Do not trust this posterior: 1 failed check." in page and "Sampling ended early" in page
    assert "Draw <code>sampler.draws=9</code>." in page


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    assert "This folder holds no finished run." in write_report(RunFolder(tmp_path)).read_text()


def test_a_thousand_rows_are_cut_with_a_note(tmp_path: Path) -> None:
    summary(1000).to_csv(tmp_path / "summary.csv")
    page = made(tmp_path, status={"status": "finished", "verdict": "ok", "error": None})
    assert "The first 100 of 1,000 rows; all are in summary.csv." in page
    assert page.count('<th scope="row"') == 100


def test_two_hundred_figures_do_not_make_the_page_large(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    noise = np.random.default_rng(0)
    for number in range(200):
        (figures / f"f{number:03}.png").write_bytes(noise.bytes(60_000))
    page = made(tmp_path, status={"status": "finished", "verdict": "ok", "error": None})
    shown = page.count("data:image/png")
    assert 20 < shown < 40 and len(page) < 3_000_000
    assert "Only in the folder figures/" in page and f"and {200 - shown - 20} more" in page


def test_figures_that_were_asked_for_and_not_drawn_are_named(tmp_path: Path) -> None:
    summary(2).to_csv(tmp_path / "summary.csv")
    config = {"model": {"name": "mine", "figures": ["trace", "energy"]}}
    page = made(tmp_path, config, status={"status": "finished", "verdict": "ok", "error": None})
    assert "Not drawn: trace, energy; run.log has the reasons." in page


# ---------------------------------------------------------------- small densities


def group(**values: Any) -> xr.Dataset:
    return xr.Dataset(
        {name: (("chain", "draw", *[f"d{k}" for k in range(v.ndim - 2)]), v) for name, v in values.items()}
    )


def test_a_density_integrates_to_its_share_and_says_how_much_was_learned() -> None:
    lot = np.random.default_rng(1)
    posterior = group(x=lot.normal(0, 0.1, (2, 2000)), k=lot.poisson(3, (2, 2000)), v=lot.normal(size=(2, 2000, 3)))
    prior = group(x=lot.normal(0, 1, (1, 4000)), k=lot.poisson(3, (1, 4000)), v=lot.normal(size=(1, 4000, 3)))
    x, k, *vector = small_densities(posterior, prior)
    assert x.note.startswith("prior ") and 8 < float(x.note.split()[1].rstrip("×")) < 12
    assert k.note == "as wide as the prior"
    assert [one.name for one in vector] == ["v[0]", "v[1]", "v[2]"]
    assert 'class="prior"' in x.svg and "posterior mean" in x.svg


def test_a_prior_without_a_draw_near_the_posterior_has_a_line_at_the_floor() -> None:
    lot = np.random.default_rng(2)
    (one,) = small_densities(group(x=lot.normal(500, 1, (2, 500))), group(x=lot.normal(0, 1, (1, 500))))
    assert 'class="prior"' in one.svg and 'class="posterior"' in one.svg


def test_constant_and_infinite_draws_have_no_picture() -> None:
    draws = np.ones((1, 50))
    broken = np.full((1, 50), np.inf)
    assert small_densities(group(a=draws, b=broken), None) == []


# ---------------------------------------------------------------- numbers and words


def test_numbers_have_the_digits_that_they_deserve() -> None:
    assert [to_error(1.23456, 0.5), to_error(-1889.784, 2.44), to_error(251.4, 7.32), to_error(12345.6, 150)] == [
        "1.235",
        "−1889.78",
        "251.40",
        "12,346",
    ]
    assert [plain(0.000012345), plain(float("nan")), plain(3.0), plain(12.3456)] == ["1.234e−5", "–", "3", "12.35"]
    assert [seconds(0.412), seconds(83), seconds(7500)] == ["0.41 s", "1 min 23 s", "2 h 5 min"]


def test_code_in_messages_is_marked_and_the_rest_is_escaped() -> None:
    assert marked("set `a<b>=1` if x < 2") == "set <code>a&lt;b&gt;=1</code> if x &lt; 2"
