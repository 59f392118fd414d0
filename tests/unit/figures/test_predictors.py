"""Which columns of the data a model uses, and how the figures that show them name their levels."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesrun.figures import scatter
from bayesrun.figures.base import NotDrawable, Subject, default_for
from bayesrun.figures.observations import series_of
from bayesrun.figures.used_columns import predictors_of

ROWS = 30
RNG = np.random.default_rng(4)
DATA = xr.Dataset(
    {
        "x": ("obs", RNG.normal(size=ROWS)),
        "unused": ("obs", RNG.normal(size=ROWS)),
        "kind": ("obs", np.array(list("abc") * 10, dtype=object)),
        "place": ("obs", np.arange(ROWS) % 2, {"labels": "town"}),
        "y": ("obs", RNG.normal(size=ROWS)),
    },
    coords={"obs": np.arange(ROWS), "town": ["Ulm", "Bonn"]},
)
DECLARATIVE = {
    "name": "m",
    "type": "declarative",
    "priors": {"a": {"dist": "Normal", "mu": 0, "sigma": 1, "dims": ["town"]}, "b": {"dist": "Normal", "sigma": 1}},
    "deterministics": {"mean": "a[place] + b * x"},
    "likelihood": {"y_obs": {"dist": "Normal", "mu": "mean", "sigma": 1, "observed": "y"}},
}
GLM = {"name": "m", "type": "glm", "formula": "y ~ log(x) + C(kind)", "family": "normal"}


def _subject(model: dict[str, Any]) -> Subject:
    idata = az.from_dict(
        posterior={"a": np.zeros((2, 5))},
        observed_data={"y_obs": DATA.y.values},
        coords={"obs": np.arange(ROWS)},
        dims={"y_obs": ["obs"]},
    )
    idata.add_groups({"constant_data": DATA})
    return Subject(idata, pd.DataFrame(), model)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (DECLARATIVE, ["x", "town"]),
        (GLM, ["x", "kind"]),
        ({**GLM, "formula": "y ~ x + (1 | kind)"}, ["x", "kind"]),
        ({**GLM, "type": "regression", "formula": {"mu": "y ~ kind", "sigma": "~ x"}}, ["kind", "x"]),
        ({"type": "linear_regression", "options": {"predictors": ["unused"]}}, ["unused"]),
        ({"type": "of_a_plugin"}, ["x", "unused", "kind", "town"]),
    ],
)
def test_the_columns_that_a_model_uses(model: dict[str, Any], names: list[str]) -> None:
    subject = _subject({"name": "m", **model})
    assert [predictor.name for predictor in predictors_of(subject, series_of(subject))] == names


def test_codes_of_a_factor_are_shown_as_its_labels() -> None:
    by_x, by_town = scatter.draw(_subject(DECLARATIVE)).axes
    assert (by_x.get_xlabel(), by_town.get_xlabel()) == ("x", "town")
    assert [tick.get_text() for tick in by_town.get_xticklabels()] == ["Ulm", "Bonn"]
    (means,) = by_town.collections
    heights = [segment[0, 1] for segment in means.get_segments()]
    np.testing.assert_allclose(heights, [DATA.y.values[::2].mean(), DATA.y.values[1::2].mean()])


def test_levels_are_in_the_order_of_the_data_and_those_left_out_are_told() -> None:
    subject = _subject({**GLM, "formula": "`y` ~ kind + many"})
    many = np.array([f"level {i:02}" for i in range(ROWS)], dtype=object)
    ordered = DATA.kind.assign_attrs(levels=["c", "a", "b"])
    subject.idata.constant_data = DATA.assign(kind=ordered, many=("obs", many))
    by_kind, by_many = scatter.draw(subject).axes
    assert [text.get_text() for text in by_kind.get_xticklabels()] == ["c", "a", "b"]
    assert by_kind.get_ylabel() == "y" and by_many.get_xlabel() == "many"
    assert {text.get_rotation() for text in by_many.get_xticklabels()} == {90.0}
    wide = scatter.Predictor("many", np.array(["a"]), tuple(range(40)))
    assert scatter.label_of(wide) == "many (the first 30 of 40 levels)"


@pytest.mark.parametrize(("formula", "drawn"), [("y ~ C(place)", (0, 1)), ("y ~ C(place) + place", None)])
def test_numbers_that_a_formula_uses_as_labels_alone_are_levels(formula: str, drawn: tuple[int, ...] | None) -> None:
    subject = _subject({**GLM, "formula": formula})
    subject.idata.constant_data = DATA.drop_vars("town").assign(place=("obs", np.arange(ROWS) % 2))
    (found,) = predictors_of(subject, series_of(subject))
    assert found.levels == drawn


def test_a_model_without_predictors_says_so() -> None:
    alone = {**DECLARATIVE, "deterministics": {}, "likelihood": {"y_obs": {"dist": "Normal", "observed": "y"}}}
    with pytest.raises(NotDrawable, match="uses no predictor"):
        scatter.draw(_subject(alone))


def test_every_type_of_model_has_figures() -> None:
    assert default_for("glm")[0] == "effects"
    assert {"trace", "posterior", "ppc"} <= set(default_for("of_a_plugin"))


def test_the_labels_of_a_factor_and_numbers_with_levels_are_categorical() -> None:
    subject = _subject({**GLM, "formula": "y ~ town + grade"})
    data = DATA.assign(grade=("obs", np.arange(ROWS) % 3, {"levels": [2, 0, 1]}))
    subject.idata.constant_data = data
    town, grade = predictors_of(subject, series_of(subject))
    assert (town.name, town.levels) == ("town", ("Ulm", "Bonn"))
    assert (grade.name, grade.levels) == ("grade", (2, 0, 1))
    assert grade.codes[:3].tolist() == [1, 2, 0]
