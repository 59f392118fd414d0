"""Levels in an order of their own, columns of factors, the order of day and month, text where numbers were meant."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesrun.data.base import Role
from bayesrun.data.columns import why_text
from bayesrun.data.factors import formula_column, row_column, value_key
from bayesrun.data.roles import settle


def inline(load_data, values, **keys):
    return load_data(source="inline", values=values, **keys)


# levels


@pytest.mark.parametrize("key", ["sat", "satisfaction"])
def test_levels_order_the_codes_of_a_factor(key, load_data):
    values = {"satisfaction": ["Low", "High", None, "Medium"]}
    levels = {key: ["Low", "Medium", "High"]}
    data = inline(load_data, values, factors={"sat": "satisfaction"}, levels=levels)
    np.testing.assert_array_equal(data["sat"].values, [0, 2, np.nan, 1])
    assert data["satisfaction"].values.tolist() == ["Low", "Medium", "High"]


def test_levels_may_hold_labels_that_no_row_has(load_data):
    data = inline(load_data, {"g": ["b", "a"]}, factors={"k": "g"}, levels={"g": ["c", "b", "a"]})
    assert data["k"].values.tolist() == [1, 2]
    assert data.sizes["g"] == 3


def test_numbers_and_texts_are_one_label_in_levels(load_data):
    data = inline(load_data, {"g": [2, 1]}, factors={"k": "g"}, levels={"g": ["1", "2"]})
    assert data["k"].values.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("levels", "key", "part"),
    [
        ({"g": ["a"]}, "data.levels.g", "among its levels: 'b' (obs 1)"),
        ({"g": ["a", "b", "a"]}, "data.levels.g", "labels repeat: a"),
        ({"h": ["a"]}, "data.levels.h", "no column 'h'"),
        ({"g": [True, False]}, "data.levels.g", "quote them"),
        ({"g": []}, "data.levels", "lists of labels"),
    ],
)
def test_wrong_levels_are_reported(levels, key, part, faults):
    assert part in faults(source="inline", values={"g": ["a", "b"]}, levels=levels)[key]


def test_observed_labels_in_order_become_codes(load_data):
    data = inline(load_data, {"g": ["low", "high", "low"]}, levels={"g": ["low", "high"]})
    settled, _ = settle(data, [Role("g", "observed", "index")], None)
    assert settled["g"].values.tolist() == [0, 1, 0]


def test_the_column_of_a_factor_stays_a_column(load_data):
    keys = {
        "factors": {"k": "g", "d": "day"},
        "parse_dates": ["day"],
        "derive": {"a": "g == 'a'", "s": "day - min(day)"},
    }
    data = inline(load_data, {"g": ["b", "a", None], "day": ["2024-11-05", "2024-11-01", "2024-11-05"]}, **keys)
    assert row_column(data, "g").values.tolist() == ["b", "a", None]
    assert row_column(data, "g").dims == ("obs",)
    assert row_column(data, "day").values[1] == np.datetime64("2024-11-01")
    np.testing.assert_array_equal(data["a"].values, [0, 1, np.nan])
    assert data["s"].values.tolist() == [4, 0, 4]


def test_a_formula_takes_labels_in_their_order_and_dates_as_days(load_data):
    values = {"g": ["c", "a", "c"], "day": ["2024-11-05"] * 3, "x": [1, 2, 3]}
    data = inline(load_data, values, levels={"g": ["c", "b", "a"]}, parse_dates=["day"])
    column = formula_column(data, "g", True)
    assert isinstance(column, pd.Categorical)
    assert column.categories.tolist() == ["c", "a"]
    assert formula_column(data, "g", False).tolist() == ["c", "a", "c"]
    assert formula_column(data, "day", False).tolist() == [20032.0] * 3
    assert formula_column(data, "x", True).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("label", "key"),
    [
        (308, "308"),
        (308.0, "308"),
        ("308", "308"),
        ("308.0", "308"),
        ("01", "01"),
        (2.5, "2.5"),
        ("2.50", "2.5"),
        (True, "True"),
        (np.datetime64("2024-11-05"), "2024-11-05"),
        ("", ""),
        ("1e3", "1e3"),
        (-0.0, "0"),
        (1e300, str(int(1e300))),
    ],
)
def test_labels_of_equal_value_have_one_key(label, key):
    assert value_key(label) == key


# dates


@pytest.mark.parametrize(
    ("texts", "keys", "first"),
    [
        (["01/11/2024", "27/11/2024"], {}, "2024-11-01"),
        (["01/11/2024", "11/27/2024"], {}, "2024-01-11"),
        (["01.11.2024", "27.11.2024"], {}, "2024-11-01"),
        (["01/11/2024", "02/11/2024"], {"date_format": "%d/%m/%Y"}, "2024-11-01"),
        (["01/11/2024", "02/11/2024"], {"date_format": {"day": "%d/%m/%Y"}}, "2024-11-01"),
        (["2024-11-01", "2024-11-27"], {}, "2024-11-01"),
        (["1.11.24 10:30", "27.11.24 08:00"], {}, "2024-11-01"),
        (["2024-11-01T23:30:00-02:00", "2024-11-02T00:00:00+01:00"], {}, "2024-11-02"),
        (["20241101", "20241127"], {}, "2024-11-01"),
        (["200501", "200502"], {"date_format": "%Y%m"}, "2005-01-01"),
        (["2024-11-01 10:00 PM", "2024-11-01 10:00 UTC"], {}, "2024-11-01"),
        (["4 May 2024", "5 May 2024"], {}, "2024-05-04"),
    ],
)
def test_dates_are_read_as_the_whole_column_says(texts, keys, first, load_data):
    data = inline(load_data, {"day": texts}, parse_dates=["day"], **keys)
    assert str(data["day"].values[0])[:10] == first


def test_dates_that_may_be_either_are_told(load_data, caplog):
    inline(load_data, {"day": ["01/11/2024", "02/11/2024"]}, parse_dates=["day"])
    assert "'day' may be read month first or day first" in caplog.text
    assert "data.date_format" in caplog.text
    caplog.clear()
    inline(load_data, {"day": ["01/01/2024", "2024-11-02"][:1]}, parse_dates=["day"])
    assert not caplog.text


@pytest.mark.parametrize(
    ("texts", "keys", "key", "part"),
    [
        (["13/14/2024"], {}, "data.parse_dates[0]", "not dates"),
        (["1500-01-01"], {}, "data.parse_dates[0]", "outside of what can be held, 1678 to 2261"),
        (["2024-11-05"], {"date_format": "%d/%m/%Y"}, "data.parse_dates[0]", "in the format '%d/%m/%Y'"),
        (["2024-11-05"], {"date_format": {"x": "%d"}}, "data.date_format.x", "not parsed as dates"),
        (["2024-11-05"], {"date_format": "DMY"}, "data.date_format", "must be a format such as"),
        (["200501", "200502"], {}, "data.parse_dates[0]", "not dates: '200501', '200502'"),
        ([200501, 200502], {}, "data.parse_dates[0]", "set data.date_format, '%Y%m' for 200501"),
        ([1998.5, 1999.5], {}, "data.parse_dates[0]", "trend(x) and differences take numbers as they are"),
        ([45292, 45293], {}, "data.parse_dates[0]", "these are numbers"),
        (["10:30", "11:15"], {}, "data.parse_dates[0]", "times without a day"),
        (["now", "today"], {}, "data.parse_dates[0]", "times without a day"),
        (["2024-11-05 10:00 EST"], {}, "data.parse_dates[0]", "write how far they are from UTC"),
    ],
)
def test_dates_that_do_not_fit_are_refused(texts, keys, key, part, faults):
    assert part in faults(source="inline", values={"day": texts}, parse_dates=["day"], **keys)[key]


def test_rows_are_sorted_by_the_dates_that_label_them(load_data, caplog):
    values = {"ts": ["2024-11-03", "2024-11-01", "2024-11-02"], "y": [3.0, 1.0, 2.0], "g": ["c", "a", "b"]}
    keys = {"dim": "ts", "parse_dates": ["ts"], "derive": {"y1": "lag(y)"}, "factors": {"k": "g"}}
    with caplog.at_level("INFO", "bayesrun"):
        data = inline(load_data, values, **keys)
    assert "the rows are sorted by 'ts'" in caplog.text
    assert data["y"].values.tolist() == [1, 2, 3]
    assert data["k"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data["y1"].values, [np.nan, 1, 2])
    unlabelled = inline(load_data, values, parse_dates=["ts"])
    assert unlabelled["y"].values.tolist() == [3, 1, 2]


# text where numbers were meant


@pytest.mark.parametrize(
    ("cells", "part"),
    [
        (["1", "2", ".", "4"], "because of '.' in row 3"),
        (["1", "2", None, "-", "5", "6"], "because of '-' in row 4"),
        (["1", "x", "y", "z", "5", "6", "7", "w"], "'x' in row 2, 'y' in row 3, 'z' in row 4 and 1 more"),
        (["45,000", "52,000"], "looks like data.thousands=','"),
        (["4,5", "5", "2,25"], "looks like data.decimal=','"),
        (["1\u00a0234", "5"], "looks like data.thousands=' '"),
        (["1,23,456", "5"], "looks like data.thousands=','"),
        (["1'234.5", "2'000"], 'looks like data.thousands="\'"'),
        (["$4", "$5"], "without unit or sign"),
        (["10%", "20%"], "without unit or sign"),
        (["1", "2", "3", " " * 100_000 + "x"], "...' in row 4"),
        (["1", "2"], "all its cells look like numbers"),
        (["01", "02"], ""),
        (["a", "b"], ""),
        (["a", "1"], ""),
        (["2024-01-01", "2024-01-02"], ""),
        (["S1", "S2", "3"], ""),
    ],
)
def test_why_a_column_is_text(cells, part):
    reason = why_text("c", np.array(cells, dtype=object))
    assert part in reason
    assert bool(reason) == bool(part)


def test_whole_numbers_are_whole_labels_beside_a_missing_value(load_data):
    data = inline(load_data, {"g": [1, None, 3], "x": [1, None, 2.5], "y": [1, 2, 3]})
    settled, _ = settle(data, [Role("g", "predictor", "any"), Role("x", "predictor", "any")], "rows")
    assert formula_column(settled, "g", True).tolist() == [1, 3]
    assert formula_column(settled, "g", True).dtype.kind == "i"
    assert formula_column(settled, "x", True).tolist() == [1.0, 2.5]


def test_labels_that_look_the_same_are_told(load_data, caplog):
    data = inline(
        load_data, {"g": ["a", "a ", "b"], "k": ["caf\u00e9", "cafe\u0301", "b"], "y": [1, 2, 3]}, factors={"i": "k"}
    )
    settle(data, [Role("g", "predictor", "any"), Role("i", "predictor", "index"), Role("y", "observed")], None)
    assert "'g' has labels that look the same and are not: 'a', 'a '" in caplog.text
    assert "'k' has labels that look the same and are not: 'cafe\\u0301', 'caf\\xe9'" in caplog.text


def test_odd_cells_are_told_only_for_columns_that_the_model_uses_as_labels(load_data, caplog):
    data = inline(load_data, {"x": ["1", "2", ".", "4"], "y": [1, 2, 3, 4], "z": ["1", "2", ".", "4"]})
    settle(data, [Role("y", "observed")], None)
    assert not caplog.text
    settle(data, [Role("x", "predictor", "any")], None)
    assert "'x' is text because of '.' in row 3; it is used as 4 labels" in caplog.text
    assert "'z'" not in caplog.text
    declared = inline(load_data, {"x": ["1", "2", ".", "4"]}, dtypes={"x": "text"})
    caplog.clear()
    settle(declared, [Role("x", "predictor", "any")], None)
    assert not caplog.text
