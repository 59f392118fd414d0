"""The commands of docs/tasks.md that fit many times, word for word; only the size of the work is smaller here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, Command

pytestmark = pytest.mark.slow
_PAGE = (ROOT / "docs" / "tasks.md").read_text()
_LINES = [
    line.strip()
    for line in re.findall(r"^python -m bayesrun ([^#\n]*)", _PAGE, re.MULTILINE)
    if re.match(r"task=(sbc|verify|loo|kfold)\b", line) and "launcher=" not in line
]
"""Those with a launcher need a cluster: `test_task_slurm`, and `test_sweep_ray`."""
_SMALL = ("sampler.draws=150", "sampler.tune=150", "tracking=none")
_OF_SBC = {"sbc.fits": "20", "sbc.ranks": "19"}


@pytest.fixture(scope="module")
def run(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a regression to rows with the columns of the examples; some of its points decide much."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(4)
    size = 36
    table = pd.DataFrame({"school": [f"s{i % 4}" for i in range(size)], "treated": rng.choice(["no", "yes"], size)})
    table["date"] = pd.date_range("2024-01-01", periods=size).astype(str)
    table["x"] = rng.standard_t(2, size)
    table.loc[[0, 1], "x"] = [9.0, -12.0]
    table["y"] = table["x"] + rng.normal(size=size)
    table.loc[[0, 1], "y"] += [9.0, 8.0]
    table.to_csv(folder / "rows.csv", index=False)
    (folder / "data").mkdir()
    (folder / "data" / "rows.yaml").write_text(f"name: rows\nsource: csv\npath: {folder / 'rows.csv'}\n")
    words = ["model=regression", "data=rows", "model.formula='y ~ x + treated'", "model.figures=[]", "report=false"]
    given = [
        "sampler.draws=600",
        "sampler.tune=300",
        "sampler.chains=2",
        "diagnostics.loo.repair=none",
        "tracking=none",
    ]
    done = bayesrun("--config-dir", folder, *words, *given, f"paths.outputs={folder / 'outputs'}")
    assert done.returncode == 0, done.stderr
    assert "task=loo" in done.stdout, "no point decides much"
    return Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())


def _words(line: str, run: Path) -> list[str]:
    """Return the words of a command, with a folder for FOLDER and fewer fits."""
    words = [str(run) if word == "FOLDER" else word.replace("=FOLDER", f"={run}") for word in shlex.split(line)]
    if words[0] != "task=sbc":
        return words
    given: Mapping[str, str] = dict(word.split("=", 1) for word in words)
    small = [f"{key}={value}" for key, value in _OF_SBC.items() if key not in given]
    return [*("sbc.fits=21" if word.startswith("sbc.fits=") else word for word in words), *small]


def test_the_page_has_an_example_of_each() -> None:
    assert {line.split()[0].partition("=")[2] for line in _LINES} == {"sbc", "verify", "loo", "kfold"}
    assert len(_LINES) == 11


@pytest.mark.parametrize("line", [line for line in _LINES if line.strip() != "task=verify"])  # which test_verify runs
def test_an_example_runs(bayesrun: Command, run: Path, line: str) -> None:
    small = _SMALL if "verify" not in line else ("tracking=none",)
    done = bayesrun(*_words(line, run), *small, f"paths.outputs={run.parents[2]}", "output=json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    made = Path(told["folder"])
    assert (made / "metrics.json").is_file() and made != run
    assert told["metrics"] and told["tables"] and told["status"] == "finished"
