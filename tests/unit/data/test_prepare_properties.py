"""Properties of data preparation that hold for any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayesrun.data.base import Role
from bayesrun.data.prepare import digest, load
from bayesrun.data.roles import settle
from bayesrun.data.section import parse_data
from bayesrun.errors import UserError

NUMBERS = st.none() | st.integers(-3, 5) | st.floats(-5, 5, allow_subnormal=False)
LABELS = st.none() | st.sampled_from(["a", "b", "c", "é", ""])
NAMES = st.sampled_from(["x", "y", "z", "town"])
RULES = st.sampled_from([None, "rows", "error", "impute", {"x": "rows"}, {"y": "error"}, {"nope": "rows"}])
DOMAINS = st.sampled_from(["real", "positive", "nonnegative", "count", "binary", "unit", "index", "any"])
ANYTHING = st.recursive(NUMBERS | LABELS | st.booleans(), lambda inner: st.lists(inner, max_size=3), max_leaves=8)
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw, columns=("x", "y")):
    rows = draw(st.integers(1, 8))
    table = {name: draw(st.lists(NUMBERS, min_size=rows, max_size=rows)) for name in columns}
    return {**table, "town": draw(st.lists(LABELS, min_size=rows, max_size=rows))}


def prepared(values, **keys):
    spec = parse_data({"name": "t", "source": "inline", "values": values, **keys}, Path(), problems := [])
    assert not problems
    return load(spec, Path())


def complete(values):
    """Rows without a gap, counted independently."""
    return [i for i, row in enumerate(zip(*values.values(), strict=True)) if None not in row]


@FAST
@given(tables())
def test_dropping_rows_leaves_the_complete_ones_as_they_were(values):
    rows = complete(values)
    roles = [Role(name, "observed", "any") for name in values]
    try:
        data, notes = settle(prepared(values, drop_missing="rows"), roles, "rows")
    except UserError as error:
        assert not rows
        assert error.problems[0].key == "data.drop_missing"
        return
    assert data["obs"].values.tolist() == rows
    assert data.attrs["rows"] == len(rows)
    for name in ("x", "y"):
        np.testing.assert_array_equal(data[name].values.astype(float), [float(values[name][i]) for i in rows])
    assert (notes == []) == (len(rows) == len(values["x"]))


@FAST
@given(tables())
def test_codes_point_back_to_their_labels(values):
    if all(v is None for v in values["town"]):
        return
    data = prepared(values, factors={"code": "town"})
    codes, labels = data["code"].values, data["town"].values
    assert list(labels) == sorted({v for v in values["town"] if v is not None})
    for code, label in zip(codes, values["town"], strict=True):
        assert (np.isnan(code) and label is None) or labels[int(code)] == label


@FAST
@given(tables(), RULES, st.lists(st.tuples(NAMES, st.sampled_from(["observed", "predictor"]), DOMAINS), max_size=4))
def test_settling_ends_in_good_values_or_a_user_error(values, rule, wanted):
    roles = [Role(name, kind, domain) for name, kind, domain in wanted]
    try:
        data, notes = settle(prepared(values), roles, rule)
    except UserError as error:
        assert all(p.key and p.message and p.hint for p in error.problems)
        return
    assert data.sizes["obs"] > 0 or not roles
    for role in roles:
        got = data[role.variable]
        gaps = int(got.isnull().sum())
        assert not gaps or (role.kind == "observed" and any(f"'{role.variable}'" in note for note in notes))
        assert gaps < got.size
        if role.domain != "any":
            assert got.dtype.kind in "iuf"


@FAST
@given(tables(), st.randoms(use_true_random=False))
def test_digest_does_not_know_the_order_of_variables_but_every_value(values, random):
    names = list(values)
    random.shuffle(names)
    data = prepared(values)
    assert digest(data) == digest(prepared({name: values[name] for name in names}))
    changed = {**values, "x": [99, *values["x"][1:]]}
    assert digest(data) != digest(prepared(changed))


@FAST
@given(st.dictionaries(st.sampled_from(["x", "y", "obs", "k"]), ANYTHING, max_size=3))
def test_any_inline_values_load_or_are_a_user_error(values):
    try:
        data = prepared(values, dims={"x": ["obs", "k"]} if "x" in values else {})
    except UserError as error:
        assert all(p.key.startswith("data") and p.message and p.hint for p in error.problems)
        return
    assert set(values) <= {str(name) for name in data.variables}


@FAST
@given(tables())
def test_csv_reads_what_pandas_wrote(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("csv")
    frame = pd.DataFrame({name: pd.Series(values[name], dtype=float) for name in ("x", "y")})
    frame.to_csv(folder / "t.csv", index=False)
    spec = parse_data({"name": "t", "source": "csv", "path": "t.csv"}, folder, problems := [])
    assert not problems
    data = load(spec, folder)
    for name in ("x", "y"):
        np.testing.assert_allclose(data[name].values.astype(float), frame[name].values, rtol=1e-12)
