"""Each task that fits many times loses a worker, is killed, and ends by the same command, with the same answer."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command
from tests.integration.killing import disturb, fits_of

pytestmark = pytest.mark.slow
_MODEL = """
    defaults: [{/data@_global_.data: points}, _self_]
    name: influential
    type: declarative
    priors:
      a: {dist: Normal, mu: 0, sigma: 10}
      b: {dist: Normal, mu: 0, sigma: 10, shape: 2}
    likelihood:
      y: {dist: Normal, mu: "a + b[0] * x + b[1] * x ** 2", sigma: 1, observed: y}
    figures: []
"""
_LONG = ("sampler.draws=4000", "sampler.tune=1000", "sampler.chains=2", "sampler.cores=2")
_ASKED = {
    "sbc": ("model=influential", "sbc.fits=20", "sbc.ranks=49"),
    "verify": ("verify.models=[beta_binomial,gamma_poisson,normal_gamma,dirichlet_categorical,local_level]",),
    "kfold": ("RUN", "kfold.k=10"),
    "kfold future": ("RUN", "kfold.kind=future", "kfold.k=8"),
    "loo": ("RUN",),
    "sbc posterior": ("RUN", "sbc.fits=20", "sbc.ranks=49"),
}
_TABLES = {"sbc": "ranks.csv", "verify": "verify.csv", "kfold": "pointwise.csv", "loo": "pointwise.csv"}


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Fit a curve through points of which six decide much; returns the folder of its configs and that of the run."""
    folder = tmp_path_factory.mktemp("influential")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(2)
    x = np.r_[rng.normal(size=20), 6, -6, 9, -9, 12, -12]
    y = 1 + 0.5 * x + rng.normal(size=26) + np.r_[np.zeros(20), 5, -5, 6, -6, -7, 7]
    pd.DataFrame({"x": x, "y": y}).to_csv(folder / "points.csv", index=False)
    (folder / "data" / "points.yaml").write_text(f"name: points\nsource: csv\npath: {folder / 'points.csv'}\n")
    (folder / "model" / "influential.yaml").write_text(textwrap.dedent(_MODEL).replace("shape: 2", "shape: 2"))
    words = ["model=influential", *_LONG, "tracking=none", "report=false", "diagnostics.loo.repair=none"]
    done = bayesrun("--config-dir", folder, *words, f"paths.outputs={folder / 'outputs'}")
    assert done.returncode == 0, done.stderr
    return folder, _folder(done.stdout)


def _folder(stdout: str) -> Path:
    return Path(stdout.rpartition("folder: ")[2].split("\n")[0].strip())


@pytest.mark.parametrize("asked", list(_ASKED))
def test_a_task_survives_kills(bayesrun: Command, fitted: tuple[Path, Path], tmp_path: Path, asked: str) -> None:
    configs, run = fitted
    task, *_ = asked.split()
    own = [f"run={run}" if word == "RUN" else word for word in _ASKED[asked]]
    given = ("--config-dir", configs) if asked == "sbc" else ()
    words = [f"task={task}", *given, *own, *_LONG, "tracking=none"]
    outputs = tmp_path / "disturbed"
    kept, said = disturb([*map(str, words), f"paths.outputs={outputs}"], outputs, task)
    assert "was killed by signal 9: it is made again" in said
    assert len(kept) >= 2
    done = bayesrun(*words, f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    if task == "verify":  # on the next command, all are sampled again
        assert f"{len(kept)} models were sampled before" in done.stdout and not fits_of(outputs, task)
    else:
        now = fits_of(outputs, task)
        assert len(now) > len(kept) and all(now[path] == at for path, at in kept.items()), "a fit was made again"
    undisturbed = bayesrun(*words, f"paths.outputs={tmp_path / 'undisturbed'}")
    assert undisturbed.returncode == 0, undisturbed.stderr
    one, other = (pd.read_csv(_folder(made.stdout) / _TABLES[task]) for made in (done, undisturbed))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
