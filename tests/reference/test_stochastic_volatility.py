"""The whitened form samples the posterior of the centred one, the tutorial's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, Command, only_run

DAYS = 300
WITHIN = 4.0
DATA = """\
name: slice
source: csv
path: {path}
dim: date
columns: {{date: Date, returns: change}}
parse_dates: [date]
"""


def _summary(bayesrun: Command, folder: Path, form: str, *sampler: str) -> pd.DataFrame:
    own = ("--config-dir", str(folder / "conf"), "model=stochastic_volatility", "data=slice")
    outputs = folder / form
    light = ("tracking=none", "model.figures=[]", "predictive.prior=0", "predictive.posterior=false")
    done = bayesrun(*own, f"model.options.form={form}", *light, *sampler, f"paths.outputs={outputs}", timeout=1800)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(only_run(outputs) / "summary.csv", index_col="name")


@pytest.mark.slow
def test_both_forms_have_the_same_posterior_means(bayesrun: Command, tmp_path: Path) -> None:
    pd.read_csv(ROOT / "data" / "sp500.csv").head(DAYS).to_csv(tmp_path / "slice.csv", index=False)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "slice.yaml").write_text(DATA.format(path=tmp_path / "slice.csv"))
    white = _summary(bayesrun, tmp_path, "whitened", "sampler.chains=2")
    centred = _summary(bayesrun, tmp_path, "centered", "sampler.chains=2", "sampler.draws=4000")
    assert set(white.index) == set(centred.index)
    centred = centred.loc[white.index]
    assert white["ess_bulk"].min() > 400 and centred["ess_bulk"].min() > 100
    joint = np.hypot(white["mcse_mean"], centred["mcse_mean"])
    away = ((white["mean"] - centred["mean"]) / joint).abs()
    # 602 quantities are compared: of that many the furthest of a normal lies at about 3.2
    assert away.max() < WITHIN, away.nlargest(5)
