"""People's own tables through the real command: what they look like, what their dates and labels mean."""

from __future__ import annotations

import json
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest

from tests.conftest import only_run

FEW = ["sampler.draws=300", "sampler.tune=300", "sampler.chains=2", "model.figures=[]", "tracking=none"]
X = np.arange(1.0, 13.0)
Y = 2.0 + 0.5 * X + np.array([0.1, -0.2, 0.15, -0.05, 0.2, -0.1, 0.05, -0.15, 0.1, 0.0, -0.1, 0.05])


@pytest.fixture
def fit(bayesrun, tmp_path):
    """`(text, formula, yaml keys, overrides)`: fit a glm to a table; the finished process and its run folder."""

    def call(text: str | bytes, formula: str, keys: str = "", *overrides: str, ok: bool = True):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "table.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        (tmp_path / "data" / "table.yaml").write_text(f"name: table\nsource: csv\npath: {tmp_path}/table.csv\n{keys}")
        before = len(list(tmp_path.glob("out/runs/*/*")))
        done = bayesrun(
            *("--config-dir", str(tmp_path), "model=glm", "data=table", f"model.formula='{formula}'"),
            *(f"paths.outputs={tmp_path}/out", *FEW, *overrides),
        )
        if not ok:
            assert done.returncode == 1, done.stdout + done.stderr
            assert len(list(tmp_path.glob("out/runs/*/*"))) == before
            return done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr, only_run(tmp_path / "out")

    return call


def summary(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "summary.csv", index_col=0)


def assert_least_squares(folder: Path, names: list[str], columns: list[np.ndarray], y: np.ndarray) -> None:
    """Posterior means are the least-squares estimates, up to Monte Carlo error and what weak priors move."""
    design = np.column_stack(columns)
    wanted, *_ = np.linalg.lstsq(design, y, rcond=None)
    rows = summary(folder).loc[names]
    assert np.all(np.abs(rows["mean"] - wanted) < 5 * rows["mcse_mean"] + 0.1 * rows["sd"]), (rows, wanted)


def test_a_european_table_with_an_index_and_impossible_names(fit):
    lines = [f'{i};"{y:.3f}";{x:.2f};1;2'.replace(".", ",") for i, (x, y) in enumerate(zip(X, Y, strict=True))]
    text = "\n".join([';"y";x;km/h;(m)', *lines])
    said, folder = fit(text, "y ~ x")
    assert "column 1 has no name and is left out" in said
    assert "is read with sep=';' decimal=','" in said
    assert_least_squares(folder, ["Intercept", "x"], [np.ones_like(X), X], Y)
    stored = az.from_netcdf(folder / "posterior.nc").constant_data
    assert {"km÷h", "_(m)"} <= set(stored.data_vars)
    assert stored["km÷h"].attrs["name"] == "km/h"


def test_the_model_for_group_effects_fits_data_in_any_unit(fit):
    """`model=regression` brings no priors of its example: they would hold the coefficients of other data near 0."""
    y = 50_000 + 1000 * Y
    lines = [f"{v},{x},g{i % 3}" for i, (v, x) in enumerate(zip(y, X, strict=True))]
    _, folder = fit("\n".join(["y,x,g", *lines]), "y ~ x", "", "model=regression")
    assert_least_squares(folder, ["Intercept", "x"], [np.ones_like(X), X], y)


def test_three_decimals_after_a_zero_and_a_comma_are_decimals(fit):
    lines = [f"{y:.3f}\t{x - 5:.3f}".replace(".", ",") for x, y in zip(X, Y, strict=True)]
    _, folder = fit("\n".join(["y\tx", *lines, "2,000\t0,125"]), "y ~ x")
    assert_least_squares(folder, ["Intercept", "x"], [np.ones(13), np.append(X - 5, 0.125)], np.append(Y, 2.0))


def test_thousands_a_word_for_missing_and_rows_dropped_by_the_used_columns_only(fit):
    x = [*(f'"{int(v * 1000):,}"' for v in X), "-99"]
    lines = [f"{y},{v},{'' if i % 2 else 1}" for i, (v, y) in enumerate(zip(x, [*Y, 1.0], strict=True))]
    keys = 'thousands: ","\nmissing: ["-99"]\ndrop_missing: rows\nderive: {k: "x / 1000"}\n'
    said, folder = fit("\n".join(["y,x,unused", *lines]), "y ~ k", keys)
    assert "1 of 13 rows dropped because of missing values in k: obs 12" in said
    assert_least_squares(folder, ["Intercept", "k"], [np.ones_like(X), X], Y)


