"""`task=effects` gives the comparisons that marginaleffects publishes for a regression of `mtcars`, under flat priors.

The documentation of marginaleffects ("Get Started", `avg_comparisons(mod, by = "am")` of a least-squares fit
of `mpg ~ hp * wt * am`) prints estimates and standard errors. Under flat priors of coefficients and of sigma the
posterior of a linear combination is Student's t around the estimate: its sd is the standard error times sqrt(24 / 21),
as there are 32 rows and 8 coefficients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
MODEL = """
defaults: [{/data@_global_.data: cars}, _self_]
name: cars
type: regression
formula: mpg ~ hp * wt * am
priors:
  Intercept: {dist: Normal, mu: 0, sigma: 10000}
  default: {dist: Normal, mu: 0, sigma: 10000}
  sigma: {dist: HalfNormal, sigma: 10000}
figures: []
"""
PUBLISHED = {  # estimate and standard error where am is 0, and where it is 1, with half a unit of the last digit
    "am": ((-1.3830, 2.5250, 5e-5), (1.9029, 2.3086, 5e-5)),
    "hp": ((-0.0343, 0.0159, 5e-5), (-0.0436, 0.0213, 5e-5)),
    "wt": ((-2.4799, 1.2316, 5e-5), (-6.0718, 1.9762, 5e-5)),
}


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit the regression; returns the run's folder."""
    folder = tmp_path_factory.mktemp("cars")
    for name in ("model", "data"):
        (folder / name).mkdir()
    (folder / "model" / "cars.yaml").write_text(MODEL)
    table = HERE / "published" / "mtcars.csv"
    (folder / "data" / "cars.yaml").write_text(f"name: cars\nsource: csv\npath: {table}\n")
    words = ["model=cars", "sampler.draws=4000", "sampler.tune=1000", "sampler.chains=2", "tracking=none"]
    done = bayesrun("--config-dir", folder, *words, "report=false", f"paths.outputs={folder / 'outputs'}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())


@pytest.mark.parametrize("predictor", list(PUBLISHED))
def test_average_comparisons_are_those_that_are_published(
    bayesrun: Command, fitted: Path, tmp_path: Path, predictor: str
) -> None:
    words = ["task=effects", f"run={fitted}", f"effects.of={predictor}", "effects.by=am", "tracking=none"]
    values = ["effects.values=[0,1]"] if predictor == "am" else []
    done = bayesrun(*words, *values, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("runs/*/*")
    table = pd.read_csv(folder / "effects.csv").sort_values("am")
    least = float(pd.read_csv(fitted / "summary.csv")["ess_bulk"].min())
    assert len(table) == 2
    for (estimate, error, rounding), row in zip(PUBLISHED[predictor], table.to_dict("records"), strict=True):
        sd = error * np.sqrt(24 / 21)
        assert abs(row["mean"] - estimate) < 4 * sd / np.sqrt(least) + rounding
        assert abs(row["sd"] - sd) < 4 * sd / np.sqrt(least) + 1.1 * rounding
