"""The same seed draws the same in every process, whatever the order of Python's sets in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.conftest import Command, only_run


@pytest.mark.parametrize("settings", [("sampler=prior",), ("sampler=smc",), ("sampler=advi", "sampler.iterations=300")])
def test_draws_do_not_depend_on_the_process(bayesrun: Command, tmp_path: Path, settings: tuple[str, ...]) -> None:
    found = []
    for salt in ("1", "2", "3"):
        done = bayesrun(
            "model=eight_schools",
            *settings,
            "sampler.draws=50",
            "sampler.chains=2",
            "tracking=none",
            "model.figures=[]",
            f"paths.outputs={tmp_path / salt}",
            PYTHONHASHSEED=salt,
        )
        assert done.returncode == 0, done.stderr
        found.append({})
        for group in ("posterior", "prior", "prior_predictive"):
            with xr.open_dataset(only_run(tmp_path / salt) / "posterior.nc", group=group) as drawn:
                found[-1].update({f"{group} {name}": values.values for name, values in drawn.data_vars.items()})
    first, *others = found
    assert {"posterior mu", "prior theta", "prior_predictive y"} <= set(first)
    for other in others:
        for name, values in first.items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)
