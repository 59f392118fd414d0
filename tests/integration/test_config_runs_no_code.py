"""A config that others wrote runs nothing: the ways that were found, each through the real command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Command

CALLBACK = "hydra: {callbacks: {x: {_target_: planted.run}}}\n"
OURS = """
hydra:
  callbacks:
    x: {_target_: bayesrun.tracking.process.start_module, _args_: [planted], timeout: 1}
"""
BY_TAGS = """
tags: {_target_: numpy.distutils.exec_command.exec_command, command: touch MARKER}
hydra: {callbacks: {x: '${tags}'}}
"""
BY_MLFLOW = """
tags: {_target_: mlflow.utils.process._exec_cmd, cmd: touch MARKER, shell: true}
hydra: {callbacks: {x: '${tags}'}}
"""
WHOLE_NODE = """
tags: {callbacks: {x: {_target_: planted.run}}}
hydra: ${tags}
"""
LOG = """
hydra:
  LOGGING:
    version: 1
    formatters: {f: {format: 'touch MARKER'}}
    handlers: {h: {class: logging.FileHandler, filename: MARKER, formatter: f}}
    root: {handlers: [h], level: DEBUG}
"""
BY_TYPE = """
sampler: {cores: {_target_: planted.run}}
hydra: {launcher: {n_jobs: '${sampler.cores}'}}
"""

EXPERIMENTS = {
    "a class of Python's": CALLBACK,
    "a class of bayesrun's": OURS,
    "an interpolation, numpy": BY_TAGS,
    "an interpolation, mlflow": BY_MLFLOW,
    "the whole node is an interpolation": WHOLE_NODE,
    "PATH, with a planted git": "hydra: {job: {env_set: {PATH: 'FOLDER:/usr/bin:/bin'}}}\n",
    "a compiler for Theano": "hydra: {job: {env_set: {THEANO_FLAGS: 'cxx=FOLDER/git'}}}\n",
    "flags for Theano's compiler": "hydra: {job: {env_set: {THEANO_FLAGS: 'gcc__cxxflags=-wrapper touch,MARKER'}}}\n",
    "the environment is copied": "hydra: {job: {env_copy: [HOME]}}\n",
    "a log file of the job": LOG.replace("LOGGING", "job_logging"),
    "a log file of Hydra": LOG.replace("LOGGING", "hydra_logging"),
    "a launcher's class": "hydra: {launcher: {_target_: planted.run}}\n",
    "a sweeper's class": "hydra: {sweeper: {_target_: planted.run}}\n",
    "a launcher's option": BY_TYPE,
    "lines for the shell of a cluster": "defaults: [{override /hydra/launcher: submitit_slurm}]\n"
    "hydra: {launcher: {setup: [touch MARKER]}}\n",
    "a joblib expression": "defaults: [{override /hydra/launcher: joblib}]\n"
    "hydra: {launcher: {pre_dispatch: '__import__(\"planted\")'}}\n",
    "a swept key of Hydra's": "hydra: {mode: MULTIRUN, sweeper: {params: {hydra.job.env_set.PATH: FOLDER}}}\n",
    "a package for Hydra's node": "defaults: [{/data@hydra.callbacks: evil}]\n",
    "another log": "defaults: [{override /hydra/job_logging: evil}]\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder that is also a folder of planted code: a module and a program, each of which leaves a mark."""
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\ndef run(**_): pass\n")
    (tmp_path / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/marker\n")
    (tmp_path / "git").chmod(0o755)
    for group in ("data", "hydra/job_logging"):
        (tmp_path / group).mkdir(parents=True)
        (tmp_path / group / "evil.yaml").write_text("x: {_target_: planted.run}\n")
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


def _write(path: Path, text: str, folder: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace("MARKER", str(folder / "marker")).replace("FOLDER", str(folder)))


@pytest.mark.parametrize("text", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_runs_nothing(bayesrun: Command, folder: Path, text: str) -> None:
    _write(folder / "experiment/evil.yaml", "# @package _global_\n" + text, folder)
    _is_refused(bayesrun, folder, "experiment=evil")


def test_a_model_file_runs_nothing(bayesrun: Command, folder: Path) -> None:
    _write(folder / "model/evil.yaml", "# @package _global_\n" + BY_TAGS, folder)
    _is_refused(bayesrun, folder, "model=evil")


@pytest.mark.parametrize(
    "text", [OURS, "hydra: {searchpath: ['pkg://planted']}\n", "hydra: {searchpath: ['${tags.a}']}\n"]
)
def test_a_primary_config_runs_nothing(bayesrun: Command, folder: Path, text: str) -> None:
    _write(folder / "own.yaml", "tags: {a: 'pkg://planted'}\n" + text, folder)
    _is_refused(bayesrun, folder, "--config-name=own")


def test_a_run_folder_that_runs_again_runs_nothing(bayesrun: Command, folder: Path) -> None:
    done = bayesrun("model=linear_regression", "--cfg=job")
    _write(folder / "config.yaml", done.stdout + CALLBACK, folder)
    _is_refused(bayesrun, folder, "--config-name=config")


@pytest.mark.parametrize("flag", ["--help", "--info"])
def test_what_only_asks_runs_nothing(bayesrun: Command, folder: Path, flag: str) -> None:
    _write(folder / "own.yaml", "hydra: {searchpath: ['pkg://planted']}\n", folder)
    bayesrun(f"--config-dir={folder}", "--config-name=own", flag, PYTHONPATH=str(folder))
    assert not (folder / "marker").exists()
