"""What a formula makes of labels in an order of their own, of the columns of factors, and of dates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bayesrun.data.prepare import load
from bayesrun.data.roles import settle
from bayesrun.data.section import parse_data
from bayesrun.errors import UserError
from bayesrun.language.formulas import parse
from bayesrun.models.regression import glm_type as glm
from bayesrun.models.regression.design_matrix import prepare
from bayesrun.models.regression.glm_spec import GlmSpec

VALUES = {
    "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "size": ["small", "large", "medium", "large", "small", "medium"],
    "cyl": [4, 6, 8, 4, 6, 8],
    "day": ["2024-11-04", "2024-11-05", "2024-11-09", "2024-12-01", "2024-12-24", "2025-01-03"],
    "year": [1, 2, 3, 4, 5, 6],
}
LEVELS = {"size": ["small", "medium", "large"], "cyl": [8, 6, 4]}


def data(**keys):
    raw = {"name": "t", "source": "inline", "values": VALUES, "parse_dates": ["day"], **keys}
    spec = parse_data(raw, Path(), problems := [])
    assert not problems
    return load(spec, Path())


def columns(formula, **keys):
    made = prepare(data(**keys), parse(formula, "model.formula"), None, None).design
    return dict(zip(made.columns, made.matrix.T.tolist(), strict=True))


def test_the_first_level_is_the_reference():
    found = columns("y ~ size", levels=LEVELS)
    assert list(found) == ["Intercept", "size[medium]", "size[large]"]
    assert found["size[large]"] == [0, 1, 0, 1, 0, 0]


def test_numbers_with_levels_are_labels_when_they_stand_alone():
    assert list(columns("y ~ cyl", levels=LEVELS)) == ["Intercept", "cyl[6]", "cyl[4]"]
    assert columns("y ~ I(cyl * 2)", levels=LEVELS)["I(cyl * 2)"] == [8, 12, 16, 8, 12, 16]


def test_the_column_of_a_factor_is_a_column_of_the_formula():
    found = columns("y ~ size", factors={"code": "size"}, levels={"code": ["large", "small", "medium"]})
    assert list(found) == ["Intercept", "size[small]", "size[medium]"]


def test_dates_enter_through_functions():
    found = columns("y ~ trend(day) + days(day) + month(day) + day_of_year(day)")
    days = np.array(VALUES["day"], dtype="datetime64[D]").astype(float)
    np.testing.assert_allclose(found["trend(day)"], (days - days[0]) / 60)
    np.testing.assert_allclose(found["days(day)"], days)
    assert found["month(day)"] == [11, 11, 11, 12, 12, 1]
    assert found["day_of_year(day)"] == [309, 310, 314, 336, 359, 3]
    assert list(columns("y ~ C(weekday(day))")) == [
        *("Intercept", "C(weekday(day))[1]", "C(weekday(day))[4]", "C(weekday(day))[5]", "C(weekday(day))[6]")
    ]
    np.testing.assert_allclose(columns("y ~ I(day - min(day))")["I(day - min(day))"], days - days[0])


def test_a_column_may_be_called_like_a_function_of_dates():
    assert columns("y ~ year")["year"] == VALUES["year"]


@pytest.mark.parametrize(
    ("formula", "part"),
    [
        ("y ~ day", "take a number of it: trend(day)"),
        ("y ~ C(day)", "holds dates"),
        ("y ~ month(cyl)", "holds no dates"),
    ],
)
def test_dates_alone_are_refused_with_what_to_write(formula, part):
    with pytest.raises(UserError) as caught:
        columns(formula)
    assert part in str(caught.value)


def test_texts_can_be_compared_with():
    assert columns("y ~ I(size == 'large')")["I(size == 'large')"] == [0, 1, 0, 1, 0, 0]
    assert columns("y ~ I('large' != size)", levels=LEVELS)["I('large' != size)"] == [1, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("formula", "part"),
    [
        ("y ~ I(size == 'Large')", "'size' has no value 'Large'"),
        ("y ~ I(cyl == '4')", "write cyl == 4 without quotes"),
        ("y ~ I(size > 'large')", "by == or !="),
        ("y ~ I('a' == 'b')", "text is compared with one column"),
        ("y ~ log('a')", "is not allowed here"),
    ],
)
def test_other_texts_are_refused(formula, part):
    with pytest.raises(UserError) as caught:
        columns(formula)
    assert part in str(caught.value)


def test_the_response_may_compare_labels():
    spec = GlmSpec(name="m", type="glm", formula="size == 'large' ~ year", family="binomial")
    rows, _ = settle(data(), glm.roles(spec), None)
    assert prepare(rows, spec.parsed(), None, None).response.values.tolist() == [0, 1, 0, 1, 0, 0]
