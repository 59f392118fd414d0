"""A config that others wrote runs nothing: the ways that were found, each through the real command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.planted_code import BY_TAGS, CALLBACK, EXPERIMENTS, PRIMARY, plant, write_planted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder that is also a folder of planted code."""
    plant(tmp_path)
    return tmp_path


def _is_refused(bayesrun: Command, folder: Path, *words: str) -> None:
    there = {str(path) for path in folder.rglob("*")}
    out = ["sampler.draws=20", "sampler.chains=1", "tracking.backend=none", f"paths.outputs={folder}/out"]
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = bayesrun(f"--config-dir={folder}", *words, *out, PYTHONPATH=path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hydra" in done.stderr, done.stderr
    assert {str(path) for path in folder.rglob("*") if "__pycache__" not in str(path)} == there


@pytest.mark.parametrize("text", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_runs_nothing(bayesrun: Command, folder: Path, text: str) -> None:
    write_planted(folder / "experiment/evil.yaml", "# @package _global_\n" + text, folder)
    _is_refused(bayesrun, folder, "experiment=evil")


def test_a_model_file_runs_nothing(bayesrun: Command, folder: Path) -> None:
    write_planted(folder / "model/evil.yaml", "# @package _global_\n" + BY_TAGS, folder)
    _is_refused(bayesrun, folder, "model=evil")


@pytest.mark.parametrize("text", PRIMARY.values(), ids=PRIMARY)
def test_a_primary_config_runs_nothing(bayesrun: Command, folder: Path, text: str) -> None:
    write_planted(folder / "own.yaml", text, folder)
    _is_refused(bayesrun, folder, "--config-name=own")


def test_a_run_folder_that_runs_again_runs_nothing(bayesrun: Command, folder: Path) -> None:
    done = bayesrun("model=linear_regression", "--cfg=job")
    write_planted(folder / "config.yaml", done.stdout + CALLBACK, folder)
    _is_refused(bayesrun, folder, "--config-name=config")


@pytest.mark.parametrize("flag", ["--help", "--info"])
def test_what_only_asks_runs_nothing(bayesrun: Command, folder: Path, flag: str) -> None:
    write_planted(folder / "own.yaml", PRIMARY["a package as config folder"], folder)
    bayesrun(f"--config-dir={folder}", "--config-name=own", flag, PYTHONPATH=str(folder))
    assert not (folder / "marker").exists()
