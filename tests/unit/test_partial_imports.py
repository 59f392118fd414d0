"""Libraries of which a part is imported: what is left out, and that all of it is there afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENGINE = "from bayesrun.engines.pymc3 import ENGINE; ENGINE.set_up({patches!r}); "
NAMES = ("matplotlib", "arviz.plots", "pkg_resources", "arviz.stats")
LOADED = f"import sys; print([name in sys.modules for name in {NAMES}])"


def said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_statistics_of_arviz_come_without_its_plots() -> None:
    use = "from bayesrun.lazy import az; print(az.from_dict({'x': [[1.0, 2.0]]}).posterior.x.shape); "
    assert said(use + LOADED) == "(1, 2)\n[False, False, False, True]"


@pytest.mark.parametrize("first", ["pkg_resources", "matplotlib", "matplotlib.pyplot", "arviz", "arviz.data"])
def test_what_is_imported_before_stays(first: str) -> None:
    use = f"import {first}, sys; was = sys.modules[{first!r}]; {ENGINE.format(patches='all')}"
    after = "from bayesrun.lazy import az; az.from_dict({'x': [[1.0, 2.0]]}); "
    assert said(f"{use}{after}import {first}; print(sys.modules[{first!r}] is was)") == "True"


@pytest.mark.parametrize(("patches", "loaded"), [("all", False), ("none", True)])
def test_the_engine_comes_without_plots(patches: str, loaded: bool) -> None:
    assert said(ENGINE.format(patches=patches) + LOADED) == str([loaded, loaded, loaded, True])


@pytest.mark.parametrize(
    "use",
    [
        "import arviz as az; az.plot_trace(az.from_dict({'x': [[1.0, 2.0, 1.5, 1.2, 1.7]]}))",
        "from bayesrun.lazy import az; az.plot_trace(az.from_dict({'x': [[1.0, 2.0, 1.5, 1.2, 1.7]]}))",
        "import arviz; from bayesrun.lazy import az; assert az.InferenceData is arviz.InferenceData",
        "from arviz import *; plot_forest",
        "import arviz.plots; arviz.plots.plot_posterior",
        "import arviz as az; az.style.use('arviz-darkgrid')",
        "import arviz as az; assert 'xarray' in az.from_dict({'x': [[1.0]]})._repr_html_()",
        "import arviz; arviz.data.InferenceData, arviz.stats.loo, arviz.rcparams.rcParams, arviz.utils.Numba",
        "import pymc3 as pm; pm.plots.traceplot",
        "import pymc3.stats; pymc3.stats.summary",
        "from pymc3.plots import plot_posterior_predictive_glm",
        "import pkg_resources; pkg_resources.get_distribution('arviz').version",
        "import matplotlib.pyplot as plt; plt.figure().add_subplot()",
        "from bayesrun.partial_imports import import_matplotlib as f; f(); import matplotlib.pyplot as p; p.plot([1])",
    ],
)
def test_all_of_a_library_can_be_used_afterwards(use: str) -> None:
    assert said(f"{ENGINE.format(patches='all')}{use}; print('done')") == "done"
