"""Broken modules of the compile cache are made again, and a cache that is not the user's is not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bayesrun.engines.pymc3.compile_cache import is_whole, prepare_cache, seal
from bayesrun.errors import UserError

_COMPILE = """
from bayesrun.engines.pymc3.theano_setup import import_pymc3
import_pymc3()
import numpy as np, theano, theano.tensor as tt
from bayesrun.engines.pymc3.functions import compile_function
x = tt.dvector("x")
function = compile_function([x], [tt.exp(x).sum()], [[np.ones(2)], [np.zeros(3)]])
print(theano.config.compiledir)
print(float(function(np.array([0.0, 1.0]))[0]))
"""


def compiled(base: Path) -> list[Path]:
    """Compile a function in a process of its own; return the modules of the cache."""
    flags = {**os.environ, "THEANO_FLAGS": f"blas__ldflags=,base_compiledir={base}"}
    done = subprocess.run([sys.executable, "-c", _COMPILE], env=flags, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, folder, value = done.stdout.splitlines()
    assert value == str(1 + 2.718281828459045)
    assert Path(folder).is_relative_to(base)
    return sorted(Path(folder).rglob("*.so"))


def test_modules_that_are_not_whole_are_compiled_again(tmp_path: Path) -> None:
    modules = compiled(tmp_path)
    assert len(modules) >= 2  # one of Theano's own and that of the function
    assert all(map(is_whole, modules))
    spoil = (lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:2000] + b"\x5a" * 5000 + raw[7000:])
    for number, module in enumerate(modules):
        content = module.read_bytes()
        module.unlink()  # what a running process has loaded stays
        module.write_bytes(spoil[number % 3](content))
    assert not any(map(is_whole, modules))
    again = compiled(tmp_path)
    assert len(again) == len(modules)
    assert all(map(is_whole, again))


def test_a_module_is_whole_only_with_its_own_digest(tmp_path: Path) -> None:
    module = tmp_path / "m.so"
    module.write_bytes(b"code" * 1000)
    assert not is_whole(module)
    seal(module)
    assert is_whole(module)
    module.write_bytes(b"code" * 999 + b"c0de")
    assert not is_whole(module)
    assert not is_whole(tmp_path / "absent.so")


def test_a_cache_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, home = tmp_path / "theirs", tmp_path / "home"
    theirs.mkdir()
    theirs.chmod(0o777)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("THEANO_FLAGS", f"cxx=,base_compiledir={theirs}")
    prepare_cache()
    assert os.environ["THEANO_FLAGS"] == f"cxx=,base_compiledir={theirs},base_compiledir={home / '.theano'}"
    (home / ".theano").mkdir(mode=0o777)
    (home / ".theano").chmod(0o777)
    with pytest.raises(UserError, match="can be written to by everybody"):
        prepare_cache()
    monkeypatch.setenv("THEANO_FLAGS", f"compiledir={theirs}")
    with pytest.raises(UserError, match="name a folder of your own"):
        prepare_cache()
    monkeypatch.delenv("THEANO_FLAGS")
    (home / ".theano").chmod(0o755)
    (home / ".theanorc").write_text(f"[global]\nbase_compiledir = {theirs}\n")
    prepare_cache()
    assert os.environ["THEANO_FLAGS"] == f"base_compiledir={home / '.theano'}"
    if os.geteuid() == 0:
        os.chown(home / ".theano", 65534, 65534)
        with pytest.raises(UserError, match="belongs to another user"):
            prepare_cache()
