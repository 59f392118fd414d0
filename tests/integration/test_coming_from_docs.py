"""The examples of docs/coming-from-*.md: files written as they are shown, commands run letter by letter."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bayesrun.pipeline import load_data
from tests.composing import parsed
from tests.conftest import ROOT

PAGES = ("coming-from-brms", "coming-from-bambi")
TABLES = [*(ROOT / "tests/reference/published").glob("*.csv"), *(ROOT / "tests/reference/data").glob("*.csv")]
# few draws of the prior: what is shown is that files and commands are right
QUICK = "sampler=prior sampler.draws=10 predictive.posterior=false model.figures=[] tracking=none"


@dataclass(frozen=True)
class Page:
    """A page: its files by path, and its commands."""

    files: dict[str, str]
    commands: list[str]


def page(name: str) -> Page:
    text = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    files = {block.partition("\n")[0].removeprefix("# "): block for block in blocks}
    assert len(files) == len(blocks)
    return Page(files, re.findall(r"^python -m bayesrun .*$", text, re.MULTILINE))


def written(name: str, folder: Path) -> Page:
    found = page(name)
    for path, content in found.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        shown = yaml.safe_load(content)
        if "source" in shown:
            (table,) = [table for table in TABLES if table.name == shown["path"]]
            shutil.copy(table, folder)
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = re.sub(r" sampler\.\w+=\S+", "", command) + f" {QUICK}"
    where = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": where, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_file_is_used_by_a_command(name: str) -> None:
    found = page(name)
    models = [Path(path).stem for path in found.files if "/model/" in path]
    assert models and all(any(f"model={model}" in command for command in found.commands) for model in models)
    assert all(Path(path).stem == yaml.safe_load(content)["name"] for path, content in found.files.items())


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_are_read_letter_by_letter(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in found.commands:
        words = shlex.split(command.removeprefix("python -m bayesrun "))
        if "-m" not in words:
            config = parsed(*words)
            data, *_ = load_data(config)
            assert config.model.type == "regression" and data is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    found = written(name, tmp_path)
    for command in found.commands:
        done = run(command, tmp_path)
        assert done.returncode == 0, command + done.stdout + done.stderr
