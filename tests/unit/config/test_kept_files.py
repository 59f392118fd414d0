"""A composition reads files again as soon as anything that it looked at has changed, and only then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf

from bayesrun.config import compose as module
from bayesrun.config import kept_files
from bayesrun.config.compose import compose
from bayesrun.config.hydra_internals import command_line, registered_configs
from bayesrun.config.kept_files import SWITCH, KeptFiles, _digest, state_of
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.errors import UserError

MODEL = "name: mine\ntype: declarative\npriors:\n  a: {dist: Normal, mu: %s, sigma: 1}\n"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grow by a name for each time that files are found and merged."""
    made: list[str] = []
    files = module._files

    def counted(*arguments: Any) -> Any:
        made.append("made")
        return files(*arguments)

    monkeypatch.setattr(module, "_files", counted)
    monkeypatch.setenv(SWITCH, "off")
    _forget(monkeypatch)
    return made


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as another process does."""
    base = module._Base
    monkeypatch.setattr(module, "KEPT", KeptFiles(base.plain, base.of, base.has_secret, module._versions))


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


def test_the_same_files_are_read_once_and_give_the_same_config(folder: Path, reads: list[str]) -> None:
    first = _composed(folder, "seed=3", "+model.priors.b={dist: Normal, mu: 0, sigma: 1}")
    other = _composed(folder, "seed=4")
    again = _composed(folder, "seed=3", "+model.priors.b={dist: Normal, mu: 0, sigma: 1}")
    assert reads == ["made"] and first == again
    assert other["seed"] == 4 and list(other["model"]["priors"]) == ["a"]


def test_a_changed_file_is_read_again_even_with_the_time_and_size_of_the_old_one(
    folder: Path, reads: list[str]
) -> None:
    path = folder / "model" / "mine.yaml"
    before = path.stat()
    assert _composed(folder)["model"]["priors"]["a"]["mu"] == 1
    path.write_text(MODEL % 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert _composed(folder)["model"]["priors"]["a"]["mu"] == 2
    assert len(reads) == 2


def test_a_file_that_appears_or_goes_is_noticed(folder: Path, reads: list[str]) -> None:
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
    assert len(reads) == 4


def test_other_folders_and_choices_are_other_compositions(folder: Path, reads: list[str], tmp_path: Path) -> None:
    more = tmp_path / "more"
    (more / "sampler").mkdir(parents=True)
    (more / "sampler" / "own.yaml").write_text("method: nuts\ndraws: 7\n")
    _composed(folder)
    found = _composed(folder, f"hydra.searchpath=[file://{more}]", "sampler=own")
    assert found["sampler"]["draws"] == 7
    with pytest.raises(UserError, match="unknown choice 'own'"):
        _composed(folder, "sampler=own")
    _composed(folder, "sampler=smc")
    assert len(reads) == 4


def test_a_wrong_choice_is_told_each_time(folder: Path, reads: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="unknown choice 'nonsense'"):
            _composed(folder, "sampler=nonsense")


def test_each_composition_resolves_the_time_anew(folder: Path, reads: list[str]) -> None:
    arguments = command_line().parse_intermixed_args([f"--config-dir={folder}", "model=mine"])
    register_resolvers()
    first, again = (compose(arguments, conf()).config for _ in range(2))
    assert first.hydra.run.dir
    assert first._metadata.resolver_cache["now"] and not again._metadata.resolver_cache["now"]
    assert reads == ["made"]


def test_the_state_of_a_place(tmp_path: Path) -> None:
    assert state_of(str(tmp_path / "nothing")) is None
    empty = state_of(str(tmp_path))
    (tmp_path / "a.yaml").write_text("a: 1")
    assert empty != state_of(str(tmp_path))
    one = state_of(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_text("a: 2")
    assert one != state_of(str(tmp_path / "a.yaml")) != state_of(str(tmp_path))


# ---------------------------------------------------------------- for other processes


@pytest.fixture
def stored(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, reads: list[str]) -> Path:
    """Return the folder where merged files are kept for other processes."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv(SWITCH)
    return cache / "bayesrun" / "configs"


