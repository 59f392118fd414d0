"""A module of the compile cache is loaded only as it was compiled, and from a cache that is the user's own."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bayesrun.engines.pymc3.compile_cache import flags_for_own_cache, is_whole, seal


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with a real shared library, and its digest."""
    import _ctypes

    folder = tmp_path / "module"
    folder.mkdir()
    shutil.copy(_ctypes.__file__, folder / "module.so")
    seal(folder)
    return folder


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[:5000] + bytes(len(content) - 5000),
    "one bit": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "longer": lambda content: content + b"x",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_module_is_found(module: Path, how: str) -> None:
    assert is_whole(module)
    library = module / "module.so"
    library.write_bytes(DAMAGE[how](library.read_bytes()))
    assert not is_whole(module)


@pytest.mark.parametrize(("how", "taken"), [("whole", True), ("half", False), ("empty", False)])
def test_a_module_without_a_digest_is_taken_where_its_length_is_right(module: Path, how: str, taken: bool) -> None:
    (module / "sha256").unlink()
    library = module / "module.so"
    library.write_bytes(DAMAGE.get(how, bytes)(library.read_bytes()))
    assert is_whole(module) is taken
    assert (module / "sha256").exists() is taken


def test_a_torn_digest_or_no_module_is_no_whole_one(module: Path, tmp_path: Path) -> None:
    (module / "sha256").write_text("")
    assert not is_whole(module)
    assert not is_whole(tmp_path / "nowhere")


def test_broken_modules_of_theanos_own_cache_are_removed_and_new_ones_get_a_digest(tmp_path: Path) -> None:
    """Of folders with a key: without one, another process still compiles."""
    import _ctypes

    content = Path(_ctypes.__file__).read_bytes()
    for name, library in {"whole": content, "short": content[:5000], "flipped": content, "begun": b""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.so").write_bytes(library)
        if name != "begun":
            (tmp_path / name / "key.pkl").touch()
    seal(tmp_path / "flipped")
    (tmp_path / "flipped" / "module.so").write_bytes(DAMAGE["one bit"](content))
    code = f"""
import pathlib, shutil
from bayesrun.engines.pymc3.compile_cache import check_modules
check_modules(pathlib.Path({str(tmp_path)!r}))
shutil.copytree({str(tmp_path / "whole")!r}, {str(tmp_path / "new")!r}, ignore=lambda *_: ["sha256"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "new", "whole"]
    assert sorted(path.parent.name for path in tmp_path.glob("*/sha256")) == ["new", "whole"]


def test_a_cache_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("THEANORC", str(tmp_path / "theanorc"))
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    assert flags_for_own_cache(f"base_compiledir={shared}") == {}
    assert flags_for_own_cache(f"base_compiledir={shared}/new") == {}
    shared.chmod(0o777)
    own = str(tmp_path / "own" / "bayesrun" / "theano")
    with caplog.at_level(logging.WARNING, "bayesrun"):
        assert flags_for_own_cache(f"optimizer=fast_run,base_compiledir={shared}") == {"base_compiledir": own}
    assert str(shared) in caplog.text
    assert os.stat(own).st_mode & 0o077 == 0
    (tmp_path / "theanorc").write_text(f"[global]\ncompiledir = {shared}\n")
    assert flags_for_own_cache("") == {"compiledir": own}
