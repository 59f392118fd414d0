"""What a cluster needs comes from the command line or the user's own file, never from a config or a sweep's folder."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from pathlib import Path

import pytest

from bayesrun.config.compose import compose
from bayesrun.config.hydra_internals import command_line
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.errors import UserError
from bayesrun.redaction import remembering_apart
from bayesrun.sweeps.sweep_folder import resumed, write_state
from tests.composing import composed, plain
from tests.conftest import ROOT

FILE = "setup: [module load gcc]\nenvironment: {OMP_NUM_THREADS: 1, NAME: 'a b'}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(FILE)
    (tmp_path / "mine.yaml").chmod(0o600)
    return tmp_path


def test_the_file_that_the_docs_show(home: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.DOTALL)
    (home / "mine.yaml").write_text(shown)
    config = composed("-m", "launcher=slurm", f"cluster={home}/mine.yaml")
    assert plain(config, "hydra.launcher.setup") == ["export OMP_NUM_THREADS=1", "module load gcc"]


def refused(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        composed(*words)
    return str(caught.value)


def test_the_users_own_file_sets_up_a_cluster(home: Path) -> None:
    config = composed("-m", "launcher=slurm", f"cluster={home}/mine.yaml", "hydra.launcher.setup=[first]")
    lines = plain(config, "hydra.launcher.setup")
    assert lines == ["first", "export OMP_NUM_THREADS=1", "export NAME='a b'", "module load gcc"]


def test_a_file_that_others_can_change_is_refused(home: Path) -> None:
    (home / "mine.yaml").chmod(0o666)
    assert "can be changed by others" in refused("-m", "launcher=slurm", f"cluster={home}/mine.yaml")


def test_a_file_elsewhere_is_refused(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine.yaml"
    elsewhere.write_text(FILE)
    (home / "link.yaml").symlink_to(elsewhere)
    for path in (elsewhere, home / "link.yaml"):
        assert "is not below your home" in refused("-m", "launcher=slurm", f"cluster={path}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("setup: 3\n", "cluster.setup"),
        ("setpu: []\n", "did you mean 'setup'"),
        ("environment: {'A;B': 1}\n", "A;B"),
        ("- a\n", "mapping"),
    ],
)
def test_what_is_wrong_with_the_file_is_told(home: Path, content: str, said: str) -> None:
    (home / "mine.yaml").write_text(content)
    assert said in refused("-m", "launcher=slurm", f"cluster={home}/mine.yaml")


def test_other_launchers_have_no_cluster(home: Path) -> None:
    assert "launcher=slurm" in refused("-m", f"cluster={home}/mine.yaml")


def test_a_config_names_no_file(home: Path) -> None:
    (home / "experiment").mkdir()
    text = f"# @package _global_\ndefaults: [{{override /launcher: slurm}}]\ncluster: {home}/mine.yaml\n"
    (home / "experiment/theirs.yaml").write_text(text)
    assert "may not be set in a file" in refused(f"--config-dir={home}", "experiment=theirs", "-m")


@pytest.mark.parametrize("planted", ["hydra.launcher.setup=[touch marker]", "hydra.job.env_set.PATH=/tmp", "cluster=X"])
def test_the_folder_of_a_sweep_that_is_resumed_sets_up_nothing(home: Path, planted: str) -> None:
    register_resolvers()
    state = {"arguments": {"overrides": ["launcher=slurm", planted.replace("X", f"{home}/mine.yaml")], "stored": 0}}
    (home / "sweep.json").write_text(json.dumps(state))
    arguments = command_line().parse_args([f"resume={home}"])
    with pytest.raises(UserError, match="may not be set in a file"):
        arguments = resumed(arguments, home)
        composition = compose(arguments, conf())
        raise UserError(composition.problems)


def test_a_sweep_keeps_no_lines_for_the_shell(home: Path) -> None:
    overrides = ["launcher=slurm", "hydra.launcher.setup=[a]", f"cluster={home}/mine.yaml", "hydra.launcher.mem_gb=3"]
    write_state(home, Namespace(overrides=overrides), [])
    assert json.loads((home / "sweep.json").read_text())["arguments"]["overrides"] == [overrides[0], overrides[3]]


def test_a_secret_goes_by_the_environment_and_not_into_a_jobs_script(home: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    (home / "mine.yaml").write_text("environment: {MLFLOW_TRACKING_PASSWORD: Sesame-42, OMP_NUM_THREADS: 1}\n")
    with remembering_apart():
        config = composed("-m", "launcher=slurm", f"cluster={home}/mine.yaml")
    assert plain(config, "hydra.launcher.setup") == ["export OMP_NUM_THREADS=1"]
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "Sesame-42"


def test_a_line_with_a_secret_is_refused(home: Path) -> None:
    (home / "mine.yaml").write_text("setup: [export TOKEN=Sesame-42]\n")
    assert "cluster.setup[0]: holds a secret" in refused("-m", "launcher=slurm", f"cluster={home}/mine.yaml")
    said = refused("-m", "launcher=slurm", "hydra.launcher.setup=['export TOKEN=Sesame-42']")
    assert "hydra.launcher.setup[0]: holds a secret" in said
    composed("-m", "launcher=slurm", "hydra.launcher.setup=['export TOKEN=$(cat ~/.token)']")
