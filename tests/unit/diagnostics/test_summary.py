"""The summary is ArviZ's table, unrounded."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest

from bayesrun.diagnostics.summary import COLUMNS, summarise
from tests.unit.diagnostics.conftest import normal


@pytest.mark.parametrize("chains", [1, 2, 4])
def test_every_number_is_arvizs(chains: int) -> None:
    rng = np.random.default_rng(3)
    posterior = {
        "x": normal(chains),
        "theta": rng.gamma(2, 1, (chains, 1000, 2, 2)),
        "n": rng.poisson(3, (chains, 1000)),
        "slow": np.cumsum(rng.normal(size=(chains, 1000)), axis=1),
    }
    idata = az.from_dict(posterior=posterior, coords={"a": ["p", "q"]}, dims={"theta": ["a", "b"]})
    table, expected = summarise(idata), az.summary(idata, round_to="none", hdi_prob=0.94)
    assert list(table.columns) == COLUMNS
    assert list(table.index) == list(expected.index)
    assert table.index.name == "name"
    pd.testing.assert_frame_equal(table, expected[COLUMNS].astype(float), check_names=False, rtol=1e-6)


def test_a_constant_has_no_standard_error_that_is_not_zero() -> None:
    table = summarise(az.from_dict(posterior={"c": np.full((4, 100), 3.0)}))
    assert table.loc["c", "mean"] == 3
    assert table.loc["c", "sd"] == 0
