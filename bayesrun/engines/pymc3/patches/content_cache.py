"""Find modules of Theano's compile cache by the content of their code.

Theano keeps a pickled key beside each compiled module and reads all of them when a process first compiles something,
a second for some 600 modules; it lists them again when the process ends. Its keys have defects of their own: that of
`DimShuffle` is salted in each process, and an operation without parameters counts as one without a version, so that
some modules are compiled again by every process and the cache grows without end. Here a module lies in a folder named
by the digest of its source and of the compiler's settings, which is all that it depends on, and is loaded only if it is
as it was compiled (`compile_cache`).

Versions: Theano-PyMC 1.1.2.
Buys: 3 s of 9 s per command whose functions are compiled already; and the cache stops growing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import theano
from theano.compile.compilelock import lock_ctx
from theano.link.c import cmodule

from bayesrun.engines.pymc3.compile_cache import is_whole, seal
from bayesrun.engines.pymc3.patches.base import Patch, Undo

_UNUSED_SECONDS = 31 * 24 * 3600
_STAMP = "tidied"
_TIDY_SECONDS = 24 * 3600


def module_folder() -> Path:
    """Return the folder of compiled modules, below Theano's compile directory."""
    return Path(theano.config.compiledir) / f"modules_theano{theano.__version__}_numpy{numpy.__version__}"


class _Modules(cmodule.ModuleCache):  # type: ignore[misc]  # untyped
    """Theano's cache, with the interface that its compiler uses."""

    def refresh(self, *_: Any, **__: Any) -> list[str]:
        return []  # nothing is listed: a module is looked up when it is needed

    def module_from_key(self, key: Any, lnk: Any) -> Any:
        digest = cmodule.get_module_hash(lnk.get_src_code(), ((), key[1]))
        if digest not in self.module_from_name:
            self.module_from_name[digest] = _module(module_folder() / digest, lnk)
        return self.module_from_name[digest]

    def _on_atexit(self) -> None:
        return


def _apply() -> Undo:
    original = cmodule._module_cache
    cmodule._module_cache = _Modules(theano.config.compiledir, do_refresh=False)
    folder = module_folder()
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)

    def undo() -> None:
        cmodule._module_cache = original

    return undo


def _module(folder: Path, linker: Any) -> Any:
    """Load the module of a folder, compiled first if it is not there; other processes wait for that."""
    if not is_whole(folder):
        with lock_ctx():
            if not is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                return _compiled(folder, linker)
    with suppress(OSError):  # a cache that only its owner may write to
        os.utime(folder)  # in use: see `_tidy`
    (library,) = folder.glob(f"*.{cmodule.get_lib_extension()}")
    return cmodule.dlimport(str(library))


def _compiled(folder: Path, linker: Any) -> Any:
    """Compile under another name: a process killed half-way leaves no broken module."""
    place = tempfile.mkdtemp(prefix="tmp", dir=folder.parent)
    try:
        module = linker.compile_cmodule(place)
        seal(Path(place))
        os.rename(place, folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return module


def _tidy(folder: Path) -> None:
    """Once a day, remove modules that nothing has used for a month."""
    stamp, now = folder / _STAMP, time.time()
    if stamp.exists() and now - stamp.stat().st_mtime < _TIDY_SECONDS:
        return
    stamp.touch()
    for path in folder.iterdir():
        if path.is_dir() and now - path.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


PATCH = Patch(_apply, "process")
