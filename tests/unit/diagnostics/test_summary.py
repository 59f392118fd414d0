"""The summary against `az.summary`, whose definitions it must keep to the last digits."""

import logging
import subprocess
import sys
import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesrun.diagnostics._summary import COLUMNS, summarise


def posterior(values, **more):
    return az.from_dict(posterior={"x": values}, **more)


def with_arviz(idata):
    logging.getLogger("arviz").setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return az.summary(idata, round_to="none", hdi_prob=0.94)[COLUMNS].astype(float)


def assert_same(idata):
    pd.testing.assert_frame_equal(summarise(idata), with_arviz(idata), rtol=1e-8, atol=1e-10, check_names=False)


def autoregressive(rng, chains, draws, *shape):
    steps = rng.normal(size=(chains, draws, *shape))
    for t in range(1, draws):
        steps[:, t] += 0.9 * steps[:, t - 1]
    return steps


def sticky(rng, chains, draws, scalars):
    """Draws of a Metropolis step: most repeat the one before them."""
    values = rng.normal(size=(chains, draws, scalars))
    stays = rng.uniform(size=values.shape) < 0.7
    for t in range(1, draws):
        values[:, t] = np.where(stays[:, t], values[:, t - 1], values[:, t])
    return values


DRAWS = {
    "independent": lambda rng, c, d: rng.normal(size=(c, d, 20)),
    "autoregressive": lambda rng, c, d: autoregressive(rng, c, d, 20),
    "antithetic": lambda rng, c, d: autoregressive(rng, c, d, 20) * (-1.0) ** np.arange(d)[:, None],
    "chains apart": lambda rng, c, d: rng.normal(size=(c, d, 10)) + np.arange(c)[:, None, None],
    "heavy tails": lambda rng, c, d: rng.standard_cauchy(size=(c, d, 10)) ** 3,
    "far from zero": lambda rng, c, d: rng.normal(1e6, 1e-3, size=(c, d, 10)),
    "counts": lambda rng, c, d: rng.poisson(3, size=(c, d, 10)),
    "rare": lambda rng, c, d: rng.uniform(size=(c, d, 10)) < 0.03,
    "sticky": lambda rng, c, d: sticky(rng, c, d, 10),
    "constant": lambda rng, c, d: np.full((c, d, 2), 0.3),
    "stuck chains": lambda rng, c, d: np.ones((c, d, 2)) * np.arange(c)[:, None, None],
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize(("chains", "draws"), [(4, 200), (3, 101), (1, 100)])
def test_the_numbers_are_those_of_arviz(kind, chains, draws):
    assert_same(posterior(DRAWS[kind](np.random.default_rng(3), chains, draws)))


@pytest.mark.parametrize("draws", range(1, 13))
@pytest.mark.parametrize("chains", [1, 2])
def test_short_chains(chains, draws):
    assert_same(posterior(np.random.default_rng(draws).normal(size=(chains, draws, 5))))


def test_a_scalar_with_nan_or_infinity_leaves_the_others_alone():
    values = np.random.default_rng(0).normal(size=(4, 50, 6))
    values[2, 7, 1] = np.nan
    values[:, :, 2] = np.nan
    values[0, 3, 4] = np.inf
    table = summarise(posterior(values))
    assert_same(posterior(values))
    assert table["r_hat"].notna().tolist() == [True, False, False, True, True, True]
    assert np.isnan(table.loc["x[1]", ["mean", "sd", "ess_bulk"]]).all()


def test_scalars_of_several_blocks_and_memory_layouts():
    rng = np.random.default_rng(5)
    values = np.asfortranarray(rng.normal(size=(2, 300, 25, 11)))
    assert_same(posterior(values))
    turned = xr.Dataset({"x": (("k", "draw", "chain"), rng.normal(size=(70, 500, 3)))})
    straight = az.InferenceData(posterior=turned.transpose("chain", "draw", "k"))
    ours = summarise(az.InferenceData(posterior=turned))
    pd.testing.assert_frame_equal(ours, with_arviz(straight), rtol=1e-8, check_names=False)


def test_float32_draws_are_summed_in_double_precision():
    values = np.random.default_rng(2).normal(1000, 1, size=(4, 100, 3)).astype(np.float32)
    wide = with_arviz(posterior(values.astype(float)))
    pd.testing.assert_frame_equal(summarise(posterior(values)), wide, rtol=1e-8, check_names=False)


def test_labels_are_those_of_arviz():
    rng = np.random.default_rng(1)
    draws = {"mu": rng.normal(size=(2, 9)), "x": rng.normal(size=(2, 9, 2, 3)), "y": rng.normal(size=(2, 9, 2))}
    idata = az.from_dict(posterior=draws, coords={"school": ["A", "B"]}, dims={"x": ["school", "k"]})
    table = summarise(idata)
    assert list(table.index) == list(with_arviz(idata).index)
    assert table.index.name == "name"
    assert "x[A, 2]" in table.index
    assert "y[1]" in table.index


@pytest.mark.parametrize(
    ("times", "labels"),
    [
        (["2008-05-02", "2008-05-05"], ["x[2008-05-02]", "x[2008-05-05]"]),
        (
            ["2008-05-02T00:00", "2008-05-02T12:30"],
            ["x[2008-05-02T00:00:00.000000000]", "x[2008-05-02T12:30:00.000000000]"],
        ),
    ],
)
def test_whole_days_are_printed_without_their_midnight(times, labels):
    days = np.array(times, dtype="datetime64[ns]")
    idata = posterior(np.zeros((2, 8, 2)), coords={"date": days}, dims={"x": ["date"]})
    assert list(summarise(idata).index) == labels


def test_a_posterior_without_scalars_has_an_empty_table():
    assert summarise(posterior(np.zeros((2, 8, 0)))).shape == (0, len(COLUMNS))


MEMORY = """
import resource, tracemalloc
import arviz as az, numpy as np, pandas as pd
from bayesrun.diagnostics._summary import summarise
summarise(az.from_dict(posterior={"x": np.zeros((2, 10, 3))}))
idata = az.from_dict(posterior={"x": np.random.default_rng(0).normal(size=(4, 250, 5000))})
tracemalloc.start()
summarise(idata)
print(tracemalloc.get_traced_memory()[1] / idata.posterior["x"].nbytes)
"""


def test_no_second_copy_of_a_large_variable_is_made():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY], capture_output=True, text=True, check=True)
    # 40 MB of draws; 16 MB that are asked for but never touched are counted, too
    assert float(done.stdout) <= 0.6
