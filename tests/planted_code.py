"""Configs that try to run code, in the ways that were found, and the code that they would run.

`MARKER` stands for a file that nothing may make, `FOLDER` for the folder of the planted module and program.
"""

from __future__ import annotations

from pathlib import Path

CALLBACK = "hydra: {callbacks: {x: {_target_: planted.run}}}\n"
OURS = """
hydra:
  callbacks:
    x: {_target_: bayesrun.tracking.tracker_connection.start_tracker, executable: FOLDER/git}
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
PRIMARY = {
    "a class of bayesrun's": OURS,
    "a package as config folder": "hydra: {searchpath: ['pkg://planted']}\n",
    "a config folder by interpolation": "tags: {a: 'pkg://planted'}\nhydra: {searchpath: ['${tags.a}']}\n",
}
"""Forms for a primary config (`--config-name`)."""


def plant(folder: Path) -> None:
    """Put a module and a program into a folder, which leave `marker` there, and config groups that name them."""
    (folder / "planted.py").write_text(f"open({str(folder / 'marker')!r}, 'w').close()\ndef run(**_): pass\n")
    (folder / "git").write_text(f"#!/bin/sh\ntouch {folder}/marker\n")
    (folder / "git").chmod(0o755)
    for group in ("data", "hydra/job_logging"):
        (folder / group).mkdir(parents=True)
        (folder / group / "evil.yaml").write_text("x: {_target_: planted.run}\n")


def write_planted(path: Path, text: str, folder: Path) -> None:
    """Write a config, `MARKER` and `FOLDER` replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("MARKER", str(folder / "marker")).replace("FOLDER", str(folder)))
