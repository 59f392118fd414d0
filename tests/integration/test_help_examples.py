"""The examples of `--help`: each task has one, and each one runs, word for word but for folders."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrun.cli.help import _HEAD
from bayesrun.tasks.base import TASKS
from tests.conftest import Command

_EXAMPLES = re.findall(r"^  python -m bayesrun (task=.*?)(?:  .*)?$", _HEAD, re.MULTILINE)
_ELSEWHERE = ("sbc", "verify", "ui")
"""`test_tasks_docs.py` and `test_verify.py` run the words of the first two, `test_mlflow_pages.py` the server."""
_MODEL = """
defaults: [{/data@_global_.data: mine}, _self_]
name: line
type: declarative
priors:
  mu: {dist: Normal, mu: 0, sigma: 10}
  tau: {dist: Normal, mu: 0, sigma: 10}
likelihood:
  y: {dist: Normal, mu: "mu + tau * x", sigma: 1, observed: y}
figures: []
"""


def _task(example: str) -> str:
    return example.split()[0].partition("=")[2]


def test_each_task_has_an_example() -> None:
    assert {_task(example) for example in _EXAMPLES} == set(TASKS.names())


@pytest.fixture(scope="module")
def configs(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a line twice; returns the folder of its configs and outputs."""
    folder = tmp_path_factory.mktemp("help")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    pd.DataFrame({"x": x, "y": 1 + x + rng.normal(size=30)}).to_csv(folder / "rows.csv", index=False)
    pd.DataFrame({"x": [0.5, 2.0]}).to_csv(folder / "new.csv", index=False)
    (folder / "data" / "mine.yaml").write_text(f"name: mine\nsource: csv\npath: {folder / 'rows.csv'}\n")
    (folder / "model" / "line.yaml").write_text(_MODEL)
    for seed in (1, 2):
        words = ("model=line", "sampler.draws=200", "sampler.tune=200", "sampler.chains=2", f"seed={seed}")
        done = bayesrun("--config-dir", folder, *words, "report=false", f"paths.outputs={folder / 'outputs'}")
        assert done.returncode == 0, done.stderr
    return folder


def _words(example: str, folders: Sequence[Path], files: Path) -> list[str]:
    """Return the words of an example with folders, one run after the other, for FOLDER, and with paths of files."""
    rest = iter(folders)
    words = [re.sub("FOLDER", lambda found: str(next(rest)), word) for word in shlex.split(example)]
    return [re.sub(r"=(\w+\.csv)$", rf"={files}/\1", word) for word in words]


@pytest.mark.slow
@pytest.mark.parametrize("example", [one for one in _EXAMPLES if _task(one) not in _ELSEWHERE])
def test_an_example_of_help_runs(bayesrun: Command, configs: Path, example: str) -> None:
    outputs = configs / ("prior" if _task(example) == "prior" else "outputs")  # its run would be the last one
    runs = sorted(path.parent for path in outputs.glob("runs/*/*_line_*/posterior.nc") if "extend" not in str(path))
    words = _words(example, runs, configs)
    before = len(list(outputs.glob("runs/*/*/status.json")))
    done = bayesrun("--config-dir", configs, *words, f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    made = len(list(outputs.glob("runs/*/*/status.json"))) - before
    makes_none = _task(example) in ("recover", "figures", "report", "expand", "sync", "loo")
    assert made == (0 if makes_none else 1), done.stdout
