"""A composition reads files again as soon as anything that it looked at has changed, and only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bayesrun.config.compose import KEPT, compose
from bayesrun.config.hydra_internals import command_line
from bayesrun.config.kept_files import KeptFiles, state_of
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.errors import UserError

MODEL = "name: mine\ntype: declarative\npriors:\n  a: {dist: Normal, mu: %s, sigma: 1}\n"


@pytest.fixture
def kept() -> KeptFiles[Any]:
    """Keep nothing yet; `made` counts how often files are found and merged."""
    KEPT.forget()
    return KEPT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(MODEL % 1)
    return tmp_path


def _composed(folder: Path, *words: str) -> Any:
    register_resolvers()
    composition = compose(
        command_line().parse_intermixed_args([f"--config-dir={folder}", "model=mine", *words]), conf()
    )
    assert not composition.problems
    return OmegaConf.to_container(composition.config, resolve=False, enum_to_str=True)


def test_the_same_files_are_read_once_and_give_the_same_config(folder: Path, kept: KeptFiles[Any]) -> None:
    first = _composed(folder, "seed=3", "+model.priors.b={dist: Normal, mu: 0, sigma: 1}")
    other = _composed(folder, "seed=4")
    again = _composed(folder, "seed=3", "+model.priors.b={dist: Normal, mu: 0, sigma: 1}")
    assert kept.made == 1 and first == again
    assert other["seed"] == 4 and list(other["model"]["priors"]) == ["a"]


def test_a_changed_file_is_read_again_even_with_the_time_and_size_of_the_old_one(
    folder: Path, kept: KeptFiles[Any]
) -> None:
    path = folder / "model" / "mine.yaml"
    before = path.stat()
    assert _composed(folder)["model"]["priors"]["a"]["mu"] == 1
    path.write_text(MODEL % 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert _composed(folder)["model"]["priors"]["a"]["mu"] == 2
    assert kept.made == 2


def test_a_file_that_appears_or_goes_is_noticed(folder: Path, kept: KeptFiles[Any]) -> None:
    (folder / "model" / "mine.yaml").write_text("defaults: [{optional part: base}]\n" + MODEL % 1)
    assert "part" not in _composed(folder)["model"]
    (folder / "model" / "part").mkdir()
    (folder / "model" / "part" / "base.yaml").write_text("note: here\n")
    assert _composed(folder)["model"]["part"] == {"note": "here"}
    (folder / "model" / "part" / "base.yaml").unlink()
    assert "part" not in _composed(folder)["model"]
    (folder / "model" / "mine.yaml").unlink()
    with pytest.raises(UserError, match="unknown choice 'mine'"):
        _composed(folder)
    assert kept.made == 4


def test_other_folders_and_choices_are_other_compositions(folder: Path, kept: KeptFiles[Any], tmp_path: Path) -> None:
    more = tmp_path / "more"
    (more / "sampler").mkdir(parents=True)
    (more / "sampler" / "own.yaml").write_text("method: nuts\ndraws: 7\n")
    _composed(folder)
    found = _composed(folder, f"hydra.searchpath=[file://{more}]", "sampler=own")
    assert found["sampler"]["draws"] == 7
    with pytest.raises(UserError, match="unknown choice 'own'"):
        _composed(folder, "sampler=own")
    _composed(folder, "sampler=smc")
    assert kept.made == 4


def test_a_wrong_choice_is_told_each_time(folder: Path, kept: KeptFiles[Any]) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="unknown choice 'nonsense'"):
            _composed(folder, "sampler=nonsense")


def test_the_state_of_a_place(tmp_path: Path) -> None:
    assert state_of(str(tmp_path / "nothing")) is None
    assert state_of(str(tmp_path)) == ()
    (tmp_path / "a.yaml").write_text("a: 1")
    assert state_of(str(tmp_path)) == ("a.yaml",)
    one = state_of(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_text("a: 2")
    assert one != state_of(str(tmp_path / "a.yaml"))
