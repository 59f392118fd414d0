from __future__ import annotations

import numpy as np
import pytest

from bayesrun.data.base import Role
from bayesrun.data.dates import parse_dates
from bayesrun.data.prepare import digest
from bayesrun.data.roles import settle
from bayesrun.errors import UserError


def inline(load_data, values, **keys):
    return load_data(source="inline", values=values, **keys)


def problems(data, roles, rule=None):
    with pytest.raises(UserError) as caught:
        settle(data, roles, rule)
    return [f"{p.key}: {p.message} | {p.hint}" for p in caught.value.problems]


def test_columns_keep_and_rename(load_data):
    data = inline(load_data, {"a": [1, 2], "b": [3, 4], "c": [5, 6]}, columns={"x": "c", "a": "b"})
    assert data["x"].values.tolist() == [5, 6]
    assert data["a"].values.tolist() == [3, 4]
    assert set(data.data_vars) == {"x", "a"}


def test_dates_are_parsed_under_their_new_name(load_data):
    values = {"Date": ["2008-05-02", "2008-05-05"], "y": [1, 2]}
    data = inline(load_data, values, dim="date", columns={"date": "Date", "y": "y"}, parse_dates=["date"])
    assert data["date"].dtype == "datetime64[ns]"
    assert data["y"].sel(date="2008-05-05") == 2


def test_wrong_dates_are_all_reported(faults):
    values = {"a": ["2008-05-02", "yesterday"], "b": [1, 2]}
    found = faults(source="inline", values=values, parse_dates=["a", "c"])
    assert "1 of 2 values of 'a' are not dates" in found["data.parse_dates[0]"]
    assert "'yesterday'" in found["data.parse_dates[0]"]
    assert "no column 'c'" in found["data.parse_dates[1]"]


def test_dates_that_are_dates_already_stay(load_data):
    once = inline(load_data, {"day": ["2008-05-02", None]}, parse_dates=["day"])
    assert once["day"].values[0] == np.datetime64("2008-05-02")
    assert np.isnat(once["day"].values[1])
    again, _ = parse_dates(once, ["day"])
    assert again.identical(once)


def test_years_as_numbers_are_parsed_as_years(load_data):
    data = inline(load_data, {"year": [1851, 1852]}, parse_dates=["year"])
    assert [str(d)[:4] for d in data["year"].values] == ["1851", "1852"]


def test_factors_make_codes_and_a_dim_of_sorted_labels(load_data):
    values = {"name": ["York", "Hull", "York"], "floor": [1, 0, None], "y": [1, 2, 3]}
    data = inline(load_data, values, factors={"town": "name", "level": "floor"})
    assert data["town"].values.tolist() == [1, 0, 1]
    assert data["town"].dtype == np.int64
    assert data["name"].dims == ("name",)
    assert data["name"].values.tolist() == ["Hull", "York"]
    np.testing.assert_array_equal(data["level"].values, [1, 0, np.nan])
    assert data["floor"].values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("factors", "key", "part"),
    [
        ({"g": "tawn"}, "data.factors.g", "did you mean 'town'?"),
        ({"town": "town"}, "data.factors.town", "new name"),
        ({"y": "town"}, "data.factors.y", "taken"),
        ({"obs": "town"}, "data.factors.obs", "taken"),
        ({"g": "row"}, "data.factors.g", "labels the rows"),
        ({"g": "empty"}, "data.factors.g", "all values of 'empty' are missing"),
        ({"g": "mixed"}, "data.factors.g", "mixes text and numbers"),
    ],
)
def test_wrong_factors_are_reported(factors, key, part, faults):
    values = {"town": ["a", "b"], "y": [1, 2], "row": ["r", "s"], "empty": [None, None], "mixed": ["a", 1]}
    values = values if key != "data.factors.obs" else {**values, "obs": [1, 2]}
    keys = {"dim": "obs" if key == "data.factors.obs" else "row"}
    assert part in faults(source="inline", values=values, factors=factors, **keys)[key]


