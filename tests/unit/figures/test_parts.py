"""What the figures compute, against ArviZ, exact values or known distributions."""

from __future__ import annotations

import logging
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesrun.diagnostics.base import shorten, shorten_all
from bayesrun.diagnostics.numerics.convergence import bfmi
from bayesrun.diagnostics.numerics.densities import frequencies, hdi, is_discrete
from bayesrun.diagnostics.summary import label_texts
from bayesrun.figures import mixing
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, Subject
from bayesrun.figures.drawing import draw_all
from bayesrun.figures.mixing import divergent, ranks
from bayesrun.figures.observations import axis_label, predicted
from bayesrun.figures.posteriors import draw_prior_posterior
from bayesrun.figures.predictive_checks import draw_ppc, smooth
from bayesrun.figures.selection import pick, pick_of_each
from bayesrun.figures.style import number


def test_hdi_is_that_of_arviz() -> None:
    draws = np.random.default_rng(1).gamma(2, size=(1000, 3))
    ours = hdi(draws, 0.89)
    for column in range(3):
        assert np.allclose(ours[:, column], az.hdi(draws[:, column], hdi_prob=0.89))


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_hdi_holds_its_share(values: list[int], share: float) -> None:
    low, high = hdi(np.array(values), share)
    assert sum(low <= v <= high for v in values) >= np.floor(share * len(values))


def test_bfmi_is_that_of_arviz() -> None:
    energy = np.random.default_rng(2).normal(size=(4, 500)).cumsum(axis=1)
    assert np.allclose(bfmi(energy), az.bfmi(energy), rtol=0.01)
    assert np.isnan(bfmi(np.zeros((2, 10)))).all()


def test_counts_name_every_integer_between() -> None:
    at, share = frequencies(np.array([3.0, 3.0, 6.0, -1.0]))
    assert at.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]
    assert share.tolist() == [0.25, 0, 0, 0, 0.5, 0, 0, 0.25]


def test_ranks_are_a_permutation_that_keeps_order() -> None:
    values = np.random.default_rng(3).integers(0, 4, (4, 250))
    found = ranks(values)
    assert sorted(found.ravel()) == list(range(1000))
    assert found[values == 1].min() > found[values == 0].max()


def test_ranks_of_chains_that_agree_are_uniform_in_spite_of_ties() -> None:
    own = ranks(np.random.default_rng(4).poisson(0.7, (4, 2500)))[0]
    seen = np.histogram(own, np.linspace(0, 10_000, 21))[0]
    chi2 = ((seen - 125) ** 2 / 125).sum()
    assert chi2 < 43.8  # 0.999 quantile with 19 degrees of freedom


def test_smooth_is_a_density_near_the_true_one() -> None:
    grid = np.linspace(-6, 6, 400)
    found = smooth(np.random.default_rng(5).normal(size=20_000), grid)
    assert found.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    truth = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    # Silverman's width 0.9 n^(-1/5) = 0.124 adds at most 0.124^2 / 2 * 0.4 = 0.003 of bias; its sd is below 0.008
    assert np.abs(found - truth).max() < 0.003 + 4 * 0.008


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [(1889.784, 9.0, "1889.78"), (0.9317, 0.45, "0.932"), (4.41, 12.3, "4.4"), (3.0, 0.0, "3"), (2e7, 1.0, "2.00e+07")],
)
def test_number(value: float, width: float, text: str) -> None:
    assert number(value, width) == text


def test_a_long_title_has_further_lines_and_all_of_its_words() -> None:
    name = "a_model_with_a_name_" * 8
    figure = look.canvas(f"{name} · prior and posterior", 3.0)
    lines = figure.get_suptitle().split("\n")
    assert "".join(lines).replace(" ", "") == f"{name}·priorandposterior"
    assert max(map(len, lines)) <= look.TITLE_WIDTH
    assert figure.get_size_inches()[1] > 3.0


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ({"likelihood": {"y": {"dist": "Normal", "observed": "log_radon"}}}, "log_radon"),
        ({"type": "linear_regression", "options": {"response": "Y"}}, "Y"),
        ({"type": "glm", "formula": "log(earn) ~ height"}, "log(earn)"),
        ({}, "y"),
    ],
)
def test_axes_bear_the_data_s_name_not_the_likelihood_s(model: dict[str, object], label: str) -> None:
    idata = az.from_dict(posterior={"a": np.zeros((2, 5))}, observed_data={"y": [1.0, 2.0]})
    assert axis_label(Subject(idata, pd.DataFrame(), model), "y") == label
    idata.observed_data["y"].attrs["units"] = "kg"
    assert axis_label(Subject(idata, pd.DataFrame(), model), "y") == f"{label} (kg)"


@pytest.mark.parametrize("near", [0, 1, 3])
def test_a_few_prior_draws_near_the_posterior_are_no_spike(near: int) -> None:
    rng = np.random.default_rng(9)
    prior = np.concatenate([np.linspace(0.2, 0.3, near), rng.normal(1e6, 10, 500 - near)])[None]
    idata = az.from_dict(posterior={"a": rng.normal(size=(4, 500))}, prior={"a": prior})
    figure = draw_prior_posterior(Subject(idata, az.summary(idata), {"name": "vague"}))
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert max(lines["prior"].get_ydata()) == pytest.approx(near / 500 / 37.6, rel=0.1, abs=1e-12)
    assert max(lines["posterior"].get_ydata()) == pytest.approx(0.4, rel=0.15)


