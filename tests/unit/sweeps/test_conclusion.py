"""The sentences that open a sweep's answer, from tables with known shifts."""

import numpy as np
import pandas as pd
import pytest

from bayesrun.sweeps.base import Record, one_line
from bayesrun.sweeps.conclusion import moves, sentences
from bayesrun.sweeps.table import SweptSetting, pooled, small_variables_first, tabulate

ERROR = 0.02


def setting(name, verdict="ok", **means):
    """A setting whose posteriors have sd 1, and 94% intervals of the mean ± 2."""
    index = pd.Index(means, name="name")
    at = np.array(list(means.values()))
    summary = pd.DataFrame(
        {"mean": at, "sd": 1.0, "hdi_3%": at - 2, "hdi_97%": at + 2, "mcse_mean": ERROR, "mcse_sd": ERROR}, index=index
    )
    record = Record(0, name, {"k": name}, status="finished", verdict=verdict, folder="/nowhere")
    return SweptSetting(name, (record,), (summary,) if means else (), {})


def answered(*settings):
    table = tabulate(settings, settings[0] if settings[0].summaries else None)
    name = settings[0].name if settings[0].summaries else ""
    return sentences(settings, moves(table, name), name)


def test_what_moved_most_is_named_with_its_error():
    first, second, *rest = answered(setting("a", x=3.0, y=5.0), setting("b", x=2.5, y=5.2), setting("c", x=3.1, y=5.0))
    assert first == (
        "x moved most: down by 0.5 ± 0.03 posterior sd from the baseline 'a' (mean 3) at 'b' (mean 2.5); "
        "next is y (0.2 ± 0.03 posterior sd)."
    )
    assert second.startswith("The conclusion holds: every 94% interval stays on its side of zero")
    assert rest == []


def test_a_large_shift_that_keeps_its_side_is_told():
    _, second = answered(setting("a", x=9.0), setting("b", x=6.0))
    assert second.startswith("The direction holds")
    assert "x moved by 1 sd or more" in second


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (2.5, 1.5, "the 94% interval of x is above 0 in the baseline and includes 0 at 'b'"),
        (1.9, 2.1, "includes 0 in the baseline and is above 0"),
        (-3.0, 3.0, "is below 0 in the baseline and is above 0"),
    ],
)
def test_an_interval_that_changes_its_side_of_zero_changes_the_conclusion(before, after, words):
    _, second = answered(setting("a", x=before), setting("b", x=after))
    assert second.startswith("The conclusion does not hold: ")
    assert words in second


def test_monte_carlo_error_is_no_shift_and_changes_no_conclusion():
    # the interval passes zero by less than the error of its mean
    first, second = answered(setting("a", x=2.01), setting("b", x=1.99))
    assert first.startswith("Nothing moved beyond Monte Carlo error")
    assert second.startswith("The conclusion holds")


def test_the_largest_of_many_errors_is_no_shift():
    rng = np.random.default_rng(1)
    names = [f"s[{i}]" for i in range(3000)]
    a, b = (dict(zip(names, rng.normal(5, ERROR, 3000), strict=True)) for _ in range(2))
    assert answered(setting("a", **a), setting("b", **b))[0].startswith("Nothing moved beyond Monte Carlo error")
    b["s[7]"] += 0.5
    assert answered(setting("a", **a), setting("b", **b))[0].startswith("s[7] moved most: up by 0.")


def test_verdicts_and_settings_without_a_posterior_are_told():
    said = answered(setting("a", x=1.0), setting("b", verdict="fail", x=1.0), setting("c"))
    assert said[-2:] == ["Do not rely on this yet: the verdict is fail for 'b'.", "No posterior: 'c'."]
    assert answered(setting("a"), setting("b", x=1.0))[0] == "Nothing can be compared: the baseline has no posterior."
    assert answered(setting("a"), setting("b"))[0] == "No setting has a posterior."


def test_the_error_of_a_shift_is_that_of_simulated_sweeps():
    """Means and the baseline's sd of independent draws: the spread of the shift over repetitions is its error."""
    rng, n, delta = np.random.default_rng(3), 100, 2.0
    a, b = rng.normal(0, 1, (20000, n)), rng.normal(delta, 1, (20000, n))
    shifts = (b.mean(1) - a.mean(1)) / a.std(1, ddof=1)
    settings = [setting("a", x=0.0), setting("b", x=delta)]
    for one in settings:
        one.summaries[0][["mcse_mean", "mcse_sd"]] = [1 / n**0.5, 1 / (2 * n) ** 0.5]
    table = tabulate(settings, settings[0])
    assert table["shift_mcse"].tolist() == [0.0, pytest.approx(shifts.std(), rel=0.03)]


def test_seeds_are_pooled_as_their_draws_would_be():
    rng = np.random.default_rng(4)
    draws = rng.normal([[0.0], [0.5], [0.2]], 1.0, (3, 1000))
    one = setting("a", x=0.0).summaries[0]
    jobs = tuple(one.assign(mean=d.mean(), sd=d.std()) for d in draws)
    both = pooled(SweptSetting("a", (), jobs, {})).loc["x"]
    assert both["mean"] == pytest.approx(draws.mean())
    assert both["sd"] == pytest.approx(draws.std())
    assert both["spread"] == pytest.approx(draws.mean(1).std(ddof=1))
    assert both["mcse_mean"] == pytest.approx(ERROR / 3**0.5)


def test_parameters_come_before_the_values_of_long_variables():
    assert small_variables_first(["s[0]", "s[1]", "nu", "b[0]"]) == ["nu", "b[0]", "s[0]", "s[1]"]


def test_an_error_in_one_line_keeps_what_went_wrong():
    told = "2 problems in the config or the data:\n  - model.priors.s: unknown name 'x'\n    x\n    ^\n  - seed: no"
    assert one_line(told) == "model.priors.s: unknown name 'x'; seed: no"
    assert one_line("Traceback (most recent call last):\n  File x\nValueError: no") == "ValueError: no"
    assert one_line("SamplingError: sampling failed:\n  bad energy") == "SamplingError: sampling failed: bad energy"
