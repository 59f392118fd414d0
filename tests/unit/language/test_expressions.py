"""What expressions compute: numbers, dims that meet by name, the same in NumPy and in Theano."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from bayesrun.errors import UserError
from bayesrun.language import operations
from bayesrun.language.expressions import evaluate, value_of
from bayesrun.language.grammar import parse
from bayesrun.language.learned import Learned
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, variable

KEY = "data.derive.new"
RANDOM = ("y", "p", "u", "X", "S", "w", "scalar")
RNG = np.random.default_rng(1)


def data() -> xr.Dataset:
    return xr.Dataset(
        {
            "y": ("obs", np.array([0.5, 1.5, -2.0, 4.0, 3.0, 0.25])),
            "p": ("obs", np.array([0.1, 0.2, 0.5, 0.7, 0.9, 0.4])),
            "gap": ("obs", np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0])),
            "county": ("obs", np.array([0, 1, 2, 0, 1, 2])),
            "u": ("county_name", np.array([1.0, 2.0, 3.0])),
            "X": (("obs", "feature"), np.random.default_rng(0).normal(size=(6, 2))),
            "S": (("county_name", "feature"), np.arange(6.0).reshape(3, 2)),
            "w": ("feature", np.array([1.0, -2.0])),
            "name": ("obs", np.array(list("abcdef"))),
            "scalar": ((), 3.0),
        },
        coords={"obs": np.arange(1890, 1896), "county_name": list("ABC")},
    )


def result(text: str) -> xr.DataArray:
    return evaluate(text, data(), KEY)


Y, P, U = data()["y"].values, data()["p"].values, data()["u"].values
X, S, C = data()["X"].values, data()["S"].values, data()["county"].values

CASES = [
    ("1 + 2 * 3 ** 2 / 4 - 5", (), 0.5),
    ("-y", ("obs",), -Y),
    ("y % 2 + y // 2", ("obs",), Y % 2 + Y // 2),
    ("y > 1", ("obs",), Y > 1),
    ("0 < y <= 3", ("obs",), (Y > 0) & (Y <= 3)),
    ("not (y > 1) or y == 4", ("obs",), ~(Y > 1) | (Y == 4)),
    ("u[county]", ("obs",), U[C]),
    ("S[county]", ("obs", "feature"), S[C]),
    ("S[county, 1]", ("obs",), S[C, 1]),
    ("S[:, 0] + u", ("county_name",), S[:, 0] + U),
    ("u + S", ("county_name", "feature"), U[:, None] + S),
    ("w * S", ("county_name", "feature"), S * [1, -2]),
    ("dot(X, w)", ("obs",), X @ [1, -2]),
    ("dot(w, X)", ("obs",), X @ [1, -2]),
    ("dot(transpose(X), y)", ("feature",), X.T @ Y),
    ("sum(X * w, feature)", ("obs",), X @ [1, -2]),
    ("sum(y) + prod(u)", (), Y.sum() + 6),
    ("mean(X, obs)", ("feature",), X.mean(0)),
    ("std(y)", (), Y.std(ddof=1)),
    ("var(X, 0)", ("feature",), X.var(0, ddof=1)),
    ("min(y) + max(y) + median(y)", (), Y.min() + Y.max() + np.median(Y)),
    ("zscore(y)", ("obs",), (Y - Y.mean()) / Y.std(ddof=1)),
    ("mean(gap)", (), 3.8),
    ("logsumexp(X, feature)", ("obs",), special.logsumexp(X, axis=1)),
    ("softmax(X)", ("obs", "feature"), special.softmax(X, axis=1)),
    ("cumsum(y) + cumprod(y)", ("obs",), np.cumsum(Y) + np.cumprod(Y)),
    ("lag(y, 2)[2:]", ("new_dim_0",), Y[:-2]),
    ("lag(y, -1)[:5]", ("new_dim_0",), Y[1:]),
    ("diff(y)", ("new_dim_0",), np.diff(Y)),
    ("where(y > 1, y, 0)", ("obs",), np.where(Y > 1, Y, 0)),
    ("switch(y > 1, 1, y)", ("obs",), np.where(Y > 1, 1, Y)),
    ("clip(y, 0, 2)", ("obs",), np.clip(Y, 0, 2)),
    ("maximum(y, 1, 2) - minimum(y, 0)", ("obs",), np.maximum(Y, 2) - np.minimum(Y, 0)),
    ("stack(y, 1 - y)", ("obs", "new_dim_1"), np.stack([Y, 1 - Y], -1)),
    ("concatenate(scalar, u)", ("new_dim_0",), np.array([3, 1, 2, 3.0])),
    ("outer(u, w)", ("county_name", "feature"), np.outer(U, [1, -2])),
    ("arange(n_obs)", ("obs",), np.arange(6)),
    ("arange(1, 7, 2)", ("county_name",), [1, 3, 5]),
    ("zeros((3, 2)) + ones(2)", ("new_dim_0", "new_dim_1"), np.ones((3, 2))),
    ("obs - 1890", ("obs",), np.arange(6)),
    ("n_county_name * scalar", (), 9),
    ("exp(log(p)) + log1p(expm1(p)) + sqrt(p) + abs(-p) + sign(p)", ("obs",), 3 * P + np.sqrt(P) + 1),
    ("sin(p) + cos(p) + tan(p) + tanh(p)", ("obs",), np.sin(P) + np.cos(P) + np.tan(P) + np.tanh(P)),
    ("sigmoid(logit(p)) + erf(p) + gammaln(p)", ("obs",), P + special.erf(P) + special.gammaln(P)),
    ("probit(p)", ("obs",), stats.norm.ppf(P)),
]


@pytest.mark.parametrize(("text", "dims", "expected"), CASES)
def test_numpy(text: str, dims: tuple[str, ...], expected: object) -> None:
    found = result(text)
    assert found.dims == dims
    np.testing.assert_allclose(found.values, np.asarray(expected, dtype=float), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("text", "dims", "expected"), CASES)
def test_theano_gives_the_same(text: str, dims: tuple[str, ...], expected: object) -> None:
    import pymc3  # noqa: F401  Theano can't be imported before it
    import theano
    import theano.tensor as tt

    from bayesrun.engines.pymc3.lowering import Lowering

    found, tensors = with_random_names(text), {}
    with theano.config.change_flags(compute_test_value="ignore", cxx="", mode="FAST_COMPILE"):
        for name in RANDOM:
            tensors[name] = tt.as_tensor_variable(data()[name].values.copy()) + 0.0
        got = found.known if found.node is None else theano.function([], Lowering(tensors)(found.node))()
    assert np.shape(got) == found.shape
    np.testing.assert_allclose(got, np.asarray(expected, dtype=float), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("text", "dims", "expected"), CASES)
def test_nodes_have_the_same_meaning_in_numpy(text: str, dims: tuple[str, ...], expected: object) -> None:
    found = with_random_names(text)
    got = found.known if found.node is None else operations.evaluate(found.node, lambda name: data()[name].values)
    assert np.shape(got) == found.shape
    np.testing.assert_allclose(got, np.asarray(expected, dtype=float), rtol=1e-12, atol=1e-12)


def test_every_operation_of_expressions_has_a_graph() -> None:
    from bayesrun.engines.pymc3.lowering import OPERATIONS

    # of initial values alone, and of new rows alone, which no engine computes
    assert operations.OPERATIONS.keys() - {"increasing", "state_path", "states_after"} == OPERATIONS.keys()


def with_random_names(text: str) -> Value:
    """Compute an expression whose names mean random variables."""
    scope = Scope(data().drop_vars(RANDOM))
    scope.add_labels("feature", data()["feature"].values if "feature" in data().coords else [0, 1])
    for name in RANDOM:
        scope.add(name, variable(name, tuple(map(str, data()[name].dims)), data()[name].shape))
    return value_of(parse(text, KEY), scope)


def test_coords_come_along() -> None:
    assert list(result("y + 1").coords["obs"].values) == list(range(1890, 1896))


FAULTS = [
    ("y + u", "u", "clash"),
    ("y + zz", "zz", "unknown name 'zz'"),
    ("u[county + 1]", "u[county + 1]", "out of range"),
    ("u[p]", "u[p]", "whole numbers"),
    ("u[y > 1]", "u[y > 1]", "comparison"),
    ("y + zeros(7)", "y + zeros(7)", "size 7"),
    ("dot(y, w)", "dot(y, w)", "(obs) and (feature)"),
    ("dot(y, 2)", "dot(y, 2)", "single number"),
    ("sum(y, feature)", "sum(y, feature)", "no dim 'feature'"),
    ("sum(y, 3)", "sum(y, 3)", "no axis 3"),
    ("zeros(1000000000)", "zeros(1000000000)", "would make"),
    ("arange(10 ** 12)", "arange(10 ** 12)", "would make"),
    ("lag(y, 1.5)", "lag(y, 1.5)", "whole number"),
    ("y[::0]", "y[::0]", "step"),
    ("y[0, 0]", "y[0, 0]", "2 indices"),
    ("name", "name", "is not numeric"),
    ("county_name", "county_name", "is not numeric"),
    ("concatenate(y, X)", "concatenate(y, X)", "differ"),
    ("outer(X, w)", "outer(X, w)", "one axis"),
    ("zeros(0)", "zeros(0)", "above 0"),
    ("n_school", "n_school", "unknown name"),
    ("diff(scalar)", "diff(scalar)", "two numbers"),
]


@pytest.mark.parametrize(("text", "marked", "words"), FAULTS)
def test_faults_point_at_their_place(text: str, marked: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        result(text)
    problem = caught.value.problems[0]
    assert problem.key == KEY
    message, shown, mark = problem.message.split("\n")
    assert words in message
    assert marked in shown[mark.index("^") : mark.rindex("^") + 1]


def test_every_unknown_name_is_reported() -> None:
    with pytest.raises(UserError) as caught:
        result("aa + bb * y")
    assert len(caught.value.problems) == 2


def test_a_wide_array_is_made_where_dims_say_so() -> None:
    value = value_of(parse("y + u", KEY), Scope(data()), ("obs", "county_name"))
    np.testing.assert_array_equal(value.known, Y[:, None] + U)


def test_huge_powers_do_not_hang() -> None:
    assert np.isinf(result("9 ** 9 ** 9 ** 9").values)


NAMES = st.sampled_from(["y", "p", "u", "X", "S", "w", "county", "scalar", "n_obs", "obs", "2", "0.5", "-1"])
UNARY = st.sampled_from(
    ["exp", "abs", "zscore", "cumsum", "diff", "transpose", "sum", "softmax", "lag", "sigmoid", "sign"]
)
BINARY = st.sampled_from(["dot", "outer", "stack", "minimum", "concatenate", "arange"])


def expressions() -> st.SearchStrategy[str]:
    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        infix = st.tuples(inner, st.sampled_from(["+", "*", "/", "-", "**", "<", "and"]), inner)
        return st.one_of(
            infix.map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(UNARY, inner).map(lambda t: f"{t[0]}({t[1]})"),
            st.tuples(BINARY, inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
            st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
            st.tuples(inner, st.integers(-9, 9)).map(lambda t: f"{t[0]}[{t[1]}:]"),
        )

    return st.recursive(NAMES, more, max_leaves=6)


@settings(max_examples=400, deadline=None)
@given(expressions())
def test_any_expression_computes_or_is_refused_with_our_error(text: str) -> None:
    try:
        found = result(text)
    except UserError:
        return
    assert found.ndim == len(found.dims)


@settings(max_examples=300, deadline=None)
@given(expressions())
def test_shapes_found_without_numbers_are_those_with_them(text: str) -> None:
    """What is checked before PyMC3 is imported must be what comes out in the end."""
    known, unknown = Scope(data()), Scope(data().drop_vars(["y", "u", "X", "S", "w"]))
    for name in ("y", "u", "X", "S", "w"):
        unknown.add(name, variable(name, tuple(map(str, data()[name].dims)), data()[name].shape))
    unknown.add_labels("feature", [0, 1])
    unknown.add_labels("county_name", list("ABC"))
    try:
        expected = value_of(parse(text, KEY), known)
        found = value_of(parse(text, KEY), unknown)
    except UserError:
        return
    assert (found.dims, found.shape) == (expected.dims, expected.shape)


ODD = xr.Dataset(
    {
        "body mass": ("obs", [1.0, 2.0, 3.0]),
        "größe x": ("obs", [2.0, 2.0, 4.0]),
        "a + b": ("obs", [9.0, 9.0, 1.0]),
        **{name: ("obs", [1.0, 2.0, 3.0]) for name in ("a", "b", "c__d", "class")},
        "s t": ("obs", np.array(["u", "v", "u"], dtype=object)),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`body mass` + 1", [2, 3, 4]),
        ("`größe x` * a / mean(`body mass`)", [1, 2, 6]),
        ("`a + b` + a + b", [11, 13, 7]),
        ("`s t` == 'u'", [1, 0, 1]),
        ("`class` + `c__d` + `a`", [3, 6, 9]),
        ("a  +\n  b", [2, 4, 6]),
    ],
)
def test_names_of_any_kind_are_written_in_back_ticks(text, expected):
    np.testing.assert_allclose(evaluate(text, ODD, "data.derive.z").values, expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("`body mas` * 2", "did you mean 'body mass'"),
        ("body mass", "in back-ticks: `body mass`"),
        ("a`b`", "quote the whole name"),
        ("`a``b`", "quote the whole name"),
        ("``", "unmatched back-tick"),
        ("a + `b", "unmatched back-tick"),
    ],
)
def test_back_ticks_that_quote_no_name_are_refused(text, part):
    with pytest.raises(UserError, match=part):
        evaluate(text, ODD, "data.derive.z")


def test_a_learned_mean_of_a_quoted_name_is_not_that_of_an_expression_that_reads_the_same():
    learned = Learned("obs")
    evaluate("mean(`a + b`) - mean(a + b) + a", ODD, "data.derive.z", learned=learned)
    again = Learned("obs", learned.constants)
    made = evaluate("mean(`a + b`) - mean(a + b) + a", ODD.isel(obs=[0]), "data.derive.z", learned=again)
    np.testing.assert_allclose(made.values, [19 / 3 - 4 + 1])