def test_the_legend_of_predictions_can_be_seen() -> None:
    rng = np.random.default_rng(10)
    idata = az.from_dict(
        posterior={"a": np.zeros((2, 50))},
        posterior_predictive={"y": rng.normal(size=(2, 50, 20))},
        observed_data={"y": rng.normal(size=20)},
    )
    figure = draw_ppc(Subject(idata, pd.DataFrame(), {"name": "m"}))
    handle = next(h for h in figure.legends[0].legend_handles if str(h.get_label()).startswith("predicted"))
    assert handle.get_alpha() == 1
    assert handle.get_linewidth() >= 1.5


def test_shortened_labels_of_one_kind_can_be_told_apart() -> None:
    schools = [f"Gymnasium of St. {saint}-on-the-Water" for saint in ("Anne", "Bart", "Anton")]
    assert shorten_all([*schools, "Eton"], 14) == ["…St. Anne-on-…", "…St. Bart-on-…", "…St. Anton-on…", "Eton"]
    assert shorten_all(["alpha", "beta"], 14) == ["alpha", "beta"]
    names = [f"r_school[{school}, Intercept]" for school in schools]
    posterior = {"r_school": np.random.default_rng(0).normal(size=(2, 20, 3))}
    idata = az.from_dict(posterior=posterior, coords={"g": [n[9:-1] for n in names]}, dims={"r_school": ["g"]})
    labels = [scalar.label for scalar in pick(Subject(idata, pd.DataFrame(), {}), 9).shown]
    assert len(set(labels)) == 3 and all(text.startswith("r_school[") and len(text) <= 30 for text in labels)


def test_shorten_keeps_both_ends() -> None:
    assert shorten("volatility_process[2008-05-02]", 20) == "volatilit…008-05-02]"
    assert shorten("mu") == "mu"


def test_whole_numbers_stored_as_floats_are_discrete() -> None:
    assert is_discrete(np.array([1.0, 2.0]))
    assert not is_discrete(np.array([1.0, 2.5]))
    assert not is_discrete(np.array([]))


def test_dates_lose_their_midnight() -> None:
    assert label_texts(np.array(["2008-05-02"], "datetime64[ns]")) == ["2008-05-02"]
    assert label_texts(np.array(["2008-05-02T12"], "datetime64[h]")) == ["2008-05-02T12"]


def _wide(rows: bool = True) -> Subject:
    """A scalar and a vector of 50, whose elements 7 and 30 mixed worst."""
    rng = np.random.default_rng(6)
    idata = az.from_dict(posterior={"v": rng.normal(size=(2, 20, 50)), "mu": rng.normal(size=(2, 20))})
    names = [*(f"v[{i}]" for i in range(50)), "mu"]
    r_hat = np.full(51, 1.0)
    r_hat[[7, 30]] = 1.3, 1.2
    return Subject(idata, pd.DataFrame({"r_hat": r_hat}, index=names).iloc[: 51 if rows else 0], {"name": "wide"})


def test_the_worst_of_many_scalars_are_shown_and_counted() -> None:
    picked = pick(_wide(), 3)
    assert [s.name for s in picked.shown] == ["v[7]", "v[30]", "mu"]
    assert picked.note == " (3 of 51: largest R-hat)"
    assert np.array_equal(picked.shown[0].values, _wide().idata.posterior["v"].values[:, :, 7])


def test_without_r_hat_the_first_are_shown() -> None:
    picked = pick(_wide(rows=False), 3)
    assert [s.name for s in picked.shown] == ["v[0]", "v[1]", "mu"]
    assert picked.note == " (3 of 51: the first)"


def test_few_scalars_are_all_shown() -> None:
    assert pick(_wide(), 51).note == ""
    groups, total = pick_of_each(_wide(), 1, 2)
    assert (len(groups), total, [s.name for s in groups[0].shown]) == (1, 2, ["v[7]", "v[30]"])


def test_divergences_of_any_chain() -> None:
    diverging = np.zeros((2, 10), bool)
    diverging[0, 3] = diverging[1, [3, 8]] = True
    idata = az.from_dict(posterior={"a": np.zeros((2, 10))}, sample_stats={"diverging": diverging})
    found = divergent(Subject(idata, pd.DataFrame(), {}))
    assert found is not None and found.tolist() == [3, 8]
    assert divergent(Subject(az.from_dict(posterior={"a": np.zeros((2, 10))}), pd.DataFrame(), {})) is None


def test_gaps_are_left_out_of_what_is_compared_with_predictions() -> None:
    draws = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    idata = az.from_dict(
        posterior={"a": np.zeros((2, 5))}, posterior_predictive={"y": draws}, observed_data={"y": [1.0, np.nan, 4.0]}
    )
    (one,) = predicted(Subject(idata, pd.DataFrame(), {}), 4)
    assert one.values.tolist() == [1.0, 4.0]
    assert one.discrete
    assert one.draws.tolist() == [[0, 2], [9, 11], [18, 20], [27, 29]]


def test_a_figure_that_fails_is_a_reason_with_a_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(subject: Subject) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(mixing.FIGURES, "rank", Figure(draw=broken))  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, "bayesrun.figures"):
        done, reasons = draw_all(["rank", "trace", "energy", "trace"], _wide(), tmp_path)
    assert [path.name for path in done] == ["trace.png"]
    assert reasons["rank"] == "ZeroDivisionError: by nought"
    assert "sample_stats" in reasons["energy"]
    told, detail = (r for r in caplog.records if "by nought" in r.message)
    assert (told.levelname, told.message) == ("WARNING", "figure 'rank' failed: ZeroDivisionError: by nought")
    assert detail.levelname == "DEBUG" and "Traceback" in detail.message
    assert [path.name for path in tmp_path.iterdir()] == ["trace.png"]
