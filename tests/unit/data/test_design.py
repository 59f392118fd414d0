"""The fitted design: what a fit learns from its rows, and how it is applied to other rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayesrun.data.base import Role
from bayesrun.data.design import FittedDesign
from bayesrun.data.prepare import load_fitted, load_new
from bayesrun.data.section import parse_data
from bayesrun.errors import UserError

ROWS = {"x": [1.0, 2.0, 6.0], "g": ["b", "a", "b"], "id": [308, 309, 308]}


def spec(values, **keys):
    problems = []
    found = parse_data({"name": "t", "source": "inline", "values": values, **keys}, Path(), problems)
    assert not problems
    return found


def fitted(values=ROWS, **keys):
    return load_fitted(spec(values, **keys), Path())


def seen(design, values, roles=(), new_levels=False, **keys):
    return load_new(spec(values, **keys), Path(), design, roles, new_levels)[0]


def refused(design, values, roles=(), **keys):
    with pytest.raises(UserError) as caught:
        seen(design, values, roles, **keys)
    return "\n".join(f"{p.key}: {p.message} | {p.hint}" for p in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("zscore(x)", lambda x: (x - 3) / np.std([1, 2, 6], ddof=1)),
        ("x - mean(x)", lambda x: x - 3),
        ("(x - min(x)) / (max(x) - min(x))", lambda x: (x - 1) / 5),
        ("x / std(x)", lambda x: x / np.std([1, 2, 6], ddof=1)),
        ("x - x[0]", lambda x: x - 1),
        ("x - x[-1]", lambda x: x - 6),
        ("x / sum(x)", lambda x: x / 9),
        ("x / n_obs", lambda x: x / 3),
        ("x - sum(x) / n_obs", lambda x: x - 3),
        ("x - median(x, obs)", lambda x: x - 2),
        ("softmax(x)", lambda x: np.exp(x) / np.exp([1, 2, 6]).sum()),
        ("x - dot(x, x)", lambda x: x - 41),
        ("x * mean(diff(x))", lambda x: x * 2.5),
        ("x > median(x)", lambda x: x > 2),
        ("cumsum(x)", np.cumsum),
        ("log(x)", np.log),
        ("zeros(n_obs) + x", lambda x: x),
    ],
)
def test_a_reduction_over_the_rows_is_the_fits(text, of):
    data, design = fitted(derive={"z": text})
    np.testing.assert_allclose(data["z"].values, of(np.array([1.0, 2.0, 6.0])), rtol=1e-14)
    for new in ([10.0], [2.0, 50.0], [7.0, 8.0, 9.0], [5.0, 4.0, 3.0, 2.0]):
        np.testing.assert_allclose(seen(design, {"x": new})["z"].values, of(np.array(new)), rtol=1e-14)


def test_the_fitted_rows_seen_again_are_bit_for_bit_the_same():
    keys = {"derive": {"z": "zscore(x)", "w": "exp(z) / sum(z ** 2)", "v": "w - w[1]"}, "factors": {"group": "g"}}
    data, design = fitted(**keys)
    again = seen(design, ROWS)
    for name in ("z", "w", "v", "group", "g"):
        assert np.array_equal(data[name].values, again[name].values), name


def test_axes_that_are_not_the_rows_are_computed_from_the_new_rows():
    values = {"X": [[1, 2], [3, 4], [5, 9]]}
    keys = {"dims": {"X": ["obs", "k"]}, "derive": {"a": "zscore(X, obs)", "b": "X - mean(X, k)", "c": "sum(X, k)"}}
    data, design = fitted(values, **keys)
    new = seen(design, {"X": [[10, 20]]}, dims={"X": ["obs", "k"]})
    of = np.array([[1, 2], [3, 4], [5, 9]], dtype=float)
    np.testing.assert_allclose(data["a"].values, (of - of.mean(0)) / of.std(0, ddof=1))
    np.testing.assert_allclose(new["a"].values, (np.array([[10, 20]]) - of.mean(0)) / of.std(0, ddof=1))
    assert new["b"].values.tolist() == [[-5, 5]]
    assert new["c"].values.tolist() == [30]


def test_what_counts_the_fitted_rows_has_no_value_for_new_ones():
    _, design = fitted(derive={"t": "arange(n_obs)"})
    assert "counts the rows of the fit" in refused(design, {"x": [1.0]})


def test_a_learned_part_needs_no_column_in_the_new_rows():
    _, design = fitted({"x": [1.0, 3.0], "y": [2.0, 6.0]}, derive={"z": "x - mean(y)"})
    assert seen(design, {"x": [10.0]})["z"].values.tolist() == [6.0]


@pytest.mark.parametrize("text", ["mean(random)", "nowhere + 1"])
def test_unknown_names_are_still_refused(text):
    with pytest.raises(UserError):
        fitted(derive={"z": text})


def test_codes_and_labels_are_the_fits():
    _, design = fitted(factors={"group": "g"})
    new = seen(design, {"x": [1.0], "g": ["b"]})
    assert new["group"].values.tolist() == [1]
    assert new["g"].values.tolist() == ["a", "b"]


def test_unseen_labels_are_named_with_their_rows():
    _, design = fitted(factors={"group": "g"})
    found = refused(design, {"x": [1.0, 2.0, 3.0], "g": ["b", "c", "zz"]})
    assert "predict.data.g: the model was not fitted to 'c' of 'g' (obs 1)" in found
    assert "'zz' of 'g' (obs 2)" in found
    new = seen(design, {"x": [1.0, 2.0, 3.0], "g": ["b", "c", "c"]}, new_levels=True)
    assert new["group"].values.tolist() == [1, 2, 2]
    assert new["g"].values.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("known", "new", "codes"),
    [
        ([308, 309], ["309", "308"], [1, 0]),
        (["308", "309"], [309, 308], [1, 0]),
        ([1.0, 2.5], ["2.5", "1"], [1, 0]),
        (["01234", "1234"], ["1234", "01234"], [1, 0]),
        ([True, False], ["True", "False"], [1, 0]),
        ([308, None, 309], [309.0, 308.0], [1, 0]),
    ],
)
def test_labels_are_compared_by_value(known, new, codes):
    _, design = fitted({"id": known}, factors={"i": "id"})
    assert seen(design, {"id": new})["i"].values.tolist() == codes


def test_only_the_unseen_label_is_refused_when_text_meets_numbers():
    _, design = fitted(factors={"i": "id"})
    found = refused(design, {"id": ["308", "xxx"]})
    assert "'xxx'" in found
    assert "not fitted to '308'" not in found


def test_a_missing_label_or_predictor_is_named_with_row_and_column():
    roles = [Role("i", "predictor", "index"), Role("x", "predictor"), Role("y", "observed")]
    _, design = fitted({**ROWS, "y": [1, 2, 3]}, factors={"i": "id"})
    found = refused(design, {"x": [1.0, None], "id": [308, None]}, roles)
    assert "predictor 'i' (codes of the column 'id') has 1 missing of 2 values: obs 1" in found
    assert "predictor 'x' has 1 missing of 2 values: obs 1" in found


def test_text_where_the_fit_had_numbers_is_named_with_its_row():
    _, design = fitted()
    assert "'x' must be numbers as in the fit (got '.' (obs 1))" in refused(design, {"x": [1.0, "."]})
    assert seen(design, {"x": ["1", "2.5"]})["x"].values.tolist() == [1.0, 2.5]
    assert seen(design, {"g": [7, 8.0]})["g"].values.tolist() == ["7", "8"]


def test_dates_are_read_as_in_the_fit():
    _, design = fitted({"day": ["27/11/2024", "01/11/2024"]}, parse_dates=["day"])
    new = seen(design, {"day": ["02/11/2024"]})
    assert str(new["day"].values[0])[:10] == "2024-11-02"


@pytest.mark.parametrize(
    ("fit", "new", "day"),
    [
        (["27/11/2024", "01/11/2024"], "2024-02-05", "2024-02-05"),
        (["27/11/2024", "01/11/2024"], "02/13/2024", "not dates with the day first"),
        (["11/27/2024", "11/01/2024"], "11/02/2024", "2024-11-02"),
        (["11/27/2024", "11/01/2024"], "13/02/2024", "not dates with the month first"),
        (["2024-11-27", "2024-11-01"], "13/02/2024", "2024-02-13"),
        (["2024-11-27", "2024-11-01"], "20240213", "2024-02-13"),
    ],
)
def test_the_order_of_day_and_month_is_never_that_of_another_form(fit, new, day):
    _, design = fitted({"day": fit}, parse_dates=["day"])
    if day.startswith("not"):
        with pytest.raises(UserError, match=day):
            seen(design, {"day": [new]})
    else:
        assert str(seen(design, {"day": [new]})["day"].values[0])[:10] == day


def test_the_row_dim_and_the_renaming_are_the_fits():
    keys = {"dim": "t", "columns": {"t": "t", "a": "A"}, "derive": {"d": "a - mean(a)"}}
    _, design = fitted({"t": [1, 2], "A": [3.0, 4.0]}, **keys)
    new = seen(design, {"t": [9], "A": [10.0]})
    assert new["d"].dims == ("t",)
    assert new["d"].values.tolist() == [6.5]


def test_a_column_stays_as_text_that_was_text_in_the_fit(tmp_path):
    (tmp_path / "a.csv").write_text("zip,y\n01234,1\nA12,2\n")
    (tmp_path / "b.csv").write_text("zip\n01234\n")
    read = lambda name: parse_data({"name": "t", "source": "csv", "path": name}, tmp_path, [])  # noqa: E731
    _, design = load_fitted(read("a.csv"), tmp_path)
    new, _ = load_new(read("b.csv"), tmp_path, design, [])
    assert new["zip"].values.tolist() == ["01234"]


def test_a_point_in_new_rows_may_group_thousands_where_the_fit_has_decimal_commas(tmp_path):
    (tmp_path / "fit.csv").write_text("y;x\n1,5;1.234,5\n2,5;2.000,0\n")
    (tmp_path / "new.csv").write_text("x\n5.000\n")
    (tmp_path / "pandas.csv").write_text("x\n5.5\n4.125\n")
    spec = parse_data({"name": "a", "source": "csv", "path": "fit.csv"}, tmp_path, [])
    _, design = load_fitted(spec, tmp_path)
    design = FittedDesign.from_plain(json.loads(json.dumps(design.plain())))

    def read(path, **keys):
        new = parse_data({"name": "b", "source": "csv", "path": path, **keys}, tmp_path, [])
        return load_new(new, tmp_path, design, [])[0]["x"].values.tolist()

    with pytest.raises(UserError, match=r"'x' holds 5.000, which may be a thousand"):
        read("new.csv")
    assert read("new.csv", decimal=".") == [5.0]
    assert read("new.csv", thousands=".") == [5000.0]
    assert read("pandas.csv") == [5.5, 4.125]


def test_what_is_not_over_the_rows_comes_from_the_fit():
    values = {"x": [1.0, 2.0], "site": ["p", "q", "r"], "height": [7, 8, 9]}
    _, design = fitted(values, dims={"height": ["site"]})
    assert seen(design, {"x": [1.0]})["height"].values.tolist() == [7, 8, 9]


def test_new_rows_may_make_a_column_of_the_fit_themselves():
    _, design = fitted({"cm": [100.0, 200.0], "g": ["a", "b"]}, derive={"z": "cm - mean(cm)"}, factors={"k": "g"})
    keys = {"derive": {"cm": "inches * 2.54", "z": "cm  -  mean(cm)"}, "factors": {"k": "group"}}
    new = seen(design, {"inches": [100.0], "group": ["b"]}, **keys)
    assert new["z"].values.tolist() == [104.0]
    assert new["k"].values.tolist() == [1]


@pytest.mark.parametrize(
    ("expressions", "part"),
    [
        ({"z": "x / 2"}, "differs from that of the fit: zscore(x)"),
        ({"w": "x - max(x)"}, "computed from the new rows as a whole: max(x)"),
    ],
)
def test_expressions_of_new_rows_that_mislead_are_refused(expressions, part):
    _, design = fitted(derive={"z": "zscore(x)"})
    assert part in refused(design, {"x": [1.0, 2.0]}, derive=expressions)


def test_a_design_survives_json():
    keys = {
        "factors": {"group": "g"},
        "derive": {"z": "zscore(x)", "d": "x / (x[0] - 1)", "k": "max(x) * ones(2)"},
        "levels": {"g": ["b", "a"]},
        "parse_dates": ["day"],
    }
    _, design = fitted({**ROWS, "day": ["2024-01-05", None, "2024-01-07"], "w": [True, False, True]}, **keys)
    again = FittedDesign.from_plain(json.loads(json.dumps(design.plain())))
    new = {"x": [0.1, 7.0], "g": ["a", "b"], "day": ["2024-02-01", "2024-02-02"]}
    xr.testing.assert_identical(seen(design, new), seen(again, new))
    assert again.plain() == design.plain()


@pytest.mark.parametrize(
    ("fit", "new", "codes"),
    [
        ([True, False, True], [1.0, 0.0, None], [1, 0, None]),
        ([True, False, True], ["True", "False"], [1, 0]),
        ([True, None, False], [True, False], [1, 0]),
        ([0, 1, 1], [True, False], [1, 0]),
        (["True", "False", "True"], [True, False], [1, 0]),
    ],
)
def test_true_and_false_are_one_and_zero_beside_missing_values(fit, new, codes):
    _, design = fitted({"x": [1.0, 2.0, 6.0], "ok": fit}, factors={"i": "ok"})
    found = seen(design, {"ok": new})["i"].values
    assert [None if np.isnan(c) else int(c) for c in found] == codes


def test_a_column_of_true_and_false_takes_no_other_numbers():
    _, design = fitted({"x": [1.0, 2.0, 6.0], "ok": [True, False, True]})
    assert seen(design, {"ok": [1, 0, 1]})["ok"].dtype == bool
    assert "'ok' must be true or false as in the fit (got 2 (obs 1))" in refused(design, {"ok": [1, 2]})


def test_columns_that_the_model_does_not_read_may_hold_anything():
    _, design = fitted(derive={"z": "x - mean(x)", "w": "z * 2"}, factors={"i": "g"}, levels={"id": [308, 309]})

    def read(values, *needed):
        return load_new(spec(values), Path(), design, [], needed=needed)[0]

    assert read({"x": [1.0], "g": ["?"], "id": [7]}, "w")["w"].values.tolist() == [-4.0]
    for odd, needed in (
        ({"x": ["?"], "g": ["a"]}, "w"),
        ({"x": [1.0], "g": ["?"]}, "i"),
        ({"x": [1.0], "id": [7]}, "id"),
    ):
        with pytest.raises(UserError):
            read(odd, needed)