@pytest.fixture
def next_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: _forget(monkeypatch)


def test_another_process_composes_the_same_without_reading_files(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None]
) -> None:
    words = ["seed=3", "sampler=smc", "+model.priors.a.sigma=2", "hydra.launcher.n_jobs=2", "launcher=parallel"]
    first = _composed(folder, *words)
    next_process()
    assert _composed(folder, *words) == first and reads == ["made"]
    (file,) = stored.iterdir()
    assert stored.stat().st_mode & 0o777 == 0o700 and file.stat().st_mode & 0o777 == 0o600


def test_a_method_still_drops_the_keys_of_the_one_before(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None]
) -> None:
    sections = []
    for _ in range(2):
        sections.append(_composed(folder, "sampler.method=smc")["sampler"])
        next_process()
    assert sections[0] == sections[1] and "target_accept" not in sections[0] and len(reads) == 1


@pytest.mark.parametrize("what", ["changed", "shadowed", "removed"])
def test_another_process_notices_each_change(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None], what: str
) -> None:
    path = folder / "model" / "mine.yaml"
    path.write_text("defaults: [{optional part: base}]\n" + MODEL % 1)
    part = folder / "model" / "part" / "base.yaml"
    if what == "removed":
        part.parent.mkdir()
        part.write_text("note: here\n")
    before = _composed(folder)["model"]
    next_process()
    if what == "changed":
        path.write_text(path.read_text().replace("mu: 1", "mu: 2"))
    elif what == "shadowed":
        part.parent.mkdir()
        part.write_text("note: here\n")
    else:
        part.unlink()
    after = _composed(folder)["model"]
    assert len(reads) == 2 and before != after
    assert after["priors"]["a"]["mu"] == (2 if what == "changed" else 1)
    assert after.get("part") == ({"note": "here"} if what == "shadowed" else None)


def test_another_version_of_a_package_composes_anew(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    _composed(folder)
    versions = module._versions()
    monkeypatch.setattr(module, "_versions", lambda: {**versions, "omegaconf": "2.3.99"})
    next_process()
    _composed(folder)
    assert len(reads) == 2 and len(list(stored.iterdir())) == 2


def test_what_plugins_register_is_part_of_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {registered_configs()}
    for value in (1, 2):
        node = ConfigNode("one.yaml", OmegaConf.create({"a": value}), "own", None, "a test")
        monkeypatch.setitem(ConfigStore.instance().repo, "own", {"one.yaml": node})
        digests.add(registered_configs())
    assert len(digests) == 3


def _cut(file: Path) -> None:
    file.write_text(file.read_text()[:-40])


def _edit(file: Path) -> None:
    file.write_text(file.read_text().replace('"mu", 1', '"mu", 7'))


def _forge(file: Path) -> None:
    """Write what somebody would who knows the form: a value that is no config, under a right digest."""
    body = json.dumps({**json.loads(file.read_text().partition("\n")[2]), "plain": {"config": {"map": 3}}})
    file.write_text(f"{_digest(body.encode())}\n{body}")


def _empty(file: Path) -> None:
    file.write_text("")


def _open(file: Path) -> None:
    file.chmod(0o666)


def _link(file: Path) -> None:
    target = file.with_name("elsewhere")
    file.rename(target)
    file.symlink_to(target)


def _open_folder(file: Path) -> None:
    file.parent.chmod(0o777)


def _give_away(file: Path) -> None:
    os.chown(file, 12345, 12345)


@pytest.mark.parametrize("harm", [_cut, _edit, _forge, _empty, _open, _link, _open_folder, _give_away])
def test_a_file_that_is_broken_or_not_the_users_alone_is_not_used(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None], harm: Callable[[Path], None]
) -> None:
    first = _composed(folder)
    (file,) = stored.iterdir()
    assert '"mu", 1' in file.read_text()
    try:
        harm(file)
    except PermissionError:
        pytest.skip("only root can give a file away")
    next_process()
    assert _composed(folder) == first and len(reads) == 2


