"""Each task that fits many times loses a worker, is killed, and ends by the same command, with the same answer."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command
from tests.faults.judging import draws_unlike, posterior, shape_of, status_of
from tests.integration.killing import disturb, disturb_run, fits_of

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


_CHAINS = ("sampler.engine=pymc3", "sampler.draws=3000", "sampler.tune=300", "sampler.chains=2", "sampler.cores=2")
_ALONE = ("tracking=none", "report=false")


@pytest.fixture(scope="module")
def sampled(bayesrun: Command, fitted: tuple[Path, Path]) -> Path:
    """Sample the model by processes, one for each chain; returns the run's folder."""
    configs, _ = fitted
    words = ("--config-dir", configs, "model=influential", *_CHAINS, *_ALONE, "diagnostics.loo.repair=none")
    done = bayesrun(*words, f"paths.outputs={configs / 'sampled'}")
    assert done.returncode == 0, done.stderr
    return _folder(done.stdout)


def test_a_run_again_survives_kills(bayesrun: Command, sampled: Path, tmp_path: Path) -> None:
    """A chain that was killed is no difference of the draws; after a kill of all, the same command ends the work."""
    words = ["task=rerun", f"run={sampled}", "tracking=none"]
    whole = posterior(sampled)
    made, status, said = disturb_run(words, tmp_path, 1, chain_alone=True)
    assert status == 1 and "was killed by signal 9" in said
    assert (
        "not comparable: the run has 2 chains of 3,000 draws, and this one has 1 of 3,000; those are the same" in said
    )
    assert json.loads((made / "rerun.json").read_text())["identical"] is False
    assert shape_of(posterior(made)) == (1, 3000) and draws_unlike(posterior(made), whole) == 0
    killed, status, _ = disturb_run(words, tmp_path, 1, chain_alone=False)
    assert status == -9 and status_of(killed) == "running"
    done = bayesrun(*words, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "identical: every draw is the same, bit for bit" in done.stdout


def test_an_extension_survives_kills(bayesrun: Command, sampled: Path, tmp_path: Path) -> None:
    """What it had drawn is recovered, and continued to the draws that an undisturbed command makes."""
    words = ["task=extend", f"run={sampled}", "sampler.draws=+6000", "tracking=none"]
    undisturbed = bayesrun(*words, f"paths.outputs={tmp_path / 'undisturbed'}")
    assert undisturbed.returncode == 0, undisturbed.stderr
    whole = posterior(_folder(undisturbed.stdout))
    assert shape_of(whole) == (2, 9000)
    outputs = tmp_path / "disturbed"
    made, status, said = disturb_run(words, outputs, 3001, chain_alone=True)
    assert status == 0 and "was killed by signal 9" in said
    assert draws_unlike(posterior(made), whole) == 0
    killed, status, _ = disturb_run(words, outputs, 3001, chain_alone=False)
    assert status == -9 and status_of(killed) == "running"
    recovered = bayesrun("task=recover", f"paths.outputs={outputs}", "tracking=none")
    assert recovered.returncode == 0 and status_of(killed) == "partial", recovered.stderr
    kept = posterior(killed)
    assert shape_of(kept)[1] > 3000 and draws_unlike(kept, whole) == 0
    again = bayesrun("task=extend", f"run={killed}", "sampler.draws=9000", "tracking=none", f"paths.outputs={outputs}")
    assert again.returncode == 0, again.stderr
    ended = posterior(_folder(again.stdout))
    assert shape_of(ended) == (2, 9000) and draws_unlike(ended, whole) == 0
