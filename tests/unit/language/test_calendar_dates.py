"""Dates, texts and missing values in expressions over data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesrun.errors import UserError
from bayesrun.language.expressions import evaluate, read
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import Times, step_lengths
from bayesrun.language.values import Fault, constant

STAMPS = ["2024-11-05T06:00", "2024-11-01", "2023-12-31T23:59:59", "2024-02-29"]
DATES = pd.DatetimeIndex(STAMPS)
GROUPS = ["a", "b", None, "a"]


@pytest.fixture
def data():
    variables = {
        "ts": ("obs", DATES.values),
        "gap": ("obs", np.array([*DATES.values[:3], np.datetime64("NaT")])),
        "g": ("obs", np.array(GROUPS, dtype=object)),
        "x": ("obs", [1.0, np.nan, 3.0, 4.0]),
        "id": ("obs", [308, 309, 308, 310]),
        "flag": ("obs", [True, False, True, True]),
    }
    return xr.Dataset(variables, coords={"obs": range(4)})


def values(text, data):
    return evaluate(text, data, "data.derive.z").values


DAYS = np.asarray((DATES - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("days(ts)", DAYS),
        ("year(ts)", DATES.year),
        ("month(ts)", DATES.month),
        ("weekday(ts)", DATES.weekday),
        ("day_of_year(ts)", DATES.dayofyear),
        ("ts - min(ts)", DAYS - DAYS.min()),
        ("ts - ts[0]", DAYS - DAYS[0]),
        ("ts - lag(ts, 1)", [np.nan, *np.diff(DAYS)]),
        ("trend(ts)", (DAYS - DAYS.min()) / (DAYS.max() - DAYS.min())),
        ("trend(days(ts))", (DAYS - DAYS.min()) / (DAYS.max() - DAYS.min())),
        ("zscore(ts)", (DAYS - DAYS.mean()) / DAYS.std(ddof=1)),
        ("ts > '2024-02-29'", [1, 1, 0, 0]),
        ("'2024-02-29' < ts", [1, 1, 0, 0]),
        ("ts == '2024-02-29'", [0, 0, 0, 1]),
        ("ts >= ts[1]", [1, 1, 0, 0]),
        ("month(ts + 30)", (DATES + pd.Timedelta(days=30)).month),
        ("days(where(ts > '2024-01-01', ts, ts[0]))", np.where(DAYS > 19723, DAYS, DAYS[0])),
        ("days(gap)", [*DAYS[:3], np.nan]),
        ("month(gap)", [11, 11, 12, np.nan]),
        ("gap > '2024-01-01'", [1, 1, 0, np.nan]),
    ],
)
def test_dates_become_days_and_parts(text, expected, data):
    np.testing.assert_allclose(values(text, data).astype(float), np.asarray(expected, dtype=float), rtol=0, atol=1e-9)


def test_differences_of_neighbours_are_days(data):
    np.testing.assert_allclose(values("diff(ts)", data), np.diff(DAYS), atol=1e-9)


def test_a_date_as_the_result_is_a_date_again(data):
    assert (values("ts + 1", data) == (DATES + pd.Timedelta(days=1)).values).all()
    assert values("max(ts)", data) == np.datetime64("2024-11-05T06:00")
    assert np.isnat(values("lag(ts)", data)[0])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("ts * 2", "days(date)"),
        ("log(ts)", "log can't take dates"),
        ("ts + ts", "dates can't be used"),
        ("1 - ts", "dates can't be used"),
        ("ts > 3", "compared with a number"),
        ("ts > '5.11.2024'", "write it as year-month-day"),
        ("month(x)", "month needs dates"),
        ("where(x > 1, ts, x)", "mixes dates and numbers"),
        ("-ts", "dates can't be used"),
        ("sum(ts)", "sum can't take dates"),
    ],
)
def test_what_dates_can_not_do_is_refused_with_what_they_can(text, part, data):
    with pytest.raises(UserError) as caught:
        values(text, data)
    assert part in str(caught.value)


def test_a_parameter_of_a_model_is_no_date(data):
    with pytest.raises(UserError, match="contains dates, but a number is needed"):
        read("ts - 1", Scope(data), "model.priors.a.mu")
    assert read("ts - min(ts)", Scope(data), "model.priors.a.mu").known.max() > 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g == 'a'", [1, 0, np.nan, 1]),
        ("g != 'a'", [0, 1, np.nan, 0]),
        ("'b' == g", [0, 1, np.nan, 0]),
        ("where(g == 'a', x, 0)", [1, 0, np.nan, 4]),
        ("g == 'a' and x > 2", [0, np.nan, np.nan, 1]),
        ("x > 2", [0, np.nan, 1, 1]),
        ("not x > 2", [1, np.nan, 0, 0]),
        ("x > 2 or id == 308", [1, np.nan, 1, 1]),
        ("switch(x > 2, 5, 6)", [6, np.nan, 5, 5]),
        ("flag == 'True'", [1, 0, 1, 1]),
    ],
)
def test_texts_are_compared_and_missing_values_stay_missing(text, expected, data):
    np.testing.assert_array_equal(values(text, data).astype(float), np.asarray(expected, dtype=float))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("g == 'A'", "'g' has no value 'A'"),
        ("g == 'A'", "allowed: a, b"),
        ("id == '308'", "write id == 308 without quotes"),
        ("x == 'a'", "holds numbers"),
        ("g > 'a'", "can only be compared with == and !="),
        ("g + 'a'", "text can only be compared"),
        ("'a' == 'b'", "text is compared with one column"),
        ("g == 'a' == 'b'", "text is compared with one column"),
        ("exp('a')", "text can only be compared"),
        ("log(x) == 'a'", "is compared with numbers"),
        ("nowhere == 'a'", "unknown name 'nowhere'"),
        ("g + 1", "'g' is not numeric"),
    ],
)
def test_a_text_anywhere_else_is_refused(text, part, data):
    with pytest.raises(UserError) as caught:
        values(text, data)
    assert part in str(caught.value)


def test_codes_and_labels_can_both_be_used(data):
    rows = xr.DataArray(np.array(["p", "q", "p", "q"], dtype=object), dims=["obs"])
    coded = data.assign(site=("obs", [0, 1, 0, 1])).assign_coords(name=["p", "q"])
    made = evaluate("name == 'q'", coded, "data.derive.z", {"name": rows})
    assert made.dims == ("obs",)
    assert made.values.tolist() == [0, 1, 0, 1]
    assert evaluate("name == 'q'", coded, "data.derive.z").values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("days", "labelled", "text", "part"),
    [
        ([3, 1, 2], False, "lag(y)", "the rows are not in the order of 'ts'"),
        ([3, 1, 2], False, "diff(y)", "the rows are not in the order of 'ts'"),
        ([1, 1, 2], False, "lag(y)", "several rows have the same 'ts'"),
        ([1, 2, 5], True, "lag(y)", "the rows are 1 to 3 days apart by 'ts'"),
        ([1, 2, 5], True, "diff(y)", "the rows are 1 to 3 days apart by 'ts'"),
        ([1, 2, 5], True, "y / (days(ts) - lag(days(ts)))", ""),
        ([1, 2, 5], True, "diff(ts)", ""),
        ([1, 2, 5], False, "lag(y)", ""),
        ([1, 2, 3], True, "lag(y, 2)", ""),
    ],
)
def test_the_row_before_is_the_time_before(days: list[int], labelled: bool, text: str, part: str) -> None:
    dates = np.array([f"2024-11-0{day}" for day in days], dtype="datetime64[ns]")
    dim = "ts" if labelled else "obs"
    data = xr.Dataset({"y": (dim, [1.0, 2.0, 4.0])}, coords={dim: dates if labelled else range(3)})
    data = data if labelled else data.assign(ts=(dim, dates))
    if not part:
        evaluate(text, data, "data.derive.z")
        return
    with pytest.raises(UserError, match=part):
        evaluate(text, data, "data.derive.z")


@pytest.mark.parametrize(
    ("dates", "equal"),
    [
        (["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"], True),
        (["2024-01-31", "2024-02-29", "2024-03-31"], True),
        (["2023-10-01", "2024-01-01", "2024-04-01"], True),
        (["2024-01-01", "2024-02-01", "2024-04-01"], False),
        (["2024-01-01", "2024-01-08", "2024-01-15"], True),
        (["2024-01-05", "2024-01-08", "2024-01-09"], False),
        (["2024-01-01T00", "2024-01-01T06", "2024-01-01T12"], True),
        (["2024-03-29T23", "2024-03-30T23", "2024-03-31T22", "2024-04-01T22"], True),  # midnights of Berlin
        (["2024-03-29T00", "2024-03-30T00", "2024-03-31T00", "2024-03-31T23"], True),  # of London
        (["2024-10-26T21", "2024-11-02T21", "2024-11-09T22", "2024-11-16T22"], True),  # weeks
        (["2024-01-31T23", "2024-02-29T23", "2024-03-31T22", "2024-04-30T22"], True),  # months
        (["2024-03-29T23", "2024-03-31T22", "2024-04-01T22"], False),  # a day is left out
        (["2024-03-29T23", "2024-03-30T22", "2024-03-31T23", "2024-04-01T22"], False),  # to and fro
        (["2024-03-29T23", "2024-03-30T23", "2024-03-31T21", "2024-04-01T21"], False),  # by two hours
        (["2024-03-29T12", "2024-03-29T13"], True),
        (["2024-03-29T12", "2024-03-29T13", "2024-03-30T13"], False),
    ],
)
def test_steps_are_equal_in_time_or_in_months(dates: list[str], equal: bool) -> None:
    assert Times("ts", "ts", np.array(dates, dtype="datetime64[ns]")).equally_spaced == equal


@pytest.mark.parametrize(
    ("steps", "size", "part"),
    [
        ([1.0, 2.0, 5.0], 3, [1.0, 3.0]),
        ([1.0, 3.0], 3, [1.0, 3.0]),
        ([1.0, 9.0, 1.0], 3, r"times must increase, but 1 follows 9"),
        ([1.0, 0.0], 3, "longer than 0"),
        ([1.0, np.nan, 3.0], 3, "missing or infinite at position 1"),
        ([1.0, 2.0, 3.0, 4.0], 3, "4 numbers do not fit a series of 3 points"),
    ],
)
def test_step_lengths(steps: list[float], size: int, part: str | list[float]) -> None:
    if isinstance(part, list):
        np.testing.assert_allclose(step_lengths(constant(steps), size), part)
        return
    with pytest.raises(Fault, match=part):
        step_lengths(constant(steps), size)
