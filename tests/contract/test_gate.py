"""Every key of Hydra's own schema, set by every kind of file: nothing planted is run, imported or written.

What a file may set is set; whatever passes is then used as Hydra uses it (launcher, sweeper, callbacks, logging).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.callbacks import Callbacks
from hydra.conf import HydraConf
from hydra.core.utils import configure_log
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import DictConfig, OmegaConf

from bayesrun.config.compose import compose
from bayesrun.config.hydra_internals import HydraParts, command_line
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.errors import UserError

CHOICES = {
    "joblib": ("joblib", "basic"),
    "slurm": ("submitit_slurm", "optuna"),
}
MAY_BE_SET = ("run.dir", "sweep.dir", "sweep.subdir", "mode", "sweeper.params", "searchpath")


def _keys(node: Any, key: str) -> Iterator[str]:
    """List every key of a structured config, mappings and what is inside them."""
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for name in node:
            yield f"{key}.{name}".lstrip(".")
            yield from _keys(node._get_node(name), f"{key}.{name}")


def _schema(launcher: Any, sweeper: Any) -> list[str]:
    node = OmegaConf.structured(HydraConf)
    keys = [*_keys(node, ""), "", "anything", "job.env_set.PATH", "callbacks.x", "job_logging.handlers.x"]
    for group, spec in (("launcher", launcher), ("sweeper", sweeper)):
        keys += [f"{group}.{name}" for name in (*OmegaConf.structured(spec), "_target_", "anything")]
    return sorted({*keys} - {"searchpath"})  # of the primary config alone, see below


SCHEMAS = {
    "joblib": _schema(JobLibLauncherConf, OptunaSweeperConf),
    "slurm": _schema(SlurmQueueConf, OptunaSweeperConf),
}


def _values(folder: Path) -> list[Any]:
    mark = str(folder / "marker")
    call = {"_target_": "planted.run"}
    return [call, {"x": call}, "${planted}", "pkg://planted", [f"touch {mark}"], [f"file://{mark}"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\ndef run(**_): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/experiment").mkdir(parents=True)
    return tmp_path


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed([part for part in ("hydra", *key.split(".")) if part]):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _use(config: DictConfig, folder: Path) -> None:
    """Do with a composed config what Hydra does before and around a job."""
    config.hydra.runtime.output_dir = str(folder / "configs")
    Callbacks(config)
    configure_log(config.hydra.job_logging, config.hydra.verbose)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    parts = HydraParts(config, None)
    parts.launcher(lambda config: None)
    parts.sweeper(lambda config: None)


def _composed(folder: Path, file: str, content: Any, header: str, words: list[str]) -> DictConfig | list[str]:
    """Compose with a file; returns the keys that are refused, if any are."""
    path = folder / "configs" / file
    path.write_text(header + yaml.safe_dump(content))
    try:
        arguments = command_line().parse_args([f"--config-dir={folder / 'configs'}", *words])
        composition = compose(arguments, conf())
    except UserError as error:
        return [problem.key.replace("[", ".") for problem in error.problems]
    finally:
        path.unlink()
    return composition.config


def _at_depth(keys: list[str]) -> dict[int, list[str]]:
    """Sort keys by depth: one file may set all of a depth, none of which lies inside another."""
    return {depth: [k for k in keys if k.count(".") == depth and k] for depth in {k.count(".") for k in keys}}


def _merged(keys: list[str], value: Any) -> dict[str, Any]:
    config = OmegaConf.create()
    for key in keys:
        config = OmegaConf.merge(config, {"hydra": {}})  # type: ignore[assignment]
        OmegaConf.update(config, f"hydra.{key}", OmegaConf.create(value) if isinstance(value, dict | list) else value)
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


@pytest.mark.parametrize("choice", CHOICES)
def test_no_key_of_hydras_schema_runs_imports_or_writes(choice: str, folder: Path) -> None:
    register_resolvers()
    launcher, sweeper = CHOICES[choice]
    chosen = {"defaults": [{"override /hydra/launcher": launcher}, {"override /hydra/sweeper": sweeper}]}
    passed: set[str] = set()
    for value in _values(folder):
        for keys in _at_depth(SCHEMAS[choice]).values():
            left = keys
            while left:
                content = {**chosen, "planted": {"_target_": "planted.run"}, **_merged(left, value)}
                config = _composed(
                    folder, "experiment/evil.yaml", content, "# @package _global_\n", ["experiment=evil"]
                )
                if isinstance(config, DictConfig):
                    _use(config, folder)
                    break
                refused = [key for key in left if any(f"{k}.".startswith(f"hydra.{key}.") for k in config)]
                assert refused, config
                left = [key for key in left if key not in refused]
            passed |= set(left)
            assert "planted" not in sys.modules
            assert {p.name for p in folder.iterdir()} == {"planted.py", "configs"}
    wrong = [key for key in passed if key not in MAY_BE_SET and not key.startswith(("launcher.", "sweeper."))]
    assert not wrong
    assert len(SCHEMAS[choice]) > 70


def test_a_primary_config_is_judged_likewise(folder: Path) -> None:
    register_resolvers()
    for key in ("callbacks.x", "searchpath", "launcher._target_", ""):
        for value in _values(folder):
            content = {"planted": {"_target_": "planted.run"}, **_nested(key, value)}
            config = _composed(folder, "own.yaml", content, "", ["--config-name=own"])
            assert isinstance(config, list) or (key == "searchpath" and value == [f"file://{folder}/marker"]), key
            assert "planted" not in sys.modules


def test_what_may_be_set_is_set(folder: Path) -> None:
    register_resolvers()
    content = {
        "defaults": [{"override /hydra/launcher": "joblib"}],
        "hydra": {
            "run": {"dir": "here"},
            "mode": "MULTIRUN",
            "launcher": {"n_jobs": 3},
            "sweeper": {"params": {"seed": "1,2"}},
        },
    }
    config = _composed(folder, "experiment/mine.yaml", content, "# @package _global_\n", ["experiment=mine"])
    assert isinstance(config, DictConfig)
    assert config.hydra.run.dir == "here"
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.hydra.launcher.n_jobs == 3
    assert dict(config.hydra.sweeper.params) == {"seed": "1,2"}
