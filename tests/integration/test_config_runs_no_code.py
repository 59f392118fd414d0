"""A config that others wrote runs nothing: the ways that were found, each through the real command."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bayesrun.processes import process_label
from tests.conftest import ROOT, Command
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


@pytest.mark.parametrize("key", ["hydra.sweep.dir", "hydra.run.dir", "paths.outputs"])
def test_a_line_break_in_a_folders_name_is_no_line_of_a_clusters_script(
    bayesrun: Command, folder: Path, key: str
) -> None:
    config: Any = f"{folder}/x\ntouch {folder}/marker\n:"
    for part in reversed(key.split(".")):
        config = {part: config}
    write_planted(folder / "experiment/evil.yaml", "# @package _global_\n" + yaml.safe_dump(config), folder)
    words = [] if key == "hydra.run.dir" else ["-m", "launcher=slurm", "seed=1,2"]
    done = bayesrun(f"--config-dir={folder}", "experiment=evil", *words, "tracking=none")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the path contains a line break" in done.stderr
    assert not list(folder.glob("x*"))


@pytest.mark.parametrize("option", ["partition", "comment", "qos"])
def test_a_queues_option_adds_no_other(bayesrun: Command, folder: Path, option: str) -> None:
    text = (
        f'defaults: [{{override /hydra/launcher: submitit_slurm}}]\nhydra: {{launcher: {{{option}: "a\' --wrap=b"}}}}\n'
    )
    write_planted(folder / "experiment/evil.yaml", "# @package _global_\n" + text, folder)
    _is_refused(bayesrun, folder, "experiment=evil")


def test_a_package_beside_the_config_is_no_plugin(bayesrun: Command, folder: Path) -> None:
    """`python -m` searches the current folder."""
    (folder / "evil-1.0.dist-info").mkdir()
    (folder / "evil-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (folder / "evil-1.0.dist-info/entry_points.txt").write_text("[bayesrun.models]\nevil = planted\n")
    command = [sys.executable, "-m", "bayesrun", "plugins=[evil]", "model.type=evil"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "'evil' is not an installed bayesrun plug-in" in done.stderr
    assert not (folder / "marker").exists()


def test_the_command_does_not_look_for_pythons_own_modules_in_the_current_folder(folder: Path) -> None:
    """`python -m` imports some of them from there before bayesrun begins; the command is what docs name for that."""
    for name in ("types", "enum", "re", "json", "logging", "runpy", "signal"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'marker')!r}, 'w').close()\n")
    script = Path(sys.executable).with_name("bayesrun")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([script, "list", "models"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (folder / "marker").exists()


LIBRARIES = (
    *("yaml", "numpy", "pandas", "mlflow", "pymc3", "theano", "arviz", "joblib", "submitit", "cloudpickle", "hydra"),
    *("sitecustomize", "matplotlib", "sqlalchemy", "nutpie", "hydra_plugins/evil/__init__"),
)
SETTINGS = {
    "matplotlibrc": "backend: module://planted\naxes.prop_cycle: __import__('planted')\ntext.usetex: true\n",
    "site.cfg": "[ALL]\nlibrary_dirs = FOLDER\nlibraries = evil\n",
    "setup.cfg": "[config_fc]\nfcompiler = planted\n[build_ext]\ncompiler = planted\n",
    ".numba_config.yaml": "cache_dir: FOLDER/numba\ngdb_binary: FOLDER/git\n",
    ".theanorc": "[global]\ncxx = FOLDER/git\n[gcc]\ncxxflags = -wrapper touch,MARKER\n",
    ".env": "MLFLOW_TRACKING_URI=http://127.0.0.1:9\nTHEANO_FLAGS=cxx=FOLDER/git\n",
    "evil.pth": "import planted\n",
    ".git/config": '[core]\n\tfsmonitor = "touch MARKER"\n[diff]\n\texternal = "touch MARKER"\n',
    ".git/HEAD": "ref: refs/heads/main\n",
    ".git/objects/x": "",
    ".git/refs/x": "",
}
"""Files that libraries and programs look for in the current folder, and what they would do."""
SWEPT = ("-m", "seed=1,2", "sweep.figures=[]")


@pytest.mark.parametrize(
    "words",
    [(), (*SWEPT, "launcher=parallel"), (*SWEPT, "hydra/launcher=submitit_local", "tracking=none")],
    ids=["run", "parallel", "queue"],
)
def test_modules_in_the_current_folder_are_not_imported(folder: Path, words: tuple[str, ...]) -> None:
    """Python puts the current folder first for `-m` and `-c`: also for the tracker, and for workers of a sweep.

    Some libraries read their settings there, and a setting may name a module or a program.
    """
    (folder / "hydra_plugins" / "evil").mkdir(parents=True)
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'marker')!r}, 'w').close()\n")
    for name, text in SETTINGS.items():
        write_planted(folder / name, text, folder)
    small = ["model=linear_regression", "sampler=prior", "sampler.draws=20", "model.figures=[]", "report=false"]
    command = [sys.executable, "-m", "bayesrun", *words, *small, f"paths.outputs={folder}/out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not in MLflow yet" not in done.stderr
    assert not (folder / "marker").exists()


PARAMS = {
    "cluster": "cluster: x.yaml",
    "words after the value": "seed: 1,2 hydra.callbacks.x._target_=planted.run",
    "lines after the value": 'seed: "1,2\\nhydra.callbacks.x._target_=planted.run"',
    "blank before the key": "' hydra.job.env_set.PATH': FOLDER",
}


@pytest.mark.parametrize("sweeper", ["basic", "optuna"])
@pytest.mark.parametrize("param", PARAMS.values(), ids=PARAMS)
def test_what_a_file_sweeps_adds_nothing_to_hydra(bayesrun: Command, folder: Path, param: str, sweeper: str) -> None:
    text = f"defaults: [{{override /hydra/sweeper: {sweeper}}}]\n"
    text += f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{{param}}}}}}}\n"
    write_planted(folder / "experiment/evil.yaml", "# @package _global_\n" + text, folder)
    _is_refused(bayesrun, folder, "experiment=evil")


class _Pickled:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


_MODEL = """
name: evil
type: declarative
priors: {a: PRIOR}
likelihood: {y: {dist: Normal, mu: a, sigma: 1, observed: y}}
figures: [FIGURE]
"""
_NORMAL = "{dist: Normal, mu: 0, sigma: 1}"
_TABLE = "name: d\nsource: csv\npath: FOLDER/d.csv\n"
OTHERS = {
    "a tag in a model": (
        _MODEL.replace("PRIOR", "!!python/object/apply:os.system ['touch MARKER']"),
        _TABLE,
        "constructor",
    ),
    "a tag in data": (_MODEL, f"{_TABLE}columns: !!python/object/apply:os.system ['touch MARKER']\n", "constructor"),
    "a prior with a target": (
        _MODEL.replace("PRIOR", "{_target_: os.system, _partial_: false, command: touch MARKER}"),
        _TABLE,
        "model.priors.a.dist",
    ),
    "data with a target": (_MODEL, f"{_TABLE}_target_: planted.run\n_recursive_: true\n", "data._target_"),
    "a figure's module": (_MODEL.replace("FIGURE", "../planted"), _TABLE, "unknown figure"),
    "a generator's module": (_MODEL, "name: d\nsource: simulate\ngenerator: planted\n", "unknown generator"),
    "arrays that are pickles": (_MODEL, "name: d\nsource: netcdf\npath: FOLDER/pickled.npz\n", "pickled.npz"),
    "a pickle as Parquet": (_MODEL, "name: d\nsource: parquet\npath: FOLDER/pickled.parquet\n", "Parquet"),
    "a database's extension": (
        _MODEL,
        "name: d\nsource: sql\nurl: sqlite:///FOLDER/d.db\nquery: select load_extension('FOLDER/evil.so') as y\n",
        "not authorized",
    ),
    "a database that is written": (
        _MODEL,
        "name: d\nsource: sql\nurl: sqlite:///FOLDER/d.db\nquery: vacuum into 'MARKER'\n",
        "it may only read",
    ),
    "the environment, decoded": (_MODEL, "name: d\nsource: csv\npath: \"${oc.decode:'${oc.env:HOME}'}\"\n", "oc.env"),
    "the environment as a table": (
        _MODEL,
        "name: d\nsource: csv\npath: /proc/self/environ\nencoding: utf-16-le\n",
        "is a system file",
    ),
    "a link to the environment": (_MODEL, "name: d\nsource: csv\npath: FOLDER/link.csv\n", "is a system file"),
}


@pytest.mark.parametrize("form", OTHERS)
def test_models_and_data_run_and_read_nothing_else(bayesrun: Command, folder: Path, form: str) -> None:
    """Tags of YAML, targets, names of modules, pickles in files of data, SQL, and the environment by other ways."""
    model, data, told = OTHERS[form]
    (folder / "d.csv").write_text("y\n1\n2\n")
    (folder / "link.csv").symlink_to("/proc/self/environ")
    sqlite3.connect(folder / "d.db").close()
    np.savez(folder / "pickled.npz", y=np.array([_Touches(folder / "marker")], dtype=object))
    (folder / "pickled.parquet").write_bytes(pickle.dumps(_Touches(folder / "marker")))
    write_planted(folder / "model/evil.yaml", model.replace("PRIOR", _NORMAL).replace("FIGURE", ""), folder)
    write_planted(folder / "data/d.yaml", data, folder)
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    words = ["model=evil", "data=d", "tracking=none", f"paths.outputs={folder}/out"]
    done = bayesrun(f"--config-dir={folder}", *words, PYTHONPATH=path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "marker").exists() and not (folder / "out").exists()


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._marker}",)


@pytest.mark.parametrize("flags", [[], ["--info"], ["--cfg=job"]])
def test_hydras_flags_that_bayesrun_does_not_follow_are_refused(
    bayesrun: Command, folder: Path, flags: list[str]
) -> None:
    (folder / "config.pickle").write_bytes(pickle.dumps(_Pickled(folder / "marker")))
    done = bayesrun("--experimental-rerun", folder / "config.pickle", *flags)
    assert done.returncode == 1
    assert "--experimental-rerun" in done.stderr
    assert not (folder / "marker").exists()
    assert "--config-dir FOLDER" in bayesrun(f"--config-path={folder}", *flags).stderr


@pytest.mark.parametrize("flag", ["--help", "--info"])
def test_what_only_asks_runs_nothing(bayesrun: Command, folder: Path, flag: str) -> None:
    write_planted(folder / "own.yaml", PRIMARY["a package as config folder"], folder)
    bayesrun(f"--config-dir={folder}", "--config-name=own", flag, PYTHONPATH=str(folder))
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("link", ["figures", "run.log", "draws/1"])
def test_nothing_is_written_where_a_run_folders_links_lead(bayesrun: Command, tmp_path: Path, link: str) -> None:
    """Whoever shares a folder may have put a link to `~/.bashrc` in the place of its log."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / link).parent.mkdir(parents=True)
    (run / "status.json").write_text('{"status": "finished"}')
    (run / link).symlink_to(elsewhere)
    for task in ("figures", "recover"):
        done = bayesrun(f"task={task}", f"run={run}", "tracking=none", f"paths.outputs={tmp_path}/out")
        assert done.returncode == 1
        assert f"holds links that lead out of it: '{link}'" in done.stderr
    (run / "sweep.json").write_text('{"arguments": {"overrides": []}}')
    assert f"links that lead out of it: '{link}'" in bayesrun(f"resume={run}").stderr
    (run / "sweep.json").unlink()
    (run / "status.json").write_text('{"status": "running"}')
    note = tmp_path / "out/.running" / f"{hashlib.sha256(str(run).encode()).hexdigest()[:16]}.json"
    note.parent.mkdir(parents=True)
    host, pid, _, system = process_label(os.getpid()).split(":")
    note.write_text(json.dumps({"folder": str(run), "process": f"{host}:{pid}:1.0:{system}"}))  # it ran long ago
    done = bayesrun("task=report", f"run={run}", f"paths.outputs={tmp_path}/out")
    assert f"links that lead out of it: '{link}'" in done.stderr
    done = bayesrun(
        "model=linear_regression", "sampler=prior", "report=false", "tracking=none", f"paths.outputs={tmp_path}/out"
    )
    assert "can't be recovered: " in done.stdout and f"links that lead out of it: '{link}'" in done.stdout
    assert not note.exists()
    assert not list(elsewhere.iterdir())
