"""New rows, even a single one, are transformed with what the fit learned from its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.errors import UserError
from bayesrun.language.declaration import Container, Declaration, Likelihood, Random
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import declarative
from bayesrun.models.base import ModelType, NewRows, Quantity
from bayesrun.models.regression import glm_type as glm
from bayesrun.models.regression.formula_rows import columns_at

RNG = np.random.default_rng(3)
X, Z = RNG.normal(180, 10, size=30), RNG.uniform(1, 3, size=30)
GROUP = np.array(list("abc") * 10)
Y = 0.5 * X + RNG.normal(size=30)
FIT = xr.Dataset({"x": ("row", X), "z": ("row", Z), "g": ("row", GROUP), "y": ("row", Y)}, {"row": np.arange(30)})
ONE = xr.Dataset({"x": ("row", [200.0]), "z": ("row", [2.0]), "g": ("row", ["b"]), "y": ("row", [95.0])}, {"row": [99]})


def _through(kind: ModelType, spec: Any, rows: xr.Dataset = ONE) -> Declaration:
    """Declare the model of new rows through the design of the fit."""
    fit = kind.build(FIT, spec)
    axes = {i.name: Quantity(i.dims, i.plan.shape) for i in fit.items if isinstance(i, Random)}
    likelihoods = {_likelihood(fit.reported or fit).name: ("row",)}
    assert kind.at_rows is not None
    return kind.at_rows(NewRows(rows, fit.design, axes, likelihoods), spec)


def _likelihood(declared: Declaration) -> Likelihood:
    return next(item for item in declared.items if isinstance(item, Likelihood))


def _mean(declared: Declaration, **known: float) -> Any:
    numbers = {i.name: i.numbers for i in declared.items if isinstance(i, Container)} | known
    return evaluate(node_of(_likelihood(declared).plan.values["mu"]), numbers.__getitem__)


def test_columns_of_a_formula_are_computed_as_for_the_fitted_rows() -> None:
    spec = glm.GlmSpec(name="m", type="glm", formula="y ~ standardize(x) + poly(z, 2) + C(g)")
    fitted = glm.MODEL.build(FIT, spec)
    assert fitted.design.formula is not None
    place = fitted.design.formula.columns.index("standardize(x)")
    one = columns_at(spec.parsed(), fitted.design.formula, ONE, "row")
    assert one.shape == (1, 6)
    assert one[0, place] == pytest.approx((200.0 - X.mean()) / X.std(ddof=1), rel=1e-12)
    # the same row among others has the same columns only if nothing is learned from it
    together = columns_at(spec.parsed(), fitted.design.formula, xr.concat([FIT, ONE], "row"), "row")
    np.testing.assert_allclose(together[-1], one[0], rtol=1e-12)
    assert len(fitted.design.formula.matrix) == 0


def test_a_level_of_something_computed_that_the_fit_has_not_seen_is_named() -> None:
    days = np.datetime64("2024-01-20") + np.arange(30)  # January and February
    spec = glm.GlmSpec(name="m", type="glm", formula="y ~ C(month(day)):x")
    fitted = glm.MODEL.build(FIT.assign(day=("row", days.astype("datetime64[ns]"))), spec).design.formula
    assert fitted is not None
    dates = np.array(["2024-01-02", "2025-02-03", "2024-02-28", "2024-07-05", "2024-08-01"], dtype="datetime64[ns]")
    rows = xr.Dataset({"x": ("row", np.ones(5)), "day": ("row", dates)}, {"row": np.arange(50, 55)})
    np.testing.assert_array_equal(
        columns_at(spec.parsed(), fitted, rows.isel(row=slice(3)), "row")[:, 1:], np.eye(2)[[0, 1, 1]]
    )
    with pytest.raises(UserError, match=r"not fitted to the level 7 in 'y ~ C\(month\(day\)\):x' \(row 53\)"):
        columns_at(spec.parsed(), fitted, rows, "row")


def test_a_value_outside_of_a_spline_names_its_row() -> None:
    spec = glm.GlmSpec(name="m", type="glm", formula="y ~ bs(x, df=4)")
    fitted = glm.MODEL.build(FIT, spec).design.formula
    assert fitted is not None
    rows = xr.Dataset({"x": ("row", [X[0], X[1], X.max() + 1.0, X[2]])}, {"row": [50, 51, 52, 53]})
    with pytest.raises(
        UserError, match=r"can't be computed for the new rows \(row 52\)(?s:.*)lower_bound and upper_bound"
    ):
        columns_at(spec.parsed(), fitted, rows, "row")
    wider = glm.GlmSpec(name="m", type="glm", formula="y ~ bs(x, df=4, lower_bound=-200, upper_bound=1500)")
    fitted = glm.MODEL.build(FIT, wider).design.formula
    assert fitted is not None
    assert np.isfinite(columns_at(wider.parsed(), fitted, rows, "row")).all()


def test_reductions_in_an_offset_are_those_of_the_fit() -> None:
    options = {"offset": "log(z) - mean(log(z))"}
    spec = glm.GlmSpec(name="m", type="glm", formula="y - mean(y) ~ x", options=options)
    mean = _mean(_through(glm.MODEL, spec), Intercept=1.0, x=0.5)
    assert mean == pytest.approx([1.0 + 0.5 * 200.0 + np.log(2.0) - np.log(Z).mean()])


def test_reductions_in_a_declarative_model_are_those_of_the_fit() -> None:
    text = """
    name: m
    type: declarative
    priors: {a: {dist: Normal, mu: 0, sigma: 5}, b: {dist: Normal, mu: 0, sigma: 5}}
    likelihood: {y: {dist: Normal, mu: "a + b * (x - mean(x)) / std(x) + zscore(z)", sigma: 1, observed: y}}
    """
    spec = declarative.DeclarativeSpec.model_validate(yaml.safe_load(text))
    mean = _mean(_through(declarative.MODEL, spec), a=1.0, b=2.0)
    z = (2.0 - Z.mean()) / Z.std(ddof=1)
    assert mean == pytest.approx([1.0 + 2.0 * (200.0 - X.mean()) / X.std(ddof=1) + z])
