"""Initial values that no whole number can follow are named, not raised as they come."""

from __future__ import annotations

import pytest

from bayesrun.engines.pymc3.build import build
from bayesrun.errors import UserError
from bayesrun.pipeline import load_data
from tests.composing import parsed


def test_a_start_too_large_for_counts_names_its_prior() -> None:
    config = parsed("model=switchpoint", "model.priors.early_rate.initval=1e308")
    data, *_ = load_data(config)
    with pytest.raises(UserError, match="early_rate starts at 1e\\+308"):
        build(config.model_type.build(data, config.model))