def test_rows_with_a_gap_are_dropped_and_told_by_label(load_data):
    values = {"year": [1889, 1890, 1891, 1892], "x": [1, None, 3, 4], "town": ["a", "b", "a", None]}
    keys = {"dim": "year", "factors": {"code": "town"}, "drop_missing": "rows"}
    data = inline(load_data, values, **keys)
    settled, notes = settle(data, [Role("code", "predictor", "index"), Role("x", "observed")], "rows")
    assert settled["year"].values.tolist() == [1889, 1891]
    assert settled.attrs["rows"] == 2
    assert settled["code"].dtype == np.int64
    assert notes == ["2 of 4 rows dropped because of missing values in code, x: year 1890, 1892"]


def test_only_the_columns_that_the_model_uses_drop_rows(load_data):
    data = inline(load_data, {"y": [1, 2, 3], "x": [1, None, 3], "unused": [None, 1, None]}, drop_missing="rows")
    settled, notes = settle(data, [Role("y", "observed"), Role("x", "predictor")], "rows")
    assert settled["obs"].values.tolist() == [0, 2]
    assert notes == ["1 of 3 rows dropped because of missing values in x: obs 1"]


def test_nothing_left_after_dropping_is_an_error(load_data):
    data = inline(load_data, {"x": [1, None], "y": [None, 2]}, drop_missing="rows")
    [found] = problems(data, [Role("y", "observed"), Role("x", "predictor")], "rows")
    assert "no row is left" in found


def test_derived_variables_come_in_order_and_before_dropping(load_data):
    keys = {"derive": {"y1": "lag(y, 1)", "z": "y1 * 2"}, "drop_missing": "rows"}
    data = inline(load_data, {"y": [1, 2, 3]}, **keys)
    settled, _ = settle(data, [Role("z", "predictor")], "rows")
    assert settled["z"].values.tolist() == [2, 4]
    assert settled["obs"].values.tolist() == [1, 2]


def test_all_wrong_derived_variables_are_reported(faults):
    found = faults(source="inline", values={"y": [1, 2]}, derive={"y": "y + 1", "a": "nope + 1", "b": "y +"})
    assert {"data.derive.y", "data.derive.a", "data.derive.b"} <= set(found)
    assert "taken" in found["data.derive.y"]


# settle: gaps


def test_observed_gaps_stay_and_are_told_predictors_are_an_error(load_data):
    data = inline(load_data, {"year": [1, 2, 3], "y": [4, None, None], "x": [None, 1, 2]}, dim="year")
    settled, notes = settle(data, [Role("y", "observed", "count")], None)
    assert int(settled["y"].isnull().sum()) == 2
    assert notes == ["2 of 3 values are missing in 'y' and will be imputed: year 2, 3"]
    [found] = problems(data, [Role("y", "observed"), Role("x", "predictor", key="model.options.predictors")])
    assert found.startswith("model.options.predictors: predictor 'x' has 1 missing of 3 values: year 1")
    assert "data.drop_missing=rows" in found


def test_rule_by_variable(load_data):
    data = inline(load_data, {"y": [4, None, 5], "x": [None, 1, 2], "z": [1, 2, 3]})
    roles = [Role("y", "observed"), Role("x", "predictor")]
    settled, notes = settle(data, roles, {"x": "rows", "y": "impute"})
    assert settled.sizes["obs"] == 2
    assert settled.attrs["rows"] == 2
    assert notes == [
        "1 of 3 rows dropped because of missing values in x: obs 0",
        "1 of 2 values is missing in 'y' and will be imputed: obs 1",
    ]
    assert any("observed 'y' has 1 missing" in p for p in problems(data, roles[:1], {"y": "error"}))
    assert any("only observed variables can be imputed" in p for p in problems(data, roles, "impute"))
    assert any("did you mean 'x'" in p for p in problems(data, roles, {"xx": "rows", "x": "rows"}))


def test_gaps_that_are_in_no_row_can_not_be_dropped(load_data):
    data = inline(load_data, {"Y": [[1, None], [3, 4]]}, dims={"Y": ["a", "b"]})
    [found] = problems(data, [Role("Y", "predictor")], {"Y": "rows"})
    assert "1 missing of 4 values: a 0, b 1" in found
    assert "no row to drop" in found


def test_dropping_everything_by_variable_is_an_error(load_data):
    data = inline(load_data, {"y": [4, None], "x": [None, 1]})
    found = problems(data, [Role("y", "observed"), Role("x", "predictor")], {"x": "rows", "y": "rows"})
    assert all("is left" in p for p in found)


