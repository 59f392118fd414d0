"""Pages of the documentation, worked through from top to bottom: files written, commands run, Python executed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
AT_HOME = "import bayesrun.config.resolvers as places, pathlib\nplaces.root = pathlib.Path.cwd\n"
"""Puts outputs into the folder of the reader, as an installed bayesrun does."""
PYTHON = """#!{python}
import os, runpy, sys
if sys.argv[1:3] != ["-m", "bayesrun"]:
    os.execv("{python}", ["{python}", *sys.argv[1:]])
{at_home}
words = sys.argv[3:]
quick = "{quick}".split()
if not [word for word in words if word.startswith(("task=", "new", "list", "describe", "schema"))]:
    given = [word.partition("=")[0] for word in words]
    words += [word for word in quick if word.partition("=")[0] not in given]
sys.argv = ["bayesrun", *words]
runpy.run_module("bayesrun", run_name="__main__", alter_sys=True)
"""
FEW = "sampler.draws=100 sampler.tune=200 sampler.chains=2 model.figures=[] predictive.prior=50"
PRIOR = "sampler=prior sampler.draws=20 model.figures=[] predictive.prior=20 tracking=none"
TUTORIALS = sorted(path.stem for path in (DOCS / "tutorials").glob("*.md") if path.stem != "index")


def work_through(page: str, folder: Path, quick: str = "", site: Path | None = None) -> str:
    """Do what a page says, in its order; return what was printed."""
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "python"
    wrapper.write_text(PYTHON.format(python=sys.executable, at_home=AT_HOME, quick=quick))
    wrapper.chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), site and str(site)]))}
    printed = ""
    text = (DOCS / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(bash|python|yaml|toml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        file = re.match(r"# (\S+/\S+\.\w+)", block)
        if file:
            (folder / file[1].rstrip(":")).parent.mkdir(parents=True, exist_ok=True)
            (folder / file[1].rstrip(":")).write_text(block)
            continue
        command = ["bash", "-euc", block] if language == "bash" else [sys.executable, "-c", AT_HOME + block]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)
        printed += done.stdout + done.stderr
        assert done.returncode == 0, block + done.stdout + done.stderr
    return printed


@pytest.mark.slow
def test_the_tour(tmp_path: Path) -> None:
    printed = work_through("tour.md", tmp_path, FEW)
    assert "moved most" in printed and "wrote my_configs/model/sleep.yaml" in printed
    assert re.search(r"drug\[b\]` > 0 .* (1|1\.0+|0\.99\d*) ", printed), printed
    (table,) = (tmp_path / "outputs" / "runs").rglob("predictions.csv")
    with table.open() as lines:
        sds = [float(row["sd"]) for row in csv.DictReader(lines) if row["kind"] == "mu"]
    assert len(sds) == 3 and sds[2] > 1.5 * sds[1]  # less is known of a patient that the fit has not seen
    paired = [
        path for path in (tmp_path / "outputs" / "runs").rglob("summary.csv") if "effect_size" in path.read_text()
    ]
    assert len(paired) == 1


@pytest.mark.slow
def test_what_is_said_about_verdicts(tmp_path: Path) -> None:
    work_through(
        "verdict.md", tmp_path, "model.figures=[] tracking=none predictive.prior=20 sampler.tune=200 report=false"
    )
    folders = sorted((tmp_path / "outputs" / "runs").glob("*/*"))
    found = {
        (finding["check"], finding["severity"]): finding
        for folder in folders
        for finding in json.loads((folder / "findings.json").read_text())
        if finding["severity"] != "ok"
    }
    diverging = [finding for (check, _), finding in found.items() if check == "divergences"]
    assert diverging and "noncentered" in diverging[0]["remedy"]
    assert "ess" in {check for check, _ in found} and ("chains", "warn") in found


@pytest.mark.slow
def test_a_pymc3_script_in_yaml(tmp_path: Path) -> None:
    work_through("coming-from-pymc3.md", tmp_path, "sampler.tune=300 model.figures=[] tracking=none")
    (summary,) = (tmp_path / "outputs").rglob("summary.csv")
    assert {"theta[A]", "shrinkage[H]", "mu", "tau"} <= {line.partition(",")[0] for line in summary.open()}


@pytest.mark.slow
def test_the_plug_in_is_installed_and_counts(tmp_path: Path) -> None:
    site = tmp_path / "site"
    text = (DOCS / "plugins.md").read_text()
    before, _, after = text.partition("pip install ./my_package")
    for block in re.findall(r"^```(?:toml|python)\n(# (\S+)\n.*?)^```", before, re.DOTALL | re.MULTILINE):
        (tmp_path / block[1]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block[1]).write_text(block[0])
    options = ["--quiet", "--no-deps", "--python", sys.executable, "--target", str(site)]
    subprocess.run(["uv", "pip", "install", *options, str(tmp_path / "my_package")], check=True, cwd=tmp_path)
    shutil.rmtree(tmp_path / "my_package")
    assert "plugins=[my-package]" in after
    work_through("plugins.md", tmp_path, "sampler.draws=50 sampler.tune=50 model.figures=[] tracking=none", site)
    (findings,) = (tmp_path / "outputs").rglob("findings.json")
    (finding,) = [each for each in json.loads(findings.read_text()) if each["check"] == "precise"]
    assert finding["severity"] == "warn"


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_s_commands_run_and_its_pictures_are_there(name: str, tmp_path: Path) -> None:
    text = (DOCS / "tutorials" / f"{name}.md").read_text()
    assert f"python -m bayesrun model={name}\n" in text and f"<!-- file: conf/model/{name}.yaml -->" in text
    work_through(f"tutorials/{name}.md", tmp_path, f"{FEW} tracking=none" if "run=last" in text else PRIOR)


def test_the_model_of_the_models_page_is_read(tmp_path: Path) -> None:
    text = (DOCS / "models.md").read_text()
    for block in re.findall(r"^```yaml\n(# (\S+?)[:;] .*?)^```", text, re.DOTALL | re.MULTILINE):
        (tmp_path / block[1]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block[1]).write_text(block[0])
    (tmp_path / "wells.csv").write_text(
        "switched,dist,arsenic\n" + "".join(f"{i % 2},{i},{1 + i % 3}\n" for i in range(20))
    )
    command = [sys.executable, "-m", "bayesrun", "--config-dir", str(tmp_path / "my_configs"), "model=wells"]
    done = subprocess.run(
        [*command, *PRIOR.split(), f"paths.data={tmp_path}", f"paths.outputs={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
