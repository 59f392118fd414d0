"""A model is built once for runs that declare the same one, and never taken for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from bayesrun.engines.base import StepSettings
from bayesrun.engines.pymc3 import ENGINE
from bayesrun.engines.pymc3.kept_models import forget, is_kept
from bayesrun.language.declaration import Declaration, Draft, ModelDesign, observed_values
from bayesrun.language.priors import declare


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    ENGINE.set_up()
    forget()


def declared(lam: float = 0.5, counts: tuple[int, ...] = (3, 1, 4), dist: str = "Exponential") -> Declaration:
    data = xr.Dataset({"counts": ("row", np.array(counts))}, coords={"row": np.arange(len(counts))})
    draft = Draft(data)
    rate = declare(draft, "rate", {"dist": dist, "lam": lam}, "model.priors.rate")
    draft.observe("counts", "Poisson", {"mu": rate}, observed_values(data["counts"]))
    return draft.declaration()


def density(model: Any, at: float = 0.3) -> float:
    return float(model.log_density().evaluate(np.array([at]))[0])


def test_the_same_declaration_has_the_same_model() -> None:
    first = ENGINE.compile(declared())
    assert ENGINE.compile(declared()) is first


def test_what_was_learned_for_predictions_alone_makes_no_other_model() -> None:
    first = ENGINE.compile(declared())
    assert ENGINE.compile(replace(declared(), design=ModelDesign(rows="row"), notes=("a note",))) is first


@pytest.mark.parametrize("other", [{"lam": 0.75}, {"counts": (3, 1, 5)}, {"counts": (3, 1, 4, 4)}])
def test_another_number_is_another_model(other: dict[str, Any]) -> None:
    first = ENGINE.compile(declared())
    before = density(first)
    ENGINE.begin_run()
    second = ENGINE.compile(declared(**other))
    assert second is not first
    assert density(second) != before
    ENGINE.begin_run()
    again = ENGINE.compile(declared())
    assert again not in (first, second)  # one model is kept
    assert density(again) == before


def test_a_start_that_a_run_has_moved_is_put_back() -> None:
    first = ENGINE.compile(declared())
    built = first.log_density().initial_point.copy()
    first.begin_at(built + 1.5)
    assert first.log_density().initial_point == pytest.approx(built + 1.5)
    assert list(ENGINE.compile(declared()).log_density().initial_point) == list(built)


def test_a_model_that_was_lent_to_pymc3s_own_samplers_is_built_anew() -> None:
    first = ENGINE.compile(declared())
    first.step_sampler(StepSettings(10, 1, {}, "adapt_diag", 0.8, 10), 1)
    assert ENGINE.compile(declared()) is not first


def test_other_patches_are_another_model() -> None:
    first = ENGINE.compile(declared())
    ENGINE.set_up("none")
    try:
        assert ENGINE.compile(declared()) is not first
    finally:
        ENGINE.set_up()


def recovering(draws: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {}


def test_with_a_function_that_is_not_bayesruns_own_a_model_is_built_anew() -> None:
    first = ENGINE.compile(replace(declared(), recover=recovering))
    assert ENGINE.compile(replace(declared(), recover=recovering)) is not first


def test_with_many_data_a_model_is_not_kept() -> None:
    many = tuple(np.arange(200_000) % 7)
    ENGINE.compile(declared(counts=many))
    assert not is_kept()


def test_a_model_that_can_not_be_built_leaves_none() -> None:
    ENGINE.compile(declared())
    wrong = replace(declared(), coords={"chain": [0]})
    with pytest.raises(Exception, match="chain"):
        ENGINE.compile(wrong)
    assert not is_kept()