# settle: domains


def test_every_problem_of_every_role_is_reported_at_once(load_data):
    values = {"y": [-1, 2.5, 3], "x": ["a", "b", "c"], "gone": [None, None, None], "b": [0, 1, 2]}
    roles = [
        Role("y", "observed", "count", "model.type"),
        Role("x", "predictor", "real", "model.options.predictors"),
        Role("gone", "observed"),
        Role("b", "observed", "binary"),
        Role("nowhere", "predictor"),
    ]
    found = problems(inline(load_data, values), roles)
    assert len(found) == 5
    text = "\n".join(found)
    assert "observed 'y' must be counts: whole numbers, 0 or above (got -1.0, 2.5 (obs 0, 1))" in text
    assert "predictor 'x' must be numbers (got text: 'a', 'b', 'c' (obs 0, 1, 2))" in text
    assert "all values of 'gone' are missing" in text
    assert "observed 'b' must be 0 or 1 (got 2 (obs 2))" in text
    assert "'nowhere' is not in data set 'test'" in text


@pytest.mark.parametrize(
    ("domain", "good", "bad"),
    [
        ("real", [-1.5, 0, 1e9], [float("inf")]),
        ("positive", [1e-9, 2], [0, -1]),
        ("nonnegative", [0, 0.5], [-1e-9]),
        ("count", [0, 1, 2.0], [-1, 0.5]),
        ("binary", [0, 1], [2, -1, 0.5]),
        ("unit", [0, 0.5, 1], [1.0001, -0.1]),
        ("index", [0, 3], [-1, 0.5]),
        ("any", [-1, float("inf")], []),
    ],
)
def test_domains(domain, good, bad, load_data):
    settle(inline(load_data, {"y": good}), [Role("y", "observed", domain)], None)
    for value in bad:
        assert len(problems(inline(load_data, {"y": [value, 0.5, 1]}), [Role("y", "observed", domain)])) == 1


def test_whole_domains_get_integers_booleans_become_numbers(load_data):
    values = {"year": [1890, 1891], "n": [1.0, 2.0], "gap": [None, 2], "flag": [True, False], "x": [1.0, 2.0]}
    roles = [
        Role("n", "observed", "count"),
        Role("gap", "observed", "count"),
        Role("flag", "observed", "binary"),
        Role("x", "predictor"),
        Role("year", "predictor"),
    ]
    settled, _ = settle(inline(load_data, values, dim="year"), roles, None)
    assert [settled[name].dtype.kind for name in ("n", "gap", "flag", "x", "year")] == ["i", "f", "i", "f", "i"]


def test_dates_are_no_numbers(load_data):
    data = inline(load_data, {"day": ["2008-05-02"]}, parse_dates=["day"])
    assert "holds dates" in problems(data, [Role("day", "predictor")])[0]


def test_only_the_odd_values_of_a_column_of_numbers_are_named(tmp_path, load_data):
    (tmp_path / "t.csv").write_text("x\n1\nmany\n3\n")
    found = problems(load_data(source="csv", path="t.csv"), [Role("x", "predictor")])
    assert "got text: 'many' (obs 1)" in found[0]


# digest


def test_digest_is_of_content_not_of_order_or_origin(load_data):
    values = {"a": [1.0, None], "b": ["x", None], "c": [1, 2]}
    first = inline(load_data, values)
    again = inline(load_data, dict(reversed(values.items()))).assign_attrs(origin="elsewhere")
    assert digest(first) == digest(again)
    assert len(digest(first)) == 64


@pytest.mark.parametrize(
    "other",
    [{"a": [1, 3], "b": ["x"] * 2}, {"a": [1, 2], "b": ["x", "y"]}, {"a": [1, 2]}, {"A": [1, 2], "b": ["x"] * 2}],
)
def test_digest_changes_with_content(other, load_data):
    assert digest(inline(load_data, {"a": [1, 2], "b": ["x"] * 2})) != digest(inline(load_data, other))


def test_digest_changes_with_labels(load_data):
    one = inline(load_data, {"obs": ["p", "q"], "a": [1, 2]})
    assert digest(one) != digest(inline(load_data, {"obs": ["p", "r"], "a": [1, 2]}))