def test_a_column_that_is_text_because_of_a_cell_is_told_before_sampling(fit):
    lines = [f"{y},{'.' if i == 2 else v}" for i, (v, y) in enumerate(zip(X, Y, strict=True))]
    said, folder = fit("\n".join(["y,x", *lines]), "y ~ x")
    assert "'x' is text because of '.' in row 3" in said
    log = (folder / "run.log").read_text()
    assert log.index("'x' is text because of '.' in row 3") < log.index("engine:")
    assert "list their words in data.missing" in log


def test_labels_that_look_like_missing_values_and_codes_with_leading_zeros(fit):
    country = np.array(["NA", "None", "n/a"] * 4)
    lines = [f"{y + 3 * (c == 'n/a'):.3f},{c},0{i % 3}501" for i, (y, c) in enumerate(zip(Y, country, strict=True))]
    keys = "missing: []\ndtypes: {zip: text}\nlevels: {country: [None, NA, n/a]}\n"
    _, folder = fit("\n".join(["y,country,zip", *lines]), "y ~ country", keys.replace("[None,", '["None",'))
    y = np.round(Y + 3 * (country == "n/a"), 3)
    columns = [np.ones(12), (country == "NA").astype(float), (country == "n/a").astype(float)]
    assert_least_squares(folder, ["Intercept", "country[NA]", "country[n/a]"], columns, y)
    assert az.from_netcdf(folder / "posterior.nc").constant_data["zip"].values.tolist()[:2] == ["00501", "01501"]


def test_dates_with_the_day_first_make_a_trend_that_new_rows_continue(fit, tmp_path):
    days = pd.to_datetime("2024-11-20") + pd.to_timedelta(X**2, unit="D")
    y = 3 + 0.02 * (days - days[0]).days.to_numpy() + 0.1 * (Y - 2 - 0.5 * X)
    rows = [f"{v:.5f},{d:%d/%m/%Y},{'ab'[i % 2]}" for i, (v, d) in enumerate(zip(y, days, strict=True))]
    (tmp_path / "new.csv").write_text("day,site\n01/12/2025,b\n")
    new = f"name: new\nsource: csv\npath: {tmp_path}/new.csv\n"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.yaml").write_text(new)
    keys = "parse_dates: [day]\nfactors: {code: site}\nderive: {since: 'day - min(day)', b: \"site == 'b'\"}\n"
    _, folder = fit("\n".join(["y,day,site", *rows]), "y ~ since + site", keys, "predict.data=new")
    since = (days - days[0]).days.to_numpy().astype(float)
    b = np.arange(12) % 2.0
    assert_least_squares(folder, ["Intercept", "since", "site[b]"], [np.ones(12), since, b], y)
    design = np.column_stack([np.ones(12), since, b])
    wanted, *_ = np.linalg.lstsq(design, y, rcond=None)
    ahead = (pd.Timestamp("2025-12-01") - days[0]).days
    table = pd.read_csv(folder / "predictions.csv")
    mean = table[table["kind"] == "mu"]["mean"].iloc[0] if "kind" in table else table["mean"].iloc[0]
    assert abs(mean - wanted @ [1, ahead, 1]) < 0.3
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


def test_dates_left_as_text_are_told_and_what_is_told_to_write_fits(fit):
    days = pd.date_range("2024-01-01", periods=12)
    text = "\n".join(["y,day", *(f"{y},{day:%Y-%m-%d}" for y, day in zip(Y, days, strict=True))])
    said = fit(text, "y ~ X1 + day", "derive: {X1: y ** 2}\n", ok=False)
    assert "'day' holds dates as text; it is used as 12 labels" in said
    assert "Intercept, X1, day[2024-01-02], ..., day[2024-01-12] (11 levels)" in said
    assert "list 'day' in data.parse_dates, and write trend(day)" in said
    assert "make dates of it: data.parse_dates=[day]" in fit(text, "y ~ trend(day)", ok=False)
    _, folder = fit(text, "y ~ trend(day)", "", "data.parse_dates=[day]")
    assert_least_squares(folder, ["Intercept", "trend(day)"], [np.ones(12), (X - 1) / 11], Y)


