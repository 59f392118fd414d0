"""What the real command samples, against the exact distributions of `a` and `b`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import poisson

from bayesrun.models.functions.modulo3 import modulo3
from tests.conftest import Command, only_run

WITHIN = 4.0


def _draws(folder: Path, name: str) -> np.ndarray:
    with xr.open_dataset(folder / "posterior.nc", group="posterior") as posterior:
        return np.asarray(posterior[name].values).astype(int)


def _agree(draws: np.ndarray, exact: dict[int, float]) -> None:
    """Compare the share of each value with its probability, in Monte Carlo standard errors."""
    import arviz as az

    assert set(np.unique(draws)) <= set(exact)
    for value, probability in exact.items():
        hits = (draws == value).astype(float)
        if hits.sum() < 20:
            assert probability < 0.02
            continue
        error = float(az.mcse(hits))
        assert abs(hits.mean() - probability) < WITHIN * error, (value, hits.mean(), probability, error)


@pytest.mark.slow
def test_b_has_its_exact_distribution_and_metropolis_is_said(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("model=arbitrary_deterministic", "tracking=none", "model.figures=[]", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert "Metropolis: a" in (folder / "run.log").read_text()
    exact = {b: sum(poisson.pmf(a, 1) for a in range(60) if modulo3(a) == b) for b in range(3)}
    _agree(_draws(folder, "b"), exact)


OBSERVED = """\
name: seen
source: inline
values: {b: [2]}
"""


@pytest.mark.slow
def test_an_observed_b_gives_the_conditional_of_a(bayesrun: Command, tmp_path: Path) -> None:
    config = tmp_path / "conf" / "data" / "seen.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(OBSERVED)
    own = ("--config-dir", str(tmp_path / "conf"), "model=arbitrary_deterministic", "data=seen")
    done = bayesrun(*own, "tracking=none", "model.figures=[]", f"paths.outputs={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    weights = {a: poisson.pmf(a, 1) for a in range(30) if modulo3(a) == 2}
    total = sum(weights.values())
    _agree(_draws(only_run(tmp_path / "out"), "a"), {a: w / total for a, w in weights.items()})


@pytest.mark.slow
def test_nuts_forced_on_it_is_a_clear_error(bayesrun: Command, tmp_path: Path) -> None:
    forced = ("model=arbitrary_deterministic", "+sampler.step.a=NUTS", "model.figures=[]")
    done = bayesrun(*forced, "tracking=none", f"paths.outputs={tmp_path}")
    assert done.returncode == 1
    assert "sampler.step.a" in done.stderr + done.stdout and "gradient" in done.stderr + done.stdout