def test_classes_are_taken_only_from_hydra_and_only_if_they_are_imported(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None]
) -> None:
    first = _composed(folder)
    (file,) = stored.iterdir()
    assert "hydra.conf:JobConf" in file.read_text()
    for other in ("os:system", "hydra.__main__:main", "hydra.conf:os", "hydra.conf:JobConf.__init__"):
        body = file.read_text().partition("\n")[2].replace('hydra.conf:JobConf"', f'{other}"')
        file.write_text(f"{_digest(body.encode())}\n{body}")
        made = len(reads)
        next_process()
        assert _composed(folder) == first and len(reads) == made + 1
        assert "hydra.__main__" not in sys.modules


def test_a_folder_that_can_not_be_written_to_costs_nothing(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None]
) -> None:
    stored.parent.parent.mkdir(exist_ok=True)
    stored.parent.write_text("a file is in the way, as root may write to a read-only folder")
    for _ in range(2):
        _composed(folder)
        next_process()
    assert len(reads) == 2


def test_it_can_be_switched_off(
    folder: Path,
    reads: list[str],
    stored: Path,
    next_process: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _composed(folder)
    monkeypatch.setenv(SWITCH, "off")
    next_process()
    _composed(folder, "sampler=smc")
    _composed(folder)
    assert len(reads) == 3 and len(list(stored.iterdir())) == 1


@pytest.mark.parametrize(
    "secret", ["tags: {api_token: s3cr3t-word}", "tracking: {uri: 'postgresql://me:s3cr3t-word@host/db'}"]
)
def test_a_config_with_a_secret_is_not_written(
    folder: Path, reads: list[str], stored: Path, next_process: Callable[[], None], secret: str
) -> None:
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{secret}\n")
    for _ in range(2):
        assert "s3cr3t-word" in str(_composed(folder, "experiment=mine"))
        next_process()
    assert len(reads) == 2 and not list(stored.glob("*"))


def test_values_of_the_command_line_are_not_written(folder: Path, reads: list[str], stored: Path) -> None:
    _composed(folder, "+tags.api_token=s3cr3t-word", "tracking.uri='http://me:s3cr3t-word@host'")
    (file,) = stored.iterdir()
    assert "s3cr3t" not in file.read_text()


def test_the_folder_does_not_grow(
    folder: Path, reads: list[str], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_files, "_MOST_STORED", 2)
    for sampler in ("smc", "advi", "prior", "nuts"):
        _composed(folder, f"sampler={sampler}")
    assert len(list(stored.iterdir())) == 2


def test_a_job_has_the_files_that_the_first_one_had(folder: Path, reads: list[str]) -> None:
    register_resolvers()
    arguments = command_line().parse_intermixed_args([f"--config-dir={folder}", "-m", "model=mine"])
    composition = compose(arguments, conf())
    configs = []
    for mu in (1, 2):
        (folder / "model" / "mine.yaml").write_text(MODEL % mu)
        configs.append(composition.loader.load_sweep_config(composition.config, ["model=mine"]))
    assert [config.model.priors.a.mu for config in configs] == [1, 1]


def test_two_commands_with_an_edit_between(
    tmp_path: Path, folder: Path, bayesrun: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["--cfg=job", f"--config-dir={folder}", "model=mine"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    one, again = (bayesrun(*words, **cache).stdout for _ in range(2))
    assert one == again and "mu: 1" in one
    assert len(list((tmp_path / "cache" / "bayesrun" / "configs").iterdir())) == 1
    (folder / "model" / "mine.yaml").write_text(MODEL % 2)
    assert "mu: 2" in bayesrun(*words, **cache).stdout
