"""The examples of docs/sweeps.md, run exactly as written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.sweeping import ROOT, only_sweep

TEXT = (ROOT / "docs" / "sweeps.md").read_text()
FIRST, EXAMPLE = re.search(r"\n    (python -m bayesrun -m .*)\n\n(?:.*\n)\n((?:    .*\n|\n)+)", TEXT).groups()
(PREFIX,) = re.findall(r"^After `(python -m bayesrun -m [^`]*)`$", TEXT, re.M)
ROWS = re.findall(r"^\| `([^`]*)` \| (.*\b(\d+) jobs.*) \|$", TEXT, re.M)
QUICK = "tracking=none sampler=prior sampler.draws=50 predictive.posterior=false"


def run(line, outputs):
    """Run a line of the documentation as a shell does."""
    where = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"{line} paths.outputs={outputs}"],
        cwd=ROOT, env={**os.environ, "PATH": where}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def shape(line):
    """A line of output without its numbers and its padding: those of another processor may differ."""
    return " ".join(re.sub(r"-?\d+(\.\d+)?", "#", line).split())


@pytest.mark.slow
def test_the_first_example_ends_as_documented(tmp_path):
    done = run(FIRST, tmp_path)
    assert done.returncode == 0, done.stderr
    documented = [shape(line) for line in EXAMPLE.splitlines() if line.strip()]
    assert len(documented) == 7
    printed = {shape(line) for line in done.stdout.splitlines()}
    assert [line for line in documented if line not in printed] == []


def test_all_rows_are_read():
    assert len(ROWS) == TEXT.count("| `", TEXT.index("| you write"), TEXT.index("## The answer"))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_way_to_list_points_makes_as_many_jobs_as_documented(tmp_path, row):
    line, _, count = row
    own = {word.split("=")[0].strip("'") for word in line.split()}
    quick = " ".join(word for word in QUICK.split() if word.split("=")[0] not in own)
    if "sampler.tune" in line or "sweep.metric" in line:
        quick = "tracking=none sampler.tune=50 sampler.chains=2 predictive.posterior=false" + (
            "" if "sampler.draws" in own else " sampler.draws=50"
        )
    prefix = PREFIX.replace(" model=switchpoint", "") if "model" in own else PREFIX
    done = run(f"{prefix} {line} {quick}", tmp_path)
    assert done.returncode == 0, done.stderr
    jobs = json.loads((only_sweep(tmp_path) / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["finished"] * int(count)
