"""Compile the headers that all of Theano's C code begins with once: reading them is half of the compiler's time.

GCC takes a precompiled header where it was made by the same compiler with the same arguments, and reads the header
itself where not, so that one that does not fit costs nothing. But it takes one of another optimization level, and may
crash on it (GCC 12 at -O3, of a header compiled at -O1): each level has a header of its own. Symbols for a debugger, a
seventh of the time, are left out.

Versions: Theano-PyMC 1.1.2 with GCC.
Buys: 2.0 s of 11.4 s where nothing is compiled yet.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import theano
from theano.link.c.cmodule import GCC_compiler, std_include_dirs

from bayesrun.engines.pymc3.patches.base import Patch, Undo
from bayesrun.engines.pymc3.patches.content_cache import module_folder
from bayesrun.run_folder import RunFolder

_HEADERS = ("Python.h", "iostream", "theano_mod_helper.h", "math.h", "numpy/arrayobject.h", "numpy/arrayscalars.h")
_NAME = "headers.h"
_LEVEL_NAME = "headers_of_{level}.h"
_MAKE = 'temporary=$1; made=$2; shift 2; "$@" -o "$temporary" && mv "$temporary" "$made"'

_begun: dict[Path, Any] = {}
"""Processes of this one that compile headers."""


def _apply() -> Undo:
    flags, compile_str = theano.config.gcc__cxxflags, GCC_compiler.compile_str
    folder = module_folder()
    theano.config.gcc__cxxflags = " ".join([flags, "-g0", *_include(folder)])

    def compile_beside(*arguments: Any, **named: Any) -> Any:
        preargs = named.get("preargs") or (arguments[6] if len(arguments) > 6 else ())
        _precompile(folder, preargs)
        return compile_str(*arguments, **named)

    GCC_compiler.compile_str = staticmethod(compile_beside)

    def undo() -> None:
        theano.config.gcc__cxxflags = flags
        GCC_compiler.compile_str = staticmethod(compile_str)

    return undo


def at_level(flags: str, level: str) -> str:
    """Return the compiler's flags with the header of another optimization level.

    Parameters
    ----------
    flags
        `gcc.cxxflags`.
    level
        A word for the level.
    """
    folder = module_folder()
    common = f"-include {folder / _NAME}"
    if common not in flags:  # headers are not compiled once
        return flags
    return flags.replace(common, " ".join(_include(folder, _LEVEL_NAME.format(level=level))))


def _include(folder: Path, name: str = _NAME) -> list[str]:
    """Return the flag that has all modules include one header first; none where it can't be."""
    if "g++" not in Path(theano.config.cxx).name or " " in str(folder):
        return []
    with suppress(OSError):  # a cache that only its owner may write to
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            RunFolder(folder).write_text(name, "".join(f"#include <{header}>\n" for header in _HEADERS))
    return [f"-include {folder / name}"] if (folder / name).exists() else []


def _precompile(folder: Path, arguments: Sequence[str]) -> None:
    """Begin to compile the header, unless that was done; modules are compiled in the meantime."""
    given = [*arguments]
    included = [Path(given[k + 1]) for k in range(len(given) - 1) if given[k] == "-include"]
    header = next((path for path in included if path.parent == folder), None)
    made = folder / f"{header.name}.gch" if header else folder
    if header is None or made in _begun or made.exists():
        return
    own = ["-include", str(header)]
    plain = [a for a in arguments if a not in own]
    include = [f"-I{d}" for d in std_include_dirs()]
    command = [theano.config.cxx, "-g", *plain, *include, "-fvisibility=hidden", "-x", "c++-header", str(header)]
    places = [f"{made}.{os.getpid()}", str(made)]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    _begun[made] = subprocess.Popen(["/bin/sh", "-c", _MAKE, "sh", *places, *command], **quiet)  # type: ignore[call-overload]


PATCH = Patch(_apply, "process")