def test_months_in_digits_are_no_days(fit):
    text = "\n".join(["y,month", *(f"{y},{200500 + x:.0f}" for x, y in zip(X, Y, strict=True))])
    said = fit(text, "y ~ trend(month)", "parse_dates: [month]\n", ok=False)
    assert "not dates: '200501'" in said and "set data.date_format, '%Y%m' for 200501" in said
    _, folder = fit(text, "y ~ trend(month)", 'parse_dates: [month]\ndate_format: "%Y%m"\n')
    days = (pd.date_range("2005-01-01", periods=12, freq="MS") - pd.Timestamp("2005-01-01")).days.to_numpy()
    assert_least_squares(folder, ["Intercept", "trend(month)"], [np.ones(12), days / days[-1]], Y)


def test_days_of_a_place_whose_clocks_change_are_equal_steps(bayesrun, tmp_path):
    days = pd.date_range("2024-03-11", periods=40, tz="Europe/Berlin")
    y = np.zeros(40)
    for i, noise in enumerate(np.random.default_rng(3).normal(size=39)):
        y[i + 1] = 0.6 * y[i] + noise
    pd.DataFrame({"day": [day.isoformat() for day in days], "y": y}).to_csv(tmp_path / "table.csv", index=False)
    for folder, text in {
        "data": f"{{name: table, source: csv, path: {tmp_path}/table.csv, dim: day, parse_dates: [day]}}",
        "model": "{name: series, type: declarative, priors: {rho: {dist: Normal, mu: 0, sigma: 10}}, "
        "likelihood: {z: {dist: AR, rho: rho, sigma: 1, observed: y}}}",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ("table.yaml" if folder == "data" else "series.yaml")).write_text(text)
    options = ["model=series", "data=table", f"paths.outputs={tmp_path}/out", *FEW]
    done = bayesrun("--config-dir", str(tmp_path), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_least_squares(only_run(tmp_path / "out"), ["rho"], [y[:-1]], y[1:])


def test_an_ordered_response_needs_an_order_and_is_predicted_by_its_labels(fit, tmp_path):
    place = np.arange(12) % 3
    (tmp_path / "new.csv").write_text("x\n5\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.yaml").write_text(f"{{name: new, source: csv, path: {tmp_path}/new.csv}}")
    words = "\n".join(["a,x", *(f"{['Low', 'Mid', 'High'][i]},{x}" for i, x in zip(place, X, strict=True))])
    said = fit(words, "a ~ x", "", "model.family=cumulative", ok=False)
    assert "the labels of the response 'a' have no order" in said
    assert "from the lowest to the highest: data.levels={a: [High, Low, Mid]}" in said
    scores = "\n".join(["a,x", *(f"{i + 2},{x}" for i, x in zip(place, X, strict=True))])
    _, folder = fit(scores, "a ~ x", "", "model.family=cumulative", "predict.data=new")
    assert {"cutpoints[2|3]", "cutpoints[3|4]"} <= set(summary(folder).index)
    table = pd.read_csv(folder / "predictions.csv").query("kind == 'probability'")
    assert table["level"].tolist() == [2, 3, 4]
    assert abs(table["mean"].sum() - 1) < 1e-6


def test_effects_of_a_binary_response_are_drawn(fit):
    text = "\n".join(["a,x,g", *(f"{i % 2},{x},{i % 3}" for i, x in enumerate(X))])
    said, folder = fit(text, "a ~ x + C(g)", "", "model.family=bernoulli", "model.figures=[effects]")
    assert (folder / "figures" / "effects.png").is_file(), said


def test_what_can_not_be_stored_is_told_before_sampling_and_can_be_left_out(bayesrun, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "table.json").write_text(json.dumps({"y": [1, 2, 3.5], "x": [1, 2, 3], "note": ["\ud800", "b", "c"]}))
    (tmp_path / "data" / "table.yaml").write_text(f"{{name: table, source: json, path: {tmp_path}/table.json}}")
    options = ["model=glm", "data=table", "model.formula='y ~ x'", f"paths.outputs={tmp_path}/out", *FEW]
    done = bayesrun("--config-dir", str(tmp_path), *options)
    assert done.returncode == 1 and not list(tmp_path.glob("out/runs/*/*"))
    assert "posterior.nc can't hold 'note' (constant_data)" in done.stderr
    assert "data.columns lists what is read" in done.stderr
    assert bayesrun("--config-dir", str(tmp_path), *options, "data.columns=[y,x]").returncode == 0


def test_columns_keep_names_that_python_would_change(fit, tmp_path):
    """The micro sign of keyboards is another letter than the Greek one, and an accent may stand beside its letter."""
    frame = pd.DataFrame({"y": Y, "\u00b5g": X, "e\u0301": X**2, "\u00e9": X % 2, "plot (m)_": list("abcd") * 3})
    (tmp_path / "new.csv").write_text(frame.iloc[[5]].to_csv(index=False))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.yaml").write_text(f"{{name: new, source: csv, path: {tmp_path}/new.csv}}")
    formula = "y ~ \u00b5g + `e\u0301` + \u00e9"
    _, folder = fit(frame.to_csv(index=False), formula, "", "predict.data=new")
    names = ["Intercept", "\u00b5g", "e\u0301", "\u00e9"]
    assert_least_squares(folder, names, [np.ones(12), X, X**2, X % 2], Y)
    table = pd.read_csv(folder / "predictions.csv")
    assert abs(table.query("kind == 'mu'")["mean"].iloc[0] - Y[5]) < 0.4
    stored = az.from_netcdf(folder / "posterior.nc")
    assert stored.posterior["\u00e9_2"].attrs["name"] == "e\u0301"  # NetCDF takes both for one


def test_predictions_see_new_rows_through_the_fit_and_ids_by_value(fit, tmp_path):
    ids = np.array([308, 309, 310] * 4)
    lines = [f"{y + (i == 309):.3f},{x},{i}" for x, y, i in zip(X, Y, ids, strict=True)]
    new = tmp_path / "data" / "new.yaml"
    new.parent.mkdir()
    new.write_text("name: new\nsource: inline\nvalues: {x: [200, 300], id: ['309', '308']}\n")
    keys = "factors: {i: id}\nderive: {z: zscore(x)}\n"
    _, folder = fit("\n".join(["y,x,id", *lines]), "y ~ z + C(id)", keys, "predict.data=new")
    y = np.round(Y + (ids == 309), 3)
    design = np.column_stack([np.ones(12), X, ids == 309, ids == 310])
    wanted, *_ = np.linalg.lstsq(design, y, rcond=None)
    table = pd.read_csv(folder / "predictions.csv")
    found = table[table["kind"] == "mu"]["mean"].to_numpy()
    assert np.all(np.abs(found - np.array([[1, 200, 1, 0], [1, 300, 0, 0]]) @ wanted) < [2.0, 3.0])
    new.write_text("name: new\nsource: inline\nvalues: {x: [200, 300], id: [308, null]}\n")
    said = fit("\n".join(["y,x,id", *lines]), "y ~ z + C(id)", keys, "predict.data=new", ok=False)
    assert "'id' has 1 missing of 2 values: obs 1" in said


@pytest.mark.parametrize("keys", ["factors: {i: id}\n", "levels: {id: [3, 7, 12]}\n"])
def test_labels_that_are_numbers_are_labels_in_new_rows_too(keys, fit, tmp_path):
    ids = np.array([7, 3, 12] * 4)
    y = np.round(Y + 2 * (ids == 7) - (ids == 12), 3)
    new = tmp_path / "data" / "new.yaml"
    new.parent.mkdir()
    new.write_text("name: new\nsource: inline\nvalues: {id: [12, 3, 7]}\n")
    lines = [f"{v},{i}" for v, i in zip(y, ids, strict=True)]
    _, folder = fit("\n".join(["y,id", *lines]), "y ~ id", keys, "predict.data=new")
    means = np.array([y[ids == level].mean() for level in (12, 3, 7)])
    table = pd.read_csv(folder / "predictions.csv")
    found = table[table["kind"] == "mu"]
    assert np.all(np.abs(found["mean"].to_numpy() - means) < 0.3 * found["sd"].to_numpy())


@pytest.mark.parametrize(
    ("text", "keys", "parts"),
    [
        ("x;y\n1,5;2\n2,5;3\n", 'sep: ","\n', ["data.sep", "this looks like sep=';' decimal=','"]),
        ("größe,y\n1,2\n2,3\n".encode("cp1252"), "", ["data.encoding", "encoding='cp1252'"]),
        ("x;y\n1,500;2\n2,250;3\n", "", ["data.decimal", "1,500, which may be 1.500 or a thousand times that"]),
        ("x,y,g\n1,2,a\n2,3,b\n", "levels: {g: [a, c]}\n", ["data.levels.g", "'b' (obs 1)"]),
        ("x,y,g\n1,2,a\n2,3,b\n", "derive: {d: \"g == 'B'\"}\n", ["data.derive.d", "'g' has no value 'B'"]),
    ],
)
def test_what_does_not_fit_is_said_with_what_it_looks_like(text, keys, parts, fit):
    said = fit(text, "y ~ x", keys, ok=False)
    assert all(part in said for part in parts), said
